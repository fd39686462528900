"""Opening pools of equal means for every curve, so that a comparison compares curves and not purses.

Each pool starts with the same stock of energy and the same marginal price, half way between feed-in and retail; where a
curve needs money beside its stock it is worth as much as the stock.
"""

from __future__ import annotations

from math import isqrt

from walras.errors import Fault, InputError
from walras.market.pool import MAX_POOL_WH, PPM
from walras.units import MAX_PRICE_MICRO_PER_KWH

POOL_NAMES = ("constant_product", "constant_sum", "stableswap", "concentrated", "expiring")
AMPLIFICATION = 100


def opening_pool(name: str, stock_wh: int, feed_in: int, retail: int, fee_ppm: int = 3_000) -> dict[str, int]:
    """The book's part "pool" for the mechanism `name`. Prices in micro/kWh, 0 <= feed_in < retail. InputError with every fault.

    >>> opening_pool("expiring", 10_000, 80_000, 300_000)["capacity_wh"]
    20000
    >>> opening_pool("constant_product", 10_000, 80_000, 300_000)["money_nano"]       # 10 kWh at 0.19
    1900000000
    """
    limit = MAX_PRICE_MICRO_PER_KWH
    checks = (
        ("mechanism", name, name in POOL_NAMES, "one of " + ", ".join(POOL_NAMES)),
        ("stock_wh", stock_wh, 1 <= stock_wh <= MAX_POOL_WH // 2, f"1 to {MAX_POOL_WH // 2}"),
        ("feed_in", feed_in, 0 <= feed_in <= limit, f"0 to {limit}"),
        ("retail", retail, feed_in + 1 < retail <= limit, f"above feed-in by 2 or more, at most {limit}"),
        ("fee_ppm", fee_ppm, 0 <= fee_ppm < PPM, f"0 to {PPM - 1}"),
    )
    faults = [Fault("opening pool", field, value, wanted) for field, value, good, wanted in checks if not good]
    if faults:
        raise InputError("opening pool", faults)
    price = (feed_in + retail) // 2
    reserves = {"energy_wh": stock_wh, "money_nano": stock_wh * price}
    if name == "constant_product":
        return {**reserves, "fee_ppm": fee_ppm}
    if name == "constant_sum":
        return {**reserves, "price_micro_per_kwh": price, "fee_ppm": fee_ppm}
    if name == "stableswap":
        return {**reserves, "price_micro_per_kwh": price, "amplification": AMPLIFICATION, "fee_ppm": fee_ppm}
    if name == "expiring":
        prices = {"feed_in_micro_per_kwh": feed_in, "retail_micro_per_kwh": retail}
        return {**reserves, "capacity_wh": 2 * stock_wh, **prices, "fee_ppm": fee_ppm}
    # Stock up to the high end is depth * (1 - sqrt(price / retail)).
    unit = 10**6
    depth = stock_wh * unit // (unit - isqrt(price * unit * unit // retail))
    prices = {"price_micro_per_kwh": price, "low_price_micro_per_kwh": max(1, feed_in), "high_price_micro_per_kwh": retail}
    return {"depth_wh": min(depth, MAX_POOL_WH), **prices, "fee_ppm": fee_ppm}
