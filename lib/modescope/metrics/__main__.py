"""`python -m modescope.metrics real.npy fake.npy`: scores of one set of features against another, with their nulls.

With a published reference in place of the real features (`reference.npz` with `mu` and `sigma`) it is the Frechet
distance alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from modescope import files, metrics
from modescope.neighbours import as_points


def _features(path: Path) -> np.ndarray:
    if path.suffix != ".npy":
        raise ValueError(f"{path} is not a .npy file; save the features as one array with np.save")
    values = files.read_array(path, mapped=True)
    as_points(values, str(path))
    return values


def _frechet(reference: Path, fake: np.ndarray) -> str:
    value = metrics.frechet_to_reference(fake, metrics.read_reference(reference))
    return f"Frechet distance of {len(fake)} samples to {reference.name}: {value:.4f}"


def _report(real: np.ndarray, fake: np.ndarray, k: int) -> str:
    """The table that is printed."""
    n, m = len(real), len(fake)
    for name, count in (("real", n), ("fake", m)):
        if not 1 <= k < count - 1:
            raise ValueError(
                f"k = {k} with {count} {name} samples: the k-th neighbour must not be the farthest of all; "
                f"use --k of at least 1 and at most {count - 2}, or more {name} samples"
            )
    compared = metrics.compare(real, fake, (k,))
    members = compared.members[k]
    clipped = members.clipped()
    kernel = metrics.kernel_estimate(real, fake)
    halves = metrics.half_vs_half(real, lambda a, b: metrics.prdc(a, b, k), seed=0) if n // 2 > k else None
    lines = [f"{n} real, {m} fake samples of {real.shape[1]} dimensions, k = {k}", ""]
    lines.append(f"{'':18}{'value':>10}  {'95% interval':^19}{'real half vs half':>19}")
    for name, interval in metrics.intervals(members).items():
        among = f"{getattr(halves, name):.4f}" if halves else "-"
        lines.append(f"{name:18}{interval.value:10.4f}  [{interval.low:7.4f}, {interval.high:7.4f}]{among:>20}")
    lines.append(f"{'clipped density':18}{clipped.density:10.4f}")
    lines.append(f"{'clipped coverage':18}{clipped.coverage:10.4f}")
    lines.append(f"{'Frechet distance':18}{metrics.frechet_distance(real, fake):10.4f}")
    error = 1.96 * kernel.standard_error
    lines.append(
        f"{'kernel distance':18}{kernel.value:10.6f}  [{kernel.value - error:.6f}, {kernel.value + error:.6f}]"
    )
    sliced = metrics.sliced_wasserstein(real, fake, seed=0)
    lines.append(f"{'sliced Wasserstein':18}{sliced.value:10.4f}")
    lines += ["", f"Coverage of a perfect generator at these counts: {metrics.expected_coverage(n, m, k):.4f}."]
    return "\n".join([*lines, *_gap_lines(metrics.gaps(compared))])


def _gap_lines(found: Sequence[metrics.Gap], most: int = 10) -> list[str]:
    if not found:
        return ["No region of the real samples misses generated ones (false discovery rate 0.05)."]
    missing = sum(gap.missing for gap in found)
    lines = [
        f"{len(found)} region(s) of the real samples miss generated ones: {missing:.1%} of all (rate 0.05).",
        f"{'around real row':>16}{'real':>8}{'expected':>10}{'found':>8}{'q-value':>10}",
    ]
    rows = (f"{g.centre:16}{g.real:8}{g.expected:10.1f}{g.found:8}{g.q_value:10.1e}" for g in found[:most])
    return [*lines, *rows, *(["..."] if len(found) > most else [])]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m modescope.metrics", description=__doc__)
    parser.add_argument(
        "real", type=Path, help=".npy array (N, D): features of real samples; or .npz reference with mu and sigma"
    )
    parser.add_argument("fake", type=Path, help=".npy array (M, D): features of generated samples, from the same view")
    parser.add_argument("--k", type=int, default=5, help="which neighbour sets a radius (default: 5)")
    options = parser.parse_args(arguments)
    try:
        fake = _features(options.fake)
        if options.real.suffix == ".npz":
            report = _frechet(options.real, fake)
        else:
            report = _report(_features(options.real), fake, options.k)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(report + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
