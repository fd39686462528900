"""Curtailment by a written order instead of by prices: who takes back how much of what it is about to feed in, and what it is paid.

    pro_rata            the same part of everyone's feed-in
    last_in_first_out   the newest plant first, the last of them in part
    cheapest            the least payment, the effect on the limits considered

Taken is what an AC power flow needs to be within every limit (`grid.curtail`), in whole Wh, rounded towards less fed in. Who takes
back is paid `paid_percent` of what it loses by it: its feed-in rate, and the trade price for what it had sold. The grid
operator pays. Where taking alone breaks a limit, taking back feed-in would not mend it: then nothing is taken back, and the
record says what stays broken and by how much. No limit has a price here.
"""

from __future__ import annotations

import numpy as np

from walras.errors import ClearingError, GridError
from walras.exchange.wires import Wires
from walras.grid import Curtailment, FeederSlot, curtail, find_violations, pay_curtailment, power_flow
from walras.grid.rows import EXPORT_LIMIT, IMPORT_LIMIT
from walras.market.clearing import Clearing
from walras.market.laws import Finding
from walras.market.orders import Orders
from walras.units import Int64

MECHANISM = "curtailment"
HAIR_WH = 2
HAIR_PPM = 1_000
_COLUMNS = ("limit_kind", "limit_index", "limit_price_micro_per_hour", "limit_short_ppm")


def take_back(book: Orders, feeder: FeederSlot, wires: Wires, root_micro: int) -> Clearing:
    """`book` holds what members want to feed in, at the root's price less what they lose by taking it back; the supplier is last.

    The clearing fills what is kept; `pay_nano` <= 0 is what is paid for the rest.
    """
    if wires.order == "nodal":
        raise ClearingError("the terms take back by prices, not by an order", thing=wires.order)
    lost = np.maximum(root_micro - book.price_micro_per_kwh[:-2], 0)
    wanted = np.asarray(book.quantity_wh[:-2] * feeder.kw_per_wh, dtype=np.float64)
    connected = wires.connected[book.participant[:-2]]
    try:
        done = curtail(feeder, book.node[:-2], wanted, wires.order, connected=connected, price_micro_per_kwh=lost)
    except GridError:
        done = Curtailment(wanted, np.zeros_like(wanted))
    paid = pay_curtailment(done, feeder.hours, lost, paid_percent=wires.paid_percent)
    return _clearing(book, feeder, paid.kept_wh, paid.pay_nano)


def check_taken_back(book: Orders, clearing: Clearing, feeder: FeederSlot, wires: Wires, root_micro: int) -> list[Finding]:
    """Everything that does not hold of such a clearing, found by following the order again; empty for a good one."""
    again = take_back(book, feeder, wires, root_micro)
    off = np.abs(again.filled_wh - clearing.filled_wh)
    if off.max(initial=0) > HAIR_WH:
        row = int(np.argmax(off))
        said, right = int(clearing.filled_wh[row]), int(again.filled_wh[row])
        return [Finding("order", f"row {row} keeps {said} Wh, by the order {wires.order} it keeps {right}")]
    lost = np.maximum(root_micro - book.price_micro_per_kwh[:-2], 0)
    taken = (book.quantity_wh - clearing.filled_wh)[:-2]
    pay = np.append(-(taken * lost // 100 * wires.paid_percent), [0, 0])
    findings = [
        Finding("payments", f"row {row} is paid {-int(clearing.pay_nano[row])}, by the rule {-int(pay[row])}")
        for row in np.flatnonzero(pay != clearing.pay_nano).tolist()
    ]
    broken = _clearing(book, feeder, clearing.filled_wh[:-2], clearing.pay_nano[:-2]).certificate
    columns = [(np.asarray(broken[name]), np.asarray(clearing.certificate[name])) for name in _COLUMNS]
    same = all(a.shape == b.shape and (np.abs(a - b) <= HAIR_PPM).all() for a, b in columns)
    return findings if same else [*findings, Finding("limits", "what is said to stay broken is not what the AC flow breaks")]


def _clearing(book: Orders, feeder: FeederSlot, kept_wh: Int64, pay_nano: Int64) -> Clearing:
    """With what an AC flow of the energy kept still breaks, in the columns of a nodal certificate; no limit has a price."""
    filled = np.append(kept_wh, [0, 0])
    flow = power_flow(feeder.network, feeder.power_of(book, filled), feeder.fixed_q_kvar)
    broken = find_violations(feeder.network, flow)
    kind, index, short = broken.kind.tolist(), broken.index.tolist(), broken.excess.tolist()
    root_kw = float(flow.slack_p_kw[0])
    for name, over in ((IMPORT_LIMIT, root_kw - feeder.import_limit_kw), (EXPORT_LIMIT, -root_kw - feeder.export_limit_kw)):
        if over > HAIR_WH * feeder.kw_per_wh:
            kind, index, short = [*kind, name], [*index, 0], [*short, over]
    certificate: dict[str, int | Int64] = {
        "limit_kind": np.array(kind, dtype=np.int64),
        "limit_index": np.array(index, dtype=np.int64),
        "limit_price_micro_per_hour": np.zeros(len(kind), dtype=np.int64),
        "limit_short_ppm": np.array([-int(-1e6 * s // 1) for s in short], dtype=np.int64),
    }
    return Clearing(MECHANISM, filled, np.append(pay_nano, [0, 0]), None, certificate=certificate)
