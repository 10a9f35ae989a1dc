"""`python -m modescope.metrics real.npy fake.npy`: scores of one set of features against another, with their nulls.

They are the scores of the pipeline, of the features as they are (the pipeline standardises first: `--standardise`). With
a published reference in place of the real features (`reference.npz` with `mu` and `sigma`) it is the Frechet distance alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from modescope import components, files, metrics
from modescope.metrics import Gap
from modescope.neighbours import Journal, as_points

LARGE = 20_000**2  # pairs: below, a bar would be gone before it is read
LISTED = 10
CURVE = (1, 2, 3, 5, 10, 20)
WORDS = {"frechet": "Frechet distance", "kernel": "kernel distance", "sliced_wasserstein": "sliced Wasserstein"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """All that is told; `held_out` is None where half of the real samples are too few, `classes` without labels."""

    scores: Mapping[str, Any]
    gaps: Sequence[Gap]
    held_out: pd.DataFrame | None
    curve: pd.DataFrame
    classes: pd.DataFrame | None


def _features(path: Path) -> np.ndarray:
    if path.suffix != ".npy":
        raise ValueError(f"{path} is not a .npy file; save the features as one array with np.save")
    values = files.read_array(path, mapped=True)
    return as_points(values, str(path)).numpy()


def _labels(path: Path | None, count: int) -> np.ndarray | None:
    if path is None:
        return None
    values = files.read_array(path)
    if values.shape != (count,):
        raise ValueError(
            f"{path} has shape {values.shape} for {count} samples; save one label per sample, in their order"
        )
    bad = np.flatnonzero(values != values)  # NaN
    if len(bad):
        raise ValueError(f"{path} has no label in row {bad[0]}; give one, or drop that sample")
    return values


def _frechet(reference: Path, fake: np.ndarray) -> str:
    value = metrics.frechet_to_reference(fake, metrics.read_reference(reference))
    return f"Frechet distance of {len(fake)} samples to {reference.name}: {value:.4f}"


def _check_k(k: int, n: int, m: int) -> None:
    for name, count in (("real", n), ("fake", m)):
        if not 1 <= k < count - 1:
            raise ValueError(
                f"k = {k} with {count} {name} samples: the k-th neighbour must not be the farthest of all; "
                f"use --k of at least 1 and at most {count - 2}, or more {name} samples"
            )


def score(
    real: np.ndarray, fake: np.ndarray, labels: tuple[np.ndarray, np.ndarray] | None, *, k: int, seed: int, splits: int
) -> Scored:
    n, m = len(real), len(fake)
    small = n * m < LARGE
    ks = tuple(dict.fromkeys((k, *(other for other in CURVE if other < min(n, m) - 1))))
    if not small:
        cost = metrics.estimate(n, m, real.shape[1], k=max(ks), itemsize=real.itemsize)
        sys.stderr.write(f"the distances: {cost}; held-out samples and other scores take longer again\n")
    with tqdm(total=metrics.pairs(n, m), desc="distances", unit="pair", unit_scale=True, disable=small) as bar:
        compared = metrics.compare(real, fake, ks, journal=Journal(report=bar.update))
    names, sides = _coded(labels, n)
    found = metrics.gaps(compared, real_labels=None if sides is None else sides[0])
    table = None
    if sides is not None:
        modes = metrics.mode_coverage(compared)
        table = metrics.class_table(compared, real, fake, *sides, names, k=k, found=found, modes=modes)
    return Scored(
        scores={"real": n, "fake": m, "k": k, **metrics.summarise(compared, found, real, fake, k=k, seed=seed)},
        gaps=found,
        held_out=_held_out(real, fake, sides, k=k, seed=seed, splits=splits),
        curve=metrics.curve_table(compared),
        classes=table,
    )


def _coded(
    labels: tuple[np.ndarray, np.ndarray] | None, n: int
) -> tuple[list[str], tuple[np.ndarray, np.ndarray] | None]:
    """Labels of any kind => names of the classes, and their numbers on both sides."""
    if labels is None:
        return [], None
    names, codes = np.unique(np.concatenate(labels), return_inverse=True)
    return [str(name) for name in names], (codes[:n], codes[n:])


def _held_out(
    real: np.ndarray, fake: np.ndarray, labels: tuple[np.ndarray, np.ndarray] | None, *, k: int, seed: int, splits: int
) -> pd.DataFrame | None:
    if splits == 0 or min(len(fake), len(real) // 2) <= max(k, 2):
        return None
    with tqdm(total=splits, desc="held out", unit="split", disable=len(real) * len(fake) < LARGE) as bar:
        told = Journal(report=bar.update)
        return metrics.held_out(real, fake, k=k, seed=seed, splits=splits, labels=labels, journal=told).table()


def report(scored: Scored, width: int) -> str:
    """What is printed."""
    scores, k = scored.scores, scored.scores["k"]
    beside = {} if scored.held_out is None else scored.held_out.set_index("score").to_dict("index")
    lines = [f"{scores['real']} real, {scores['fake']} fake samples of {width} dimensions, k = {k}", ""]
    head = f"{'':18}{'value':>10}  {'95% interval':^19}{'equal laws':>12}"
    lines.append(head + (f"{'equal numbers':>15}{'held-out real':>15}{'+-':>9}" if beside else ""))
    for name in (shown for shown in metrics.SHOWN if shown in scores):
        low, high = _interval(scores, name)
        value = f"{scores[name]:10d}" if isinstance(scores[name], int) else f"{scores[name]:10.4f}"
        line = f"{WORDS.get(name, name.replace('_', ' ')):18}{value}  "
        line += f"[{low:7.4f}, {high:7.4f}]" if low is not None else " " * 18
        line += f"{scores['equal_laws'][name]:>13.4f}" if name in scores["equal_laws"] else " " * 13
        if name in beside:
            at = beside[name]
            line += f"{at['value_at_equal_numbers']:>15.4f}{at['held_out']:>15.4f}{1.96 * at['difference_se']:>9.4f}"
        lines.append(line.rstrip())
    expected = metrics.expected_coverage(scores["real"], scores["fake"], k)
    lines += ["", f"Coverage of a perfect generator at these counts: {expected:.4f}."]
    if beside:
        lines.append(
            "Equal numbers: as many generated as held-out real samples, against the same others; +- of their difference."
        )
    return "\n".join([*lines, *_gap_lines(scored.gaps)])


def _interval(scores: Mapping[str, Any], name: str) -> tuple[float, float] | tuple[None, None]:
    if name in scores["interval95"]:
        low, high = scores["interval95"][name]
        return low, high
    if f"{name}_standard_error" in scores:
        error = 1.96 * scores[f"{name}_standard_error"]
        return scores[name] - error, scores[name] + error
    return None, None


def _gap_lines(found: Sequence[Gap]) -> list[str]:
    if not found:
        return ["No region of the real samples misses generated ones (false discovery rate 0.05)."]
    missing = sum(gap.missing for gap in found)
    lines = [
        f"{len(found)} region(s) of the real samples miss generated ones: {missing:.1%} of all (rate 0.05).",
        f"{'around real row':>16}{'real':>8}{'expected':>10}{'found':>8}{'q-value':>10}",
    ]
    rows = (f"{g.centre:16}{g.real:8}{g.expected:10.1f}{g.found:8}{g.q_value:10.1e}" for g in found[:LISTED])
    return [*lines, *rows, *(["..."] if len(found) > LISTED else [])]


def write_json(path: Path, scored: Scored) -> None:
    beside = {} if scored.held_out is None else {"held_out": scored.held_out.to_dict("records")}
    files.write_json(path, {**scored.scores, **beside, "curve": scored.curve.to_dict("records")})


def write_tables(folder: Path, scored: Scored) -> None:
    """curve.csv and gaps.csv, with labels classes.csv, and held_out.csv."""
    gaps = pd.DataFrame(
        [(g.centre, g.real, g.expected, g.found, g.missing, g.q_value) for g in scored.gaps],
        columns=["centre_row", "real", "expected", "found", "missing", "q_value"],
    )
    tables = {"curve": scored.curve, "gaps": gaps, "classes": scored.classes, "held_out": scored.held_out}
    for name, table in tables.items():
        if table is not None:
            files.write_table(folder / f"{name}.csv", table)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m modescope.metrics", description=__doc__)
    add = parser.add_argument
    add("real", type=Path, help=".npy array (N, D): features of real samples; or .npz reference with mu and sigma")
    add("fake", type=Path, help=".npy array (M, D): features of generated samples, from the same view")
    add("--labels-real", type=Path, help=".npy array (N,): the class of each real sample, for scores per class")
    add("--labels-fake", type=Path, help=".npy array (M,): the class each generated sample was made for")
    add("--k", type=int, default=5, help="which neighbour sets a radius (default: 5)")
    add("--standardise", action="store_true", help="divide by the real standard deviations first, as the pipeline does")
    add("--splits", type=int, default=4, help="of the real samples, for what held-out ones score (default: 4; 0: none)")
    add("--seed", type=int, default=0, help="of splits and random directions (default: 0)")
    add("--json", type=Path, help="write the scores to this file")
    add(
        "--csv",
        type=Path,
        metavar="FOLDER",
        help="write curve.csv, gaps.csv, held_out.csv and classes.csv (labels) there",
    )
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> str:
    """What is printed; files are written on the way."""
    fake = _features(options.fake)
    if options.real.suffix == ".npz":
        return _frechet(options.real, fake)
    real = _features(options.real)
    _check_k(options.k, len(real), len(fake))
    given = _labels(options.labels_real, len(real)), _labels(options.labels_fake, len(fake))
    if (given[0] is None) != (given[1] is None):
        raise ValueError("labels are given for one side alone; scores per class need --labels-real and --labels-fake")
    labels = None if given[0] is None or given[1] is None else (given[0], given[1])
    if options.standardise:
        scale = components.fit(real, None)
        real, fake = scale.project(real), scale.project(fake)
    scored = score(real, fake, labels, k=options.k, seed=options.seed, splits=options.splits)
    if options.json is not None:
        write_json(options.json, scored)
    if options.csv is not None:
        write_tables(options.csv, scored)
    return report(scored, real.shape[1])


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        printed = run(parsed(arguments))
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(printed + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
