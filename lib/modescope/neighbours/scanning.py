"""Blocks of float32 bounds searched by compiled code, two to three times faster than by NumPy, with the same results.

Comparisons are written in the compiler's own form, for it makes no vectors of loops that stop to take note. Compiled
once per machine and kept on disk. Under the tests' shape checks compiled functions must stay plain, hence
`no_type_check`.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

_LANES = 32  # values that are compared at a time, each a bit of the answer


@intrinsic
@no_type_check
def _exceeding(context, values, row_floor, floors):
    """Bit t: the t-th of the values at this address exceeds its row's floor, and that of its column at the other."""

    def generate(_, builder, signature, arguments) -> Any:
        lanes, lane = ir.VectorType(ir.FloatType(), _LANES), ir.VectorType(ir.IntType(32), _LANES)
        loaded = []
        for address in (arguments[0], arguments[2]):
            loaded.append(builder.load(builder.inttoptr(address, lanes.as_pointer())))
            loaded[-1].align = 4
        nothing = ir.Constant(lanes, ir.Undefined)
        row = builder.insert_element(nothing, arguments[1], ir.Constant(ir.IntType(32), 0))
        row = builder.shuffle_vector(row, nothing, ir.Constant(lane, [0] * _LANES))
        one, two = (builder.fcmp_ordered(">", loaded[0], floor) for floor in (row, loaded[1]))
        return builder.bitcast(builder.and_(one, two), ir.IntType(_LANES))

    return types.uint32(types.intp, types.float32, types.intp), generate


@intrinsic
@no_type_check
def _first(context, bits):
    """The place of the lowest bit that is set."""

    def generate(_, builder, signature, arguments) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint32(types.uint32), generate


@njit(cache=True, nogil=True)
@no_type_check
def _rest(values, row_floor, floors):
    bits = np.uint32(0)
    for lane in range(len(values)):
        bits |= np.uint32(values[lane] > row_floor and values[lane] > floors[lane]) << np.uint32(lane)
    return bits


@njit(cache=True, nogil=True)
@no_type_check
def _scan(values, row_floor, floors, start, found):
    """Write start + the places of the values (W) that exceed both floors to `found`: how many."""
    count, width = 0, len(values)
    first, second = values.ctypes.data, floors.ctypes.data
    for column in range(0, width, _LANES):
        if column + _LANES <= width:
            bits = _exceeding(first + 4 * column, row_floor, second + 4 * column)
        else:
            bits = _rest(values[column:], row_floor, floors[column:])
        while bits:
            found[count] = start + column + _first(bits)
            count += 1
            bits &= bits - np.uint32(1)
    return count


@njit(cache=True, nogil=True)
@no_type_check
def _room(found, count, more):
    """`found`, or a larger copy of its first `count`, with room for so many more."""
    if count + more <= len(found):
        return found
    larger = np.empty(2 * count + more, np.int64)
    for place in range(count):
        larger[place] = found[place]
    return larger


@njit(cache=True, nogil=True)
@no_type_check
def _above_columns(values, floors):
    """Column * R + row, rising, of the values (R, W) that exceed the floor of their column."""
    rows, width = values.shape
    found, count = np.empty(8 * width, np.int64), 0
    for row in range(rows):
        found = _room(found, count, width)
        count += _scan(values[row], -np.inf, floors, row * width, found[count:])
    ends, ordered = np.zeros(width + 1, np.int64), np.empty(count, np.int64)
    for place in range(count):
        ends[found[place] % width + 1] += 1
    for column in range(width):
        ends[column + 1] += ends[column]
    for place in range(count):
        row, column = found[place] // width, found[place] % width
        ordered[ends[column]] = column * rows + row
        ends[column] += 1
    return ordered


@njit(cache=True, nogil=True)
@no_type_check
def _above_rows(values, floors):
    """Flat positions, rising, of the values (R, W) that exceed the floor of their row."""
    rows, width = values.shape
    found, count, none = np.empty(8 * rows + width, np.int64), 0, np.full(width, -np.inf, np.float32)
    for row in range(rows):
        found = _room(found, count, width)
        count += _scan(values[row], floors[row], none, row * width, found[count:])
    return found[:count].copy()


@njit(cache=True, nogil=True)
@no_type_check
def above(values, floors, transposed):
    """Sample * others + other, rising, where the values of a sample, a row (transposed: a column), exceed its floor."""
    return _above_columns(values, floors) if transposed else _above_rows(values, floors)


@njit(cache=True, nogil=True)
@no_type_check
def _sift(heap, place, value):
    """Put a value at this place of a heap, or below it, so that every value is at least its two children."""
    while 2 * place + 1 < len(heap):
        child = 2 * place + 1
        if child + 1 < len(heap) and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= value:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = value


@njit(cache=True, nogil=True)
@no_type_check
def smallest(best, values, offsets):
    """The k smallest of each row of `best` (R, K) and of offsets - 2 values (R, G), in no order."""
    best = best.copy()
    for row in range(len(best)):
        heap = best[row]
        for place in range(len(heap) // 2 - 1, -1, -1):
            _sift(heap, place, heap[place])
        for group in range(values.shape[1]):
            bound = offsets[row] - 2.0 * values[row, group]
            if bound < heap[0]:
                _sift(heap, 0, bound)
    return best


@njit(cache=True, nogil=True)
@no_type_check
def pairs(values, flat, own_slack, other_slack, transposed):
    """Sample, other, lower and upper bound of the pairs at these positions, as `above` gives them."""
    own, other = np.empty(len(flat), np.int64), np.empty(len(flat), np.int64)
    low, high = np.empty(len(flat), np.float32), np.empty(len(flat))
    for place in range(len(flat)):
        i = flat[place] // len(other_slack)
        j = flat[place] - i * len(other_slack)
        own[place], other[place] = i, j
        low[place] = -2 * (values[j, i] if transposed else values[i, j])
        high[place] = low[place] + 2.0 * (own_slack[i] + other_slack[j])
    return own, other, low, high


@njit(cache=True, nogil=True)
@no_type_check
def square_differences(a, b, i, j, terms):
    """Fill `terms` (P, D) with those of rows i of `a` and rows j of `b`."""
    for pair in range(len(i)):
        one, other, term = a[i[pair]], b[j[pair]], terms[pair]
        for column in range(len(term)):
            difference = np.float64(one[column]) - np.float64(other[column])
            term[column] = difference * difference
