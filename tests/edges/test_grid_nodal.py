"""The corners of nodal clearing: empty, one bus, all sell, impossible, limits at the root, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from grid_cases import feeder
from walras.errors import ClearingError, InputError
from walras.grid import build_network, power_flow
from walras.grid.feeder import FeederSlot, add_supplier
from walras.grid.nodal import clear
from walras.grid.nodal_check import check_nodal
from walras.market.conventions import Conventions
from walras.market.orders import Orders, make_orders

PLAIN = Conventions()


def test_an_empty_book_clears_to_nothing() -> None:
    slot = FeederSlot(feeder().network(), 0.25)
    done = clear(make_orders([], [], []), PLAIN, slot)
    assert done.filled_wh.size == 0
    assert done.losses_wh == 0
    assert check_nodal(make_orders([], [], []), done, slot, PLAIN) == []


def test_a_single_bus_is_a_plain_auction() -> None:
    slot = FeederSlot(build_network({"a": 0.4}, root="a"), 0.25)
    book = make_orders([1, 1, -1], [1000, 500, 1200], [300_000, 200_000, 100_000], node=[0, 0, 0])
    done = clear(book, PLAIN, slot)
    assert done.filled_wh.tolist() == [1000, 200, 1200]
    assert done.node_price_micro_per_kwh.tolist() == [200_000]
    assert done.surplus_nano == 0
    assert check_nodal(book, done, slot, PLAIN) == []


def test_a_step_used_up_exactly_is_priced_between_by_k() -> None:
    slot = FeederSlot(build_network({"a": 0.4}, root="a"), 0.25)
    book = make_orders([1, -1], [1000, 1000], [300_000, 100_000], node=[0, 0])
    assert clear(book, PLAIN, slot).node_price_micro_per_kwh.tolist() == [200_000]
    assert clear(book, Conventions(k=PLAIN.k * 0), slot).node_price_micro_per_kwh.tolist() == [100_000]


def test_without_a_buyer_nothing_is_sold() -> None:
    slot = FeederSlot(feeder().network(), 0.25)
    done = clear(make_orders([-1] * 5, [1000] * 5, [100_000] * 5, node=[2, 3, 4, 5, 6]), PLAIN, slot)
    assert done.filled_wh.tolist() == [0] * 5


def test_neighbours_trade_alone_and_the_seller_delivers_the_losses() -> None:
    slot = FeederSlot(feeder().network(), 0.25)
    book = make_orders([1, -1], [3000, 5000], [300_000, 100_000], node=[2, 6])
    done = clear(book, PLAIN, slot)
    assert done.filled_wh[0] == 3000
    assert done.filled_wh[1] == 3000 + done.losses_wh
    assert done.losses_wh > 0
    assert check_nodal(book, done, slot, PLAIN) == []


def loaded(bus: int, kw: float, v_min_pu: float, orders: Orders) -> tuple[FeederSlot, Orders]:
    """A load outside the market at a bus, and the orders with a supplier at the root beside them."""
    fixed = np.zeros(7)
    fixed[bus] = kw
    network = feeder().network(v_min_pu=v_min_pu)
    return FeederSlot(network, 0.25, fixed_p_kw=fixed), add_supplier(orders, network, 250_000, 80_000, participant=9)


def test_what_no_order_can_mend_still_clears_and_says_how_far_it_is_broken() -> None:
    """A load outside the market alone overloads the transformer; no order is there to relieve it."""
    slot, book = loaded(2, 200.0, 0.5, make_orders([1], [500], [300_000], node=[2]))
    done = clear(book, PLAIN, slot)
    kinds, short = np.asarray(done.certificate["limit_kind"]), np.asarray(done.certificate["limit_short_ppm"])
    assert short[kinds == 1].max() > 200_000  # some 130 % of 160 kVA
    assert done.filled_wh[0] == 0
    assert check_nodal(book, done, slot, PLAIN) == []


def test_where_a_whole_cable_is_too_low_every_bus_of_it_is_reported() -> None:
    """Not only the worst: a limit that cannot be kept does not stand for its neighbours."""
    slot, book = loaded(6, 90.0, 0.99, make_orders([1], [500], [300_000], node=[2]))
    done = clear(book, PLAIN, slot)
    kinds, short = np.asarray(done.certificate["limit_kind"]), np.asarray(done.certificate["limit_short_ppm"])
    low = power_flow(slot.network, slot.power_of(book, done.filled_wh)).v_pu[0] < 0.99 - 1e-6
    assert low.sum() >= 3
    reported = np.asarray(done.certificate["limit_index"])[(kinds == 2) & (short > 0)]
    assert set(reported.tolist()) == set(np.flatnonzero(low).tolist())
    assert check_nodal(book, done, slot, PLAIN) == []


def test_an_order_relieves_the_overload_and_is_paid_for_it() -> None:
    slot, book = loaded(2, 165.0, 0.5, make_orders([-1], [9000], [290_000], node=[2]))
    done = clear(book, PLAIN, slot)
    assert not np.asarray(done.certificate["limit_short_ppm"]).any()
    assert 0 < done.filled_wh[0] < 9000
    assert done.node_price_micro_per_kwh[2] == 290_000
    assert check_nodal(book, done, slot, PLAIN) == []


@pytest.mark.parametrize(("limits", "kind", "flow_kw"), [((4.0, np.inf), 4, 4.0), ((np.inf, 3.0), 5, 3.0)])
def test_import_and_export_limits_bind_and_have_a_price(limits: tuple[float, float], kind: int, flow_kw: float) -> None:
    network = feeder().network()
    slot = FeederSlot(network, 0.25, import_limit_kw=limits[0], export_limit_kw=limits[1])
    side = 1 if kind == 4 else -1
    price = 300_000 if kind == 4 else 60_000
    book = add_supplier(
        make_orders([side] * 5, [2000] * 5, [price] * 5, node=[2, 3, 4, 5, 6]), network, 250_000, 80_000, participant=9
    )
    done = clear(book, PLAIN, slot)
    assert check_nodal(book, done, slot, PLAIN) == []
    root_wh = int(done.filled_wh[-2] if kind == 4 else done.filled_wh[-1])
    base_wh = 460 * 0.25  # iron losses without trade come in as well
    expected = flow_kw * 250 - base_wh if kind == 4 else flow_kw * 250 + base_wh
    assert root_wh == pytest.approx(expected, abs=12)
    kinds, prices = np.asarray(done.certificate["limit_kind"]), np.asarray(done.certificate["limit_price_micro_per_hour"])
    assert prices[kinds == kind].max() == pytest.approx(50_000 if kind == 4 else 20_000, rel=0.05)


def test_where_all_sell_the_grid_above_takes_what_the_voltage_lets_through() -> None:
    network = feeder(slack_v_pu=1.02).network(v_max_pu=1.03)
    slot = FeederSlot(network, 0.25)
    asks = make_orders([-1] * 5, [5000] * 5, [10_000, 20_000, 30_000, 40_000, 50_000], node=[2, 3, 4, 5, 6])
    book = add_supplier(asks, network, 250_000, 80_000, participant=9)
    done = clear(book, PLAIN, slot)
    assert check_nodal(book, done, slot, PLAIN) == []
    assert 0 < done.filled_wh[:5].sum() < 25_000
    assert done.filled_wh[-1] + done.losses_wh == done.filled_wh[:5].sum()
    assert (np.asarray(done.certificate["voltage_micro_per_kwh"])[2:] < 0).all()
    nothing_out = FeederSlot(network, 0.25, export_limit_kw=0.0)
    done = clear(book, PLAIN, nothing_out)  # only the iron losses of the transformer are left to supply
    assert check_nodal(book, done, nothing_out, PLAIN) == []
    assert done.filled_wh[:5].sum() <= 0.49 * 250 + 2


def test_at_a_negative_price_the_buyer_is_paid_and_must_run_power_is_cut_only_by_a_limit() -> None:
    network = feeder(slack_v_pu=1.02).network(v_max_pu=1.03)
    slot = FeederSlot(network, 0.25)
    book = add_supplier(
        make_orders([1, -1, -1], [800, 3000, 20_000], [50_000, -900_000, -1_000_000], node=[2, 4, 6]), network, -20_000, -60_000,
        participant=9,
    )  # fmt: skip
    done = clear(book, PLAIN, slot)
    assert check_nodal(book, done, slot, PLAIN) == []
    assert done.filled_wh[0] == 800
    assert done.pay_nano[0] < 0
    assert 0 < done.filled_wh[2] < 20_000
    wide = FeederSlot(feeder(slack_v_pu=1.02).network(v_max_pu=1.2), 0.25)
    assert clear(book, PLAIN, wide).filled_wh[1:3].tolist() == [3000, 20_000]


def test_an_absurd_book_meets_the_voltage_band_instead_of_voltage_collapse() -> None:
    network = feeder().network()
    slot = FeederSlot(network, 0.25)
    book = add_supplier(
        make_orders([1, -1], [10**9, 10**9], [300_000, 60_000], node=[6, 4]), network, 250_000, 80_000, participant=9
    )
    done = clear(book, PLAIN, slot)
    assert not np.asarray(done.certificate["limit_short_ppm"]).any()
    assert check_nodal(book, done, slot, PLAIN) == []


def test_what_cannot_be_cleared_is_refused_with_the_way_out() -> None:
    network = feeder().network()
    book = make_orders([1], [1000], [100_000], node=[2])
    with pytest.raises(ClearingError, match="bare network"):
        clear(book, PLAIN, network)
    with pytest.raises(ClearingError, match="NoneType"):
        clear(book, PLAIN)
    with pytest.raises(ClearingError, match="lots of 100"):
        clear(book, Conventions(lot_wh=100), FeederSlot(network, 0.25))
    with pytest.raises(InputError, match="node = 7"):
        clear(make_orders([1], [1000], [100_000], node=[7]), PLAIN, FeederSlot(network, 0.25))
    with pytest.raises(ClearingError, match="even without trade"):
        clear(book, PLAIN, FeederSlot(network, 0.25, fixed_p_kw=np.full(7, 5000.0)))
    with pytest.raises(InputError, match="hours"):
        FeederSlot(network, 0.0, import_limit_kw=-1.0)
    with pytest.raises(InputError, match="import price"):
        add_supplier(book, network, 80_000, 80_000, participant=1)
