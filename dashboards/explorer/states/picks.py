"""What is picked on the map."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

SPACES = ("map", "features")
AMONG = ("shown", "real", "generated")
MOST = 50
"""Neighbours that can be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picks:
    """The selected sample, its neighbours (found or picked by hand), and a group taken with lasso or box.

    A neighbour is found or manual, never both, never the selected sample, and there is none without a selected sample.
    `among`: where neighbours are looked for. `caught`: samples that the lasso held; of very many, `group` names some
    evenly among them. `table`: samples that are compared in the table.
    """

    selected: str | None = None
    found: tuple[str, ...] = ()
    manual: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    caught: int = 0
    table: tuple[str, ...] = ()
    k: int = 5
    space: str = "map"
    among: str = "shown"

    def __post_init__(self) -> None:
        names = self.neighbours
        if len(set(names)) != len(names) or self.selected in names or (names and self.selected is None):
            raise ValueError(
                f"neighbours {names} do not go with the selected sample {self.selected!r}; "
                "each is named once, is not the selected one, and needs one to be selected"
            )
        if not 1 <= self.k <= MOST or self.space not in SPACES or self.among not in AMONG:
            raise ValueError(
                f"k is {self.k}, space {self.space!r}, among {self.among!r}; give k of 1 to {MOST}, "
                f"a space of {', '.join(SPACES)} and among of {', '.join(AMONG)}"
            )

    @property
    def neighbours(self) -> tuple[str, ...]:
        """Found ones first, nearest first, then the manual ones in the order of picking."""
        return self.found + self.manual


NOTHING = Picks()


def origin(sample_id: str) -> str:
    """`real`, `made`, or the name of the generator that a sample is of."""
    kind, _, rest = sample_id.partition("/")
    return rest.rpartition("/")[0] if kind == "fake" else kind


def click(picks: Picks, sample_id: str) -> Picks:
    """The first click selects; further ones toggle neighbours."""
    if picks.selected is None:
        return replace(picks, selected=sample_id)
    if sample_id == picks.selected:
        return picks
    if sample_id in picks.neighbours:
        return drop(picks, sample_id)
    return replace(picks, manual=(*picks.manual, sample_id))


def select(picks: Picks, sample_id: str) -> Picks:
    """Another sample is selected; neighbours of the one before leave."""
    return replace(picks, selected=sample_id, found=(), manual=())


def drop(picks: Picks, sample_id: str) -> Picks:
    """Take one neighbour out."""
    return replace(
        picks,
        found=tuple(name for name in picks.found if name != sample_id),
        manual=tuple(name for name in picks.manual if name != sample_id),
    )


def found(picks: Picks, selected: str, ids: Sequence[str]) -> Picks:
    """The nearest neighbours of `selected`, in place of those found before; too late if another one is selected now."""
    if selected != picks.selected:
        return picks
    return replace(picks, found=tuple(name for name in ids if name != selected and name not in picks.manual))


def combine(before: Sequence[str], now: Sequence[str], mode: str) -> tuple[str, ...]:
    """A lasso's catch with what was caught before: `replace`, `append`, `intersect` or `subtract`."""
    there = set(now)
    if mode == "append":
        return (*before, *(name for name in now if name not in set(before)))
    if mode == "intersect":
        return tuple(name for name in before if name in there)
    if mode == "subtract":
        return tuple(name for name in before if name not in there)
    if mode != "replace":
        raise ValueError(f"mode {mode!r} is unknown; use replace, append, intersect or subtract")
    return tuple(dict.fromkeys(now))


def of(picks: Picks, sides: Collection[str | None]) -> Picks:
    """Without samples of other sides; made images belong to every side."""

    def kept(ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in ids if origin(name) in sides or origin(name) == "made")

    return replace(
        picks, found=kept(picks.found), manual=kept(picks.manual), group=kept(picks.group), table=kept(picks.table)
    )
