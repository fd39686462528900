"""The summary of a run in which every trade has a price of its own."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
from rich.console import Console

from e2e.runs import EXAMPLES
from walras.commands.summary import summary_table
from walras.exchange.journal import read_public_record
from walras.exchange.statement import opened_terms, settled_slots
from walras.study.runner import PUBLIC, Options, Run


def test_the_average_price_is_what_buyers_paid_also_where_there_is_no_one_price(tmp_path: Path) -> None:
    for _ in Run(EXAMPLES / "rural1.toml", tmp_path / "run", Options(mechanism="pay_as_bid")):
        pass
    entries = read_public_record(tmp_path / "run" / PUBLIC)
    terms, _ = opened_terms(entries)
    paid = bought = 0
    for s in settled_slots(terms, entries):
        paid += int(np.maximum(s.accounts.settled.local_nano, 0).sum())
        bought += int(s.accounts.settled.bought_wh.sum())
    text = StringIO()
    summary_table(Console(file=text, width=10_000, soft_wrap=True, highlight=False), tmp_path / "run")
    assert f"at {paid / bought / 1e4:.2f} ct/kWh on average" in text.getvalue()
    assert paid / bought > 10_000
    assert len(text.getvalue().splitlines()) == 7, "a line of the summary wraps"
