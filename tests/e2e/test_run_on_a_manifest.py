"""Runs on contracts that stand: day after day on the same ones, cut off and continued, and refused where anything is otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from e2e.runs import EXAMPLES
from ledger_world import anvil, rpc
from walras.commands.deploy import deploy_command
from walras.community import load_community
from walras.errors import AuditError, InputError, JournalError, LedgerError
from walras.exchange.audit import Audit
from walras.exchange.journal import read_public_record
from walras.exchange.leaving import leave_batches
from walras.exchange.opening import opening_from_public
from walras.exchange.watch_batches import RIGHT, BatchWatch, stated_positions
from walras.ledger import JsonRpcChain, LedgerKeys, account_words, next_slot, request_withdrawal, withdraw
from walras.ledger.calls import Contract
from walras.ledger.keys import key_of
from walras.ledger.manifest import contracts_of
from walras.ledger.standing import read_standing
from walras.study.meters import run_seed
from walras.study.runner import PUBLIC, Options, Run, ledger_keys

FIRST, SECOND = date(2016, 6, 21), date(2016, 6, 22)
BATCHES = '\n[ledger]\nsettle = "batches"\nbatch_slots = 12\nfraud_window_minutes = 60\n'


def by_the_hour(folder: Path, fields: str = "") -> Path:
    """A community file like rural1 in slots of an hour."""
    text = (EXAMPLES / "rural1.toml").read_text()
    assert "slot_minutes = 15" in text
    path = folder / "hourly.toml"
    path.write_text(text.replace("slot_minutes = 15", "slot_minutes = 60") + fields)
    return path


@dataclass(frozen=True)
class Deployed:
    """A community's contracts on a node."""

    file: Path
    manifest: Path
    url: str
    keys: LedgerKeys

    @property
    def chain(self) -> JsonRpcChain:
        return JsonRpcChain(self.url)

    def run(
        self, out: Path, start: date = FIRST, *, slots: int | None = None, url: str | None = None, after: tuple[Path, ...] = ()
    ) -> Run:
        going = Run(self.file, out, Options(start=start, chain_url=url or self.url, manifest=self.manifest, after=after))
        for _ in islice(going, slots):
            pass
        return going

    def audit(self, out: Path) -> int:
        return Audit(out / PUBLIC, self.chain).run().slots


def fund(url: str, *addresses: str) -> None:
    for address in addresses:
        rpc(url, "anvil_setBalance", address, hex(10**21))


def deploy(folder: Path, url: str, fields: str = "") -> Deployed:
    file, manifest = by_the_hour(folder, fields), folder / "ledger.json"
    keys = ledger_keys(run_seed(load_community(file)))
    fund(url, keys.admin.address, keys.operator.address)
    deploy_command(file, url, manifest, "permissioned", None)
    return Deployed(file, manifest, url, keys)


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployed]:
    with anvil() as url:
        yield deploy(tmp_path, url)


