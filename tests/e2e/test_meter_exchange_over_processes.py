"""A meter is exchanged while gateway, oracles and balance oracle are processes of their own; one of them dies over it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from e2e.nodes import Village
from e2e.test_edits import MEMBER, ROW, entries_of
from e2e.test_meter_exchange import BEFORE, READ, SEED, SLOTS, admitted, exchanged_masked, first_slot, masked_community
from walras.commands.exchange_meter import exchange_meter_command
from walras.exchange.parts import closed_readings
from walras.metering.balance_oracle import HUNG


def hung_at(store: Path) -> list[tuple[int, int]]:
    db = sqlite3.connect(store)
    rows = [(int(slot), int(device)) for slot, device in db.execute("select slot, device from message where kind = ?", (HUNG,))]
    db.close()
    return rows


@pytest.mark.parametrize(
    "deadly",
    [
        {},
        pytest.param({"balance": "walras.metering.balance_oracle.BalanceOracle.take_hung|after|1"}, marks=pytest.mark.nightly),
        pytest.param({"balance": "walras.metering.balance_oracle.BalanceOracle.take_hung|before|1"}, marks=pytest.mark.nightly),
        pytest.param({"balance": "walras.service.balance_node.BalanceNode._hung|after|1"}, marks=pytest.mark.nightly),
    ],
    ids=lambda deadly: "+".join(deadly.values()).rsplit(".", 1)[-1] or "left alone",
)
def test_a_balance_oracle_in_a_process_of_its_own_hears_of_an_exchanged_meter(tmp_path: Path, deadly: dict[str, str]) -> None:
    """Its sums are those of one process: with both meters around the slot of the exchange, without the account in that slot."""
    village = Village(tmp_path, deadly, masked_community(tmp_path), masked=True)
    try:
        village.run(BEFORE)
        exchange_meter_command(village.out, MEMBER, str(first_slot() + BEFORE), READ, SEED, None)
        village.run(BEFORE + 1)
        village.run(SLOTS)
        assert {name: node.deaths for name, node in village.nodes.items() if node.deaths} == dict.fromkeys(deadly, 1)
    finally:
        village.stop()
    apart, together = admitted(entries_of(village.out)), admitted(entries_of(exchanged_masked()))
    words = [entry.public["masked"] for entry in apart]
    assert words == [entry.public["masked"] for entry in together]
    everybody = list(range(13))
    others = [account for account in everybody if account != ROW]
    assert [word["contributors"] for word in words] == [everybody, everybody, others, everybody, everybody]
    assert [word["gap_wh"] for word in words] == [[0, 0]] * SLOTS
    assert hung_at(tmp_path / "balance.sqlite") == [(first_slot() + BEFORE, ROW)]
    for one, other in zip(apart, together, strict=True):
        slot = one.slot or 0
        assert closed_readings(slot, one).import_wh.tolist() == closed_readings(slot, other).import_wh.tolist()
