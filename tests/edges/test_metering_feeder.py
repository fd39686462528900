"""The feeder's own meter against homes that lie under good signatures, and what a lie is worth to an oracle's word."""

from __future__ import annotations

import numpy as np
import pytest

from metering_world import GRID, KEYS, RULES, SEED, STRANGER, registry
from walras.grid import Line, build_network, power_flow
from walras.metering import (
    SlotReadings,
    close,
    derive_key,
    feeder_balance,
    initial_oracle,
    over_window,
    receive,
    registry_of,
    sign_reading,
    sign_readings,
    substitutes,
    suspects,
)
from walras.metering.balance import BalanceRule
from walras.metering.feeder import Feeder, FeederCheck, check_feeder, split_batch, transformer_net_wh
from walras.metering.substitute import NO_FORECAST, SubstituteRule
from walras.units import Int64

SLOT = 700
BUSES = [f"b{home}" for home in range(5)]
NETWORK = build_network(
    {"t": 0.4, **dict.fromkeys(BUSES, 0.4)},
    [Line(f"l{n}", (["t", *BUSES])[n], BUSES[n], 0.05, 0.2, 0.08, max_i_ka=0.3) for n in range(5)],
    root="t",
)
BUS = np.array([NETWORK.bus_names.index(name) for name in BUSES], dtype=np.int64)
TRANSFORMER = derive_key(SEED, "transformer")
FEEDER = Feeder(registry_of([TRANSFORMER.public_key()], [5], [0], [2**40], [100_000], [100_000]), NETWORK, BUS)
TRUE_NET = np.array([1_800, 900, -1_500, 400, -1_900], dtype=np.int64)


def transformer_wh(net_wh: Int64) -> int:
    """What really goes through the transformer in a quarter of an hour: homes and losses, reactive power at 0.95 included."""
    p = np.zeros((1, NETWORK.buses))
    np.add.at(p[0], BUS, net_wh / 250.0)
    return round(250.0 * float(power_flow(NETWORK, p, np.abs(p) * 0.33).slack_p_kw[0]))


def closed(net_wh: Int64) -> SlotReadings:
    """The slot as an oracle closes it from these readings, all well signed."""
    imports, exports = np.maximum(net_wh, 0), np.maximum(-net_wh, 0)
    batch = sign_readings(KEYS, range(5), [SLOT] * 5, imports, exports, [1] * 5, [0] * 5)
    state, refused = receive(initial_oracle(registry()), registry(), RULES, batch, GRID.end(SLOT))
    assert refused.counts() == {}
    none = np.full(5, NO_FORECAST)
    return close(state, registry(), SLOT, substitutes(GRID, SLOT, {}, none, none, SubstituteRule()))[1]


def check(reported: Int64) -> FeederCheck:
    return check_feeder(FEEDER, GRID, closed(reported), transformer_wh(TRUE_NET))


def test_honest_homes_meet_their_transformer() -> None:
    assert check(TRUE_NET).holds


@pytest.mark.parametrize(
    ("home", "reported", "sign"),
    [(0, 1_200, 1), (2, -2_000, 1), (2, -900, -1), (4, -1_200, -1)],
    ids=["consumption hidden", "generation invented for certificates", "generation hidden", "generation hidden, another"],
)
def test_a_home_that_lies_under_its_own_signature_breaks_the_balance_in_the_slot(home: int, reported: int, sign: int) -> None:
    lie = TRUE_NET.copy()
    lie[home] = reported
    found = check(lie)
    assert not found.holds
    assert np.sign(found.residual_wh) == sign
    assert abs(found.residual_wh - (TRUE_NET[home] - reported)) < 60  # losses move a little with what is reported


def test_a_lie_of_three_percent_hides_in_quiet_slots_comes_out_over_a_day_and_points_home() -> None:
    shape = np.sin(np.linspace(0, np.pi, 96))[:, None]
    true = (TRUE_NET[None] * shape).round().astype(np.int64)
    true[:, 0] = np.roll(true[:, 0], 20)  # a consumer with a rhythm of its own
    through = np.array([transformer_wh(row) for row in true], dtype=np.int64)
    reported = true.copy()
    reported[:, 0] = (reported[:, 0] * 0.97).round()
    imports, exports = np.maximum(reported, 0), np.maximum(-reported, 0)
    losses = np.array([transformer_wh(row) - row.sum() for row in true], dtype=np.float64)
    rule = BalanceRule(home_limit=0.005, loss_limit=0.0)
    by_slot = feeder_balance(imports, exports, through, losses, rule)
    assert by_slot.holds.mean() > 0.1
    assert not over_window(imports, exports, through, losses, rule).holds[0]
    assert suspects(imports, exports, by_slot.residual_wh)[0].device == 0


def test_only_the_transformers_own_signed_reading_of_the_slot_is_its_witness() -> None:
    good = sign_reading(TRANSFORMER, SLOT, 700, 0, 9)
    other_slot, forged = sign_reading(TRANSFORMER, SLOT + 1, 1, 0, 10), sign_reading(STRANGER, SLOT, 1, 0, 9)
    homes, through = split_batch(FEEDER, [good, forged, other_slot, b"noise"])
    assert (homes, through) == ([forged, b"noise"], [good, other_slot])
    assert transformer_net_wh(FEEDER, RULES, SLOT, through) == 700
    changed = good[:-1] + bytes([good[-1] ^ 1])
    assert transformer_net_wh(FEEDER, RULES, SLOT, [changed]) is None
    assert transformer_net_wh(FEEDER, RULES, SLOT, [other_slot]) is None


def test_the_edge_of_the_balance_is_its_tolerance() -> None:
    assert FeederCheck(10, 10).holds
    assert FeederCheck(-10, 10).holds
    assert not FeederCheck(11, 10).holds
    assert not FeederCheck(-11, 10).holds
