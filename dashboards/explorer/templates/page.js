// What the server says of the page itself; keys; theme; the address; what happens when the connection is lost.
(() => {
  const doc = () => window.Bokeh?.documents[0];
  const send = (...words) => explorer.send(...words);
  const $ = (id) => document.getElementById(id);

  let session = "";

  const show = (text) => {
    const { tab, theme, query, number, undo, redo, ...told } = JSON.parse(text || "{}");
    session = told.session;
    explorer.memory.step(number, redo, query);
    document.documentElement.classList.toggle("dark", theme === "dark");
    for (const part of document.querySelectorAll("[data-tab]")) {
      if (part.role === "tab") part.setAttribute("aria-selected", part.dataset.tab === tab);
      else part.hidden = part.dataset.tab !== tab;
    }
    $("undo").disabled = !undo;
    $("redo").disabled = !redo;
    if (query !== undefined) history.replaceState(null, "", `${location.pathname}?${query}`);
  };

  const dark = () => {
    const theme = document.documentElement.classList.contains("dark") ? "light" : "dark";
    try { localStorage.setItem("modescope theme", theme); } catch { /* a browser that keeps nothing */ }
    send("theme", theme);
  };

  // Before the server has said anything, and where it has no map to show: as the address, this visitor or the system has it.
  const wanted = () => {
    let theme = new URLSearchParams(location.search).get("theme");
    try { theme ??= localStorage.getItem("modescope theme"); } catch { /* as above */ }
    return theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  };
  document.documentElement.classList.toggle("dark", wanted() === "dark");

  const help = () => { const card = $("help"); card.open ? card.close() : card.showModal(); };

  // A tool of the map, by its type: on, or off again.
  const tool = (type) => {
    const plot = doc().get_model_by_name("map");
    const found = plot.toolbar.tools.find((each) => each.type === type);
    if (found) found.active = !found.active;
  };

  const KEYS = {
    "?": help, d: dark, e: () => tool("LassoSelectTool"), b: () => tool("BoxSelectTool"), n: () => send("find"),
    g: () => send("generate"), escape: () => send("clear"), f: () => explorer.map?.reset?.(), s: () => explorer.picture?.(),
    "[": () => send("view-before"), "]": () => send("view-next"),
  };
  ["select", "gaps", "generate", "made", "compare"].forEach((tab, i) => { KEYS[i + 1] = () => send("tab", tab); });

  const typing = (event) => event.composedPath().some((node) => /^(INPUT|TEXTAREA|SELECT)$/.test(node.tagName ?? ""));

  addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    if ($("help")?.open || !doc()) { if (key === "?") help(); return; }
    if (typing(event)) { if (key === "escape") event.composedPath()[0].blur(); return; }
    if ((event.ctrlKey || event.metaKey) && key === "z") { event.preventDefault(); send(event.shiftKey ? "redo" : "undo"); }
    else if (!event.ctrlKey && !event.metaKey && !event.altKey && KEYS[key]) { event.preventDefault(); KEYS[key](); }
  });

  // As soon as the server answers, the page is loaded anew: into the same session where the server still has it, else into
  // one that begins with what the address holds. (Bokeh's own way drops arrays: "buffer for id .. not found".)
  const lost = () => {
    $("lost").hidden = false;
    const back = new URLSearchParams(location.search);
    if (session) back.set("bokeh-session-id", session);
    const ask = () => fetch(explorer.point.address("anything"), { cache: "no-store" }).then(
      ({ status }) => (status < 500 ? location.replace(`${location.pathname}?${back}`) : setTimeout(ask, 1000)),
      () => setTimeout(ask, 1000),
    );
    ask();
  };

  const ready = setInterval(() => {
    const page = doc()?.get_model_by_name("page");
    if (!page) return;
    clearInterval(ready);
    explorer.memory.begin(JSON.parse(page.value), doc().get_model_by_name("page group").value);
    show(page.value);
    doc().on_event("connection_lost", lost);
    if (!/[?&]theme=/.test(location.search) && wanted() === "dark") send("theme", "dark");
  }, 20);

  Object.assign(explorer, { show, dark, help, link: () => navigator.clipboard?.writeText(location.href) });
})();
