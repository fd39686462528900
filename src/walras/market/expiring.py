"""Pool for energy that expires: priced between feed-in and retail, by how full the stock is.

A kilowatt-hour promised for a slot is worth nothing else afterwards: what is left at delivery flows to the grid at the feed-in
price F, what is missing comes from the retailer at the price R. If the demand still to come until the gate closes is equally
likely to be anything from 0 to the capacity C, one more unit beside a stock of x is sold with probability 1 - x / C and
flows to the grid with probability x / C (the newsvendor's margin: Arrow, Harris and Marschak, "Optimal inventory policy",
Econometrica 19, 1951). Its expected worth is the marginal price:

    p(x) = R - (R - F) x / C          R when empty, F when full, never outside

A swap moves x along this line, and the money is the area under it. The invariant is money + U(x) with U(x) = R x - (R -
F) x**2 / (2 C); times 2 C it is whole. Laws, each a test: the invariant never falls; no round trip earns; no price is
outside [F, R]; and the loss is bounded: with everything left expiring at F the providers lose at most (R - F) C / 2
against the invariant they started with (the bounded loss of Hanson's market makers, "Combinatorial information market
design", 2003). When the gate has closed, `expire` pays the stock at F.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from walras.errors import Fault, InputError
from walras.market.pool import (
    FEE,
    MAX_POOL_NANO,
    MAX_POOL_WH,
    PPM,
    PRICE,
    RESERVES,
    Field,
    bought,
    ceil_div,
    floor_div,
    pool_mechanism,
    sold,
)
from walras.market.shares import burned, minted, payout, top_up

FIELDS: dict[str, Field] = {
    **RESERVES,
    "capacity_wh": (1, MAX_POOL_WH, "stock at which the price is down to feed-in"),
    "feed_in_micro_per_kwh": (0, PRICE[1], "what is left at delivery is worth this"),
    "retail_micro_per_kwh": (0, PRICE[1], "what is missing at delivery costs this"),
    **FEE,
}


@dataclass(frozen=True, slots=True)
class Expiring:
    """Stock in Wh (at most the capacity), money in nano-units, the two prices in micro/kWh, the fee, the shares."""

    energy_wh: int
    money_nano: int
    capacity_wh: int
    feed_in_micro_per_kwh: int
    retail_micro_per_kwh: int
    fee_ppm: int
    shares: int

    def _area(self, low_wh: int, high_wh: int) -> int:
        """2 C times the area under the price line between two stocks, exact."""
        spread = self.retail_micro_per_kwh - self.feed_in_micro_per_kwh
        line = 2 * self.capacity_wh * self.retail_micro_per_kwh - spread * (low_wh + high_wh)
        return line * (high_wh - low_wh)

    def quote_buy(self, wh: int) -> int | None:
        """See `Pool`. One rounding, of area and fee together."""
        if wh > self.energy_wh:
            return None
        area = self._area(self.energy_wh - wh, self.energy_wh)
        cost = ceil_div(area * PPM, 2 * self.capacity_wh * (PPM - self.fee_ppm))
        return None if self.money_nano + cost > MAX_POOL_NANO else cost

    def quote_sell(self, wh: int) -> int | None:
        """See `Pool`."""
        if self.energy_wh + wh > self.capacity_wh:
            return None
        area = self._area(self.energy_wh, self.energy_wh + wh)
        proceeds = floor_div(area * (PPM - self.fee_ppm), 2 * self.capacity_wh * PPM)
        return None if proceeds > self.money_nano else proceeds

    buy, sell = bought, sold

    def price(self) -> Fraction:
        """See `Pool`."""
        spread = self.retail_micro_per_kwh - self.feed_in_micro_per_kwh
        return self.retail_micro_per_kwh - Fraction(spread * self.energy_wh, self.capacity_wh)

    def invariant(self) -> int:
        """2 C (money + U(stock)), nano-units times Wh."""
        return 2 * self.capacity_wh * self.money_nano + self._area(0, self.energy_wh)

    def expire(self) -> tuple[Expiring, int]:
        """At delivery: (the pool with its stock gone to the grid, nano-units that feed-in pays for it)."""
        paid = self.energy_wh * self.feed_in_micro_per_kwh
        return replace(self, energy_wh=0, money_nano=self.money_nano + paid), paid

    def mint(self, shares: int) -> tuple[Expiring, int, int]:
        """(pool, Wh, nano-units to deposit) for new shares; the capacity grows in proportion."""
        after, wh, nano = minted(self, shares)
        return replace(after, capacity_wh=self.capacity_wh + top_up(self.capacity_wh, shares, self.shares)), wh, nano

    def burn(self, shares: int) -> tuple[Expiring, int, int]:
        """(pool, Wh, nano-units paid out) for shares given back; the capacity shrinks in proportion."""
        after, wh, nano = burned(self, shares)
        capacity = max(1, self.capacity_wh - payout(self.capacity_wh, shares, self.shares))
        return replace(after, capacity_wh=capacity), wh, nano


def open_expiring(
    energy_wh: int,
    money_nano: int,
    capacity_wh: int,
    feed_in_micro_per_kwh: int,
    retail_micro_per_kwh: int,
    fee_ppm: int,
) -> Expiring:
    """A pool from its first deposit; a share is a Wh of capacity.

    Half full between 0.08 and 0.30 a kWh, so 0.19 at the margin; the next kWh of a stock of 10 costs the mean of 0.19 and
    0.201:
    >>> pool = open_expiring(10_000, 0, 20_000, 80_000, 300_000, 0)
    >>> pool.price() == 190_000, pool.quote_buy(1_000)
    (True, 195500000)
    """
    faults = []
    if energy_wh > capacity_wh:
        faults.append(Fault("pool", "energy_wh", energy_wh, f"at most the capacity, {capacity_wh}"))
    if feed_in_micro_per_kwh > retail_micro_per_kwh:
        faults.append(Fault("pool", "feed_in_micro_per_kwh", feed_in_micro_per_kwh, f"at most retail, {retail_micro_per_kwh}"))
    if faults:
        raise InputError("expiring pool", faults)
    return Expiring(energy_wh, money_nano, capacity_wh, feed_in_micro_per_kwh, retail_micro_per_kwh, fee_ppm, shares=capacity_wh)


EXPIRING = pool_mechanism(
    "expiring",
    "Expiring-inventory pool between feed-in and retail",
    "Arrow, Harris and Marschak, Optimal inventory policy, 1951; Hanson, 2003 (bounded loss)",
    FIELDS,
    open_expiring,
)
