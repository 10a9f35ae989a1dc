"""Which of two images is the better one, asked blindly; the tally."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from bokeh.models import Model
from scipy.stats import binomtest

from .. import ballots
from ..cards import button
from ..part import Part, panel
from ..states import State

if TYPE_CHECKING:
    from ..desk import Desk


class Votes(Part):
    tab = "compare"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.panel = panel("votes")
        self._ballot: ballots.Ballot | None = None
        self._pair: tuple[str, str] | None = None
        self._rng = np.random.default_rng()  # of a person's questions, not of a result: another order for each visitor

    @property
    def roots(self) -> Mapping[str, Model]:
        return {"votes": self.panel}

    @property
    def events(self) -> Mapping[str, Callable[[str], None]]:
        return {"vote": self._vote}

    def draw(self, state: State, before: State | None) -> None:
        look = state.look
        pair = None if look.versus is None else (look.generator, look.versus)
        if pair == self._pair and before is not None:
            return
        self._pair, self._ballot = pair, None
        self._ask() if pair else self._show()

    def _ask(self) -> None:
        """The next question."""
        if self._pair is None:
            return
        pair, project = self._pair, self.desk.project
        self.desk.ask(lambda: ballots.draw(project, *pair, self._rng), lambda ballot: self._asked(pair, ballot))

    def _asked(self, pair: tuple[str, str], ballot: ballots.Ballot) -> None:
        if pair == self._pair:
            self._ballot = ballot
            self._show()

    def _vote(self, choice: str) -> None:
        if self._ballot is None or self._pair is None:
            return
        ballot, self._ballot = self._ballot, None
        root, pair = self.desk.project.root, self._pair
        self.desk.ask(lambda: ballots.vote(root, *pair, ballot, choice), lambda _none: self._ask())

    def _show(self) -> None:
        head = "<h2>Blind vote</h2>"
        if self._pair is None:
            self.panel.text = f"{head}<p class='hint'>Choose a second generator under “Beside it”.</p>"
            return
        self.panel.text = head + (self._question(self._ballot) if self._ballot else "") + self._tally(*self._pair)

    def _question(self, ballot: ballots.Ballot) -> str:
        cards = self.desk.cards
        images = "".join(
            f"<figure>{cards.image(token, 'large', event=f'vote {side}', title=f'the {side} one is better')}</figure>"
            for side, token in (("left", ballot.left), ("right", ballot.right))
        )
        buttons = [
            button(words, f"vote {choice}")
            for choice, words in (("left", "left"), ("same", "no difference"), ("right", "right"))
        ]
        return (
            f"<p>Which is the better {html.escape(cards.class_name(ballot.label))}? Same class, same seed.</p>"
            f"<div class='two'>{images}</div><p class='choices'>{' '.join(buttons)}</p>"
        )

    def _tally(self, first: str, second: str) -> str:
        found = ballots.tally(self.desk.project.root, first, second)
        if not found:
            return "<p class='note'>No vote yet.</p>"
        a, b, same = (found.get(name, 0) for name in (first, second, None))
        chance = f"; chance alone: p = {binomtest(a, a + b).pvalue:.2g}" if a + b else ""
        return (
            f"<p class='note'><b>{html.escape(first)} {a}</b>, <b>{html.escape(second)} {b}</b>, no difference {same}{chance}"
            ". Kept in <code>data/votes</code>.</p>"
        )
