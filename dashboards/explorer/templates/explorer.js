// Pointer, keys and buttons. What a click means is decided on the server; here it is only found out what was hit.
(() => {
  const REACH = 12; // pixels
  let hovered = null, count = 0, pointer = [0, 0];

  const send = (kind, id = "") => {
    const bridge = Bokeh.documents[0]?.get_model_by_name("bridge");
    if (bridge) bridge.value = `${++count} ${kind} ${id}`.trim();
  };

  const nearest = (event, plot, sides) => {
    const perX = (plot.x_range.end - plot.x_range.start) / plot.inner_width;
    const perY = (plot.y_range.end - plot.y_range.start) / plot.inner_height;
    let best = REACH * REACH, hit = null;
    for (const side of sides) {
      if (!side.visible) continue;
      const { x, y } = side.data_source.data;
      for (let i = 0; i < x.length; i++) {
        const dx = (x[i] - event.x) / perX, dy = (y[i] - event.y) / perY;
        const squared = dx * dx + dy * dy;
        if (squared < best) { best = squared; hit = { side, i, x: x[i], y: y[i] }; }
      }
    }
    if (!hit) return null;
    const place = [pointer[0] + (hit.x - event.x) / perX, pointer[1] - (hit.y - event.y) / perY];
    return { ...hit, place, ...named(hit.side.data_source, hit.i) };
  };

  const named = (source, i) => {
    if (source.data.id) return { id: source.data.id[i], version: "" };
    const [prefix, version] = source.tags;
    return { id: `${prefix}${source.data.number[i]}`, version };
  };

  const address = (hit) => {
    const here = location.pathname.split("/").pop();
    return `${here ? here + "/" : ""}thumb/${hit.id}${hit.version ? "?v=" + hit.version : ""}`;
  };

  // The ring is no part of the plot, so that moving it paints no point again.
  const draw = (hit, plot) => {
    const card = document.getElementById("card"), ring = document.getElementById("ring");
    card.hidden = ring.hidden = !hit;
    if (!hit) return;
    if (hit.id !== hovered) {
      hovered = hit.id;
      card.classList.toggle("fine", plot.tags[1]);
      card.querySelector("img").src = address(hit);
      card.querySelector("b").textContent = `class ${plot.tags[0][hit.side.data_source.data.label[hit.i]]}`;
      card.querySelector("span").textContent = hit.id;
    }
    const [x, y] = hit.place, { width, height } = card.getBoundingClientRect();
    ring.style.translate = `${x}px ${y}px`;
    card.style.left = `${x + 18 + width > innerWidth ? x - 18 - width : x + 18}px`;
    card.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - height - 8))}px`;
  };

  window.explorer = {
    mousemove: (event, plot, sides) => draw(nearest(event, plot, sides), plot),
    mouseleave: () => draw(null),
    tap: (event, plot, sides) => {
      const hit = nearest(event, plot, sides);
      if (hit) send("click", hit.id);
    },
  };

  // Bokeh hears "pointermove", which comes before "mousemove".
  addEventListener("pointermove", (event) => { pointer = [event.clientX, event.clientY]; }, true);
  addEventListener("wheel", () => draw(null), { capture: true, passive: true });
  addEventListener("keydown", (event) => { if (event.key === "Escape") send("clear"); });
  addEventListener("click", (event) => {
    const button = event.composedPath().find((node) => node.dataset?.event);
    if (button) send(...button.dataset.event.split(" "));
  });
})();
