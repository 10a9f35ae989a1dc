// The list of classes: searched, shown alone by a click (Shift adds), zoomed to. It lives in the page, not in a panel, so
// that the words in the search box and the place in the list stay.
(() => {
  let columns = [], rows = [], places = new Map(), sign = "▲", solo = new Set(), counts = {}, query = "", later = 0;
  const GLASS = "<svg width='13' height='13' viewBox='0 0 13 13' fill='none' stroke='currentColor' stroke-width='1.6'>" +
    "<circle cx='5.2' cy='5.2' r='3.9'/><path d='M8.2 8.2L12 12'/></svg>";
  const plain = new Intl.NumberFormat("en").format; // made once: thirty times faster than toLocaleString
  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const pen = document.createElement("canvas").getContext("2d");
  const list = () => document.querySelector("#classes .rows");

  const row = ([number, name, colour, ...totals]) => {
    const line = make("div", "row"), pick = make("button", "pick"), zoom = make("button", "zoom");
    const dot = make("i", "", colour ? sign : "");
    line.dataset.class = number;
    line.dataset.words = `${number} ${name}`.toLowerCase();
    if (colour) dot.style.color = colour;
    pick.title = `${number === +name ? "class" : number + ":"} ${name}: click shows it alone, Shift-click adds it`;
    zoom.innerHTML = GLASS;
    zoom.title = `Zoom to ${name}`;
    zoom.setAttribute("aria-label", zoom.title);
    pick.append(dot, make("b", "", name), ...totals.map((total) => make("span", "", plain(total))));
    line.append(pick, zoom);
    return line;
  };

  const build = (text) => {
    ({ columns = [], rows = [], sign } = JSON.parse(text || "{}"));
    places = new Map(rows.map(([number], i) => [number, i]));
    const head = document.querySelector("#classes .head");
    head.replaceChildren(make("b", "", ""), ...columns.map((name) => make("span", "", name)));
    for (const cell of head.children) cell.title = cell.textContent;
    document.querySelector("#classes input").hidden = rows.length < 8;
    list().replaceChildren(...rows.map(row));
    mark();
  };

  const order = (line) => places.get(+line.dataset.class) ?? 0;
  const weight = (line) => (counts[line.dataset.class] ?? []).reduce((sum, n) => sum + n, 0);
  // "selected / total", or the total where none is selected.
  const told = (each, i) => {
    const total = plain(each[3 + i]), own = counts[each[0]]?.[i];
    return own ? `${plain(own)} / ${total}` : total;
  };

  // Classes of the selection come first; the rest keep their order. Nodes stay where nothing moves, and so does the focus.
  const sort = () => {
    const now = [...list().children], heavy = new Map(now.map((line) => [line, weight(line)]));
    const sorted = [...now].sort((a, b) => heavy.get(b) - heavy.get(a) || order(a) - order(b));
    if (sorted.some((line, i) => line !== now[i])) list().replaceChildren(...sorted);
  };

  const mark = () => {
    pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const longest = Math.max(...rows.map(([, name]) => name.length)), room = (32 - Math.min(longest, 12)) / columns.length;
    const widths = columns.map((name, i) => {
      const letters = rows.map((each) => told(each, i).length), least = Math.min(name.length, Math.floor(room));
      return `${Math.max(pen.measureText(name.slice(0, least)).width + 6, 7.2 * Math.max(0, ...letters))}px`;
    });
    list().parentNode.style.setProperty("--cells", widths.join(" "));
    sort();
    for (const line of list().children) {
      const number = +line.dataset.class;
      line.classList.toggle("off", solo.size > 0 && !solo.has(number));
      line.firstChild.setAttribute("aria-pressed", solo.has(number));
      [...line.firstChild.querySelectorAll("span")].forEach((cell, i) => {
        const words = told(rows[order(line)], i);
        if (cell.textContent !== words) cell.textContent = words;
        cell.classList.toggle("some", Boolean(counts[number]?.[i]));
      });
    }
    document.querySelector("#classes .all").hidden = solo.size === 0;
    filter();
  };

  const filter = () => {
    let found = 0;
    for (const line of list().children) found += !(line.hidden = !line.dataset.words.includes(query));
    document.querySelector("#classes .count").textContent = query ? `${found} of ${rows.length}` : rows.length;
  };

  const ready = (tell) => (document.querySelector("#classes") ? tell() : addEventListener("DOMContentLoaded", tell));
  explorer.classes = {
    rows: (text) => ready(() => build(text)),
    marks: (text) => ready(() => {
      const heard = JSON.parse(text || "{}");
      solo = new Set(heard.solo), counts = heard.counts ?? {};
      cancelIdleCallback(later);
      later = requestIdleCallback(mark, { timeout: 250 }); // the map comes first: a thousand rows take their time
    }),
  };

  addEventListener("DOMContentLoaded", () => {
    const box = document.querySelector("#classes");
    if (!box) return;
    let shown = null, wait = 0;
    const highlight = (number) => {
      clearTimeout(wait);
      if (number !== shown) wait = setTimeout(() => { shown = number; explorer.send("highlight", number ?? ""); }, 120);
    };
    box.addEventListener("input", (event) => { query = event.target.value.trim().toLowerCase(); filter(); });
    box.addEventListener("keydown", (event) => {
      event.stopPropagation(); // letters here are no keys of the page
      if (event.key === "Escape" && query) { event.target.value = query = ""; filter(); }
    });
    box.addEventListener("click", (event) => {
      const number = event.target.closest(".row")?.dataset.class;
      if (number === undefined) return;
      if (event.target.closest(".zoom")) explorer.send("zoom", number);
      else explorer.send(event.shiftKey ? "solo-add" : "solo", number);
    });
    box.addEventListener("pointerover", (event) => highlight(event.target.closest(".row")?.dataset.class ?? null));
    box.addEventListener("pointerleave", () => highlight(null));
  });

  const wait = setInterval(() => {
    const page = window.Bokeh?.documents[0], told = page?.get_model_by_name("class rows");
    if (!told) return;
    clearInterval(wait);
    explorer.classes.rows(told.value);
    explorer.classes.marks(page.get_model_by_name("class marks").value);
  }, 30);
})();
