// Steps and groups of this tab, kept by the browser: where the server has lost the session (the page was loaded anew, or the
// server was started again), another one begins with what the address holds, and is told these.
(() => {
  const NAME = "modescope steps", STEPS = 40, LONGEST = 90_000; // characters that the server hears at once
  let steps = {}, groups = {}, at = 0, now = -1, session = "", waiting = false, timer = 0; // number => [address, group or -1]

  const numbers = () => Object.keys(steps).map(Number).sort((a, b) => a - b);
  const keep = () => {
    clearTimeout(timer);
    const used = new Set(Object.values(steps).map(([, group]) => group));
    for (const each of Object.keys(groups)) if (!used.has(+each) && +each !== now) delete groups[each];
    try { sessionStorage.setItem(NAME, JSON.stringify({ session, steps, groups, at })); } catch { /* a browser that keeps nothing */ }
  };
  const kept = () => {
    try { return JSON.parse(sessionStorage.getItem(NAME)); } catch { return null; }
  };

  // It comes before the step that has it.
  const group = (text) => {
    if (waiting) return;
    const known = Object.keys(groups).find((each) => groups[each] === text);
    now = text ? Number(known ?? 1 + Math.max(-1, ...Object.keys(groups).map(Number))) : -1;
    if (text) groups[now] = text;
  };

  const step = (number, redo, query) => {
    if (waiting && !number && !redo) return;
    waiting = false;
    steps[at = number] = [query, now];
    for (const each of numbers()) if (each > number + redo || each < number - STEPS) delete steps[each];
    clearTimeout(timer);
    timer = setTimeout(keep, 150);
  };

  // What was kept, when it is of this address: of the same session, or told to one that has just begun.
  const begin = (told, text) => {
    session = told.session;
    const past = kept(), here = new URLSearchParams(location.search);
    here.delete("bokeh-session-id");
    if (!past?.steps?.[past.at] || `${new URLSearchParams(past.steps[past.at][0])}` !== `${here}`) return group(text);
    const every = Object.keys(past.steps).map(Number).sort((a, b) => a - b), first = every.indexOf(past.at);
    if (past.session === session && told.number === past.at && told.redo === every.length - first - 1) {
      ({ steps, groups, at } = past);
      return group(text);
    }
    if (told.number || told.redo) return group(text);
    steps = Object.fromEntries(every.map((number, i) => [i, past.steps[number]]));
    ({ groups } = past), at = first, now = steps[at][1];
    if (every.length > 1 || now >= 0) waiting = true, explorer.send("restore", message());
  };

  const message = () => {
    const names = Object.keys(groups).map(Number), place = (group) => names.indexOf(group);
    const write = (place) => JSON.stringify({
      groups: names.map((name) => (place(name) < 0 ? "" : groups[name])), group: place(now),
      before: numbers().filter((number) => number < at).map((number) => [steps[number][0], place(steps[number][1])]),
      after: numbers().filter((number) => number > at).reverse().map((number) => [steps[number][0], place(steps[number][1])]),
    });
    const ways = [place, (group) => (group === now ? place(group) : -1), () => -1]; // every group, this one alone, none
    return ways.map(write).find((text) => text.length < LONGEST) ?? "";
  };

  addEventListener("pagehide", keep);
  explorer.memory = { begin, group, step };
})();
