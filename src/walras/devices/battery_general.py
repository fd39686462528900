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

from walras.devices.battery_merge import UWH, merge_slopes
from walras.units import Float64

NO_ROOM = -1
"""Returned where the columns in hand are too short: the caller lengthens them and begins again."""

Columns = tuple[Float64, Float64, Float64]
"""x [k + 1], v [k], g [k]: see `battery_merge`."""


@njit(cache=True)
def narrowest(capacity: float) -> float:
    """Width in uWh of a piece that is dropped: 0.01, or what edges are rounded to where the battery is beyond 100 kWh."""
    return max(0.01, 1e-13 * capacity)


@njit(cache=True)
def keep_wide(piece: Columns, m: int, capacity: float, out: Columns) -> int:
    """m pieces without those narrower than `narrowest`, equal slopes joined, values added up anew; returns how many."""
    x, v, g = piece
    ox, ov, og = out
    least = narrowest(capacity)
    k = 0
    for i in range(m):
        if x[i + 1] - x[i] > least and (k == 0 or og[k - 1] != g[i]):
            ox[k], og[k] = x[i], g[i]
            k += 1
    ox[0], ox[k], ov[0] = 0.0, capacity, v[0]
    for i in range(1, k):
        ov[i] = ov[i - 1] + og[i - 1] * (ox[i] - ox[i - 1]) * UWH
    return k


@njit(cache=True)
def falling_end(g: Float64, a: int, c: int) -> int:
    """Where the stretch of slopes that do not rise, which begins at a < c, ends."""
    a += 1
    while a < c and g[a] <= g[a - 1]:
        a += 1
    return a


@njit(cache=True)
def _append_run(out: Columns, m: int, run: Columns, n: int, capacity: float) -> int:
    """Let the next run of n pieces overtake the m pieces that stand, where it crosses them; returns the new number."""
    ex, ev, eg = out
    hx, hv, hg = run
    end = ex[m]
    j = n - 1
    while j > 0 and hx[j] >= end:
        j -= 1
    over = hv[j] + hg[j] * (end - hx[j]) * UWH - ev[m - 1] - eg[m - 1] * (end - ex[m - 1]) * UWH
    if over <= 0.0 and (end >= capacity or hx[n] <= end):
        return m
    cut = end
    while over > 0.0:
        e, h = ex[m - 1], hx[j]
        at = max(e, h)
        before = hv[j] + hg[j] * (at - h) * UWH - ev[m - 1] - eg[m - 1] * (at - e) * UWH
        if before <= 0.0:
            cut = at + (cut - at) * (before / (before - over))
            break
        cut, over = at, before
        if at == e:
            m -= 1
        if at == h:
            j -= 1
        if m == 0 or j < 0:
            j = max(j, 0)
            break
    ex[m], ev[m], eg[m] = cut, hv[j] + hg[j] * (cut - hx[j]) * UWH, hg[j]
    for i in range(j + 1, n):
        m += 1
        ex[m], ev[m], eg[m] = hx[i], hv[i], hg[i]
    ex[m + 1] = hx[n]
    return m + 1


@njit(cache=True)
def follow_runs(
    value: Columns,
    a: int,
    c: int,
    ps: Float64,
    pw: Float64,
    b: int,
    d: int,
    most: float,
    start: float,
    capacity: float,
    out: Columns,
    run: Columns,
) -> int:
    """One branch (pieces b..d of the slot) with pieces a..c of the value, run by run; returns the pieces in `out`, or NO_ROOM.

    `most` is the stored change where the branch begins, `start` minus the cost there.
    """
    x, v, g = value
    m = 0
    while a < c:
        last = falling_end(g, a, c)
        if m + (last - a) + (d - b) + 2 > out[1].size:
            return NO_ROOM
        at = x[a] - most
        if at >= capacity:
            break
        if m == 0:
            m = merge_slopes(x, g, a, last, ps, pw, b, d, at, v[a] + start, capacity, *out)
        else:
            n = merge_slopes(x, g, a, last, ps, pw, b, d, at, v[a] + start, capacity, *run)
            m = _append_run(out, m, run, n, capacity)
        a = last
    return m


@njit(cache=True)
def _put(out: Columns, k: int, at: float, value: float, slope: float) -> int:
    if k > 0 and out[2][k - 1] == slope:
        return k
    out[0][k], out[1][k], out[2][k] = at, value, slope
    return k + 1


