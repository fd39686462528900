"""Two engines, one optimum: the cone program agrees with the first engine wherever it says that it is exact, and says when not."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from grid_cases import HOUR, Tables, feeder, random_book, random_tables, tight
from walras.errors import ClearingError
from walras.grid.conic import dispatch_conic
from walras.grid.feeder import FeederSlot, add_supplier, group_orders
from walras.grid.optimum import dispatch
from walras.market.orders import make_orders


@settings(max_examples=30, deadline=None)
@given(random_tables(max_buses=8), st.integers(0, 2**32), st.sampled_from([1.0, 0.3]), st.sampled_from([0.08, 0.04]))
def test_the_engines_agree_on_welfare_and_prices(tables: Tables, seed: int, rating: float, band: float) -> None:
    slot = FeederSlot(tight(tables, rating, band), HOUR)
    groups = group_orders(random_book(slot.network, seed, 20, 15.0), slot.network)
    ours = dispatch(slot, groups)
    if ours.short.any():
        return
    try:
        theirs = dispatch_conic(slot, groups)
    except ClearingError:
        return
    if not theirs.exact:
        return
    welfare = float(np.sum(groups.side * groups.price * ours.fill_kw))
    assert abs(welfare - theirs.welfare) <= 1e-5 * max(abs(welfare), 1e5)


def test_the_engines_agree_where_voltage_binds() -> None:
    network = feeder(slack_v_pu=1.02).network(v_max_pu=1.035)
    rng = np.random.default_rng(5)
    book = make_orders(np.full(30, -1), rng.integers(500, 2500, 30), rng.integers(80_000, 250_000, 30), node=rng.integers(2, 7, 30))
    slot = FeederSlot(network, HOUR)
    groups = group_orders(add_supplier(book, network, 310_000, 280_000, participant=9), network)
    ours, theirs = dispatch(slot, groups), dispatch_conic(slot, groups)
    assert theirs.exact
    assert ours.multiplier.max() > 0
    assert np.abs(ours.fill_kw - theirs.fill_kw).max() < 1e-3
    assert np.abs(ours.node_price() - theirs.node_price).max() < 20  # 0.002 ct/kWh


def test_negative_prices_with_must_run_power_make_it_say_that_it_is_not_exact() -> None:
    network = feeder().network()
    book = make_orders([-1, -1], [9000, 9000], [-200_000, -180_000], node=[4, 6])
    slot = FeederSlot(network, HOUR)
    groups = group_orders(add_supplier(book, network, 10_000, -50_000, participant=9), network)
    theirs = dispatch_conic(slot, groups)
    assert not theirs.exact
    assert theirs.invented_kw > 0.1
    ours = dispatch(slot, groups)
    assert float(np.sum(groups.side * groups.price * ours.fill_kw)) < theirs.welfare
