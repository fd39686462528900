"""Laws of the two settlement rules, and a slow twin of `as_delivered`."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from walras.exchange.settlement import Positions, settle_as_delivered, settle_firm
from walras.units import Int64

Column = list[int]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Positions, Int64, Int64, int]:
    n = draw(st.integers(1, 8))
    price = draw(st.integers(-50_000, 500_000))
    energy = st.integers(0, 5_000)
    bought = draw(st.lists(energy, min_size=n, max_size=n))
    sold = draw(st.lists(energy, min_size=n, max_size=n))
    low = min(sum(bought), sum(sold))
    bought, sold = _trim(bought, low), _trim(sold, low)
    b, s = np.array(bought, dtype=np.int64), np.array(sold, dtype=np.int64)
    net = np.array(draw(st.lists(st.integers(-6_000, 6_000), min_size=n, max_size=n)), dtype=np.int64)
    return Positions(b, s, b * price, -s * price), np.maximum(net, 0), np.maximum(-net, 0), price


def _trim(values: Column, total: int) -> Column:
    out = []
    for v in values:
        out.append(min(v, total))
        total -= out[-1]
    return out


@given(cases())
def test_what_counts_is_balanced_and_within_what_was_metered_and_held(case: tuple[Positions, Int64, Int64, int]) -> None:
    positions, imports, exports, price = case
    s = settle_as_delivered(positions, imports, exports)
    assert s.bought_wh.sum() == s.sold_wh.sum()
    assert (s.bought_wh <= np.minimum(positions.bought_wh, imports)).all()
    assert (s.sold_wh <= np.minimum(positions.sold_wh, exports)).all()
    assert (s.bought_wh + s.supplied_wh == imports).all()
    assert (s.sold_wh + s.exported_wh == exports).all()
    assert (s.local_nano == price * (s.bought_wh - s.sold_wh)).all()
    assert s.market_surplus_nano == 0


@given(cases())
def test_only_the_longer_side_is_reduced(case: tuple[Positions, Int64, Int64, int]) -> None:
    positions, imports, exports, _ = case
    s = settle_as_delivered(positions, imports, exports)
    buy, sell = np.minimum(positions.bought_wh, imports), np.minimum(positions.sold_wh, exports)
    assert (s.bought_wh == buy).all() or (s.sold_wh == sell).all()
    assert s.bought_wh.sum() == min(buy.sum(), sell.sum())


@given(cases(), st.integers(0, 600_000), st.integers(0, 600_000))
def test_firm_keeps_every_member_energy_and_all_money(case: tuple[Positions, Int64, Int64, int], short: int, long: int) -> None:
    positions, imports, exports, _ = case
    s = settle_firm(positions, imports, exports, short, long)
    net = s.bought_wh - s.sold_wh + s.supplied_wh - s.exported_wh + s.imbalance_wh
    assert (net == imports - exports).all()
    assert (s.local_nano == positions.buy_nano + positions.sell_nano).all()
    expected = np.where(s.imbalance_wh > 0, s.imbalance_wh * short, s.imbalance_wh * long)
    assert (s.imbalance_nano == expected).all()


@given(cases())
def test_payments_that_are_no_multiple_are_rounded_towards_the_member(case: tuple[Positions, Int64, Int64, int]) -> None:
    positions, imports, exports, _ = case
    odd = Positions(positions.bought_wh, positions.sold_wh, positions.buy_nano + 1, positions.sell_nano - 1)
    s = settle_as_delivered(odd, imports, exports)
    for m in range(imports.size):
        buy = _floor_share(odd.buy_nano[m], s.bought_wh[m], odd.bought_wh[m])
        sell = _floor_share(odd.sell_nano[m], s.sold_wh[m], odd.sold_wh[m])
        assert s.local_nano[m] == buy + sell


def _floor_share(pay: np.int64, part: np.int64, whole: np.int64) -> int:
    return int(pay) * int(part) // int(whole) if whole else 0
