"""UMAP's stochastic descent, compiled: McInnes, Healy, Melville 2018, section 3.2 and algorithm 5.

Compiled once per machine and kept on disk. Under the tests' shape checks compiled functions must stay plain, hence
`no_type_check`. With the same numbers drawn it moves rows as umap-learn's optimiser does, which the tests hold.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

LARGEST = 4.0  # a coordinate moves at most so far, times the rate, at a time
REPELLED = 5.0  # random rows that push for each neighbour that pulls
NEAR = 0.001  # keeps the push finite


@njit(cache=True, nogil=True)
@no_type_check
def draw(state) -> int:
    """The next number of a combined Tausworthe generator (L'Ecuyer 1996, "Maximally equidistributed combined Tausworthe
    generators", taus88), a signed 32-bit one; `state` is three int64 below 2^32 and goes on.
    """
    low = 0xFFFFFFFF
    one, two, three = state[0], state[1], state[2]
    one = (((one & 0xFFFFFFFE) << 12) & low) ^ ((((one << 13) & low) ^ one) >> 19)
    two = (((two & 0xFFFFFFF8) << 4) & low) ^ ((((two << 2) & low) ^ two) >> 25)
    three = (((three & 0xFFFFFFF0) << 17) & low) ^ ((((three << 3) & low) ^ three) >> 11)
    state[0], state[1], state[2] = one, two, three
    return np.int32(one ^ two ^ three)


@njit(cache=True, nogil=True)
@no_type_check
def _move(mine, theirs, strength, rate, both):
    """Move a place away from another (towards it, where `strength` is negative), and the other back if `both`."""
    for axis in range(len(mine)):
        by = rate * min(max(strength * (mine[axis] - theirs[axis]), -LARGEST), LARGEST)
        mine[axis] += by
        if both:
            theirs[axis] -= by


@njit(cache=True, nogil=True)
@no_type_check
def _square(mine, theirs):
    total = 0.0
    for axis in range(len(mine)):
        total += (mine[axis] - theirs[axis]) ** 2
    return total


@njit(cache=True, nogil=True)
@no_type_check
def descend(places, anchors, heads, tails, every, states, epochs, rate, a, b, both):
    """Move `places` (M, E) in place: edge i pulls place `heads[i]` to anchor `tails[i]` once in `every[i]` epochs.

    `anchors` (N, E) may be `places` itself; with `both` they are pulled too. `states` (M, 3): the random stream of each
    place. The rate falls to zero over the epochs. Gradients are those of the cross entropy under 1 / (1 + a d^(2b)).
    """
    due = every.copy()
    push_every = every / REPELLED
    push_due = push_every.copy()
    for epoch in range(epochs):
        step = rate * (1.0 - max(epoch - 1, 0) / epochs)
        for edge in range(len(heads)):
            if due[edge] > epoch:
                continue
            due[edge] += every[edge]
            head = heads[edge]
            mine, theirs = places[head], anchors[tails[edge]]
            square = _square(mine, theirs)
            if square > 0.0:
                power = square**b
                _move(mine, theirs, -2.0 * a * b * power / (square * (a * power + 1.0)), step, both)
            pushes = int((epoch - push_due[edge]) / push_every[edge])
            push_due[edge] += pushes * push_every[edge]
            for _ in range(pushes):
                theirs = anchors[draw(states[head]) % len(anchors)]
                square = _square(mine, theirs)
                if square > 0.0:
                    _move(mine, theirs, 2.0 * b / ((NEAR + square) * (a * square**b + 1.0)), step, False)