@njit(cache=True)
def overlay(one: Columns, m: int, other: Columns, n: int, out: Columns) -> int:
    """The greater of two values, the second defined on a part of the first only; returns the pieces in `out`, or NO_ROOM."""
    ex, ev, eg = one
    hx, hv, hg = other
    if 2 * (m + n + 1) > out[1].size:
        return NO_ROOM
    i, j, k, end = 0, 0, 0, ex[m]
    while i < m and ex[i + 1] <= hx[0]:
        k = _put(out, k, ex[i], ev[i], eg[i])
        i += 1
    at = min(hx[0], end)
    if i < m and ex[i] < at:
        k = _put(out, k, ex[i], ev[i], eg[i])
    while i < m and j < n:
        to = min(ex[i + 1], hx[j + 1])
        e, h = ev[i] + eg[i] * (at - ex[i]) * UWH, hv[j] + hg[j] * (at - hx[j]) * UWH
        over = h - e
        then = over + (hg[j] - eg[i]) * (to - at) * UWH
        if over > 0.0:
            k = _put(out, k, at, h, hg[j])
            if then < 0.0:
                cross = at + (to - at) * (over / (over - then))
                k = _put(out, k, cross, ev[i] + eg[i] * (cross - ex[i]) * UWH, eg[i])
        else:
            if over < 0.0 or then <= 0.0:
                k = _put(out, k, at, e, eg[i])
            if then > 0.0:
                cross = at + (to - at) * (over / (over - then))
                k = _put(out, k, cross, hv[j] + hg[j] * (cross - hx[j]) * UWH, hg[j])
        at = to
        if ex[i + 1] <= at:
            i += 1
        if hx[j + 1] <= at:
            j += 1
    while i < m:
        begin = max(at, ex[i])
        k = _put(out, k, begin, ev[i] + eg[i] * (begin - ex[i]) * UWH, eg[i])
        i += 1
    out[0][k] = end
    return k


@njit(cache=True)
def _find_root(ps: Float64, pw: Float64, pieces: int, charge: float, low: float, high: float) -> int:
    """First piece of a branch that holds rest, and that no other one makes useless: it is computed on the whole store."""
    b, most, root, idle = 0, charge, 0, True
    while b < pieces:
        d = falling_end(ps, b, pieces)
        least = most - pw[b:d].sum()
        if least <= 0.0 <= most and idle:
            root = b
            idle = (least == 0.0 and high <= ps[d - 1]) or (most == 0.0 and low >= ps[b])
        b, most = d, least
    return root


@njit(cache=True)
def general_step(
    value: Columns, k: int, ps: Float64, pw: Float64, pieces: int, charge: float, start: float, capacity: float, work: Float64
) -> int:
    """One slot back, in place: k pieces of V_{t+1} in `value` become those of V_t; returns how many, or NO_ROOM.

    `ps`, `pw`, `pieces`: the slot (`slot_pieces`), which begins at the stored change `charge` with minus the cost `start`;
    `work` at least 9 rows as long as the columns of `value`.
    """
    if pieces == 0:
        value[1][:k] += start
        return k
    low, high = value[2][:k].min(), value[2][:k].max()
    root = _find_root(ps, pw, pieces, charge, low, high)
    one, two, three = (work[0], work[1], work[2]), (work[3], work[4], work[5]), (work[6], work[7], work[8])
    m, b, most, at = 0, 0, charge, start
    for turn in range(2):  # the root first, then the others over it
        b, most, at = 0, charge, start
        while b < pieces and m >= 0:
            d = falling_end(ps, b, pieces)
            width = pw[b:d].sum()
            if turn == 0 and b == root:
                m = follow_runs(value, 0, k, ps, pw, b, d, most, at, capacity, one, two)
                if m > 0:
                    one[0][m] = capacity
            elif turn == 1 and b != root:
                a, c = 0, k
                while most <= 0.0 and a < c and value[2][a] >= ps[b]:
                    a += 1
                while most > 0.0 and a < c and value[2][c - 1] <= ps[d - 1]:
                    c -= 1
                n = follow_runs(value, a, c, ps, pw, b, d, most, at, capacity, two, three)
                if n > 0:
                    m = overlay(one, m, two, n, three)
                    one, three = three, one
                elif n < 0:
                    m = n
            at += (ps[b:d] * pw[b:d]).sum() * UWH
            b, most = d, most - width
    return keep_wide(one, m, capacity, value) if m > 0 else NO_ROOM
