"""Liquidity shares: a share is an equal part of the reserves; a deposit is rounded up, a payout down.

Adding liquidity and taking it out again therefore never earns, and never dilutes those who stay.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from walras.errors import Fault, InputError

P = TypeVar("P", bound=Any)


def top_up(reserve: int, shares: int, outstanding: int) -> int:
    """What a reserve must grow by for `shares` new shares beside `outstanding`, rounded up.

    >>> top_up(1_001, 1, 10)
    101
    """
    if shares < 1 or outstanding < 1:
        raise InputError("shares", [Fault("shares", "mint", shares, "at least one new share beside at least one outstanding")])
    return -(-reserve * shares // outstanding)


def payout(reserve: int, shares: int, outstanding: int) -> int:
    """What `shares` of `outstanding` shares get of a reserve, rounded down.

    >>> payout(1_001, 1, 10)
    100
    """
    if not 1 <= shares <= outstanding:
        raise InputError("shares", [Fault("shares", "burn", shares, f"1 to {outstanding}")])
    return reserve * shares // outstanding


def minted(pool: P, shares: int) -> tuple[P, int, int]:
    """(pool, Wh, nano-units to deposit) for new shares of a pool whose curve has no size of its own."""
    wh, nano = top_up(pool.energy_wh, shares, pool.shares), top_up(pool.money_nano, shares, pool.shares)
    after = replace(pool, energy_wh=pool.energy_wh + wh, money_nano=pool.money_nano + nano, shares=pool.shares + shares)
    return after, wh, nano


def burned(pool: P, shares: int) -> tuple[P, int, int]:
    """(pool, Wh, nano-units paid out) for shares given back to such a pool."""
    wh, nano = payout(pool.energy_wh, shares, pool.shares), payout(pool.money_nano, shares, pool.shares)
    after = replace(pool, energy_wh=pool.energy_wh - wh, money_nano=pool.money_nano - nano, shares=pool.shares - shares)
    return after, wh, nano
