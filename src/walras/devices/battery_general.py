"""The value of stored energy at any prices: one exact step of the recursion by runs, branches and an upper envelope.

Where a price is negative, or an export price above the import price, minus the cost of a slot is not concave in the energy stored:
it would pay to charge and discharge at once, which a battery cannot do. It bends upward at most twice (at rest, and where the
owner's net load is just met), so it is the greatest of at most three concave *branches*. The value of stored energy is then made
of concave *runs*, one beside the other. With f_i the branches and W_r the runs of V_{t+1}, one slot back it is

    V_t(s) = max over i and r of  max over x of  f_i(x) + W_r(s + x)

and each inner maximum is one merge of slopes (`battery_merge`). They are put together in linear time:

Along one branch the runs take turns. f_i(u - s) has increasing differences in (u, s), for f_i is concave; so the best level u to
go to never falls as s rises (Topkis 1978), run r + 1 overtakes run r once, and for good. The crossing is found by walking back from
the end of what stands; what is walked over is dropped (`follow_runs`). Branches know no such order: they are laid over each other
in one sweep (`overlay`).

Most of a branch cannot win, and is not computed. Releasing more than the branch's near end pays only where V_{t+1} has a slope
below the branch's first; storing more only where it has one above its last. The same monotony lets such a branch begin, or end,
at that piece of V_{t+1}.

Slopes are never computed from values: each piece of V_t carries the slope of a price or of the end of the horizon. Rounding enters
only where two lines cross. Pieces narrower than `narrowest` are dropped: a slot then moves V by at most their width times the
difference of two slopes, 0.006 nano a piece at 0.60 per kWh and up to 100 kWh, whose sum stays below a nano a day.
"""

from __future__ import annotations

from numba import njit

from walras.devices.battery_merge import FIVE, FOUR, RATE, THREE, UWH, WIDTH, falling_end, merge_slopes
from walras.units import Float64

NO_ROOM = -1
"""Returned where the rows in hand are too short: the caller lengthens them and begins again."""


@njit(cache=True)
def narrowest(capacity: float) -> float:
    """Width in uWh of a piece that is dropped: 0.01, or what edges are rounded to where the battery is beyond 100 kWh."""
    return max(0.01, 1e-13 * capacity)


@njit(cache=True)
def keep_wide(w: Float64, f: int, m: int, capacity: float, out: int) -> int:
    """m pieces at f without those narrower than `narrowest`, equal slopes joined, values added up anew; returns how many."""
    least = narrowest(capacity)
    k, at, value = 0, 0.0, w[f + 1, 0]
    for i in range(m):
        slope = w[f + 2, i]
        if w[f, i + 1] - w[f, i] > least and (k == 0 or w[out + 2, k - 1] != slope):
            if k > 0:
                value += w[out + 2, k - 1] * (w[f, i] - at) * UWH
                at = w[f, i]
            w[out, k], w[out + 1, k], w[out + 2, k] = at, value, slope
            k += 1
    w[out, k] = capacity
    return k


@njit(cache=True)
def _height(w: Float64, f: int, i: int, at: float) -> float:
    """Value at `at` of the line of piece i."""
    height: float = w[f + 1, i] + w[f + 2, i] * (at - w[f, i]) * UWH
    return height


@njit(cache=True)
def _append_run(w: Float64, e: int, m: int, h: int, n: int, capacity: float) -> int:
    """Let the next run (n pieces at h) overtake what stands (m pieces at e), where it crosses it; returns the new number."""
    cut = w[e, m]
    j = n - 1
    while j > 0 and w[h, j] >= cut:
        j -= 1
    over = _height(w, h, j, cut) - _height(w, e, m - 1, cut)
    if over <= 0.0 and (cut >= capacity or w[h, n] <= cut):
        return m
    while over > 0.0:
        at = max(w[e, m - 1], w[h, j])
        before = _height(w, h, j, at) - _height(w, e, m - 1, at)
        if before <= 0.0:
            cut = at + (cut - at) * (before / (before - over))
            break
        cut, over = at, before
        if at == w[e, m - 1]:
            m -= 1
        if j == 0 and at == w[h, 0]:
            break
        if at == w[h, j]:
            j -= 1
        if m == 0:
            break
    w[e, m], w[e + 1, m], w[e + 2, m] = cut, _height(w, h, j, cut), w[h + 2, j]
    for i in range(j + 1, n):
        m += 1
        w[e, m], w[e + 1, m], w[e + 2, m] = w[h, i], w[h + 1, i], w[h + 2, i]
    w[e, m + 1] = w[h, n]
    return m + 1


@njit(cache=True)
def follow_runs(
    w: Float64, f: int, a: int, c: int, b: int, d: int, most: float, start: float, capacity: float, out: int, run: int
) -> int:
    """One branch (pieces b..d of the slot) with pieces a..c of the value at f, run by run; returns the pieces at `out`, or NO_ROOM.

    `most` is the stored change where the branch begins, `start` minus the cost there; `run` scratch.
    """
    m = 0
    while a < c:
        last = falling_end(w, f + 2, a, c)
        if m + (last - a) + (d - b) + 2 > w.shape[1]:
            return NO_ROOM
        at, value = w[f, a] - most, w[f + 1, a] + start
        if at >= capacity:
            break
        if m == 0:
            m = merge_slopes(w, f, a, last, b, d, at, value, capacity, out)
        else:
            n = merge_slopes(w, f, a, last, b, d, at, value, capacity, run)
            m = _append_run(w, out, m, run, n, capacity)
        a = last
    return m


