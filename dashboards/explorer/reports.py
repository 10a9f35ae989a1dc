"""The report of a project's missing regions: what was tried, what it reached, notes. One JSON file for each entry, beside
the made images of its generator; as a page or a folder on demand.
"""

from __future__ import annotations

import base64
import html
import io
import json
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from modescope import files, making

from .attempts import Attempt, verdict
from .evidence import Gap
from .making import Studio
from .resources import png

FOLDER = "report"
WORDS = {"mask": "a mask of recorded values", "inversion": "noise found by inversion", "guided": "steered noise"}
"""Ways, in words; others are sources of mask values."""
SHOWN = 8
"""Real images of a region that a report shows, the centre first."""
LONGEST = 20_000
"""Characters of notes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run at one region, as it is kept. `region`: what was measured of it; `when`: seconds since 1970."""

    view: str
    generator: str
    rank: int
    region: Mapping[str, Any]
    layers: tuple[str, ...]
    attempt: Attempt
    notes: str = ""
    when: float = 0.0

    @property
    def id(self) -> str:
        return self.attempt.key

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "id": self.id, "reached": self.attempt.reached, "verdict": verdict(self.attempt)}


def entry(studio: Studio, view: str, generator: str, gap: Gap, attempt: Attempt, notes: str) -> Entry:
    region = {
        "centre": gap.ids[0],
        "real": len(gap.ids),
        "found": gap.found,
        "expected": gap.expected,
        "missing": gap.missing,
        "q_value": gap.q_value,
        "classes": [list(pair) for pair in gap.classes],
        "members": list(gap.ids[:SHOWN]),
    }
    layers = studio.made[attempt.ids[0]].recipe.layers
    return Entry(
        view=view,
        generator=generator,
        rank=gap.rank,
        region=region,
        layers=layers,
        attempt=attempt,
        notes=notes[:LONGEST],
        when=time.time(),
    )


def folder(studio: Studio, generator: str) -> Path:
    return studio.workshop.folder(generator) / FOLDER


def keep(studio: Studio, new: Entry) -> str:
    """Write an entry, in place of the same one before. Returns its id."""
    files.write_json(folder(studio, new.generator) / f"{new.id}.json", new.record())
    return new.id


def drop(studio: Studio, generator: str, entry_id: str) -> None:
    """Take an entry out; its images stay. ValueError for one that is not there."""
    known(studio, generator, entry_id)
    (folder(studio, generator) / f"{entry_id}.json").unlink(missing_ok=True)


def note(studio: Studio, generator: str, entry_id: str, notes: str) -> None:
    """Other notes to an entry."""
    keep(studio, replace(known(studio, generator, entry_id), notes=notes[:LONGEST]))


def known(studio: Studio, generator: str, entry_id: str) -> Entry:
    found = next((each for each in entries(studio, None, generator) if each.id == entry_id), None)
    if found is None:
        raise ValueError(f"entry {entry_id[:80]!r} is not in the report of {generator}; load the page again")
    return found


def entries(studio: Studio, view: str | None, generator: str) -> tuple[Entry, ...]:
    """Of a view (None: of every one) and generator, region by region, newest first; what cannot be read is passed over."""
    if generator not in studio.project.params.generators:
        return ()
    place = folder(studio, generator)
    found = _entries(place, place.stat().st_mtime_ns) if place.is_dir() else ()
    return tuple(
        each for each in found if view in (None, each.view) and all(name in studio.made for name in each.attempt.ids)
    )


@lru_cache(maxsize=32)
def _entries(place: Path, _stamp: int) -> tuple[Entry, ...]:
    """A folder changes its time with every file that is put into it or taken out."""
    found = [each for each in map(_read, place.glob("*.json")) if each is not None]
    return tuple(sorted(found, key=lambda each: (each.rank, -each.when)))


def _read(path: Path) -> Entry | None:
    try:
        record = files.read_json(path)
        tried = record["attempt"]
        lists = {name: tuple(tried[name]) for name in ("ids", "inside")}
        attempt = Attempt(**{**tried, **lists})
        kept = Entry(
            **{name: record[name] for name in ("view", "generator", "rank", "region", "notes", "when")},
            layers=tuple(record["layers"]),
            attempt=attempt,
        )
    except (ValueError, KeyError, TypeError):
        return None
    return kept if kept.id == path.stem else None


# To take away


def exported(studio: Studio, view: str, generator: str, kind: str) -> bytes:
    """The report of a view and generator as one page (`html`), a folder with Markdown, images and replay scripts (`zip`), or
    its values alone (`json`).
    """
    found = entries(studio, view, generator)
    if not found:
        raise ValueError(f"the report of {generator[:80]!r} has no entry; keep one first")
    if kind == "json":
        return (json.dumps([each.record() for each in found], indent=2) + "\n").encode()
    return page(studio, found).encode() if kind == "html" else packed(studio, found)


