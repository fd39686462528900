"""The second engine by a convention: it confirms a clearing and bounds its welfare, or refuses and says why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grid_cases import HOUR, feeder
from walras.errors import ClearingError, InputError
from walras.grid import conic
from walras.grid.feeder import FeederSlot, add_supplier
from walras.grid.nodal import clear
from walras.grid.nodal_book import SHELF
from walras.market.book import clear_book
from walras.market.conventions import Conventions, read_conventions
from walras.market.orders import make_orders

CONIC = Conventions(engine="conic")
BOOK = Path(__file__).parents[2] / "docs" / "learn" / "feeder-book.json"


def test_a_confirmed_clearing_is_that_of_the_first_engine_with_a_bound_on_its_welfare() -> None:
    network = feeder(slack_v_pu=1.02).network(v_max_pu=1.035)
    draw = np.random.default_rng(5)
    sun = make_orders(
        np.full(30, -1), draw.integers(500, 2500, 30), draw.integers(80_000, 250_000, 30), node=draw.integers(2, 7, 30)
    )
    book = add_supplier(sun, network, 310_000, 280_000, participant=9)
    slot = FeederSlot(network, HOUR)
    alone, confirmed = clear(book, Conventions(), slot), clear(book, CONIC, slot)
    assert confirmed.filled_wh.tolist() == alone.filled_wh.tolist()
    assert confirmed.pay_nano.tolist() == alone.pay_nano.tolist()
    assert alone.certificate is not None
    assert confirmed.certificate is not None
    assert "welfare_gap_nano" not in alone.certificate
    welfare = float(np.sum(book.side * book.price_micro_per_kwh * confirmed.filled_wh))  # nano
    assert abs(int(np.asarray(confirmed.certificate["welfare_gap_nano"]))) <= conic.AGREE * welfare


def test_must_run_power_at_negative_prices_is_refused_and_says_what_was_invented() -> None:
    network = feeder().network()
    book = add_supplier(
        make_orders([-1, -1], [9000, 9000], [-200_000, -180_000], node=[4, 6]), network, 10_000, -50_000, participant=9
    )
    with pytest.raises(ClearingError, match=r"not exact here: it invents \d+\.\d+ kW of losses"):
        clear(book, CONIC, FeederSlot(network, HOUR))
    assert clear(book, Conventions(), FeederSlot(network, HOUR)).filled_wh.sum() > 0


def test_limits_that_nothing_keeps_are_refused() -> None:
    network = feeder().network(v_max_pu=0.95)
    book = make_orders([1], [1000], [200_000], node=[4])
    with pytest.raises(ClearingError, match="limits that nothing in the book can keep"):
        clear(book, CONIC, FeederSlot(network, HOUR))


def test_engines_that_disagree_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = conic.dispatch_conic

    def wrong(*given: object) -> conic.ConicOptimum:
        right = found(*given)  # type: ignore[arg-type]
        return replace(right, welfare=right.welfare * 1.01)

    monkeypatch.setattr(conic, "dispatch_conic", wrong)
    network = feeder().network()
    book = add_supplier(make_orders([1], [9000], [400_000], node=[4]), network, 310_000, 280_000, participant=9)
    with pytest.raises(ClearingError, match="the engines disagree"):
        clear(book, CONIC, FeederSlot(network, HOUR))


def test_a_book_chooses_the_engine_by_a_convention() -> None:
    book = json.loads(BOOK.read_text(encoding="utf-8"))
    plain = clear_book(book, "nodal", SHELF)
    book["conventions"] = {**book.get("conventions", {}), "engine": "conic"}
    assert clear_book(book, "nodal", SHELF)["fills"] == plain["fills"]


def test_an_engine_that_there_is_not_is_a_fault() -> None:
    with pytest.raises(InputError, match="engine = 'diesel': expected conic, or nothing"):
        read_conventions({"engine": "diesel"})