@njit(cache=True)
def _put(w: Float64, out: int, k: int, at: float, value: float, slope: float) -> int:
    if k > 0 and w[out + 2, k - 1] == slope:
        return k
    w[out, k], w[out + 1, k], w[out + 2, k] = at, value, slope
    return k + 1


@njit(cache=True)
def overlay(w: Float64, e: int, m: int, h: int, n: int, out: int) -> int:
    """The greater of two values, that at h defined on a part of that at e only; returns the pieces at `out`, or NO_ROOM."""
    if 2 * (m + n + 1) > w.shape[1]:
        return NO_ROOM
    i, j, k, end = 0, 0, 0, w[e, m]
    while i < m and w[e, i + 1] <= w[h, 0]:
        k = _put(w, out, k, w[e, i], w[e + 1, i], w[e + 2, i])
        i += 1
    at = min(w[h, 0], end)
    if i < m and w[e, i] < at:
        k = _put(w, out, k, w[e, i], w[e + 1, i], w[e + 2, i])
    while i < m and j < n:
        to = min(w[e, i + 1], w[h, j + 1])
        over = _height(w, h, j, at) - _height(w, e, i, at)
        then = over + (w[h + 2, j] - w[e + 2, i]) * (to - at) * UWH
        if over > 0.0:
            k = _put(w, out, k, at, _height(w, h, j, at), w[h + 2, j])
            if then < 0.0:
                cross = at + (to - at) * (over / (over - then))
                k = _put(w, out, k, cross, _height(w, e, i, cross), w[e + 2, i])
        else:
            if over < 0.0 or then <= 0.0:
                k = _put(w, out, k, at, _height(w, e, i, at), w[e + 2, i])
            if then > 0.0:
                cross = at + (to - at) * (over / (over - then))
                k = _put(w, out, k, cross, _height(w, h, j, cross), w[h + 2, j])
        at = to
        if w[e, i + 1] <= at:
            i += 1
        if w[h, j + 1] <= at:
            j += 1
    while i < m:
        begin = max(at, w[e, i])
        k = _put(w, out, k, begin, _height(w, e, i, begin), w[e + 2, i])
        i += 1
    w[out, k] = end
    return k


@njit(cache=True)
def _find_root(w: Float64, pieces: int, charge: float, low: float, high: float) -> int:
    """First piece of a branch that holds rest, and that no other one makes useless: it is computed on the whole store."""
    b, most, root, idle = 0, charge, 0, True
    while b < pieces:
        d = falling_end(w, RATE, b, pieces)
        least = most
        for i in range(b, d):
            least -= w[WIDTH, i]
        if least <= 0.0 <= most and idle:
            root = b
            idle = (least == 0.0 and high <= w[RATE, d - 1]) or (most == 0.0 and low >= w[RATE, b])
        b, most = d, least
    return root


@njit(cache=True)
def general_step(w: Float64, f: int, k: int, pieces: int, charge: float, start: float, capacity: float, free: int) -> int:
    """One slot back, in place: the k pieces of V_{t+1} at f become those of V_t; returns how many, or NO_ROOM.

    `pieces`: those of the slot (`slot_pieces`), which begins at the stored change `charge` with minus the cost `start`. The value
    at `free`, THREE, FOUR and FIVE are scratch.
    """
    if pieces == 0:
        for i in range(k):
            w[f + 1, i] += start
        return k
    low = high = w[f + 2, 0]
    for i in range(1, k):
        low, high = min(low, w[f + 2, i]), max(high, w[f + 2, i])
    root = _find_root(w, pieces, charge, low, high)
    one, other, m = free, THREE, 0
    for turn in range(2):  # the root first, then the others over it
        b, most, at = 0, charge, start
        while b < pieces and m >= 0:
            d = falling_end(w, RATE, b, pieces)
            if turn == 0 and b == root:
                m = follow_runs(w, f, 0, k, b, d, most, at, capacity, one, FOUR)
                if m > 0:
                    w[one, m] = capacity
            elif turn == 1 and b != root:
                a, c = 0, k
                while most <= 0.0 and a < c and w[f + 2, a] >= w[RATE, b]:
                    a += 1
                while most > 0.0 and a < c and w[f + 2, c - 1] <= w[RATE, d - 1]:
                    c -= 1
                n = follow_runs(w, f, a, c, b, d, most, at, capacity, FOUR, FIVE)
                if n > 0:
                    m = overlay(w, one, m, FOUR, n, other)
                    one, other = other, one
                elif n < 0:
                    m = n
            while b < d:
                at += w[RATE, b] * w[WIDTH, b] * UWH
                most -= w[WIDTH, b]
                b += 1
    return keep_wide(w, one, m, capacity, f) if m > 0 else NO_ROOM
