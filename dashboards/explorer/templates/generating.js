// The aim that is dragged over the map, and the trajectory that is played.
(() => {
  const REACH = 14, BEAT = 350; // pixels, milliseconds
  const model = (name) => window.Bokeh?.documents[0]?.get_model_by_name(name);

  const scene = () => {
    const plot = model("map"), view = plot && Bokeh.index.find_one(plot);
    if (!view?.canvas_view) return null;
    const { x, y } = view.canvas_view.el.getBoundingClientRect();
    const { x_scale, y_scale } = view.frame;
    return {
      out: (a, b) => [x + x_scale.compute(a), y + y_scale.compute(b)],
      back: (a, b) => [x_scale.invert(a - x), y_scale.invert(b - y)],
    };
  };

  // Dragging: nothing of the plot moves until the aim is let go of, so nothing is painted again.
  let ghost = null;
  const over = (event) => {
    const data = model("marks wish")?.data_source.data, map = data?.x.length && scene();
    if (!map || !event.composedPath().some((node) => node.tagName === "CANVAS" || node.classList?.contains("bk-Canvas")
      || node.classList?.contains("bk-events"))) return null;
    const [x, y] = map.out(data.x[0], data.y[0]);
    return Math.hypot(event.clientX - x, event.clientY - y) < REACH ? map : null;
  };
  const place = (event) => { ghost.style.left = `${event.clientX}px`; ghost.style.top = `${event.clientY}px`; };

  addEventListener("pointerdown", (event) => {
    if (event.button || !over(event)) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    for (const name of ["card", "ring"]) document.getElementById(name)?.setAttribute("hidden", "");
    ghost = document.createElement("div");
    ghost.style.cssText = "position:fixed;z-index:11;width:22px;height:22px;margin:-11px;border:2px dashed var(--green);"
      + "border-radius:50%;pointer-events:none;box-sizing:border-box;background:rgb(10 143 60 / 15%)";
    document.body.append(ghost);
    place(event);
  }, true);
  addEventListener("pointermove", (event) => {
    if (!ghost) return;
    event.stopImmediatePropagation();
    place(event);
  }, true);
  addEventListener("pointerup", (event) => {
    if (!ghost) return;
    event.stopImmediatePropagation();
    ghost.remove();
    ghost = null;
    const at = scene()?.back(event.clientX, event.clientY);
    if (at?.every(Number.isFinite)) window.explorer.send("aim", at.map((x) => x.toPrecision(7)).join(" "));
  }, true);
  addEventListener("pointercancel", () => { ghost?.remove(); ghost = null; }, true);

  // Playing.
  let timer = null;
  const stop = (box) => {
    clearInterval(timer);
    timer = null;
    const button = box?.querySelector("[data-play=play]");
    if (button) button.textContent = "▶ Play";
  };
  const go = (box, number) => {
    const frames = [...box.querySelectorAll("[data-step]")];
    if (!frames.length) return stop(box);
    const now = Math.min(Math.max(number, 0), frames.length - 1);
    frames.forEach((frame, i) => frame.classList.toggle("now", i === now));
    frames[now].scrollIntoView({ block: "nearest", inline: "nearest" });
    box.querySelector(".said").textContent = frames[now].title;
    const path = model("marks path")?.data_source.data, mark = model("marks step")?.data_source;
    if (mark && now < (path?.x.length ?? 0)) mark.data = { x: [path.x[now]], y: [path.y[now]] };
    return now === frames.length - 1;
  };
  const current = (box) => [...box.querySelectorAll("[data-step]")].findIndex((frame) => frame.classList.contains("now"));

  addEventListener("click", (event) => {
    const path = event.composedPath(), box = path.find((node) => node.classList?.contains("steps"));
    if (!box) return;
    const frame = path.find((node) => node.dataset?.step !== undefined);
    const act = path.find((node) => node.dataset?.play)?.dataset.play;
    if (frame) { stop(box); go(box, Number(frame.dataset.step)); }
    if (act === "back" || act === "on") { stop(box); go(box, current(box) + (act === "on" ? 1 : -1)); }
    if (act === "play" && timer) stop(box);
    else if (act === "play") {
      const all = box.querySelectorAll("[data-step]").length;
      if (current(box) === all - 1) go(box, 0);
      path.find((node) => node.dataset?.play).textContent = "❚❚ Pause";
      timer = setInterval(() => { if (!box.isConnected || go(box, current(box) + 1)) stop(box); }, BEAT);
    }
  });
})();
