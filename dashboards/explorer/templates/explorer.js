// The channel to the server, and buttons. What a click means is decided on the server.
(() => {
  let count = 0;

  const send = (kind, id = "") => {
    const bridge = Bokeh.documents[0]?.get_model_by_name("bridge");
    if (bridge) bridge.value = `${++count} ${kind} ${id}`.trim();
  };

  window.explorer = { send };

  addEventListener("click", (event) => {
    const button = event.composedPath().find((node) => node.dataset?.event);
    if (button) { const [kind, ...rest] = button.dataset.event.split(" "); send(kind, rest.join(" ")); }
    const copied = event.composedPath().find((node) => node.dataset?.copy);
    if (copied) navigator.clipboard?.writeText(copied.dataset.copy);
  });
})();
