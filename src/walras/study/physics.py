"""What the wires feel in a slot: one AC power flow of what the meters measured, and its public summary in whole numbers.

Power is the energy of the slot over its length, at the member's bus; reactive power follows the profiles. The summary is rounded
to a millionth (of a rating, of nominal voltage) and to a watt, so that it is the same on every machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from walras.grid import Flow, Network, find_violations, power_flow
from walras.units import Float64, Int64

PPM = 1_000_000


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
