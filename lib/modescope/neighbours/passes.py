"""One pass over all pairs of two sets, block by block: what looks at a block decides from its bounds or asks for better."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from modescope.neighbours.bounds import CROWDED, Block, Cloud, default_chunk, full_precision, measure
from modescope.neighbours.points import blocks


@runtime_checkable
class Visitor(Protocol):
    """Looks at a block as often as it is measured, and takes what the last look found."""

    def look(self, block: Block, rows: slice, columns: slice) -> tuple[Any, bool]:
        """What was found, and whether so much is undecided that the block is cheaper in float64."""

    def take(self, finding: Any) -> None: ...


def crowded(undecided: int, block: Block) -> bool:
    return undecided > block.closeness.numel() // CROWDED


def visit_block(visitors: Sequence[Visitor], a: Cloud, b: Cloud, rows: slice, columns: slice) -> None:
    for dtype in (torch.float32, torch.float64):
        block = measure(a, b, rows, columns, dtype)
        found = [visitor.look(block, rows, columns) for visitor in visitors]
        if not any(undecided for _, undecided in found):
            break
    for visitor, (finding, _) in zip(visitors, found, strict=True):
        visitor.take(finding)


def visit_pairs(visitors: Sequence[Visitor], a: Cloud, b: Cloud, *, chunk: int | None = None) -> None:
    """All pairs of a sample of `a` and one of `b`, rows first, both in rising order."""
    visit(visitors, a, b, pairs_of_blocks(len(a.raw), len(b.raw), chunk or default_chunk(a.raw)))


def visit_pairs_within(visitors: Sequence[Visitor], cloud: Cloud, *, chunk: int | None = None) -> None:
    """All pairs within a set, each once: d(x, y) = d(y, x), so a block serves its columns too."""
    visit(visitors, cloud, cloud, triangle_of_blocks(len(cloud.raw), chunk or default_chunk(cloud.raw)))


def visit(visitors: Sequence[Visitor], a: Cloud, b: Cloud, places: Iterable[tuple[slice, slice]]) -> None:
    with full_precision(a.raw.device):
        for rows, columns in places:
            visit_block(visitors, a, b, rows, columns)


def pairs_of_blocks(n: int, m: int, chunk: int) -> Iterable[tuple[slice, slice]]:
    return ((rows, columns) for rows in blocks(n, chunk) for columns in blocks(m, 2 * chunk))


def triangle_of_blocks(n: int, chunk: int) -> Iterable[tuple[slice, slice]]:
    for rows in blocks(n, chunk):
        yield rows, rows
        yield from ((rows, columns) for columns in blocks(n, 2 * chunk, rows.stop))
