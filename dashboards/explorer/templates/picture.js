// The maps as they are seen, as one SVG file: Bokeh's own drawing of them, the images on them, and what colours and marks say.
(() => {
  const VECTOR = 25_000; // markers that a GPU has drawn and that become paths; more become one image
  const SCALE = 180, LINE = 17, CLASSES = 40; // pixels; classes that the key names
  const SPACE = "http://www.w3.org/2000/svg", FONT = "12px system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
  const model = (name) => Bokeh.documents[0]?.get_model_by_name(name);
  const pen = document.createElement("canvas").getContext("2d");
  const make = (name, attributes = {}, ...children) => {
    const node = document.createElementNS(SPACE, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  // Where a GPU draws the markers, Bokeh copies its pixels: it is told to draw paths while they are few.
  const withoutGpu = (view, draw) => {
    const seen = [...view.renderer_views.values()].filter((each) => each.glyph);
    const points = seen.reduce((sum, each) => sum + (each.model.visible && each.glyph.glglyph ? each.glyph.data_size : 0), 0);
    const glyphs = points > VECTOR ? [] : seen.map((each) => each.glyph), kept = glyphs.map((glyph) => glyph.glglyph);
    try {
      for (const glyph of glyphs) glyph.glglyph = undefined;
      return draw();
    } finally {
      glyphs.forEach((glyph, i) => { glyph.glglyph = kept[i]; });
    }
  };

  const images = (plot, corner) => {
    const box = document.getElementById(`images-${plot.name}`), frame = box?.getBoundingClientRect();
    return [...(box?.children ?? [])].flatMap((image) => {
      const { left, top, width, height } = image.getBoundingClientRect(), x = left - corner.x, y = top - corner.y;
      const out = left < frame.left || top < frame.top || left + width > frame.right || top + height > frame.bottom;
      if (out || !image.naturalWidth) return [];
      const canvas = Object.assign(document.createElement("canvas"), { width: image.naturalWidth, height: image.naturalHeight });
      canvas.getContext("2d").drawImage(image, 0, 0);
      const border = { x, y, width, height, fill: "none", stroke: image.style.borderColor, "stroke-width": 2 };
      const pixels = { href: canvas.toDataURL(), style: "image-rendering: pixelated" };
      return [make("image", { x, y, width, height, ...pixels }), make("rect", border)];
    });
  };

  const right = (plot) => Bokeh.index.find_one(plot).frame.bbox.right + 6; // without the tools
  const map = (plot, left) => {
    const view = Bokeh.index.find_one(plot), corner = view.canvas_view.el.getBoundingClientRect();
    const drawn = withoutGpu(view, () => view.export("svg", false)).canvas;
    for (const [name, value] of [["x", left], ["width", right(plot)], ["height", view.bbox.height]]) drawn.setAttribute(name, value);
    drawn.append(...images(plot, corner));
    return drawn;
  };

  // One line of the key: signs, strokes and words of its element, from left to right.
  const line = (node, x, y) => {
    const out = [];
    const put = (text, fill, weight) => {
      if (!text.trim()) return;
      pen.font = `${weight} ${FONT}`;
      out.push(make("text", { x, y, fill, "font-weight": weight }, text));
      x += pen.measureText(text).width + 4;
    };
    const walk = (each, weight) => {
      if (each.nodeType === Node.TEXT_NODE) put(each.data.trim(), colour("ink"), weight);
      else if (each.tagName === "I") put(each.textContent, each.style.color, 400);
      else if (each.tagName === "svg") {
        const { stroke, strokeDasharray } = getComputedStyle(each.firstChild);
        out.push(make("path", { d: `M${x} ${y - 4}h18`, stroke, "stroke-width": 2, "stroke-dasharray": strokeDasharray }));
        x += 24;
      } else each.childNodes.forEach((child) => walk(child, each.tagName === "B" ? 600 : weight));
    };
    walk(node, 400);
    return out;
  };

  const scale = (node, x, y) => {
    const stops = node.querySelector("i").style.background.match(/rgb\([^)]*\)|#[0-9a-f]{6}/gi) ?? [], width = SCALE;
    const ramp = make("linearGradient", { id: "scale" }, ...stops.map((each, i) =>
      make("stop", { offset: i / (stops.length - 1), "stop-color": each })));
    const ticks = [...node.querySelectorAll("span")].map((tick) => make("text", { x: x + (width * parseFloat(tick.style.left)) / 100,
      y: y + 14, fill: colour("soft"), "font-size": 11, "text-anchor": "middle" }, tick.textContent));
    return [ramp, make("rect", { x, y: y - 9, width, height: 10, fill: "url(#scale)" }), ...ticks];
  };

  const key = (left) => {
    const panel = Bokeh.index.find_one(model("legend"))?.shadow_el, out = [];
    let y = 24;
    for (const node of panel?.querySelectorAll("h3, p, .scale, .legend > :not(.off)") ?? []) {
      if (node.matches(".ends")) { // below the two ends of the scale
        const [low, high] = node.children, at = (x, anchor) => ({ x, y, fill: colour("soft"), "font-size": 11, "text-anchor": anchor });
        out.push(make("text", at(left, "start"), low.textContent), make("text", at(left + SCALE, "end"), high.textContent));
      } else out.push(...(node.matches(".scale") ? scale : line)(node, left, y));
      y += node.matches(".scale") ? 2 * LINE - 4 : LINE;
    }
    const { solo = [] } = JSON.parse(model("class marks")?.value || "{}"), { rows = [], sign } = JSON.parse(model("class rows")?.value || "{}");
    const named = rows.filter(([number, , shade]) => shade && (!solo.length || solo.includes(number)));
    for (const [, name, shade] of named.length > CLASSES || panel?.querySelector(".groups") ? [] : named) {
      out.push(make("text", { x: left, y: (y += LINE), fill: shade }, sign), make("text", { x: left + 18, y, fill: colour("ink") }, name));
    }
    const end = (node) => +node.getAttribute("x") + pen.measureText(node.textContent).width;
    pen.font = FONT;
    const far = out.filter((node) => node.tagName === "text").map(end);
    return { drawn: out, height: y + 12, far: Math.max(left + SCALE, ...far) };
  };

  const svg = () => {
    const plots = explorer.map.plots(), wide = plots.reduce((sum, plot) => sum + right(plot), 0), { drawn, height: long, far } = key(wide + 12);
    const width = Math.ceil(far + 16), height = Math.max(long, ...plots.map((plot) => Bokeh.index.find_one(plot).bbox.height));
    const page = make("svg", { xmlns: SPACE, width, height, viewBox: `0 0 ${width} ${height}`, style: `font: ${FONT}` },
      make("rect", { width, height, fill: colour("paper") }));
    let left = 0;
    for (const plot of plots) page.append(map(plot, left)), left += right(plot);
    page.append(...drawn);
    const short = (path) => path.replace(/\d+\.\d{3,}/g, (number) => (+number).toFixed(2));
    return new XMLSerializer().serializeToString(page).replace(/ d="[^"]+"/g, short);
  };

  explorer.picture = () => {
    const { view, generator } = Object.fromEntries(new URLSearchParams(location.search));
    const name = ["modescope", view, generator].filter(Boolean).join("-");
    explorer.download(`${name}.svg`, new Blob([svg()], { type: "image/svg+xml" }));
  };
})();
