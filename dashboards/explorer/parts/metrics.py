"""The scores of the generators that are shown, with what noise alone may do, and the way to their MLflow runs."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from bokeh.models import Model

from modescope import files, metrics
from modescope.tracking import finding

from ..evidence import evidence
from ..latest import Latest
from ..part import Part, panel
from ..states import State

if TYPE_CHECKING:
    from ..desk import Desk

ADDRESS = "MODESCOPE_MLFLOW"
"""Environment variable: where `mlflow ui` answers; its own default address else."""
LOWER = ("frechet", "kernel", "sliced_wasserstein", "distribution_shift", "copies", "gaps", "missing_mass")
"""Scores of which less is better. The best density is 1; of the others more is better."""


def link(root: Path, view: str, generator: str) -> str | None:
    """The address of a result's newest run in `mlflow ui`."""
    found = finding.runs(root / "mlflow.db").get(f"{view}/{generator}")
    base = os.environ.get(ADDRESS, "http://127.0.0.1:5000").rstrip("/")
    return None if found is None else f"{base}/#/experiments/{found[0]}/runs/{found[1]}"


def noise(root: Path, view: str, first: str, second: str) -> dict[str, bool]:
    """Scores whose difference between two generators was tested: whether it lies within the noise."""
    path = root / "metrics" / f"{view}.differences.csv"
    table = files.read_table(path) if path.is_file() else pd.DataFrame(columns=["score", "a", "b", "within_noise"])
    pair = table[table["a"].isin((first, second)) & table["b"].isin((first, second))]
    return dict(zip(pair["score"], pair["within_noise"].astype(bool), strict=True))


class Metrics(Part):
    tab = "compare"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.panel = panel("metrics")
        self._late = Latest(desk)

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"metrics": self.panel}

    def draw(self, state: State, before: State | None) -> None:
        look = state.look
        names = [look.generator, *([look.versus] if look.versus else [])]
        measured = tuple(evidence(self.desk.project, look.view, name) for name in names)
        self._late.ask("scores", (look.view, measured), lambda: self._text(look.view, names), self._show)

    def _show(self, text: str) -> None:
        self.panel.text = text

    def _text(self, view: str, names: list[str]) -> str:
        project = self.desk.project
        scores = [evidence(project, view, name).summary for name in names]
        if not any(scores):
            return "<h2>Scores</h2><p class='hint'>Not measured yet: run <code>dvc repro</code>.</p>"
        within = noise(project.root, view, *names) if len(names) == 2 else {}
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        rows = "".join(_row(score, scores, within) for score in metrics.SHOWN if any(score in each for each in scores))
        links = [(name, link(project.root, view, name)) for name in names]
        runs = ", ".join(
            f"<a href='{html.escape(where)}' target='_blank' rel='noopener'>{html.escape(name)}</a>"
            for name, where in links
            if where
        )
        mark = "<p class='note'>= : the difference lies within the noise; bold: the better one</p>" if within else ""
        said = f"<p class='note'>runs in MLflow (start <code>mlflow ui</code>): {runs}</p>" if runs else ""
        last = "" if len(names) == 1 else "<th></th>"
        return (
            f"<h2>Scores</h2><table><tr><th></th>{head}{last}<th title='what real images would score'>real</th>"
            f"</tr>{rows}</table>{mark}{said}"
        )


def _number(value: Any) -> str:
    return (
        ""
        if value is None
        else f"{value:,}"
        if isinstance(value, int)
        else f"{value:.3f}"
        if abs(value) < 10
        else f"{value:.1f}"
    )


def _row(score: str, scores: list[dict[str, Any]], within: Mapping[str, bool]) -> str:
    values = [each.get(score) for each in scores]
    known = [value for value in values if value is not None]
    best = min(known, key=lambda value: _badness(score, value)) if len(known) > 1 and not within.get(score) else None
    cells = "".join(f"<td>{f'<b>{_number(v)}</b>' if v is not None and v == best else _number(v)}</td>" for v in values)
    real = next((found for each in scores if (found := _of_real(each, score)) is not None), None)
    equal = "" if len(scores) == 1 else f"<td>{'=' if within.get(score) else ''}</td>"
    return f"<tr><td>{score.replace('_', ' ')}</td>{cells}{equal}<td class='soft'>{_number(real)}</td></tr>"


def _badness(score: str, value: float) -> float:
    return abs(value - 1) if score == "density" else value if score in LOWER else -value


def _of_real(scores: dict[str, Any], score: str) -> float | None:
    """What real images score in the generated ones' place: exactly, where equal laws are known at this size, else as held
    out."""
    return scores.get("equal_laws", {}).get(score, scores.get("held_out", {}).get("real", {}).get(score))
