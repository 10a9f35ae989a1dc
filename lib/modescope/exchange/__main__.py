"""Take sets of images, their activations and maps to and from the folders of the original DMD2 visualizer."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from modescope.exchange import Job, export_jobs, import_jobs
from modescope.exchange.arrays import Shape
from modescope.exchange.importing import PARTS
from modescope.exchange.labels import READINGS


def _bar(iterable: Iterable, what: str) -> Iterable:
    return tqdm(iterable, desc=what, unit="batch", dynamic_ncols=True, disable=None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m modescope.exchange", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    out = commands.add_parser("export", help="modescope's folders to the original's")
    out.add_argument("sets", type=Path, nargs="+", help="folders of images or activations, maps or folders of them")
    out.add_argument("target", type=Path, help="folder that will hold images/, activations/, metadata/, embeddings/")
    out.add_argument("--name", help="one name for all that is given (default: the last part of each path)")
    into = commands.add_parser("import", help="the original's folders to modescope's")
    into.add_argument("source", type=Path, help="folder that holds images/, activations/, metadata/")
    into.add_argument("target", type=Path, help="folder that will hold real/, fake/, activations/, maps/")
    into.add_argument(
        "--set", action="append", dest="sets", metavar="NAME", help="a set to import (repeat; default: all)"
    )
    into.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, help="what to import (default: all that is there)"
    )
    into.add_argument(
        "--labels", choices=READINGS, help="what class_id is, for sets from packed ImageNet that leave it open"
    )
    into.add_argument(
        "--npz-dir", type=Path, metavar="DIR", help="the packed ImageNet files, which decide what class_id is"
    )
    into.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="LAYER=C,H,W",
        help="shape of a layer, such as midblock=768,8,8 (repeat)",
    )
    into.add_argument(
        "--view", metavar="NAME", help="name below activations/ and maps/ (default: as exported, else 'imported')"
    )
    return parser


def _shapes(given: Sequence[str]) -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for text in given:
        match = re.fullmatch(r"(.+)=([1-9]\d*),([1-9]\d*),([1-9]\d*)", text)
        if not match:
            raise ValueError(f"--shape {text!r} is not LAYER=C,H,W, such as midblock=768,8,8")
        found[match[1]] = int(match[2]), int(match[3]), int(match[4])
    return found


def _jobs(options: argparse.Namespace) -> list[Job]:
    if options.command == "export":
        return export_jobs(options.sets, options.target, name=options.name)
    return import_jobs(
        options.source,
        options.target,
        sets=options.sets,
        parts=options.parts,
        labels=options.labels,
        npz_dir=options.npz_dir,
        shapes=_shapes(options.shape),
        view=options.view,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        for job in _jobs(options):
            job.write(_bar)
            sys.stdout.write(f"{job}\n")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
