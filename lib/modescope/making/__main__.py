"""What was made, listed, shown, made again and exported; run in the root of the project.

python -m modescope.making list | show ID | replay ID [--out x.png] | replay --all | script ID
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from pathlib import Path

from modescope import files, params
from modescope.making.keeping import kept_ids, png, read_kept, script_of
from modescope.making.replaying import replay
from modescope.making.workshop import Workshop


def arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m modescope.making", description="Images that were made to order.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="ids, oldest first, with what was asked for")
    for name, what in (("show", "the record"), ("script", "a Python script that makes the image again")):
        commands.add_parser(name, help=what).add_argument("id")
    again = commands.add_parser("replay", help="make again and compare with what was kept")
    again.add_argument("id", nargs="?")
    again.add_argument("--all", action="store_true", help="everything that was made")
    again.add_argument("--out", type=Path, metavar="x.png", help="write the new image")
    found = parser.parse_args(given)
    if found.command == "replay" and (found.id is None) != found.all:
        parser.error("replay takes an ID or --all")
    return found


def named(text: str) -> str:
    """An id as given, with or without `made/`."""
    return text if text.startswith("made/") else f"made/{text}"


def line(workshop: Workshop, sample_id: str) -> str:
    try:
        recipe = read_kept(workshop, sample_id).recipe
    except ValueError as error:
        return f"{sample_id}  cannot be read: {error}"
    held = ", ".join(recipe.layers) or "nothing"
    return f"{sample_id}  {recipe.generator}, class {recipe.label}, seed {recipe.seed}, held: {held}, view {recipe.aim.view}"


def again(workshop: Workshop, sample_id: str, out: Path | None) -> bool:
    """Replay one image and say how it compares."""
    try:
        made = replay(workshop, read_kept(workshop, sample_id))
    except ValueError as error:
        print(f"{sample_id}  cannot be replayed: {error}")  # noqa: T201 - the output is the product
        return False
    if out is not None:
        files.write_bytes(out, png(made.pixels))
    print(f"{sample_id}  {made}")  # noqa: T201
    return made.equal


def main(given: list[str] | None = None) -> int:
    asked = arguments(sys.argv[1:] if given is None else given)
    try:
        workshop = Workshop(Path(), params.load())
        if asked.command == "list":
            print("\n".join(line(workshop, name) for name in kept_ids(workshop)) or "nothing was made yet")  # noqa: T201
        elif asked.command == "show":
            print(json.dumps(dict(read_kept(workshop, named(asked.id)).record), indent=2))  # noqa: T201
        elif asked.command == "script":
            print(script_of(workshop, named(asked.id)), end="")  # noqa: T201
        else:
            names = list(kept_ids(workshop)) if asked.all else [named(asked.id)]
            same = [again(workshop, name, asked.out) for name in names]
            return 0 if all(same) else 1
    except (ValueError, OSError) as error:
        sys.exit(textwrap.fill(f"making: {error}", width=110, break_long_words=False, break_on_hyphens=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
