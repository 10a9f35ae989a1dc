"""One pass over all pairs of two sets, block by block: what looks at a block decides from its bounds or asks for better."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from modescope.neighbours.bounds import CROWDED, Block, Cloud, Part, default_chunk, full_precision, measure
from modescope.neighbours.journal import Journal, Page, Resumable
from modescope.neighbours.points import blocks

Strip = tuple[slice, Iterable[tuple[slice, slice]]]
"""Samples that are finished with it, and its blocks (rows, columns)."""


@runtime_checkable
class Visitor(Resumable, Protocol):
    """Looks at a block as often as it is measured, and takes what the last look found."""

    def look(self, block: Block, rows: slice, columns: slice) -> tuple[Any, bool]:
        """What was found, and whether so much is undecided that the block is cheaper in float64."""

    def take(self, finding: Any) -> None: ...


def crowded(undecided: int, block: Block) -> bool:
    return undecided > block.closeness.numel() // CROWDED


def visit_block(visitors: Sequence[Visitor], a: Part, b: Part, rows: slice, columns: slice) -> None:
    for dtype in (torch.float32, torch.float64):
        block = measure(a, b, rows, columns, dtype)
        found = [visitor.look(block, rows, columns) for visitor in visitors]
        if not any(undecided for _, undecided in found):
            break
    for visitor, (finding, _) in zip(visitors, found, strict=True):
        visitor.take(finding)


def visit_pairs(
    visitors: Sequence[Visitor],
    a: Cloud,
    b: Cloud,
    *,
    chunk: int | None = None,
    journal: Journal | None = None,
    name: str = "across",
) -> None:
    """All pairs of a sample of `a` and one of `b`, rows and columns in rising order.

    A strip of columns goes through all rows, so that no more than a strip of `b` is held in float32.
    """
    n, m, size = len(a.raw), len(b.raw), chunk or default_chunk(a.raw)
    page = (journal or Journal()).page(name, visitors, a, b)
    page.report(page.done * n)
    strips = ((columns, [(rows, columns) for rows in blocks(n, size)]) for columns in blocks(m, 2 * size, page.done))
    visit(visitors, a, b, strips, page)


def visit_pairs_within(
    visitors: Sequence[Visitor],
    cloud: Cloud,
    *,
    chunk: int | None = None,
    journal: Journal | None = None,
    name: str = "within",
) -> None:
    """All pairs within a set, each once: d(x, y) = d(y, x), so a block serves its columns too."""
    page = (journal or Journal()).page(name, visitors, cloud)
    n, done = len(cloud.raw), page.done
    page.report(done * (n - done) + done * (done + 1) // 2)
    visit(visitors, cloud, cloud, triangle_of_blocks(n, chunk or default_chunk(cloud.raw), done), page)


def visit(visitors: Sequence[Visitor], a: Cloud, b: Cloud, strips: Iterable[Strip], page: Page) -> None:
    with full_precision(a.raw.device):
        for finished, places in strips:
            fixed = b.part(finished, facing=True)
            for rows, columns in places:
                one, two = (fixed, b.part(columns)) if a is b else (a.part(rows), fixed)
                visit_block(visitors, one, two, rows, columns)
                page.report(_pairs(rows, columns, twice=a is b and rows == columns))
            page.keep(finished.stop, visitors, last=finished.stop == len(b.raw))


def _pairs(rows: slice, columns: slice, *, twice: bool) -> int:
    """`twice`: a square block holds every pair two times."""
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return height * (height + 1) // 2 if twice else height * width


def triangle_of_blocks(n: int, chunk: int, start: int = 0) -> Iterator[Strip]:
    """In an order in which every sample meets the others in rising order; of small squares, half is computed twice."""
    for rows in blocks(n, 2 * chunk, start):
        yield rows, [*_corner(rows, max(1, chunk // 2)), *((rows, columns) for columns in blocks(n, chunk, rows.stop))]


def _corner(strip: slice, size: int) -> Iterator[tuple[slice, slice]]:
    for rows in blocks(strip.stop, size, strip.start):
        yield rows, rows
        if rows.stop < strip.stop:
            yield rows, slice(rows.stop, strip.stop)
