"""A run under the rule `firm`: positions stand, deviations are paid for, everything still sums to zero and audits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from e2e.runs import EXAMPLES
from walras.exchange.audit import Audit
from walras.exchange.statement import opened_terms, settled_slots
from walras.study.runner import PUBLIC, Options, Run, open_journal


@pytest.fixture(scope="module")
def firm_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("firm")
    text = (EXAMPLES / "rural1.toml").read_text(encoding="utf-8")
    assert 'rule = "as_delivered"' in text
    (folder / "firm.toml").write_text(text.replace('rule = "as_delivered"', 'rule = "firm"'), encoding="utf-8")
    for _ in Run(folder / "firm.toml", folder / "run", Options()):
        pass
    return folder / "run"


def test_a_firm_run_audits(firm_day: Path) -> None:
    assert Audit(firm_day / PUBLIC).run().slots == 96


def test_deviations_are_paid_at_the_imbalance_prices_and_somebody_loses_by_them(firm_day: Path) -> None:
    entries = list(open_journal(firm_day).entries())
    terms, _ = opened_terms(entries)
    deviations, lost = 0, 0
    for s in settled_slots(terms, entries):
        settled = s.accounts.settled
        prices = np.where(settled.imbalance_wh > 0, terms.short_micro_per_kwh, terms.long_micro_per_kwh)
        assert (settled.imbalance_nano == settled.imbalance_wh * prices).all()
        assert s.accounts.cash_nano.sum() == 0
        deviations += int(np.abs(settled.imbalance_wh).sum())
        lost += int((s.accounts.bills.total_nano > s.alone.total_nano).sum())
    assert deviations > 0
    assert lost > 0
