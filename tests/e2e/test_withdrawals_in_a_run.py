"""A member takes its money out while a run goes on: the slots are paid all the same, and nobody is stopped or convicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from e2e.test_run_on_a_manifest import Deployed, deploy, fund
from ledger_world import anvil, rpc
from walras.errors import LedgerError
from walras.exchange.fold import BATCH_INCLUDED, BATCH_POSTED, ESCROW_MOVED, ESCROW_PAID
from walras.exchange.journal import Entry, read_public_record
from walras.exchange.leaving import leave_batches
from walras.exchange.watch_batches import RIGHT, BatchWatch
from walras.ledger import account_words, request_withdrawal, withdraw
from walras.ledger.calls import Contract
from walras.ledger.deployment import NANO_PER_TOKEN_UNIT
from walras.ledger.keys import key_of
from walras.ledger.manifest import contracts_of
from walras.ledger.standing import read_standing
from walras.study.runner import PUBLIC
from walras.study.settler import Settler

LEAVING = 1
QUARTERS = '\n[ledger]\nsettle = "batches"\nbatch_slots = 6\nfraud_window_minutes = 60\n'


def take_all(deployed: Deployed) -> int:
    """Whole token units that the leaving member fetches after its delay."""
    addresses, member = read_standing(deployed.manifest).addresses, deployed.keys.member(LEAVING)
    fund(deployed.url, member.address)
    whole = account_words(deployed.chain, addresses, [LEAVING])[0] % 2**128
    request_withdrawal(deployed.chain, addresses, member, whole, timestamp=0)
    rpc(deployed.url, "evm_increaseTime", 3_601)
    return withdraw(deployed.chain, addresses, member, timestamp=0)


def pay_in(deployed: Deployed, units: int) -> None:
    """By the member itself, into its own account."""
    addresses, member = read_standing(deployed.manifest).addresses, deployed.keys.member(LEAVING)
    token = Contract("TestCurrency", addresses.chain_id, addresses.currency)
    token.act(deployed.chain, member, "approve", addresses.settlement, units, timestamp=0)
    contract = Contract("Settlement", addresses.chain_id, addresses.settlement)
    contract.act(deployed.chain, member, "depositMany", [LEAVING], [units], timestamp=0)


SETTLE = Settler.settle


def cut_off(self: Settler, *given: Any) -> Any:
    """In the place of sending what was decided just now."""
    if self._recorder.ahead is None:
        raise KeyboardInterrupt
    return SETTLE(self, *given)


def test_a_member_that_takes_everything_out_in_the_middle_stops_no_run(tmp_path: Path) -> None:
    with anvil() as url:
        deployed = deploy(tmp_path, url)
        deployed.run(tmp_path / "run", slots=20)
        assert take_all(deployed) > 0
        deployed.run(tmp_path / "run", slots=22)  # in the evening it pays: the account is filled again before it does
        deployed.run(tmp_path / "run")
        assert deployed.audit(tmp_path / "run") == 24
        assert "escrow_moved" in [entry.kind for entry in read_public_record(tmp_path / "run" / PUBLIC)]


def test_money_gone_between_the_record_and_the_sending_burns_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off with a settlement recorded and not sent, which can no longer be paid: it waits until anybody has paid in."""
    with anvil() as url:
        deployed = deploy(tmp_path, url)
        deployed.run(tmp_path / "run", slots=20)
        with monkeypatch.context() as patch:
            patch.setattr(Settler, "settle", cut_off)
            with pytest.raises(KeyboardInterrupt):
                deployed.run(tmp_path / "run")
        assert take_all(deployed) > 0
        nonce = deployed.chain.nonce(deployed.keys.operator.address)
        for _ in range(2):
            with pytest.raises(LedgerError, match=r"AccountBelowZero\(account=1, (.|\n)*pay into account 1(.|\n)*anybody may"):
                deployed.run(tmp_path / "run")
        assert deployed.chain.nonce(deployed.keys.operator.address) == nonce
        pay_in(deployed, 10**6)
        deployed.run(tmp_path / "run")
        assert deployed.audit(tmp_path / "run") == 24


def batches_of(deployed: Deployed) -> Contract:
    return Contract("BatchSettlement", deployed.chain.chain_id, contracts_of(deployed.manifest)["BatchSettlement"])


def ask_for_all(deployed: Deployed) -> int:
    """Everything that is the leaving member's own by the last batch, nano."""
    fund(deployed.url, deployed.keys.member(LEAVING).address)
    leave_batches(deployed.chain, batches_of(deployed), deployed.keys.member(LEAVING), 0)
    asked = int(batches_of(deployed).view(deployed.chain, "leavingOf", LEAVING)[0])
    assert asked > 0
    return asked


