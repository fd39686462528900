"""Truthful orders stand at the outside option to the micro-unit, random ones never lose money, forecasts err as stated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walras.devices import Battery, fleet_from_records, plan_values
from walras.errors import InputError
from walras.market.orders import BUY, SELL, Orders, make_orders
from walras.strategies import ErrorModel, forecast, make_signals, truthful_orders, zero_intelligence
from walras.strategies.noise import below, key, mix, normal_q16
from walras.tariffs import LocalTariff, limit_price
from walras.units import Int64

LOCAL = LocalTariff(30_000, (), 1_900, 10_000)  # charges 47,600 micro/kWh


def book(net: list[int], feed_in: list[int], batteries: dict[int, Battery], buy: int = 300_000) -> Orders:
    """Orders of slot 0 of a horizon of eight slots, at a flat import price."""
    members, horizon = len(net), 8
    owners = sorted(batteries)
    fleet = fleet_from_records([batteries[i] for i in owners], owners, 15)
    price, sell = np.full((horizon, members), buy), np.repeat(np.array([feed_in]), horizon, 0)
    load = np.zeros((horizon, members), np.int64)
    load[0], load[4:] = net, 500
    values = plan_values(fleet, load[:, owners], price[:, owners], sell[:, owners], keep=1)
    signals = make_signals(load[0], price[0], np.asarray(limit_price(price[0], LOCAL)), sell[0], LOCAL)
    return truthful_orders(signals, fleet, fleet.initial_uwh, values, 0, np.arange(members))


def test_without_a_battery_the_limit_is_the_outside_option() -> None:
    orders = book([700, -400, 0], [0, 123_100, 90_000], {})
    assert orders.side.tolist() == [BUY, SELL]
    assert orders.quantity_wh.tolist() == [700, 400]
    assert orders.price_micro_per_kwh.tolist() == [300_000 - 47_600, 123_100]
    assert orders.participant.tolist() == [0, 1]
    assert orders.node.tolist() == [0, 1]


def test_a_battery_with_stored_energy_offers_it_at_what_it_would_save_later() -> None:
    """By hand: 2,000 Wh of load comes at 0.30, all that is stored covers it: each Wh at the terminals is worth 0.30 then."""
    orders = book([0], [80_000], {0: Battery(1_000, 4_000, 1.0, 1.0, 1_000)})
    assert orders.side.tolist() == [SELL]
    assert orders.quantity_wh.tolist() == [1_000]
    assert orders.price_micro_per_kwh.tolist() == [300_000]


def test_an_empty_battery_bids_what_stored_energy_will_save_less_losses_and_charges() -> None:
    """By hand: a Wh taken stores 0.9 Wh, gives 0.81 Wh later, saves 0.81 * 0.30 = 0.243; less charges of 0.0476."""
    orders = book([0], [80_000], {0: Battery(1_000, 4_000, 0.9, 0.9, 0)})
    assert orders.side.tolist() == [BUY]
    assert orders.quantity_wh.tolist() == [1_000]
    assert orders.price_micro_per_kwh[0] == pytest.approx(243_000 - 47_600, abs=2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_orders_are_sound_columns_within_the_outside_options_and_the_batterys_reach(seed: int) -> None:
    rng = np.random.default_rng(seed)
    members = int(rng.integers(1, 8))
    owners = np.flatnonzero(rng.random(members) < 0.6).tolist()
    batteries = {i: Battery(int(rng.integers(0, 9_000)), int(rng.integers(0, 9_000)), 0.93, 0.91, 0) for i in owners}
    feed_in = rng.integers(0, 130_000, members).tolist()
    orders = book(rng.integers(-2_000, 2_000, members).tolist(), feed_in, batteries, int(rng.integers(200_000, 400_000)))
    columns = orders.as_columns()
    again = make_orders(**{name: columns[name] for name in columns if name != "side"}, side=orders.side)
    assert all(np.array_equal(a, b) for a, b in zip(orders.as_columns().values(), again.as_columns().values(), strict=True))
    assert (orders.quantity_wh > 0).all()
    sells = orders.side == SELL
    assert (orders.price_micro_per_kwh[sells] >= np.array(feed_in)[orders.participant[sells]]).all()
    for i in range(members):
        mine = orders.participant == i
        buys, asks = orders.price_micro_per_kwh[mine & ~sells], orders.price_micro_per_kwh[mine & sells]
        assert not buys.size or not asks.size or int(buys.max()) <= int(asks.min())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 10**6), st.lists(st.integers(-100_000, 500_000), min_size=1, max_size=30))
def test_zero_intelligence_never_bids_above_its_value_nor_asks_below_its_cost(seed: int, slot: int, limits: list[int]) -> None:
    side = np.where(np.arange(len(limits)) % 3 == 0, SELL, BUY)
    orders = make_orders(side, np.full(len(limits), 100), limits, participant=np.arange(len(limits)) // 2)
    random = zero_intelligence(orders, seed, slot, 0, 400_000)
    price, limit, buys = random.price_micro_per_kwh, orders.price_micro_per_kwh, side == BUY
    assert (price[buys] <= limit[buys]).all()
    assert (price[buys] >= np.minimum(limit[buys], 0)).all()
    assert (price[~buys] >= limit[~buys]).all()
    assert (price[~buys] <= np.maximum(limit[~buys], 400_000)).all()
    assert np.array_equal(price, zero_intelligence(orders, seed, slot, 0, 400_000).price_micro_per_kwh)


def test_zero_intelligence_prices_are_uniform_and_differ_by_slot_member_and_order() -> None:
    orders = make_orders(np.full(4_000, BUY), np.ones(4_000), np.full(4_000, 300_000), participant=np.arange(4_000) // 2)
    price = zero_intelligence(orders, 1, 5, 0, 300_000).price_micro_per_kwh
    counts = np.histogram(price, bins=10, range=(0, 300_001))[0]
    assert counts.min() > 330  # 400 expected, standard deviation 19
    assert counts.max() < 470
    assert np.unique(price).size > 3_900
    assert (price != zero_intelligence(orders, 1, 6, 0, 300_000).price_micro_per_kwh).mean() > 0.99
    assert (price != zero_intelligence(orders, 2, 5, 0, 300_000).price_micro_per_kwh).mean() > 0.99


def test_a_floor_above_the_ceiling_is_refused() -> None:
    with pytest.raises(InputError, match="floor"):
        zero_intelligence(make_orders([], [], []), 0, 0, 2, 1)


def plain_word(seed: int, stream: int, member: int, slot: int, draw: int) -> int:
    """The counter noise in Python whole numbers."""
    mask = 2**64 - 1

    def plain_mix(x: int) -> int:
        z = (x + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    state = plain_mix(seed & mask)
    for part in (stream, member, slot, draw):
        state = plain_mix(state ^ (part & mask))
    return state


def plain_forecast(actual: Int64, first: int, model: ErrorModel, seed: int, stream: int) -> list[list[int]]:
    from math import isqrt

    keep = model.keep_percent * 65_536 // 100
    fresh = isqrt(65_536**2 - keep**2)
    rows: list[list[int]] = [[] for _ in actual]
    for i in range(actual.shape[1]):
        x = 0
        for slot in range(first - first % model.block, first + len(actual)):
            words = [plain_word(seed, stream, i, slot, draw) for draw in range(3)]
            z = sum((w >> s) & 0xFFFF for w in words for s in (0, 16, 32, 48)) - 393_210
            x = z if slot % model.block == 0 else (keep * x + fresh * z) >> 16
            if slot >= first:
                value = int(actual[slot - first, i])
                rows[slot - first].append(max(0, value + (value * model.std_percent * x + 50 * 65_536) // (100 * 65_536)))
    return rows


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 40_000), st.integers(1, 200), st.integers(0, 99), st.integers(1, 100))
def test_forecasts_equal_plain_whole_number_arithmetic(seed: int, first: int, std: int, keep: int, block: int) -> None:
    actual = np.random.default_rng(seed).integers(0, 5_000, (5, 3))
    model = ErrorModel(std, keep, block)
    assert forecast(actual, first, model, seed, 3).tolist() == plain_forecast(actual, first, model, seed, 3)


def test_a_day_alone_has_the_forecasts_of_the_year() -> None:
    actual = np.random.default_rng(0).integers(0, 5_000, (400, 4))
    year = forecast(actual, 0, ErrorModel(30), 9, 1)
    assert np.array_equal(forecast(actual[150:250], 150, ErrorModel(30), 9, 1), year[150:250])


def test_forecast_errors_have_the_stated_spread_and_memory() -> None:
    actual = np.full((9_600, 20), 100_000)
    error = forecast(actual, 0, ErrorModel(20, 80), 4, 1) / 100_000 - 1
    assert abs(error.mean()) < 0.004
    assert abs(error.std() - 0.20) < 0.003
    inside = np.arange(1, 9_600) % 96 != 0
    assert abs(np.corrcoef(error[1:][inside].ravel(), error[:-1][inside].ravel())[0, 1] - 0.8) < 0.01
    assert abs(np.corrcoef(error[:, 0], error[:, 1])[0, 1]) < 0.05
    other = forecast(actual, 0, ErrorModel(20, 80), 4, 2) / 100_000 - 1
    assert abs(np.corrcoef(error.ravel(), other.ravel())[0, 1]) < 0.02


def test_a_perfect_forecast_is_the_actual_value_and_bad_input_is_refused() -> None:
    actual = np.array([[1, 2], [3, 4]])
    assert np.array_equal(forecast(actual, 0, ErrorModel(0), 1, 1), actual)
    for bad in (np.array([[-1]]), np.array([1]), np.array([[10**10]])):
        with pytest.raises(InputError):
            forecast(bad, 0, ErrorModel(10), 1, 1)
    with pytest.raises(InputError) as caught:
        ErrorModel(-1, 100, 0)
    assert [fault.field for fault in caught.value.faults] == ["std_percent", "keep_percent", "block"]


def test_the_mixing_function_is_splitmix64() -> None:
    """First outputs of splitmix64 from seed 0 (reference implementation by Vigna): state goes up by the golden gamma."""
    first = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(mix(np.uint64(k * 0x9E3779B97F4A7C15 % 2**64))) for k in range(3)] == first


def test_noise_is_nearly_normal_and_bounded_numbers_stay_below_their_bound() -> None:
    sample = np.array([normal_q16(np.uint64(key(1, 2, i)), s) for i in range(40) for s in range(500)]) / 65_536
    assert abs(sample.mean()) < 0.03
    assert abs(sample.std() - 1) < 0.03
    assert abs(((sample > 1) | (sample < -1)).mean() - 0.3173) < 0.02
    draws = [int(below(np.uint64(key(1, 2, 3)), s, 0, 7)) for s in range(500)]
    assert set(draws) == set(range(7))