def test_two_days_on_the_same_contracts_one_of_them_cut_off_are_each_paid_once(deployed: Deployed, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    deployed.run(one, slots=7)
    deployed.run(one)
    assert deployed.audit(one) == 24
    addresses = read_standing(deployed.manifest).addresses
    after_one = account_words(deployed.chain, addresses, range(18))
    member = deployed.keys.member(3)
    fund(deployed.url, member.address)
    request_withdrawal(deployed.chain, addresses, member, 50 * 10**9, timestamp=0)  # and one of them leaves with a part
    rpc(deployed.url, "evm_increaseTime", 3_601)
    assert withdraw(deployed.chain, addresses, member, timestamp=0) == 50 * 10**6
    deployed.run(two, SECOND, slots=3)
    deployed.run(two, SECOND)
    assert deployed.audit(two) == 24
    assert deployed.audit(one) == 24  # as it was when it closed: the chain has moved on since
    opening = next(e.public["opening"] for e in read_public_record(two / PUBLIC) if e.kind == "ledger_deployed")
    assert opening["balance_nano"][3] == after_one[3] % 2**128 - 50 * 10**9
    assert opening["balance_nano"][4] == after_one[4] % 2**128

    nonces = [deployed.chain.nonce(key.address) for key in (deployed.keys.admin, deployed.keys.operator)]
    for day, out in ((FIRST, "again"), (SECOND, "once-more")):
        with pytest.raises(LedgerError, match=r"are settled on these contracts already(.|\n)*--start 2016-06-23"):
            deployed.run(tmp_path / out, day)
    deployed.run(two, SECOND)  # a run that is over, given again, does nothing
    assert [deployed.chain.nonce(key.address) for key in (deployed.keys.admin, deployed.keys.operator)] == nonces
    with pytest.raises(AuditError, match=r"slots that others settled(.|\n)*--chain"):
        Audit(two / PUBLIC).run()


def test_the_operators_key_may_be_used_beside_an_interrupted_run(deployed: Deployed, tmp_path: Path) -> None:
    deployed.run(tmp_path / "run", slots=2)
    standing = read_standing(deployed.manifest)
    token = Contract("TestCurrency", standing.addresses.chain_id, standing.addresses.currency)
    token.act(deployed.chain, deployed.keys.operator, "mint", deployed.keys.operator.address, 5, timestamp=0)
    deployed.run(tmp_path / "run", slots=4)
    assert next_slot(deployed.chain, standing.addresses) == 16508 // 4 + 4


def test_a_rehearsal_in_the_process_settles_what_the_node_settles(deployed: Deployed, tmp_path: Path) -> None:
    rehearsed = tmp_path / "rehearsed"
    for _ in Run(deployed.file, rehearsed, Options(manifest=deployed.manifest)):
        pass
    assert Audit(rehearsed / PUBLIC).run().checked["accounts at the beginning"] == 18
    deployed.run(tmp_path / "run")
    settled = [
        [(e.slot, e.public["cash_nano"]) for e in read_public_record(out / PUBLIC) if e.kind == "settlement_submitted"]
        for out in (rehearsed, tmp_path / "run")
    ]
    assert settled[0] == settled[1]


def test_the_manifest_may_stand_in_the_file_and_another_one_later_is_refused(deployed: Deployed, tmp_path: Path) -> None:
    named = by_the_hour(tmp_path, '\n[ledger]\nmanifest = "ledger.json"\n')
    begun = Run(named, tmp_path / "run", Options(chain_url=deployed.url))
    for _ in islice(begun, 1):
        pass
    settlement = next(e.public["settlement"] for e in read_public_record_of(begun) if e.kind == "ledger_deployed")
    assert settlement == read_standing(deployed.manifest).addresses.settlement
    with pytest.raises(JournalError, match=r"begun on the contracts at 0x(.|\n)*same --manifest"):
        for _ in Run(by_the_hour(tmp_path), tmp_path / "run", Options(chain_url=deployed.url)):
            pass


def read_public_record_of(run: Run) -> list[Any]:
    return list(run._journal.entries())


def changed(manifest: Path, *path: Any, to: Any) -> None:
    content = json.loads(manifest.read_text())
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    manifest.write_text(json.dumps(content))


def test_whatever_differs_is_named_before_anything_is_signed(deployed: Deployed, tmp_path: Path) -> None:
    standing = read_standing(deployed.manifest)
    nonce = deployed.chain.nonce(deployed.keys.operator.address)

    def refused(by: type[Exception], match: str, url: str | None = None) -> None:
        with pytest.raises(by, match=match):
            deployed.run(tmp_path / "never", url=url)
        assert not (tmp_path / "never").exists()

    whole = deployed.manifest.read_text()
    text = deployed.file.read_text()
    deployed.file.write_text(text.replace("quorum = 3", "quorum = 4"))
    refused(LedgerError, r"terms\.threshold is 3 in the manifest, now 4")
    deployed.file.write_text(text.replace("seed = ", "seed = 1"))
    refused(LedgerError, "admin is 0x[0-9a-fA-F]+ in the manifest, now 0x")
    deployed.file.write_text(text)
    code = rpc(deployed.url, "eth_getCode", standing.addresses.settlement, "latest")
    rpc(deployed.url, "anvil_setCode", standing.addresses.settlement, code + "00")
    refused(LedgerError, f"settlement at {standing.addresses.settlement} has other code than was deployed")
    rpc(deployed.url, "anvil_setCode", standing.addresses.settlement, code)
    changed(deployed.manifest, "standing", "registry", to="00" * 32)
    refused(LedgerError, "registry at 0x[0-9a-fA-F]+ has other code")
    content = json.loads(whole)
    del content["standing"]
    deployed.manifest.write_text(json.dumps(content))
    refused(InputError, r"standing(.|\n)*same `walras deploy` again finishes it")
    deployed.manifest.write_text(whole)
    with anvil(options=("--chain-id", "5")) as other:
        refused(LedgerError, r"is of chain 5, expected 31337", other)
    with anvil() as empty:
        refused(LedgerError, r"there is no contract at 0x[0-9a-fA-F]+ \(currency\)(.|\n)*walras deploy", empty)
    assert deployed.chain.nonce(deployed.keys.operator.address) == nonce


def test_a_run_goes_on_from_what_a_committee_published_by_the_records_of_the_runs_before(tmp_path: Path) -> None:
    """Without the records, or with one of other slots, nothing begins; a member leaves by the record of the last run alone."""
    with anvil() as url:
        deployed = deploy(tmp_path, url, BATCHES + 'publish = "committee"\n')
        contract = Contract("BatchSettlement", deployed.chain.chain_id, contracts_of(deployed.manifest)["BatchSettlement"])
        one, two = tmp_path / "one", tmp_path / "two"
        deployed.run(one)
        with pytest.raises(LedgerError, match=r"batch 0 at 0x\w+ was published by a committee(.|\n)*--after"):
            deployed.run(two, SECOND)
        assert not two.exists()
        deployed.run(two, SECOND, after=(one / PUBLIC,), slots=3)
        deployed.run(two, SECOND)  # cut off, it goes on by its own journal
        assert contract.view(deployed.chain, "batchCount")[0] == 4
        assert deployed.audit(two) == 24
        with pytest.raises(LedgerError, match="batch 0 at"):
            deployed.run(tmp_path / "three", date(2016, 6, 23), after=(two,))
        record = read_public_record(two / PUBLIC)
        found = BatchWatch(record, deployed.chain, key_of(bytes(31) + b"\1")).look(0)
        assert [(f.batch, f.outcome) for f in found] == [(2, RIGHT), (3, RIGHT)]
        opening = opening_from_public(next(e.public for e in record if e.kind == "ledger_deployed"))
        fund(url, deployed.keys.member(1).address)
        step = leave_batches(deployed.chain, contract, deployed.keys.member(1), 0, stated_positions(record), opening=opening)
        assert "asked for" in step.done


def test_batches_go_on_where_those_of_the_day_before_ended(tmp_path: Path) -> None:
    with anvil() as url:
        deployed = deploy(tmp_path, url, BATCHES)
        contract = Contract("BatchSettlement", deployed.chain.chain_id, contracts_of(deployed.manifest)["BatchSettlement"])
        with pytest.raises(LedgerError, match=r"batches on these contracts go on with slot(.|\n)*--start 2016-06-21"):
            deployed.run(tmp_path / "late", SECOND)
        deployed.run(tmp_path / "one", slots=14)
        deployed.run(tmp_path / "one")
        deployed.run(tmp_path / "two", SECOND, slots=14)
        deployed.run(tmp_path / "two", SECOND)
        assert contract.view(deployed.chain, "batchCount")[0] == 4
        assert contract.view(deployed.chain, "bondOf", deployed.keys.operator.address)[0] == 10**9
        for out in ("one", "two"):
            assert deployed.audit(tmp_path / out) == 24
        record = read_public_record(tmp_path / "two" / PUBLIC)
        found = BatchWatch(record, deployed.chain, key_of(bytes(31) + b"\1")).look(0)
        assert [(f.batch, f.outcome) for f in found] == [(2, RIGHT), (3, RIGHT)]
        with pytest.raises(LedgerError, match="are settled on these contracts already"):
            deployed.run(tmp_path / "again")
        deploy_command(deployed.file, url, deployed.manifest, "permissioned", None)  # confirms, whatever was posted since
