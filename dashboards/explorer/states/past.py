"""Undo and redo, as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

S = TypeVar("S")
LONGEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Past(Generic[S]):
    """A state with those before it, and those that were undone (nearest last in both). `number`: of the steps that led to it,
    those that are forgotten too.
    """

    now: S
    before: tuple[S, ...] = ()
    after: tuple[S, ...] = ()
    number: int = 0

    def do(self, state: S) -> Past[S]:
        """A new state; what was undone is gone. Nothing is remembered where nothing changes."""
        if state == self.now:
            return self
        return Past(now=state, before=(*self.before, self.now)[-LONGEST:], number=self.number + 1)

    def amend(self, state: S) -> Past[S]:
        """A new state in place of this one: what is no step of its own (a zoom, the word that something runs)."""
        return replace(self, now=state)

    def undo(self) -> Past[S]:
        if not self.before:
            return self
        after = (*self.after, self.now)
        return Past(now=self.before[-1], before=self.before[:-1], after=after, number=self.number - 1)

    def redo(self) -> Past[S]:
        if not self.after:
            return self
        before = (*self.before, self.now)
        return Past(now=self.after[-1], before=before, after=self.after[:-1], number=self.number + 1)
