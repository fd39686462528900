"""The slow twin of the battery recursion at any prices: by candidates on every shifted breakpoint, one slot at a time. For tests.

For each linear part of a slot's cost the best stored change is an edge of that part, or leads to a breakpoint of V_{t+1}. Shift
every breakpoint by every edge: between two neighbouring shifted points each candidate is one straight line in the energy stored,
so V_t there is the upper envelope of at most nine lines. Exact up to the rounding of float64; points closer than `CLOSE_UWH` and
bends smaller than `FLAT_NANO` are dropped. A few milliseconds a battery-day.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from walras.units import Float64, Int64

CLOSE_UWH = 0.01
FLAT_NANO = 1e-4


@njit(cache=True)
def slot_edges(net: int, buy: float, sell: float, battery: tuple[int, int, int, int, int], edge: Float64, cost: Float64) -> int:
    """Edges of the slot's cost: stored changes (uWh, rising) and the cost there (nano). Returns how many."""
    _, climit, dlimit, gain, drain = battery
    surplus, demand = min(max(-net, 0), climit), min(max(net, 0), dlimit)
    k = 0
    for action in (-dlimit, -demand, 0, surplus, climit):
        change = float(action) * (gain if action >= 0 else drain)
        if k > 0 and change <= edge[k - 1]:
            continue
        grid = float(net + action)
        edge[k], cost[k] = change, grid * (buy if grid > 0 else sell)
        k += 1
    return k


@njit(cache=True)
def _grid(x: Float64, edge: Float64, edges: int) -> Float64:
    """All breakpoints shifted by all edges, inside the capacity, rising, none closer than CLOSE_UWH."""
    capacity = x[-1]
    points = np.empty(x.size * edges + 2)
    n = 0
    for k in range(x.size):
        for e in range(edges):
            s = x[k] - edge[e]
            if 0 < s < capacity:
                points[n] = s
                n += 1
    points[n], points[n + 1] = 0.0, capacity
    points = np.sort(points[: n + 2])
    kept = 1
    for i in range(1, points.size):
        if points[i] - points[kept - 1] > CLOSE_UWH:
            points[kept] = points[i]
            kept += 1
    points[kept - 1] = capacity
    return points[:kept]


@njit(cache=True)
def _lines(
    a: float, b: float, x: Float64, v: Float64, edge: Float64, cost: Float64, edges: int, left: Float64, right: Float64
) -> int:
    """Candidates on [a, b] as straight lines: their values at both ends. Returns how many."""
    mid = 0.5 * (a + b)
    n = 0
    for e in range(edges):
        u = mid + edge[e]
        if 0 <= u <= x[-1]:
            k = min(max(np.searchsorted(x, u) - 1, 0), x.size - 2)
            slope = (v[k + 1] - v[k]) / (x[k + 1] - x[k])
            left[n] = v[k] + slope * (a + edge[e] - x[k]) - cost[e]
            right[n] = v[k] + slope * (b + edge[e] - x[k]) - cost[e]
            n += 1
    for e in range(edges - 1):
        rate = (cost[e + 1] - cost[e]) / (edge[e + 1] - edge[e])
        first, last = np.searchsorted(x, mid + edge[e]), np.searchsorted(x, mid + edge[e + 1])
        best, where = -np.inf, -1
        for k in range(first, last):
            if v[k] - rate * x[k] > best:
                best, where = v[k] - rate * x[k], k
        if where >= 0:
            left[n] = v[where] - cost[e] - rate * (x[where] - a - edge[e])
            right[n] = v[where] - cost[e] - rate * (x[where] - b - edge[e])
            n += 1
    return n


@njit(cache=True)
def _envelope(a: float, b: float, left: Float64, right: Float64, n: int, xs: Float64, vs: Float64, m: int) -> int:
    """Append the upper envelope of n lines on (a, b] to the points xs, vs (m of them); returns the new number."""
    here, now = 0.0, 0  # position as a fraction of the interval, line on top
    for i in range(1, n):
        if left[i] > left[now] or (left[i] == left[now] and right[i] > right[now]):
            now = i
    while True:
        nearest, then = 1.0, -1
        for i in range(n):
            rise = (right[i] - left[i]) - (right[now] - left[now])
            if rise > 0:
                cross = (left[now] - left[i]) / rise
                if here < cross < nearest:
                    nearest, then = cross, i
        if then < 0:
            break
        xs[m] = a + nearest * (b - a)
        vs[m] = left[now] + nearest * (right[now] - left[now])
        m, here, now = m + 1, nearest, then
    top = right[0]
    for i in range(1, n):
        top = max(top, right[i])
    xs[m], vs[m] = b, top
    return m + 1


@njit(cache=True)
def _straighten(xs: Float64, vs: Float64, m: int) -> tuple[Float64, Float64]:
    """The points without those too close to their neighbour, or on the line between their neighbours."""
    x, v = np.empty(m), np.empty(m)
    x[0], v[0] = xs[0], vs[0]
    k = 1
    for i in range(1, m):
        if i < m - 1:
            if xs[i] - x[k - 1] <= CLOSE_UWH or xs[m - 1] - xs[i] <= CLOSE_UWH:
                continue
            chord = v[k - 1] + (vs[i + 1] - v[k - 1]) * ((xs[i] - x[k - 1]) / (xs[i + 1] - x[k - 1]))
            if abs(vs[i] - chord) <= FLAT_NANO:
                continue
        x[k], v[k] = xs[i], vs[i]
        k += 1
    return x[:k].copy(), v[:k].copy()


@njit(cache=True)
def general_step(
    x: Float64, v: Float64, net: int, buy: float, sell: float, battery: tuple[int, int, int, int, int]
) -> tuple[Float64, Float64]:
    """One slot back: breakpoints x (uWh, from 0 to the capacity) and values v (nano) of V_{t+1} -> those of V_t."""
    edge, cost = np.empty(5), np.empty(5)
    edges = slot_edges(net, buy, sell, battery, edge, cost)
    grid = _grid(x, edge, edges)
    xs, vs = np.empty(grid.size * 10 + 1), np.empty(grid.size * 10 + 1)
    left, right = np.empty(9), np.empty(9)
    n = _lines(grid[0], grid[1], x, v, edge, cost, edges, left, right)
    xs[0], vs[0] = 0.0, left[:n].max()
    m = 1
    for i in range(grid.size - 1):
        n = _lines(grid[i], grid[i + 1], x, v, edge, cost, edges, left, right)
        m = _envelope(grid[i], grid[i + 1], left, right, n, xs, vs, m)
    return _straighten(xs, vs, m)


def general_values(
    net: Int64, buy: Float64, sell: Float64, battery: tuple[int, int, int, int, int], terminal: float, keep: int
) -> tuple[list[tuple[Float64, Float64]], tuple[Float64, Float64]]:
    """(breakpoints and values after each of the first `keep` slots, those of V_0), in uWh and nano; capacity > 0.

    `battery` is (capacity uWh, charge limit Wh, discharge limit Wh, gain ppm, drain ppm); prices in micro/kWh, `net` in Wh,
    `terminal` in micro per kWh stored.
    """
    capacity = float(battery[0])
    x, v = np.array([0.0, capacity]), np.array([0.0, terminal * capacity * 1e-6])
    kept = []
    for t in range(net.size - 1, -1, -1):
        if t < keep:
            kept.append((x, v))
        x, v = general_step(x, v, net[t], buy[t], sell[t], battery)
    return kept[::-1], (x, v)
