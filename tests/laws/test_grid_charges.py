"""Network charges and rent: exact to the nano, by the flow's own losses, and against a slow twin by finite differences."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grid_cases import HOUR, Tables, feeder, random_book, random_tables, tight
from walras.errors import ClearingError, GridError, InputError
from walras.grid import FeederSlot, power_flow
from walras.grid.charges import (
    coincident_peak,
    excess_charges,
    loss_charges,
    marginal_loss_factors,
    peak_charges,
    subscribed_charges,
)
from walras.grid.dividing import divide_exactly
from walras.grid.nodal import clear
from walras.grid.rent import congestion_rent, dispose_of_rent, scarcity_price
from walras.market.conventions import Conventions
from walras.market.orders import make_orders
from walras.market.uniform import clear as clear_uniform

BUS = np.array([2, 3, 4, 5, 6, 6])


@given(st.integers(-(10**15), 10**15), st.lists(st.integers(-(10**9), 10**12), min_size=1, max_size=12))
def test_division_is_exact_and_within_one_of_the_true_part(total: int, weights: list[int]) -> None:
    whole = sum(weights)
    if whole == 0 or any(abs(Fraction(total * w, whole)) > 2**62 for w in weights):
        return
    parts = divide_exactly(total, weights).tolist()
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(total * weight, whole)) < 1


def test_a_sum_cannot_be_divided_by_nothing() -> None:
    assert divide_exactly(0, [0, 0]).tolist() == [0, 0]
    with pytest.raises(InputError, match="do not add up to zero"):
        divide_exactly(1, [2, -2])


@given(random_tables(8), st.integers(0, 10**6), st.sampled_from(["scaled", "shifted"]))
@settings(max_examples=40, deadline=None)
def test_loss_charges_add_up_to_the_actual_losses(tables: Tables, seed: int, reconcile: str) -> None:
    network = tables.network()
    rng = np.random.default_rng(seed)
    bus, net = rng.integers(0, network.buses, 6), rng.integers(-800, 800, 6)
    slot = FeederSlot(network, HOUR, fixed_p_kw=rng.uniform(-1, 1, network.buses))
    try:
        done = loss_charges(slot, bus, net, 123_457, reconcile)  # type: ignore[arg-type]
    except GridError:
        return
    p = slot.fixed_p_kw + np.bincount(bus, weights=net * slot.kw_per_wh, minlength=network.buses)
    lost = power_flow(network, p).losses_kw[0] - power_flow(network, slot.fixed_p_kw).losses_kw[0]
    assert done.losses_wh == round(lost / slot.kw_per_wh)
    assert int(done.charge_nano.sum()) == done.losses_wh * 123_457


def test_loss_factors_are_what_one_more_watt_loses() -> None:
    """The slow twin: losses of the AC flow with one watt more at each bus."""
    network = feeder().network()
    slot, p = FeederSlot(network, HOUR), np.array([0.0, 3.0, 12.0, -4.0, 20.0, 1.0, 9.0])
    factors = marginal_loss_factors(slot, p)
    for bus in range(1, network.buses):
        more, less = p.copy(), p.copy()
        more[bus] += 1e-3
        less[bus] -= 1e-3
        twin = (power_flow(network, more).losses_kw[0] - power_flow(network, less).losses_kw[0]) / 2e-3
        assert factors[bus] == pytest.approx(twin, abs=1e-7)


def test_who_is_farther_pays_more_and_who_relieves_is_credited() -> None:
    slot = FeederSlot(feeder().network(), 1.0)
    done = loss_charges(slot, BUS, [5000, 5000, 5000, 5000, 5000, -3000], 250_000)
    assert (np.diff(done.charge_nano[:5]) > 0).all()
    assert done.charge_nano[5] < 0
    assert done.marginal_wh > 1.5 * done.losses_wh  # losses are quadratic, those without load are not
    shifted = loss_charges(slot, BUS, [5000, 5000, 5000, 5000, 5000, -3000], 250_000, "shifted")
    assert shifted.charge_nano.sum() == done.charge_nano.sum()
    assert (np.diff(shifted.charge_nano[:5]) > 0).all()


def test_members_who_save_losses_are_paid() -> None:
    """Feeding in beside a load of somebody else's: the saving is theirs."""
    network = feeder().network()
    slot = FeederSlot(network, 1.0, fixed_p_kw=np.array([0, 0, 0, 0, 0, 0, 30.0]))
    done = loss_charges(slot, np.array([6, 5]), [-10_000, 0], 200_000)
    assert done.losses_wh < 0
    assert done.charge_nano.tolist() == [done.losses_wh * 200_000, 0]


