// The point under the cursor: a ring at once, a card a moment later; points and images of panels ring each other.
(() => {
  const REACH = 12, DELAY = 125, ASK = 40; // pixels, milliseconds
  let current = null, pointer = [0, 0], timer = 0, asking = 0, asked = 0, rung = null;

  const drawn = (plot) => plot.renderers.filter((each) => each.visible && /^(points|marks made)/.test(each.name));
  const partial = (plot) => drawn(plot).some((each) => each.data_source.tags[3] === false);
  const number = (plot) => (plot.name === "map" ? 1 : 2);

  const hit = (event) => {
    const plot = event.origin, per = explorer.map.unit(plot);
    let best = (REACH * per) ** 2, found = null;
    for (const { data_source } of drawn(plot)) {
      const { x, y } = data_source.data;
      for (let i = 0; i < x.length; i++) {
        const squared = (x[i] - event.x) ** 2 + (y[i] - event.y) ** 2;
        if (squared < best) { best = squared; found = [data_source, i]; }
      }
    }
    return found && { ...named(...found), plot };
  };

  const named = ({ data, tags }, i) => {
    const at = { x: data.x[i], y: data.y[i], label: data.label?.[i] };
    if (data.id) return { ...at, id: data.id[i], version: "", words: "made here" };
    return { ...at, id: `${tags[0]}${data.number[i]}`, version: tags[1], words: tags[2] };
  };

  const address = (id, version) => {
    const here = location.pathname.split("/").pop();
    return new URL(`${here ? here + "/" : ""}thumb/${id}${version ? "?v=" + version : ""}`, location.href).href;
  };

  // Rings are no part of the plot, so that moving them paints no point again.
  const rings = (at) => {
    const plots = explorer.map.plots();
    ["ring", "ring2"].forEach((id, i) => {
      const ring = document.getElementById(id), plot = plots[i], where = at && plot && explorer.map.place(plot, at.x, at.y);
      if (ring) ring.hidden = !(where && explorer.map.inside(plot, where));
      if (where) ring.style.translate = `${where[0]}px ${where[1]}px`;
    });
  };

  const everywhere = function* (root) {
    for (const node of root.querySelectorAll("*")) {
      if (node.dataset?.id) yield node;
      if (node.shadowRoot) yield* everywhere(node.shadowRoot);
    }
  };
  const link = (id) => {
    if (rung === id) return;
    rung = id;
    for (const side of document.querySelectorAll("section.side"))
      for (const node of everywhere(side)) node.classList.toggle("linked", node.dataset.id === id);
  };

  const card = () => document.getElementById("card");
  const show = (found) => {
    if (found?.id === current?.id) { if (found) rings(current = found); return; }
    current = found;
    clearTimeout(timer);
    card().hidden = true;
    rings(found);
    link(found?.id ?? null);
    if (!found) return;
    new Image().src = address(found.id, found.version); // there when the card opens
    timer = setTimeout(open, DELAY);
  };

  const open = () => {
    const { id, version, label, words, plot, x, y } = current, { classes, fine } = plot.tags[0], box = card();
    const [image, head, source, facts, name] = ["img", "b", ".words", ".facts", "code"].map((part) => box.querySelector(part));
    box.classList.toggle("fine", fine);
    image.src = address(id, version);
    head.textContent = classes[label] ?? "";
    source.textContent = words, facts.textContent = "", name.textContent = id;
    box.hidden = false;
    if (version) explorer.send("about", id);
    const [across, down] = explorer.map.place(plot, x, y), { width, height } = box.getBoundingClientRect();
    box.style.left = `${across + 18 + width > innerWidth ? across - 18 - width : across + 18}px`;
    box.style.top = `${Math.max(4, Math.min(down + 14, innerHeight - height - 34))}px`;
  };

  // Where not every point is a marker, the server knows which is nearest.
  const ask = ({ origin: plot, x, y }) => {
    clearTimeout(asking);
    asking = setTimeout(() => {
      const told = [++asked, number(plot), x, y, REACH * explorer.map.unit(plot)];
      explorer.send("near", JSON.stringify(told));
    }, ASK);
  };

  const near = (told) => {
    const plots = explorer.map.plots(), plot = plots[0];
    if (told.number === -1) return told.hit && rung === told.hit.id ? rings(explorer.turn.turned(told.hit)) : undefined;
    if (told.number !== asked) return;
    const over = plots.find((each) => explorer.map.inside(each, pointer));
    show(told.hit && over ? { ...told.hit, plot: over } : null);
  };

  const about = (told) => {
    if (told.id === current?.id) card().querySelector(".facts").textContent = told.facts.join("\n");
  };

  // An image of a panel is under the cursor: its point is ringed.
  const point = (id) => {
    for (const plot of explorer.map.plots())
      for (const { data_source } of drawn(plot)) {
        const { data, tags } = data_source;
        const i = data.id ? data.id.indexOf(id) : id.startsWith(tags[0]) ? data.number.indexOf(+id.slice(tags[0].length)) : -1;
        if (i >= 0) return rings({ x: data.x[i], y: data.y[i] });
      }
    explorer.send("where", id);
  };

  explorer.point = {
    address, hit, near, about,
    move: (event) => {
      if (explorer.turn.busy()) return;
      const found = hit(event);
      if (partial(event.origin)) ask(event);
      if (found || !partial(event.origin)) show(found);
    },
    leave: () => { clearTimeout(asking); asked++; show(null); },
    tap: (event) => {
      const rank = explorer.gaps?.numberAt(event), found = hit(event), plot = event.origin;
      if (rank !== null && rank !== undefined) return explorer.send("gap", rank);
      if (found && !partial(plot)) return explorer.send("click", found.id);
      const at = [number(plot), event.x, event.y, REACH * explorer.map.unit(plot)];
      if (partial(plot)) return explorer.send("pick", JSON.stringify(at));
      const region = explorer.gaps?.regionAt(event) ?? -1;
      if (region >= 0) explorer.send("gap", region);
      else explorer.send("spot", `${event.x} ${event.y}`);
    },
  };

  addEventListener("pointermove", (event) => { pointer = [event.clientX, event.clientY]; }, true);
  addEventListener("pointerover", (event) => {
    const id = event.composedPath().find((node) => node.dataset?.id)?.dataset.id ?? null;
    if (id === null ? !event.composedPath().some((node) => node.matches?.("section.map")) && rung && !current : true) {
      if (id === rung) return;
      if (id === null) { link(null); rings(null); } else { show(null); link(id); point(id); }
    }
  });
})();
