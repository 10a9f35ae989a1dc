"""Maps made from maps that are there already: grown by new samples, or aligned over several views."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from modescope import maps, params, store


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m modescope.maps", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("grow", help="place new real samples on a fitted map")
    one.add_argument("map", type=Path, help="folder of the fitted map, such as data/maps/default")
    one.add_argument("activations", type=Path, help="of the real samples, such as data/activations/default/real")
    one.add_argument("target", type=Path, help="new folder for the grown map")
    one.add_argument("--part", default="added", help="name of the new rows on the map (default: added)")
    many = commands.add_parser("align", help="maps of several views on which samples keep their places")
    many.add_argument("target", type=Path, help="new folder for the maps, one folder per view")
    many.add_argument("views", nargs="+", help="views of params.yaml, in order")
    many.add_argument(
        "--pull", type=float, default=0.3, help="share of a sample's way that is taken back (default: 0.3)"
    )
    return parser


def _report(options: argparse.Namespace) -> str:
    if options.command == "grow":
        seen = maps.grow(options.map, store.open_activations(options.activations), options.target, part=options.part)
        return (
            f"nearest fitted row of {seen.rows} new rows: {seen.distance:.4g}; of {seen.held_out} fitted rows: "
            f"{seen.usual:.4g}; p = {seen.p:.2g} that new rows are no farther"
        )
    chosen = params.load()
    views = {name: store.open_activations(Path("data/activations") / name / "real") for name in options.views}
    table = maps.align(views, options.target, seed=chosen.seed, pull=options.pull, how=chosen.reducer)
    return table.to_string(index=False, float_format="{:.4f}".format, na_rep="")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        sys.stdout.write(f"{_report(options)}\n")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{options.command}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
