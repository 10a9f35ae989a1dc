// Maps of three dimensions: right-drag, Alt-drag or Alt and arrows turn them. The server turns in the same way (turning.py).
(() => {
  const STEP = 0.006, PRESS = 0.08; // radians per pixel, per key
  const flat = new WeakMap(); // source => its places as the server gave them
  let yaw = 0, pitch = 0, drag = null, centre = null;

  const solid = () => explorer.map.plots()[0]?.tags[0].centre ?? null;
  const sources = () => new Set(explorer.map.plots().flatMap((plot) => plot.renderers.map((each) => each.data_source)).filter((each) => each?.data?.z));

  const turned = ({ x, y, z, ...rest }) => {
    if (!centre || z === undefined) return { x, y, z, ...rest };
    const across = x - centre[0], up = y - centre[1], deep = z - centre[2];
    const away = deep * Math.cos(yaw) - across * Math.sin(yaw);
    return {
      x: centre[0] + across * Math.cos(yaw) + deep * Math.sin(yaw),
      y: centre[1] + up * Math.cos(pitch) - away * Math.sin(pitch), z, ...rest,
    };
  };

  const turn = (source) => {
    const { data } = source, from = flat.get(source), [cx, cy, cz] = centre;
    const [sy, cosy, sp, cosp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
    const x = new Float32Array(from.x.length), y = new Float32Array(from.x.length);
    for (let i = 0; i < x.length; i++) {
      const across = from.x[i] - cx, up = from.y[i] - cy, deep = from.z[i] - cz;
      x[i] = cx + across * cosy + deep * sy;
      y[i] = cy + up * cosp - (deep * cosy - across * sy) * sp;
    }
    data.x = x, data.y = y;
    source.change.emit();
  };

  const remember = (source) => {
    const { x, y, z } = source.data;
    flat.set(source, { x, y, z });
  };
  const again = (source) => {
    const view = solid();
    if (view?.join() !== centre?.join()) yaw = pitch = 0, centre = view;
    if (!centre || !source.data.z) return;
    remember(source);
    if (yaw || pitch) turn(source);
  };

  const all = () => {
    centre = solid();
    if (!centre) return;
    for (const source of sources()) {
      if (!flat.has(source)) remember(source);
      turn(source);
    }
    explorer.map.moved();
  };
  const by = (across, up) => {
    yaw += across, pitch = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, pitch + up));
    cancelAnimationFrame(by.next);
    by.next = requestAnimationFrame(all);
  };

  explorer.turn = { again, turned, busy: () => drag !== null, angles: () => (solid() ? [yaw, pitch] : [0, 0]) };

  const over = (event) => solid() && explorer.map.plots().some((plot) => explorer.map.inside(plot, [event.clientX, event.clientY]));
  const stop = (event) => { event.preventDefault(); event.stopImmediatePropagation(); };
  addEventListener("pointerdown", (event) => {
    if ((event.button !== 2 && !event.altKey) || !over(event)) return;
    drag = [event.clientX, event.clientY];
    stop(event);
  }, true);
  addEventListener("pointermove", (event) => {
    if (!drag) return;
    by((event.clientX - drag[0]) * STEP, (event.clientY - drag[1]) * STEP);
    drag = [event.clientX, event.clientY];
    stop(event);
  }, true);
  addEventListener("pointerup", (event) => { if (drag) { drag = null; stop(event); } }, true);
  addEventListener("contextmenu", (event) => { if (over(event)) event.preventDefault(); }, true);
  addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!event.altKey || !way || !solid()) return;
    by(way[0] * PRESS, way[1] * PRESS);
    stop(event);
  });
})();
