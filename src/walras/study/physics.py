"""What the wires feel in a slot: one AC power flow of what the meters measured, and its public summary in whole numbers.

Power is the energy of the slot over its length, at the member's bus; reactive power follows the profiles. The summary is rounded
to a millionth (of a rating, of nominal voltage) and to a watt, so that it is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from walras.community.model import DroopName, Member
from walras.grid import Flow, Network, find_violations, power_flow
from walras.grid.droop import IEEE_1547_A, IEEE_1547_B, PRESET_EN, Droop, Inverters, flow_with_droop
from walras.strategies.dispatch import Dispatch
from walras.units import Float64, Int64

PPM = 1_000_000

DROOPS: dict[DroopName, Droop] = {
    "none": Droop(),
    "ieee1547-a": IEEE_1547_A,
    "ieee1547-b": IEEE_1547_B,
    "en50549": PRESET_EN,
}


@dataclass(frozen=True, slots=True)
class Felt(Dispatch):
    """What devices did once their inverters had answered to the voltage; `reactive_kvar` [members] is taken."""

    reactive_kvar: Float64


@dataclass(frozen=True, eq=False)
class SolarInverters:
    """The inverters of the members that have plants: `member` [n] their rows, `rating_kva` [n], and the curves that they heed."""

    member: Int64
    rating_kva: Float64
    droop: Droop

    @property
    def answers(self) -> bool:
        """Whether the voltage changes anything."""
        return self.member.size > 0 and bool(self.droop.volt_watt or self.droop.volt_var)


def solar_inverters(members: Sequence[Member], droop: DroopName) -> SolarInverters:
    """One inverter a member, rated like its plants together."""
    peaks = [sum(plant.peak_w for plant in member.pv) for member in members]
    owners = [row for row, peak in enumerate(peaks) if peak]
    rating = np.array([peaks[row] / 1e3 for row in owners], dtype=np.float64)
    return SolarInverters(np.array(owners, dtype=np.int64), rating, DROOPS[droop])


def held_and_reactive(
    network: Network, bus: Int64, inverters: SolarInverters, net_wh: Int64, solar_wh: Int64, reactive_kvar: Float64, hours: float
) -> tuple[Int64, Float64]:
    """What the voltage holds back of the solar energy in one slot, [members] whole Wh, and the reactive power taken, [members].

    `net_wh` is net energy with the solar energy `solar_wh` in it, `reactive_kvar` what loads take.
    """
    mine = inverters.member
    p, q = np.zeros(network.buses), np.zeros(network.buses)
    np.add.at(p, bus, (net_wh + solar_wh) / (1e3 * hours))
    np.add.at(q, bus, reactive_kvar)
    answer = Inverters(bus[mine], solar_wh[mine] / (1e3 * hours), inverters.rating_kva, [inverters.droop] * mine.size)
    found = flow_with_droop(network, p, q, answer)
    held, reactive = np.zeros_like(net_wh), reactive_kvar.copy()
    held[mine] = np.minimum(np.rint(found.held_kw[0] * 1e3 * hours).astype(np.int64), solar_wh[mine])
    reactive[mine] -= found.q_kvar[0]
    return held, reactive


def bus_flow(network: Network, bus: Int64, net_wh: Int64, reactive_kvar: Float64, hours: float) -> Flow:
    """The power flow of slots: `net_wh`, `reactive_kvar` [slots, members] (positive: taken), `bus` [members]."""
    p = np.zeros((net_wh.shape[0], network.buses))
    q = np.zeros_like(p)
    np.add.at(p.T, bus, net_wh.T / (1e3 * hours))
    np.add.at(q.T, bus, reactive_kvar.T)
    return power_flow(network, p, q)


def flow_to_public(flow: Flow, network: Network) -> dict[str, Any]:
    """Import over the transformer, losses, the most loaded branch, the lowest and highest voltage, limits broken."""
    branch = int(np.argmax(flow.loading[0])) if network.branches else 0
    low, high = int(np.argmin(flow.v_pu[0])), int(np.argmax(flow.v_pu[0]))
    broken = find_violations(network, flow)
    return {
        "import_w": round(1e3 * float(flow.slack_p_kw[0])),
        "losses_w": round(1e3 * float(flow.losses_kw[0])),
        "loading_ppm": [branch, round(PPM * float(flow.loading[0, branch]))] if network.branches else [0, 0],
        "v_min_ppm": [low, round(PPM * float(flow.v_pu[0, low]))],
        "v_max_ppm": [high, round(PPM * float(flow.v_pu[0, high]))],
        "violations": [
            [int(kind), int(index), round(PPM * float(value)), round(PPM * float(limit))]
            for kind, index, value, limit in zip(broken.kind, broken.index, broken.value, broken.limit, strict=True)
        ],
    }
