"""Scores => MLflow runs, one per (view, generator) and result; then the comparison is printed. Adds nothing twice."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from modescope import files, tracking
from modescope.params import Params
from modescope.tracking import Model, Result
from stages import DATA, METRICS, PLOTS, run

TABLES = ("classes.csv", "gaps.csv", "curve.csv", "channels.csv")
PICTURES = ("map", "density", "classes", "worst", "gaps", "curve", "channels")
SETTINGS = ("real", "fake", "k", "sigma", "held_out.n", "held_out.reference")
LARGEST_IS_BEST = ("precision", "recall", "coverage")
EXPLAINED = "= does not differ from the best of its line beyond noise (95%)"
HINT = """
Look closer:  make explore   the explorer (bokeh serve dashboards/explorer --show)
              make ui        the runs (mlflow ui)
              dvc exp run -S views.default.sigma=1.0   an experiment beside these"""


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} => {"a.b": 1}"""
    items: dict[str, Any] = {}
    for key, value in tree.items():
        items |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return items


def numbers(scores: dict[str, Any]) -> dict[str, float]:
    """All finite numbers, intervals as <name>.low and <name>.high."""
    ends = {key: dict(zip(("low", "high"), value, strict=True)) for key, value in scores["interval95"].items()}
    known = flat({**scores, "interval95": ends})
    scored = {k: v for k, v in known.items() if isinstance(v, int | float) and k not in SETTINGS}
    return {key: float(value) for key, value in scored.items() if math.isfinite(value)}


def curve(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Scores over k, as MLflow draws them: k is the step."""
    table = files.read_table(path)
    steps = table["k"].tolist()
    return {f"over_k.{n}": list(zip(steps, table[n].tolist(), strict=True)) for n in table if n != "k"}


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def lock_entry(lock: dict[str, Any], view: str, name: str) -> dict[str, Any]:
    entry = lock.get("stages", {}).get(f"evaluate@{view}-{name}")
    if entry is None:
        raise ValueError(f"dvc.lock has no stage evaluate@{view}-{name}; run `dvc repro`, which makes it before this")
    return entry


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def substance(entry: dict[str, Any]) -> dict[str, Any]:
    """What makes a result another one: parameters, data and outcome. A comment edited in the code does not."""
    data = [item for item in entry.get("deps", []) if not item["path"].startswith(("lib/", "stages/"))]
    return {"params": entry.get("params", {}), "deps": data, "outs": entry.get("outs", [])}


def result(params: Params, lock: dict[str, Any], view: str, name: str) -> Result:
    entry = lock_entry(lock, view, name)
    hashes = {item["path"]: item.get("md5", "") for item in [*entry.get("deps", []), *entry.get("outs", [])]}
    scores = files.read_json(METRICS / view / f"{name}.json")
    how = params.generator(name)
    settings = {
        "view": view,
        "generator": name,
        "seed": params.seed,
        **flat({"view_settings": params.view(view).model_dump(), "sampling": how.model_dump()}),
        **flat({"generate": params.generate.model_dump(), "reducer": params.reducer.of(view).model_dump()}),
        **{key: scores[key] for key in ("real", "fake", "k")},
    }
    kept = [METRICS / view / f"{name}.{what}" for what in ("json", *TABLES)]
    kept += [PLOTS / view / f"{name}.{what}.png" for what in PICTURES]
    beside = [*METRICS.glob(f"{view}/{name}.reach.*"), *PLOTS.glob(f"{view}/{name}.reach.png")]
    beside += [*METRICS.glob(f"inversion/{name}.*"), *PLOTS.glob(f"inversion/{name}.*")]
    model = Model(
        kind="generator",
        path=Path(how.checkpoint),
        config={
            "sampler": how.sampler,
            "steps": how.steps,
            "noise": how.noise,
            "seed": params.seed,
            "sigma_max": how.conditioning_sigma,
        },
    )
    return Result(
        name=f"{view}/{name}",
        key=digest({**substance(entry), "beside": {str(path): files.sha256(path) for path in sorted(beside)}}),
        params={key: str(value) for key, value in settings.items()},
        metrics=numbers(scores),
        series=curve(METRICS / view / f"{name}.curve.csv"),
        tags={
            "git.commit": git("rev-parse", "HEAD"),
            "git.dirty": str(bool(git("status", "--porcelain"))).lower(),
            "network_hash": scores["network_hash"],
            "dvc.lock_entry": digest(entry),
            **{f"dvc.{path}": digest for path, digest in hashes.items() if not path.endswith(".py")},
        },
        datasets={path: hashes.get(path, "") for path in (f"data/activations/{view}/{s}" for s in ("real", name))},
        artifacts=[*kept, *sorted(beside)],
        models=[
            *([model] if params.tracking.models else []),
            Model(kind="reducer", path=DATA / "maps" / view / "reducer"),
        ],
    )


def shown(table: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """The comparison for reading: a line per score, a column per generator; `=` marks what differs from the best by noise."""
    values = table.set_index("generator")
    text = {name: {score: _words(value) for score, value in line.items()} for name, line in values.iterrows()}
    for score in LARGEST_IS_BEST:
        pairs = differences[differences["score"] == score]
        if pairs.empty:
            continue
        best = values.loc[sorted({*pairs["a"], *pairs["b"]}), score].idxmax()
        near = pairs[((pairs["a"] == best) | (pairs["b"] == best)) & pairs["within_noise"]]
        for name in {*near["a"], *near["b"]} - {best}:
            text[name][score] = text[name][score].rstrip() + "="
    return pd.DataFrame(text)


def _words(value: Any) -> str:
    """A trailing space keeps the place of the mark."""
    if pd.isna(value):
        return " "
    return f"{value:.4f} " if isinstance(value, float) else f"{value} "


def track(params: Params) -> None:
    root = Path(os.environ.get("DVC_ROOT", ".")).resolve()
    lock = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))
    results = [result(params, lock, view, name) for view in params.views for name in params.generators]
    known = tracking.tracked(root)
    news = [item for item in results if item.key not in known]
    if news:
        tracking.track(news, root=root, experiment=params.tracking.experiment)
    for view in params.views:
        table = files.read_table(METRICS / f"{view}.csv").astype({"gaps": "Int64"})
        print(f"\nReal against generated, view {view} ({METRICS / view}.csv); {len(news)} new MLflow runs\n")
        print(shown(table, files.read_table(METRICS / f"{view}.differences.csv")).to_string())
        print(EXPLAINED)
    print(HINT)


if __name__ == "__main__":
    run(track)
