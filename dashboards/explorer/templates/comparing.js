// Tables of panels are sorted by a click on a heading; again: the other way round.
addEventListener("click", (event) => {
  const head = event.composedPath().find((node) => node.dataset?.sort);
  const table = head?.closest("table");
  if (!table) return;
  const column = +head.dataset.sort, down = head.dataset.down !== "true";
  for (const other of table.querySelectorAll("th")) delete other.dataset.down;
  head.dataset.down = down;
  const rows = [...table.rows].slice(1), value = (row) => +row.cells[column].dataset.value;
  rows.sort((a, b) => (down ? value(a) - value(b) : value(b) - value(a)));
  rows[0]?.parentNode.append(...rows);
});
