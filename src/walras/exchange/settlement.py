"""From positions and readings to what counts: the two named settlement rules.

`as_delivered` (the default): trades count up to what both sides really metered. A member's purchase counts up to its metered
import, a sale up to its metered export; then the longer side is reduced pro rata (largest remainder) so that bought = sold.
Everything else is billed by the member's own supplier contract, exactly as without the market.

`firm`: positions stand at their price. What a buyer did not take it sells, and what a seller did not deliver it buys, at the
imbalance price (one price, or two sides). Import beyond a purchase and export beyond a sale are the supplier contract's.

Payments are positive when the member pays. Both rules keep every total exactly; a payment reduced pro rata is rounded down
(towards the member), and the dust below a nano-unit is the operator's, in the surplus.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from walras.errors import Fault, InputError
from walras.market.clearing import Clearing
from walras.market.orders import BUY, Orders
from walras.units import INT64_MAX, Int64, checked_product, checked_sum, share_pro_rata


@dataclass(frozen=True, slots=True)
class Positions:
    """What each member holds after the clearing: columns [members]; `buy_nano` >= 0 in the usual case, `sell_nano` <= 0."""

    bought_wh: Int64
    sold_wh: Int64
    buy_nano: Int64
    sell_nano: Int64


@dataclass(frozen=True, slots=True)
class Settled:
    """What counts for each member in one slot: columns [members].

    bought_wh, sold_wh   local energy that counts
    local_nano           paid for local energy, net of what was earned with it
    supplied_wh          import on the member's own contract
    exported_wh          export at the member's feed-in tariff
    imbalance_wh         bought (+) or sold (-) at the imbalance price; zero under `as_delivered`
    imbalance_nano       paid for it
    """

    bought_wh: Int64
    sold_wh: Int64
    local_nano: Int64
    supplied_wh: Int64
    exported_wh: Int64
    imbalance_wh: Int64
    imbalance_nano: Int64

    @property
    def market_surplus_nano(self) -> int:
        """What the market operator keeps of the payments for local energy."""
        return checked_sum(self.local_nano)


def positions_of(orders: Orders, clearing: Clearing, members: int) -> Positions:
    """Fills and payments by member (`orders.participant` is the member's row)."""
    if orders.count and (int(orders.participant.min()) < 0 or int(orders.participant.max()) >= members):
        raise InputError("positions", [Fault("orders", "participant", int(orders.participant.max()), f"a row below {members}")])
    buys = orders.side == BUY
    columns = [np.zeros(members, dtype=np.int64) for _ in range(4)]
    for column, rows, values in (
        (columns[0], buys, clearing.filled_wh),
        (columns[1], ~buys, clearing.filled_wh),
        (columns[2], buys, clearing.pay_nano),
        (columns[3], ~buys, clearing.pay_nano),
    ):
        np.add.at(column, orders.participant[rows], values[rows])
    return Positions(*columns)


def settle_as_delivered(positions: Positions, import_wh: Int64, export_wh: Int64) -> Settled:
    """Trades count up to what both sides metered; `import_wh`, `export_wh` [members] >= 0.

    >>> one = lambda *v: np.array(v)
    >>> p = Positions(one(1000, 0), one(0, 1000), one(200_000_000, 0), one(0, -200_000_000))
    >>> s = settle_as_delivered(p, one(1000, 0), one(0, 600))
    >>> s.bought_wh.tolist(), s.supplied_wh.tolist(), s.local_nano.tolist()
    ([600, 0], [400, 0], [120000000, -120000000])
    """
    buy = np.minimum(positions.bought_wh, import_wh)
    sell = np.minimum(positions.sold_wh, export_wh)
    volume = min(checked_sum(buy), checked_sum(sell))
    buy, sell = share_pro_rata(buy, volume), share_pro_rata(sell, volume)
    local = _scale(positions.buy_nano, buy, positions.bought_wh) + _scale(positions.sell_nano, sell, positions.sold_wh)
    nothing = np.zeros_like(local)
    return Settled(buy, sell, local, import_wh - buy, export_wh - sell, nothing, nothing)


def settle_firm(
    positions: Positions,
    import_wh: Int64,
    export_wh: Int64,
    short_price_micro_per_kwh: int,
    long_price_micro_per_kwh: int,
) -> Settled:
    """Positions stand; a deviation is bought at the short price or sold at the long price (equal: one-price imbalance).

    >>> one = lambda *v: np.array(v)
    >>> p = Positions(one(1000, 0), one(0, 1000), one(200_000_000, 0), one(0, -200_000_000))
    >>> s = settle_firm(p, one(1000, 0), one(0, 600), 400_000, 50_000)
    >>> s.imbalance_wh.tolist(), s.imbalance_nano.tolist()      # the seller buys the 400 Wh it did not deliver
    ([0, 400], [0, 160000000])
    """
    missing_sale = np.maximum(positions.sold_wh - export_wh, 0)
    unused_purchase = np.maximum(positions.bought_wh - import_wh, 0)
    imbalance = missing_sale - unused_purchase
    price = np.where(imbalance >= 0, short_price_micro_per_kwh, long_price_micro_per_kwh).astype(np.int64)
    return Settled(
        positions.bought_wh,
        positions.sold_wh,
        positions.buy_nano + positions.sell_nano,
        np.maximum(import_wh - positions.bought_wh, 0),
        np.maximum(export_wh - positions.sold_wh, 0),
        imbalance,
        checked_product(imbalance, price, "imbalance_nano"),
    )


def _scale(pay_nano: Int64, part_wh: Int64, whole_wh: Int64) -> Int64:
    """floor(pay * part / whole), exact; 0 where whole = 0: nothing held, nothing owed."""
    if np.array_equal(part_wh, whole_wh):
        return np.where(whole_wh == 0, 0, pay_nano)
    if pay_nano.size and int(np.abs(pay_nano).max()) * max(int(part_wh.max()), 1) > INT64_MAX:
        pairs = zip(pay_nano.tolist(), part_wh.tolist(), whole_wh.tolist(), strict=True)
        return np.array([p * d // w if w else 0 for p, d, w in pairs], dtype=np.int64)
    return np.asarray((pay_nano * part_wh) // np.maximum(whole_wh, 1), dtype=np.int64)