def title(found: Sequence[Entry]) -> str:
    return f"What {found[0].generator} leaves out, and whether it can make it"


def told(studio: Studio, each: Entry) -> Iterator[str]:
    """An entry in sentences."""
    region, attempt = each.region, each.attempt
    classes = ", ".join(f"{count} of class {name}" for name, count in region["classes"])
    yield (
        f"{region['real']} real images ({classes}), {region['missing']:.1%} of all; {region['found']} generated ones where "
        f"{region['expected']:.0f} were expected (q = {region['q_value']:.2g})."
    )
    yield (
        f"{len(attempt.ids)} images by {WORDS.get(attempt.way, attempt.way)}, held: {', '.join(each.layers) or 'nothing'}"
        f"{'; cancelled before all were made' if attempt.cancelled else ''}."
    )
    yield verdict(attempt)


STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 860px; margin: 40px auto; padding: 0 20px;
color: #1d2430; }
img { width: 72px; height: 72px; image-rendering: pixelated; object-fit: contain; background: #111; border-radius: 4px; }
figure { display: inline-block; margin: 0 8px 8px 0; text-align: center; font-size: 12px; color: #475467; }
.in img { outline: 3px solid #0a8f3c; } blockquote { white-space: pre-wrap; border-left: 3px solid #ccc; margin: 0;
padding-left: 12px; } section { border-top: 1px solid #ddd; padding-top: 4px; margin-top: 24px; }"""


def page(studio: Studio, found: Sequence[Entry]) -> str:
    """One HTML page that holds its images: nothing beside it is needed."""
    parts = []
    for each in found:
        real = "".join(_figure(studio, name, "real") for name in _reals(each))
        made = "".join(
            _figure(studio, name, "in the region" if inside else "elsewhere", "in" if inside else "")
            for name, inside in zip(each.attempt.ids, each.attempt.inside, strict=True)
        )
        words = "".join(f"<p>{html.escape(line)}</p>" for line in told(studio, each))
        notes = f"<blockquote>{html.escape(each.notes)}</blockquote>" if each.notes else ""
        heading = html.escape(_heading(each))
        parts.append(f"<section><h2>{heading}</h2>{words}{notes}<h3>Missing</h3>{real}<h3>Made</h3>{made}</section>")
    name = html.escape(title(found))
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{name}</title><style>{STYLE}</style>"
        f"<h1>{name}</h1><p>View {html.escape(found[0].view)}. Green: counts as in the region.</p>{''.join(parts)}</html>\n"
    )


def _heading(each: Entry) -> str:
    day = time.strftime("%Y-%m-%d", time.gmtime(each.when))
    return f"Region {each.rank + 1}: {'reached' if each.attempt.reached else 'not reached'} ({day})"


def _reals(each: Entry) -> list[str]:
    return list(each.region["members"])


def _figure(studio: Studio, sample_id: str, words: str, kind: str = "") -> str:
    data = base64.b64encode(_png(studio, sample_id)).decode()
    name = html.escape(sample_id)
    return (
        f"<figure class='{kind}'><img src='data:image/png;base64,{data}' alt='{name}' title='{name}'>"
        f"<figcaption>{words}</figcaption></figure>"
    )


def _png(studio: Studio, sample_id: str) -> bytes:
    kept = studio.made.get(sample_id)
    return png(studio.project.pixels(sample_id) if kept is None else kept.arrays["image"])


def markdown(studio: Studio, found: Sequence[Entry]) -> str:
    """The same as Markdown, with images beside it."""
    lines = [f"# {title(found)}", "", f"View {found[0].view}.", ""]
    for each in found:
        lines += [f"## {_heading(each)}", "", *(f"{line}\n" for line in told(studio, each))]
        if each.notes:
            lines += [*(f"    {line}" for line in each.notes.splitlines()), ""]  # as text: no markup of theirs acts
        lines += [f"![{name}]({_file(name)})" for name in (*_reals(each), *each.attempt.ids)] + [""]
    return "\n".join(lines)


def _file(sample_id: str) -> str:
    return f"images/{sample_id.replace('/', '-')}.png"


def packed(studio: Studio, found: Sequence[Entry]) -> bytes:
    """report.md, report.html, report.json, images/, and made.zip with all records and replay scripts."""
    names = dict.fromkeys(name for each in found for name in (*_reals(each), *each.attempt.ids))
    made = [name for name in names if name in studio.made]
    values = [each.record() for each in found]
    parts: dict[str, bytes] = {
        "report.md": markdown(studio, found).encode(),
        "report.html": page(studio, found).encode(),
        "report.json": (json.dumps(values, indent=2) + "\n").encode(),
        **{_file(name): _png(studio, name) for name in names},
        "made.zip": making.bundle(studio.workshop, made),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()
