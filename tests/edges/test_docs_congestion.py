"""The numbers on the page about congestion are what the functions give on its toy feeder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from walras.grid import (
    NODAL,
    NODAL_VCG,
    FeederSlot,
    Line,
    build_network,
    congestion_rent,
    curtail,
    loss_charges,
    make_rights,
    operating_envelopes,
    pay_curtailment,
    redispatch,
    relief_prices,
    relief_rewards,
    scarcity_price,
    settle_rights,
    simultaneously_feasible,
)
from walras.grid.relief import power_at
from walras.market.conventions import Conventions
from walras.market.orders import make_orders
from walras.market.uniform import clear as clear_uniform

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "explain" / "congestion.md").read_text(encoding="utf-8").split())
RULES = Conventions()
CT = 1e7
"""Nano in a hundredth of the currency unit."""

CABLE = Line("cable", "a", "b", 1.0, 0.16, 0.0, max_i_ka=0.1)
SLOT = FeederSlot(build_network({"a": 0.4, "b": 0.4}, [CABLE], root="a", v_max_pu=1.01), 1.0)
BOOK = make_orders([1, -1], [20_000, 12_000], [200_000, 80_000], participant=[0, 1], node=[0, 1])
DONE = NODAL.clear(BOOK, RULES, SLOT)
HERE = np.array([1])


def says(number: float, text: str) -> None:
    """The page has `text`, and it is the number."""
    assert text in PAGE
    assert number == pytest.approx(float(text.split()[0]), abs=0.006)


def test_nodal_clearing_and_what_is_left() -> None:
    says(DONE.filled_wh[1] / 1e3, "10.1 kWh sold")
    says(DONE.filled_wh[0] / 1e3, "10.0 bought")
    says(DONE.surplus_nano / CT, "119.2 ct: congestion")
    says(congestion_rent(DONE) / CT, "117.24 ct of congestion rent")
    says(int(DONE.certificate["losses_rent_nano"]) / CT, "1.96 ct of losses charged beyond")


def test_redispatch_curtailment_and_envelope() -> None:
    says(redispatch(BOOK, clear_uniform(BOOK, RULES), SLOT, RULES).cost_nano / CT, "24.8 ct")
    taken = pay_curtailment(curtail(SLOT, HERE, np.array([12.0]), "pro_rata"), SLOT.hours, 80_000)
    says(taken.taken_wh[0] / 1e3, "1.9 kWh taken back")
    says(taken.cost_nano / CT, "15.2 ct")
    box = operating_envelopes(SLOT, HERE, np.array([5.0]), np.array([30.0]), "equal")
    says(float(box.export_kw[0]), "10.1 kW of")


def test_relief_and_rights() -> None:
    price = relief_prices(SLOT, power_at(BOOK, DONE, SLOT), DONE)
    says(float(relief_rewards(price, HERE, [-1000]).sum()) / CT, "11.61 ct")
    rights = make_rights(SLOT.network, [7], [1], [0], [10_000])
    assert simultaneously_feasible(SLOT, rights)
    rent = congestion_rent(DONE)
    says(float(settle_rights(rights, scarcity_price(DONE), rent).paid_nano[0]) / CT, "116.08 ct")
    full = settle_rights(make_rights(SLOT.network, [7], [1], [0], [10_100]), scarcity_price(DONE), rent)
    assert full.left_nano == full.short_nano == 0


def test_charges() -> None:
    charges = loss_charges(SLOT, HERE, [-10_100], 200_000)
    says(charges.losses_wh, "100 Wh")
    says(round(charges.marginal_wh), "198 Wh")
    says(int(charges.charge_nano[0]) / CT, "2.00 ct")


def test_vcg() -> None:
    done = NODAL_VCG.clear(BOOK, RULES, SLOT)
    says(-int(done.pay_nano[1]) / CT, "200 ct")
    says(int(done.pay_nano[0]) / CT, "80.8 ct")
    assert int(done.certificate["deficit_nano"]) / CT == pytest.approx(119.2, abs=0.01)
