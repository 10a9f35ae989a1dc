// The map: what is in view, tools and keys, lasso and box, images over the points. Pointing and turning: see their files.
(() => {
  const QUIET = 90, LONG = 800; // milliseconds after a move, and during one, until the server hears of it
  const CORNERS = 1000; // of a lasso
  const keys = { shift: false, ctrl: false };
  let frame = null, fitted = [], mine = true, last = "", timer = 0, since = 0, painting = 0;

  const page = () => window.Bokeh?.documents[0];
  const shown = (plot) => plot && window.Bokeh.index.find_one(plot);
  const plots = () => ["map", "map2"].map((name) => page()?.get_model_by_name(name)).filter(shown);
  const unit = (plot) => (plot.x_range.end - plot.x_range.start) / plot.inner_width;
  const rect = (plot) => {
    const view = shown(plot), corner = view.canvas_view.el.getBoundingClientRect(), { left, top, width, height } = view.frame.bbox;
    return { left: corner.x + left, top: corner.y + top, width, height };
  };
  // Data => pixels of the page.
  const place = (plot, x, y) => {
    const { left, top, width, height } = rect(plot), { x_range, y_range } = plot;
    return [
      left + ((x - x_range.start) / (x_range.end - x_range.start)) * width,
      top + height - ((y - y_range.start) / (y_range.end - y_range.start)) * height,
    ];
  };
  const inside = (plot, [x, y]) => {
    const { left, top, width, height } = rect(plot);
    return x >= left && x <= left + width && y >= top && y <= top + height;
  };

  // Without a GPU a hundred thousand markers take seconds for each frame of a pan: the server sends an image instead, and
  // the few markers on it are painted sooner on a plain canvas than by an imitated GPU.
  const { getContext } = HTMLCanvasElement.prototype;
  const gpu = (() => {
    const gl = document.createElement("canvas").getContext("webgl2"), info = gl?.getExtension("WEBGL_debug_renderer_info");
    const name = gl?.getParameter(info?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER) ?? "software";
    gl?.getExtension("WEBGL_lose_context")?.loseContext();
    return !/swiftshader|llvmpipe|software|basic render/i.test(name);
  })();
  if (!gpu) HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
    return /webgl/.test(kind) ? null : getContext.call(this, kind, ...rest);
  };

  // Show a box (left, right, bottom, top), with square units.
  const fit = (box) => {
    const [plot] = plots();
    frame = box;
    if (!plot || !(plot.inner_width > 1)) return;
    const [left, right, bottom, top] = box, { inner_width: width, inner_height: height } = plot;
    const per = Math.max((right - left) / width, (top - bottom) / height) / 2, x = (left + right) / 2, y = (bottom + top) / 2;
    fitted = [x - per * width, x + per * width, y - per * height, y + per * height];
    plot.x_range.setv({ start: fitted[0], end: fitted[1] });
    plot.y_range.setv({ start: fitted[2], end: fitted[3] });
    mine = true;
    report();
  };

  const ends = ({ x_range, y_range }) => [x_range.start, x_range.end, y_range.start, y_range.end];

  const report = () => {
    clearTimeout(timer);
    const [plot] = plots();
    since = 0;
    if (!plot) return;
    const { inner_width, inner_height } = plot, box = ends(plot);
    if (!mine) frame = box;
    const told = JSON.stringify([...box.map((end) => +end.toPrecision(8)), inner_width, inner_height, gpu ? 1 : 0]);
    if (told !== last) explorer.send("view", `${told.slice(0, -1)},${mine ? 0 : 1}]`);
    last = told, mine = true;
  };

  const moved = () => {
    explorer.point.leave();
    const [plot] = plots();
    mine = Boolean(plot) && ends(plot).every((end, i) => end === fitted[i]); // Bokeh tells later, and twice: x, then y
    clearTimeout(timer);
    since ||= performance.now();
    if (performance.now() - since > LONG) report();
    else timer = setTimeout(report, QUIET);
    cancelAnimationFrame(painting);
    painting = requestAnimationFrame(place_all);
  };
  // Bokeh leaves the room of a title that is gone.
  const titled = () => setTimeout(() => { for (const plot of plots()) shown(plot).invalidate_layout(); });
  const resized = () => { if (frame) setTimeout(() => fit(frame)); };

  // Images over the points: elements, so that small ones keep their pixels.
  const layer = (plot) => {
    const id = `images-${plot.name}`;
    let box = document.getElementById(id);
    if (!box) {
      box = document.createElement("div");
      box.id = id, box.className = "thumbs";
      document.querySelector("section.map").append(box);
    }
    return box;
  };
  const images = (plot) => plot.renderers.find((each) => each.name?.startsWith("marks images")).data_source.data;
  const place_all = () => {
    for (const plot of plots()) {
      const box = layer(plot), { left, top, width, height } = rect(plot), { x, y } = images(plot);
      Object.assign(box.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
      [...box.children].forEach((image, i) => {
        const [across, down] = place(plot, x[i], y[i]);
        image.style.translate = `${across - left}px ${down - top}px`;
      });
    }
    for (const name of ["map", "map2"])
      if (!plots().some((plot) => plot.name === name)) document.getElementById(`images-${name}`)?.remove();
  };
  const pictures = (plot) => {
    const { id, version, colour } = images(plot), box = layer(plot), there = new Map([...box.children].map((image) => [image.src, image]));
    box.classList.toggle("fine", plot.tags[0].fine);
    box.replaceChildren(...Array.from(id, (name, i) => {
      const source = explorer.point.address(name, version[i]), image = there.get(source) ?? new Image();
      if (!image.src) image.src = source, image.alt = name;
      image.style.borderColor = `#${(colour[i] >>> 8).toString(16).padStart(6, "0")}`;
      return image;
    }));
    place_all();
  };

  // A source has new data.
  const filled = (source) => {
    explorer.turn.again(source);
    if (source.data.version) for (const plot of plots()) if (images(plot) === source.data) pictures(plot);
  };

  const tool = (name) => {
    const kinds = { lasso: "LassoSelectTool", box: "BoxSelectTool", pan: "PanTool", zoom: "BoxZoomTool" };
    for (const plot of plots()) {
      const found = plot.toolbar.tools.find((each) => each.type === kinds[name]);
      if (found) found.active = true;
    }
  };

  const mode = () => (keys.shift && keys.ctrl ? "subtract" : keys.shift ? "append" : keys.ctrl ? "intersect" : "replace");
  const region = (event) => {
    if (!event.final) return;
    const { type, x, y, x0, x1, y0, y1 } = event.geometry, short = (value) => +value.toPrecision(7);
    const step = Math.ceil((x?.length ?? 0) / CORNERS);
    const told = { turn: explorer.turn.angles() };
    if (type === "poly") told.polygon = Array.from(x, (_, i) => [short(x[i]), short(y[i])]).filter((_, i) => i % step === 0);
    else told.box = [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)].map(short);
    explorer.send("region", `${mode()} ${JSON.stringify(told)}`);
  };

  const hear = (what, text) => {
    const told = JSON.parse(text || "{}");
    if (what === "frame" && told.box) mine = true, fit(told.box);
    if (what === "about") explorer.point.about(told);
    if (what === "near") explorer.point.near(told);
  };

  window.explorer.map = {
    plots, unit, place, inside, rect, moved, titled, resized, filled, tool, hear,
    selectiongeometry: region,
    reset: () => explorer.send("whole"),
    mousemove: (event) => explorer.point.move(event),
    mouseleave: () => explorer.point.leave(),
    tap: (event) => explorer.point.tap(event),
    doubletap: (event) => { if (!explorer.point.hit(event)) explorer.send("whole"); },
  };

  // Bokeh does not clip what lies on the layer above the points, and it would be painted over the tools.
  const clip = (plot) => {
    const [view] = [...shown(plot).renderer_views.values()].filter((each) => each.glyph);
    Object.defineProperty(Object.getPrototypeOf(view), "needs_clip", { get: () => true });
  };

  const ready = setInterval(() => {
    const told = page()?.get_model_by_name("scene frame"), [plot] = plots();
    if (!told || !(plot?.inner_width > 1)) return;
    clearInterval(ready);
    clip(plot);
    hear("frame", told.value);
    for (const each of plots()) pictures(each);
  }, 30);

  for (const kind of ["pointermove", "pointerdown", "pointerup"])
    addEventListener(kind, (event) => { keys.shift = event.shiftKey, keys.ctrl = event.ctrlKey || event.metaKey; }, true);
  const letters = { v: "pan", z: "zoom" }; // the others are in page.js
  addEventListener("keydown", (event) => {
    const { key, ctrlKey, metaKey, altKey } = event;
    if (ctrlKey || metaKey || altKey || event.composedPath()[0].matches?.("input, textarea, select")) return;
    if (letters[key]) tool(letters[key]);
  });
})();
