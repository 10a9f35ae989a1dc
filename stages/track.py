"""Scores => MLflow runs, one per (view, generator) and result; then the comparison is printed. Adds nothing twice."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from modescope import files, tracking
from modescope.params import Params
from modescope.tracking import Model, Result
from stages import DATA, METRICS, PLOTS, run

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
        **flat({"generate": params.generate.model_dump(), "reducer": params.reducer.model_dump()}),
        "k": params.metrics.k,
    }
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
        key=digest(substance(entry)),
        params={key: str(value) for key, value in settings.items()},
        metrics={key: value for key, value in flat(scores).items() if isinstance(value, float)},
        tags={
            "git.commit": git("rev-parse", "HEAD"),
            "git.dirty": str(bool(git("status", "--porcelain"))).lower(),
            "network_hash": scores["network_hash"],
            "dvc.lock_entry": digest(entry),
            **{f"dvc.{path}": digest for path, digest in hashes.items() if not path.endswith(".py")},
        },
        datasets={path: hashes.get(path, "") for path in (f"data/activations/{view}/{s}" for s in ("real", name))},
        artifacts=[
            METRICS / view / f"{name}.json",
            METRICS / view / f"{name}.classes.csv",
            METRICS / view / f"{name}.gaps.csv",
            PLOTS / view / f"{name}.map.png",
            PLOTS / view / f"{name}.classes.png",
            PLOTS / view / f"{name}.gaps.png",
        ],
        models=[
            *([model] if params.tracking.models else []),
            Model(kind="reducer", path=DATA / "maps" / view / "reducer"),
        ],
    )


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
        print(table.to_string(index=False, na_rep="", float_format="%.4f"))
    print(HINT)


if __name__ == "__main__":
    run(track)