def test_loss_charges_name_every_fault() -> None:
    with pytest.raises(InputError) as caught:
        loss_charges(FeederSlot(feeder().network(), 1.0), np.array([1, 99]), [1, 2, 3], 1, "by magic")  # type: ignore[arg-type]
    assert len(caught.value.faults) == 3


profiles = st.lists(st.lists(st.integers(-5000, 5000), min_size=3, max_size=3), min_size=1, max_size=6)


@given(profiles, st.integers(0, 10**12), st.sampled_from(["taken", "fed_in"]))
def test_peak_charges_follow_the_slot_in_which_all_take_most(profile: list[list[int]], cost: int, direction: str) -> None:
    net = np.array(profile)
    sign = 1 if direction == "taken" else -1
    totals = [sign * sum(row) for row in profile]
    peak = totals.index(max(totals))
    assert coincident_peak(net, 1, direction).tolist() == [peak]  # type: ignore[arg-type]
    weights = [max(sign * value, 0) for value in profile[peak]]
    if sum(weights) == 0:
        return
    charge = peak_charges(cost, net, direction=direction)  # type: ignore[arg-type]
    assert charge.sum() == cost
    for amount, weight in zip(charge.tolist(), weights, strict=True):
        assert abs(amount - Fraction(cost * weight, sum(weights))) < 1


def test_several_peaks_share_by_the_energy_in_all_of_them() -> None:
    assert peak_charges(100, [[10, 0], [0, 9], [1, 1]], peaks=2).tolist() == [53, 47]
    with pytest.raises(InputError, match="between 1 and 1"):
        peak_charges(1, [[1]], peaks=2)
    with pytest.raises(InputError, match="to divide 1 by"):
        peak_charges(1, [[-1]])


def test_subscription_is_free_up_to_its_edge() -> None:
    assert subscribed_charges(10, [1, 1, 1]).tolist() == [4, 3, 3]
    assert excess_charges([[1000], [1001]], [4000], 0.25, 7).tolist() == [7]
    with pytest.raises(InputError, match="zero or more"):
        subscribed_charges(10, [-1])


@given(random_tables(8), st.integers(0, 10**6), st.integers(0, 20_000))
@settings(max_examples=30, deadline=None)
def test_the_congestion_rent_is_scarcity_times_net_purchase_and_part_of_the_surplus(tables: Tables, seed: int, fee: int) -> None:
    network = tight(tables, 0.4, 0.01)
    book = random_book(network, seed, 20, 8.0)
    rules = Conventions(grid_fee_micro_per_kwh=fee)
    try:
        done = clear(book, rules, FeederSlot(network, HOUR))
    except ClearingError:
        return
    scarce = scarcity_price(done).tolist()
    rows = zip(book.node.tolist(), book.side.tolist(), done.filled_wh.tolist(), strict=True)
    assert congestion_rent(done) == sum(scarce[node] * side * filled for node, side, filled in rows)
    rents = {name: int(value) for name, value in done.certificate.items() if name.endswith("_rent_nano")}
    assert sum(rents.values()) == done.surplus_nano
    if not np.asarray(done.certificate["limit_short_ppm"]).any():
        assert congestion_rent(done) >= -10_000_000  # rounding to whole Wh may leave a limit a few Wh short of binding


def test_rent_goes_where_the_rule_says_to_the_nano() -> None:
    slot = FeederSlot(tight(feeder(), 1.0, 0.005), HOUR)
    book = random_book(slot.network, 3, 40, 12.0)
    rent = congestion_rent(clear(book, Conventions(), slot))
    assert rent > 0
    for rule, key in (("equal", {}), ("capacity", {"capacity_w": [11_000, 4_600, 22_000]}), ("energy", {"energy_wh": [1, 2, 4]})):
        done = dispose_of_rent(rent, rule, 3, **key)  # type: ignore[arg-type]
        assert -done.pay_nano.sum() + done.kept_nano == rent
        assert (done.pay_nano <= 0).all()
    kept = dispose_of_rent(rent, "kept", 3)
    assert kept.kept_nano == rent
    assert not kept.pay_nano.any()
    with pytest.raises(InputError, match="3 whole numbers"):
        dispose_of_rent(rent, "energy", 3)
    with pytest.raises(InputError, match="one of kept"):
        dispose_of_rent(rent, "friends", 3)  # type: ignore[arg-type]


def test_a_clearing_without_wires_has_no_rent_to_split() -> None:
    book = make_orders([1, -1], [10, 10], [30, 20])
    with pytest.raises(ClearingError, match="what limits are worth"):
        congestion_rent(clear_uniform(book, Conventions()))
