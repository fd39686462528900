"""The feeder's balance: honest meters pass, liars in either direction are caught and pointed at, within the stated
tolerance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walras.errors import InputError
from walras.metering.balance import BalanceRule, feeder_balance, over_window, suspects

RULE = BalanceRule()
SLOTS, HOMES = 96, 12
Truth = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def day(seed: int) -> Truth:
    """True energies of a day, Wh float: import, export [slots, homes], transformer and losses [slots]. Homes 0..4 have PV."""
    chance = np.random.default_rng(seed)
    net = chance.gamma(2.0, 60.0, (SLOTS, HOMES))
    sun = np.clip(np.sin((np.arange(SLOTS) - 24) / 48 * np.pi), 0, None)
    for home in range(5):
        net[:, home] -= sun * chance.uniform(400, 1200) * chance.uniform(0.6, 1.0, SLOTS)
    losses = 1e-5 * net.sum(axis=1) ** 2 + 5
    return np.clip(net, 0, None), np.clip(-net, 0, None), net.sum(axis=1) + losses, losses


def registers(true_wh: np.ndarray, limit: float, chance: np.random.Generator) -> np.ndarray:
    """What honest registers show: each meter off by a constant within its limits, standing in whole Wh."""
    off = 1 + chance.uniform(-limit, limit, true_wh.shape[1:])
    return np.diff(np.floor(np.cumsum(np.vstack([np.zeros_like(true_wh[:1]), true_wh * off]), axis=0)), axis=0).astype(np.int64)


def measured(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    imported, exported, transformer, losses = day(seed)
    chance = np.random.default_rng(seed + 1)
    through = registers(np.clip(transformer, 0, None)[:, None], RULE.transformer_limit, chance)
    back = registers(np.clip(-transformer, 0, None)[:, None], RULE.transformer_limit, chance)
    return (
        registers(imported, RULE.home_limit, chance),
        registers(exported, RULE.home_limit, chance),
        (through - back)[:, 0],
        losses * chance.uniform(0.95, 1.05),
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_honest_meters_within_their_class_pass_slot_by_slot_and_over_the_day(seed: int) -> None:
    assert feeder_balance(*measured(seed), RULE).holds.mean() > 0.99
    assert over_window(*measured(seed), RULE).holds.all()


@pytest.mark.parametrize(
    ("register", "home", "factor", "sign"),
    [("export", 2, 0.6, -1), ("export", 3, 1.6, 1), ("import", 9, 0.5, 1), ("import", 7, 1.5, -1)],
)
@pytest.mark.parametrize("seed", range(5))
def test_a_lying_meter_is_caught_over_the_day_and_pointed_at(register: str, home: int, factor: float, sign: int, seed: int) -> None:
    imported, exported, transformer, losses = measured(seed)
    lied = {"import": imported, "export": exported}
    lied[register] = lied[register].copy()
    lied[register][:, home] = (lied[register][:, home] * factor).astype(np.int64)
    whole = over_window(lied["import"], lied["export"], transformer, losses, RULE)
    assert not whole.holds[0]
    assert np.sign(whole.residual_wh[0]) == sign
    slots = feeder_balance(lied["import"], lied["export"], transformer, losses, RULE)
    first = suspects(lied["import"], lied["export"], slots.residual_wh)[0]
    assert (first.device, first.register) == (home, register)
    assert first.missing_share == pytest.approx(1 / factor - 1, abs=0.15)
    assert first.explained > 0.5


def test_the_residual_is_exact_and_its_edge_is_the_tolerance() -> None:
    no_tolerance = BalanceRule(0, 0, 0, 0)
    homes = np.array([[600, 500], [0, 100]]), np.array([[0, 0], [900, 0]])
    held = feeder_balance(*homes, np.array([1125, -775]), np.array([25.0, 25.0]), no_tolerance)
    assert held.residual_wh.tolist() == [0.0, 0.0]
    assert held.holds.all()
    off = feeder_balance(*homes, np.array([1126, -776]), np.array([25.0, 25.0]), no_tolerance)
    assert off.residual_wh.tolist() == [1.0, -1.0]
    assert not off.holds.any()
    only_losses = BalanceRule(0, 0, 0.04, 0)
    assert feeder_balance(*homes, np.array([1126, -776]), np.array([25.0, 25.0]), only_losses).holds.all()
    assert not feeder_balance(*homes, np.array([1127, -777]), np.array([25.0, 25.0]), only_losses).holds.any()


def test_a_small_lie_hides_in_a_slot_and_not_in_a_day() -> None:
    imported, exported, transformer, losses = measured(3)
    lied = imported.copy()
    lied[:, 9] = (lied[:, 9] * 0.8).astype(np.int64)
    assert feeder_balance(lied, exported, transformer, losses, RULE).holds.mean() > 0.5
    assert not over_window(lied, exported, transformer, losses, RULE).holds[0]


def test_nothing_to_explain_accuses_nobody() -> None:
    assert suspects(np.ones((3, 2), np.int64), np.ones((3, 2), np.int64), np.zeros(3)) == ()
    assert suspects(np.zeros((3, 2), np.int64), np.zeros((3, 2), np.int64), np.ones(3)) == ()


def test_what_does_not_fit_together_is_named_all_at_once() -> None:
    with pytest.raises(InputError) as caught:
        feeder_balance(np.zeros((2, 2), np.int64), np.zeros((2, 3), np.int64), np.zeros(3, np.int64), -np.ones(2), RULE)
    assert [fault.field for fault in caught.value.faults] == ["registers", "transformer_net_wh", "losses_wh"]
    with pytest.raises(InputError) as caught:
        BalanceRule(-1, float("nan"))
    assert len(caught.value.faults) == 2
