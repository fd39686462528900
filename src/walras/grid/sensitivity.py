"""How the slack power, a voltage or a branch loading answers to one more kW at each bus: exact derivatives at an AC solution.

The rule: one factorisation of the Jacobian in tree order (no fill-in, O(buses)), then one adjoint solve for each quantity gives
its derivative with respect to the power of *every* bus at once (implicit function theorem: dphi/dS = -c^T J^{-1} dG/dS).

The unknowns are the complex voltages V_k below the root; the equations are the current balances

    G_k(V) = I_in(k) - sum over children c of I_out(c) - conj(S_k / V_k) = 0

A real-linear map of the complex plane, z -> a z + b conj(z), is the pair (a, b); its inverse and its adjoint are pairs again,
so the 2x2 blocks of the Jacobian stay two complex numbers each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from walras.errors import GridError
from walras.grid.network import BASE_KVA, Float, Int, Network
from walras.grid.sweep import MAX_SWEEPS, TOLERANCE_PU, solve, start_flat

Complex = NDArray[np.complex128]


@njit(cache=True)
def factorise(parent: Int, data: Float, p: Float, q: Float, vr: Float, vi: Float, factor: Complex) -> None:
    """`factor` [n, 4] by place receives: inverse block (a, b) after elimination of all below, and the couplings J[k, parent]
    and J[parent, k]. Row 0 is unused.
    """
    n = parent.size
    for k in range(1, n):
        y = 1 / complex(data[k, 0], data[k, 1])
        half = complex(data[k, 2], data[k, 3])
        tap = complex(data[k, 4], data[k, 5])
        v = complex(vr[k], vi[k])
        factor[k, 0] = -(y + half)
        factor[k, 1] = complex(p[k], -q[k]) / (v.conjugate() * v.conjugate())
        factor[k, 2] = tap * y
        factor[k, 3] = tap.conjugate() * y
    for k in range(1, n):
        up = parent[k]
        if up > 0:
            turn = data[k, 4] * data[k, 4] + data[k, 5] * data[k, 5]
            factor[up, 0] -= turn * (1 / complex(data[k, 0], data[k, 1]) + complex(data[k, 2], data[k, 3]))
    for k in range(n - 1, 0, -1):
        a, b = factor[k, 0], factor[k, 1]
        determinant = a.real * a.real + a.imag * a.imag - b.real * b.real - b.imag * b.imag
        ia, ib = a.conjugate() / determinant, -b / determinant
        factor[k, 0], factor[k, 1] = ia, ib
        up = parent[k]
        if up > 0:
            factor[up, 0] -= factor[k, 3] * ia * factor[k, 2]
            factor[up, 1] -= factor[k, 3] * ib * factor[k, 2].conjugate()


@njit(cache=True)
def adjoint(parent: Int, factor: Complex, vr: Float, vi: Float, c: Complex, dp: Float, dq: Float) -> None:
    """Derivatives of a quantity with gradient `c` [n] (dphi = sum Re(conj(c_k) dV_k)) to the power each place takes, pu per pu.

    `c` is overwritten. Entry 0 of `dp`, `dq` is left at zero: power at the root moves no voltage.
    """
    n = parent.size
    for k in range(n - 1, 0, -1):
        up = parent[k]
        if up > 0 and c[k] != 0.0:  # of most quantities only the way to the root
            moved = factor[k, 0].conjugate() * c[k] + factor[k, 1] * c[k].conjugate()
            c[up] -= factor[k, 2].conjugate() * moved
    dp[0] = 0.0
    dq[0] = 0.0
    for k in range(1, n):
        up = parent[k]
        right = c[k]
        if up > 0:
            right -= factor[k, 3].conjugate() * c[up]
        c[k] = factor[k, 0].conjugate() * right + factor[k, 1] * right.conjugate()
        square = vr[k] * vr[k] + vi[k] * vi[k]  # c / V, without the care that a general complex division takes
        dp[k] = (c[k].real * vr[k] + c[k].imag * vi[k]) / square
        dq[k] = (c[k].real * vi[k] - c[k].imag * vr[k]) / square


@njit(cache=True)
def slack_gradient(parent: Int, data: Float, vr: Float, vi: Float, c: Complex) -> None:
    """Gradient of the active power that the root sends into the tree."""
    for k in range(parent.size):
        c[k] = 0.0
    root = complex(vr[0], vi[0])
    for k in range(1, parent.size):
        if parent[k] == 0:
            c[k] = -root * complex(data[k, 4], data[k, 5]) / complex(data[k, 0], -data[k, 1])


@njit(cache=True)
def voltage_gradient(vr: Float, vi: Float, k: int, c: Complex) -> None:
    """Gradient of the voltage magnitude at place k."""
    for i in range(vr.size):
        c[i] = 0.0
    c[k] = complex(vr[k], vi[k]) / np.hypot(vr[k], vi[k])


@njit(cache=True)
def loading_gradient(parent: Int, data: Float, vr: Float, vi: Float, k: int, c: Complex) -> None:
    """Gradient of the loading (fraction of the rating) of the branch that feeds place k, at its more loaded end."""
    for i in range(vr.size):
        c[i] = 0.0
    up = parent[k]
    y = 1 / complex(data[k, 0], data[k, 1])
    half = complex(data[k, 2], data[k, 3])
    tap = complex(data[k, 4], data[k, 5])
    here = complex(vr[k], vi[k])
    there = complex(vr[up], vi[up]) * tap
    near = (there - here) * y + half * there
    far = (there - here) * y - half * here
    line = data[k, 7] != 0.0
    near_size = abs(near) if line else abs(near) * abs(there)
    far_size = abs(far) if line else abs(far) * abs(here)
    if near_size == 0.0 and far_size == 0.0:
        return
    if near_size >= far_size:
        unit = near / abs(near) * (1.0 if line else abs(there))
        at_here = unit * (-y).conjugate()
        at_there = unit * (y + half).conjugate()
        if not line:
            at_there += abs(near) * there / abs(there)
    else:
        unit = far / abs(far) * (1.0 if line else abs(here))
        at_here = unit * (-(y + half)).conjugate()
        at_there = unit * y.conjugate()
        if not line:
            at_here += abs(far) * here / abs(here)
    c[k] = at_here * data[k, 6]
    if up > 0:
        c[up] = at_there * tap.conjugate() * data[k, 6]


@dataclass(frozen=True, eq=False)
class Sensitivities:
    """Derivatives at one operating point. Each method gives (per kW, per kvar) taken at each bus, [buses] in network order."""

    network: Network
    vr: Float
    vi: Float
    factor: Complex

    def slack_power(self) -> tuple[Float, Float]:
        """kW that the root delivers per kW (kvar) taken at each bus: 1 plus the marginal losses. At the root itself 1."""
        w = self.network.wires
        c = np.zeros(self.network.buses, dtype=np.complex128)
        slack_gradient(w.parent, w.data, self.vr, self.vi, c)
        dp, dq = self._solve(c)
        dp[self.network.root] = 1.0
        return dp, dq

    def voltage(self, bus: int) -> tuple[Float, Float]:
        """pu of voltage at `bus` per kW (kvar) taken at each bus."""
        c = np.zeros(self.network.buses, dtype=np.complex128)
        if bus != self.network.root:
            voltage_gradient(self.vr, self.vi, int(self.network.wires.place[bus]), c)
        dp, dq = self._solve(c)
        return dp / BASE_KVA, dq / BASE_KVA

    def loading(self, branch: int) -> tuple[Float, Float]:
        """Loading of `branch` as a fraction of its rating, per kW (kvar) taken at each bus. Zero where nothing flows."""
        w = self.network.wires
        c = np.zeros(self.network.buses, dtype=np.complex128)
        loading_gradient(w.parent, w.data, self.vr, self.vi, branch + 1, c)
        dp, dq = self._solve(c)
        return dp / BASE_KVA, dq / BASE_KVA

    def _solve(self, c: Complex) -> tuple[Float, Float]:
        w = self.network.wires
        dp, dq = np.zeros(c.size), np.zeros(c.size)
        adjoint(w.parent, self.factor, self.vr, self.vi, c, dp, dq)
        return dp[w.place], dq[w.place]


def sensitivities(network: Network, p_kw: Float, q_kvar: Float) -> Sensitivities:
    """Solve the AC power flow at one slot's powers [buses] and factorise there. Raises GridError where no flow exists.

    >>> from walras.grid import Line, build_network
    >>> net = build_network({"a": 0.4, "b": 0.4}, [Line("ab", "a", "b", 1.0, 0.16, 0.0, max_i_ka=0.1)], root="a")
    >>> at = sensitivities(net, np.array([0.0, 10.0]), np.zeros(2))
    >>> round(float(at.slack_power()[0][1]), 4), round(float(at.voltage(1)[0][1]), 6)    # dv/dp = -r / (2 v - 1)
    (1.0206, -0.001021)
    """
    w = network.wires
    n = network.buses
    p = np.asarray(p_kw, dtype=np.float64)[w.order] / BASE_KVA
    q = np.asarray(q_kvar, dtype=np.float64)[w.order] / BASE_KVA
    vr, vi, state = np.empty(n), np.empty(n), np.zeros((n, 4))
    start_flat(w.parent, w.data, w.slack_v_pu, vr, vi)
    if solve(w.parent, w.data, p, q, vr, vi, state, TOLERANCE_PU, MAX_SWEEPS) < 0:
        raise GridError("no AC power flow at this operating point", thing=network, way_out="lower the powers")
    factor = np.zeros((n, 4), dtype=np.complex128)
    factorise(w.parent, w.data, p, q, vr, vi, factor)
    return Sensitivities(network, vr, vi, factor)
