"""How well each class is covered: a table to sort, whose lines lead to the class on the map."""

from __future__ import annotations

import html
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING

import pandas as pd
from bokeh.models import Model

from ..cards import Cards
from ..evidence import evidence
from ..latest import Latest
from ..part import Part, panel
from ..states import State

if TYPE_CHECKING:
    from ..desk import Desk

COLUMNS = {"coverage": "coverage", "recall": "recall", "precision": "precision"}


class Classes(Part):
    tab = "compare"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.panel = panel("classes")
        self._late = Latest(desk)

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"classes": self.panel}

    def draw(self, state: State, before: State | None) -> None:
        look, project, cards = state.look, self.desk.project, self.desk.cards
        names = [look.generator, *([look.versus] if look.versus else [])]
        measured = [evidence(project, look.view, name) for name in names]
        self._late.ask(
            "classes", (look.view, *measured), lambda: text(cards, names, [e.classes for e in measured]), self._show
        )

    def _show(self, told: str) -> None:
        self.panel.text = told


def text(cards: Cards, names: list[str], tables: list[pd.DataFrame | None]) -> str:
    """The table; with a second generator its coverage stands beside. Columns sort in the page (comparing.js)."""
    first = tables[0]
    if first is None:
        return "<h2>By class</h2><p class='hint'>Not measured yet: run <code>dvc repro</code>.</p>"
    other = tables[1] if len(tables) > 1 else None
    beside = {} if other is None else dict(zip(other["class_id"], other["coverage"], strict=True))
    heads = ["class", *COLUMNS.values(), *([f"coverage, {names[1]}"] if other is not None else [])]
    rows = "".join(
        _row(cards, line, beside.get(line["class_id"]), other is not None) for line in first.to_dict("records")
    )
    cells = "".join(f"<th data-sort='{i}' title='Sort'>{html.escape(head)}</th>" for i, head in enumerate(heads))
    hint = f"{html.escape(names[0])}; click a heading to sort, a class to see it on the map"
    return (
        f"<h2>By class <span class='count'>{len(first):,}</span></h2><p class='note'>{hint}</p>"
        f"<div class='long'><table class='sorted'><tr>{cells}</tr>{rows}</table></div>"
    )


def _row(cards: Cards, line: Mapping[Hashable, object], beside: object, paired: bool) -> str:
    label = int(str(line["class_id"]))
    name = html.escape(cards.class_name(label).removeprefix("class "))
    values = [line[column] for column in COLUMNS] + ([beside] if paired else [])
    cells = "".join(_cell(value, line if not i else {}) for i, value in enumerate(values))
    return f"<tr data-event='zoom {label}'><td data-value='{label}'>{name}</td>{cells}</tr>"


def _cell(value: object, line: Mapping[Hashable, object]) -> str:
    number = float(str(value)) if value is not None else float("nan")
    if number != number:
        return "<td data-value='-1' class='soft'>none</td>"
    between = f"{line['coverage_low']:.2f} to {line['coverage_high']:.2f}" if "coverage_low" in line else ""
    bar = f"<i class='bar' style='width:{36 * min(max(number, 0), 1):.0f}px'></i>" if line else ""
    return f"<td data-value='{number:.6g}' title='{between}'>{bar}{number:.2f}</td>"