def moves_and_deposits(record: Sequence[Entry]) -> list[tuple[str, int, int]]:
    """Kind, batches posted by then, and nano of the leaving member, of what is recorded beside slots."""
    posted, found = 0, []
    for entry in record:
        posted += entry.kind == BATCH_POSTED
        if entry.kind in (ESCROW_MOVED, ESCROW_PAID) and entry.public["nano"][LEAVING]:
            found.append((entry.kind, posted, entry.public["nano"][LEAVING]))
    return found


def check_nothing_to_prove(deployed: Deployed, out: Path, batches: int) -> list[Entry]:
    """Every batch stands and is right, and the audit holds."""
    assert batches_of(deployed).view(deployed.chain, "batchCount")[0] == batches
    record = read_public_record(out / PUBLIC)
    found = BatchWatch(record, deployed.chain, key_of(bytes(31) + b"\1")).look(0)
    assert [(f.batch, f.outcome) for f in found] == [(at, RIGHT) for at in range(batches)]
    assert deployed.audit(out) == 24
    return record


def test_a_member_that_asks_for_all_it_has_between_two_batches_is_paid_for_as_it_spends(tmp_path: Path) -> None:
    """The batch under way stands on its money still. After it the run hears of the request, and pays in what lacks and no more."""
    with anvil() as url:
        deployed = deploy(tmp_path, url, QUARTERS.replace("batch_slots = 6", "batch_slots = 2"))
        deployed.run(tmp_path / "run", slots=3)
        assert batches_of(deployed).view(deployed.chain, "batchCount")[0] == 1
        asked = ask_for_all(deployed)
        deployed.run(tmp_path / "run")
        record = check_nothing_to_prove(deployed, tmp_path / "run", 12)
        rows = moves_and_deposits(record)
        assert (ESCROW_MOVED, 2, -asked) in rows
        at = rows.index((ESCROW_MOVED, 2, -asked))
        bills = [int(entry.public["cash_nano"][LEAVING]) for entry in record if entry.kind == "settlement_submitted"]
        under_way, served_since = sum(bills[2:4]), sum(bills[4:6])  # after which it sells for the rest of the day
        filled = sum(nano for _, _, nano in rows[at + 1 :])
        assert 0 < under_way + served_since <= filled < under_way + served_since + 3 * NANO_PER_TOKEN_UNIT
        ask_after_the_end(deployed, tmp_path / "run")


def ask_after_the_end(deployed: Deployed, out: Path) -> None:
    """What is asked after the last batch is heard of by nobody, and the audit of the run still holds."""
    member = deployed.keys.member(LEAVING)
    batches_of(deployed).act(deployed.chain, member, "requestWithdrawal", 0, 0, [], timestamp=0)
    assert deployed.audit(out) == 24


SPEND = Settler._spend


def test_a_batch_recorded_and_not_sent_stands_though_a_member_asks_for_everything_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent again to the byte: while it is under way nobody's collateral for it can fall, so nothing in it can be proved wrong."""
    recorded: list[Entry] = []

    def cut_off(self: Settler, entry: Entry, what: str) -> Any:
        """In the place of sending the second batch, recorded just now."""
        if what == "batch 1" and self._recorder.ahead is None:
            recorded.append(entry)
            raise KeyboardInterrupt
        return SPEND(self, entry, what)

    with anvil() as url:
        deployed = deploy(tmp_path, url, QUARTERS)
        with monkeypatch.context() as patch:
            patch.setattr(Settler, "_spend", cut_off)
            with pytest.raises(KeyboardInterrupt):
                deployed.run(tmp_path / "run")
        assert batches_of(deployed).view(deployed.chain, "batchCount")[0] == 1
        asked = ask_for_all(deployed)
        deployed.run(tmp_path / "run")
        record = check_nothing_to_prove(deployed, tmp_path / "run", 4)
        at = next(at for at, entry in enumerate(record) if entry.hash == recorded[0].hash)
        assert record[at + 1].kind == BATCH_INCLUDED  # as it was recorded, with nothing paid in for it
        assert (ESCROW_MOVED, 2, -asked) in moves_and_deposits(record)


def test_a_run_on_contracts_that_a_member_halted_is_refused_before_it_begins(tmp_path: Path) -> None:
    with anvil() as url:
        deployed = deploy(tmp_path, url, QUARTERS)
        contract = batches_of(deployed)
        fund(url, deployed.keys.member(LEAVING).address)
        rpc(url, "evm_increaseTime", 8 * 86_400)
        contract.act(deployed.chain, deployed.keys.member(LEAVING), "halt", timestamp=0)
        with pytest.raises(LedgerError, match=r"is halted for good(.|\n)*another manifest file"):
            deployed.run(tmp_path / "run")
        assert not (tmp_path / "run").exists()
