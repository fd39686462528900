"""A member takes its money out while a run goes on: the slots are paid all the same, and nobody is stopped or convicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e.test_run_on_a_manifest import Deployed, deploy, fund
from ledger_world import anvil, rpc
from walras.errors import LedgerError
from walras.exchange.journal import read_public_record
from walras.exchange.watch_batches import RIGHT, BatchWatch
from walras.ledger import account_words, request_withdrawal, withdraw
from walras.ledger.calls import Contract
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


@pytest.mark.parametrize("asked", [200 * 10**9])
def test_a_run_goes_on_when_money_is_asked_back_between_two_batches_and_the_audit_holds(tmp_path: Path, asked: int) -> None:
    with anvil() as url:
        deployed = deploy(tmp_path, url, QUARTERS)
        contract = Contract("BatchSettlement", deployed.chain.chain_id, contracts_of(deployed.manifest)["BatchSettlement"])
        deployed.run(tmp_path / "run", slots=8)
        member = deployed.keys.member(LEAVING)
        fund(url, member.address)
        contract.act(deployed.chain, member, "requestWithdrawal", asked, timestamp=0)
        deployed.run(tmp_path / "run")
        assert contract.view(deployed.chain, "batchCount")[0] == 4
        record = read_public_record(tmp_path / "run" / PUBLIC)
        found = BatchWatch(record, deployed.chain, key_of(bytes(31) + b"\1")).look(0)
        assert [(f.batch, f.outcome) for f in found] == [(at, RIGHT) for at in range(4)]
        assert deployed.audit(tmp_path / "run") == 24


def test_a_run_on_contracts_that_a_member_halted_is_refused_before_it_begins(tmp_path: Path) -> None:
    with anvil() as url:
        deployed = deploy(tmp_path, url, QUARTERS)
        contract = Contract("BatchSettlement", deployed.chain.chain_id, contracts_of(deployed.manifest)["BatchSettlement"])
        fund(url, deployed.keys.member(LEAVING).address)
        rpc(url, "evm_increaseTime", 8 * 86_400)
        contract.act(deployed.chain, deployed.keys.member(LEAVING), "halt", timestamp=0)
        with pytest.raises(LedgerError, match=r"is halted for good(.|\n)*another manifest file"):
            deployed.run(tmp_path / "run")
        assert not (tmp_path / "run").exists()
