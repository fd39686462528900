"""The whole set of contracts by one command: added once, whatever interrupts it, joined to each other, and looked at afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger_world import CHAINS, ROOT, SEED, START, anvil, chain_of, rpc
from walras.commands.deploy import deploy_command
from walras.community import load_community
from walras.errors import InputError, LedgerError
from walras.ledger import Chain, EmbeddedChain, LedgerKeys, LedgerTerms, Receipt, artifact, read
from walras.ledger.abi import CONTRACTS
from walras.ledger.calls import Contract
from walras.ledger.credentials import GateList
from walras.ledger.governance import Proposal, accept_admin, execute, propose
from walras.ledger.manifest import Additions, add_once, contracts_of, deploy_once
from walras.ledger.shelf import SHELF, AdditionTerms, chosen, contract_of
from walras.study.meters import run_seed
from walras.study.runner import ledger_keys

EXAMPLES = ROOT / "examples"
KEYS = LedgerKeys(SEED)
TERMS = LedgerTerms(
    members=tuple(KEYS.member(account).address for account in range(3)),
    oracles=tuple(KEYS.oracle(index).address for index in range(4)),
    threshold=3,
    deposits_nano=(0, 0, 0),
)
ADDED = AdditionTerms(
    penalty_account=2, gate=(GateList("sanctions", KEYS.member(2).address, denies=True),), meter_operators=(KEYS.member(1).address,)
)
POOL = "EnergyPool:35040"
INNER = {"TestCurrency", "Registry", "Settlement", "Council", "Timelock"}


def add(chain: Chain, manifest: Path, *names: str, terms: AdditionTerms = ADDED, ledger: LedgerTerms = TERMS) -> Additions:
    """As the command does it: the ledger first, then what is added."""
    deploy_once(chain, KEYS, ledger, manifest, timestamp=START)
    return add_once(chain, KEYS, manifest, chosen(names, terms), terms, timestamp=START)


class Broken:
    """A chain on which the connection breaks before transaction number `at` that it has not seen, or right after it."""

    def __init__(self, chain: Chain, at: int, *, after: bool) -> None:
        self.chain, self.left, self.after = chain, at, after

    def send(self, raw: bytes, *, timestamp: int) -> Receipt:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise LedgerError("the node cannot be reached")
        receipt = self.chain.send(raw, timestamp=timestamp)
        if self.left == 0:
            raise LedgerError("the node cannot be reached")
        return receipt

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chain, name)


@pytest.fixture(params=CHAINS)
def chain(request: pytest.FixtureRequest) -> Iterator[Chain]:
    with chain_of(request.param) as chain:
        yield chain


def test_every_contract_of_ours_is_in_one_of_the_two_circles() -> None:
    assert set(SHELF) | INNER == set(CONTRACTS)
    assert not set(SHELF) & INNER


def test_the_whole_set_stands_joined_and_a_second_time_changes_nothing(chain: Chain, tmp_path: Path) -> None:
    manifest = tmp_path / "ledger.json"
    slow = {"ProofVerifier"} if isinstance(chain, EmbeddedChain) else set()  # seconds of pairing arithmetic in Python
    names = [POOL if name == "EnergyPool" else name for name in SHELF if name not in slow]
    done = add(chain, manifest, *names)
    assert {contract_of(one.name)[0] for one in done.contracts} == set(SHELF) - slow
    assert done.waiting == ()
    head, written = chain.head(), manifest.read_bytes()
    again = add(chain, manifest, *names)
    assert again == done
    assert (chain.head(), manifest.read_bytes()) == (head, written)
    a = contracts_of(manifest)
    assert read(chain, artifact("Issuance"), a["Issuance"], "settlementOf", a["EnergyCertificates"])[0] == a["settlement"].lower()
    assert read(chain, artifact("Registry"), a["registry"], "gate")[0] == a["ListGate"].lower()


def test_one_contract_is_added_later_with_all_it_needs_and_nothing_is_deployed_twice(chain: Chain, tmp_path: Path) -> None:
    manifest = tmp_path / "ledger.json"
    first = add(chain, manifest, "PaymentChannels")
    later = add(chain, manifest, "EnergyClaims")
    assert [one.name for one in later.contracts] == ["PaymentChannels", "MeterRegister", "Issuance", "EnergyClaims"]
    assert later.contracts[0] == first.contracts[0]
    assert later.transactions[: len(first.transactions)] == first.transactions
    blocks = chain.head().number
    assert add(chain, manifest).contracts == later.contracts
    assert chain.head().number == blocks


@pytest.mark.parametrize("after", [False, True])
def test_an_addition_interrupted_at_any_transaction_goes_on_and_does_nothing_twice(tmp_path: Path, after: bool) -> None:
    names = ("EnergyClaims", "DeviceRegistry")
    with chain_of("embedded") as chain:
        whole = add(chain, tmp_path / "whole.json", *names)
    steps = len(whole.transactions)
    assert steps == 7  # four contracts and three joins
    for at in range(1, steps + 1):
        manifest = tmp_path / f"{at}-{after}.json"
        with chain_of("embedded") as chain:
            deploy_once(chain, KEYS, TERMS, manifest, timestamp=START)
            broken: Any = Broken(chain, at, after=after)
            with pytest.raises(LedgerError, match="cannot be reached"):
                add_once(broken, KEYS, manifest, chosen(names, ADDED), ADDED, timestamp=START)
            done = add(chain, manifest, *names)
            assert done.contracts == whole.contracts
            assert chain.nonce(KEYS.admin.address) == 4 + steps


def test_other_terms_for_what_stands_are_refused_and_nothing_new_is_signed(tmp_path: Path) -> None:
    manifest = tmp_path / "ledger.json"
    with chain_of("embedded") as chain:
        add(chain, manifest, "BatchSettlement", "DidRegistry")
        written = manifest.read_bytes()
        for other in (replace(ADDED, fraud_window_s=60), replace(ADDED, recovery_delay_s=1)):
            with pytest.raises(LedgerError, match="other arguments"):
                add(chain, manifest, "PaymentChannels", terms=other)
    assert manifest.read_bytes() == written


def test_a_contract_that_is_not_what_the_manifest_says_is_found(tmp_path: Path) -> None:
    manifest = tmp_path / "ledger.json"
    with chain_of("embedded") as chain:
        add(chain, manifest, "PaymentChannels", "RightsMarket")
        content = json.loads(manifest.read_text())
        row = content["additions"][0]["contracts"][0]
        row["address"] = KEYS.member(0).address
        manifest.write_text(json.dumps(content))
        with pytest.raises(LedgerError, match=f"no contract at {row['address']}"):
            add(chain, manifest)


def carried(chain: Chain, names: dict[str, str], proposal: Proposal, now: int) -> None:
    """The council of members 0 to 2 has it done: proposed by two of them, executed when its time has come."""
    council, timelock = (Contract(name, chain.chain_id, names[name.lower()]) for name in ("Council", "Timelock"))
    propose(chain, council, timelock, [KEYS.member(0), KEYS.member(1)], proposal, KEYS.operator, timestamp=now)
    execute(chain, timelock, proposal, KEYS.operator, timestamp=now + 100)


def test_once_the_council_governs_a_join_is_left_to_it_and_then_holds(tmp_path: Path) -> None:
    governed = replace(TERMS, council=tuple(KEYS.member(i).address for i in range(3)), council_threshold=2, timelock_s=60)
    manifest = tmp_path / "ledger.json"
    with chain_of("embedded") as chain:
        add(chain, manifest, "EnergyClaims", ledger=governed)
        a = contracts_of(manifest)
        take = Proposal(a["Issuance"], artifact("Issuance").call("acceptOwnership"))
        for number, proposal in enumerate((accept_admin(a["registry"]), take)):
            carried(chain, a, proposal, START + 1_000 * (number + 1))
        done = add(chain, manifest, "EnergyCertificates", "OracleBond", ledger=governed)
        assert [label for label, _ in done.for_council] == [
            "Registry.setOracleBond for OracleBond",
            "Issuance.appoint for EnergyCertificates",
        ]
        assert set(done.waiting) == {label for label, _ in done.for_council}
        for number, (_, proposal) in enumerate(done.for_council):
            carried(chain, a, proposal, START + 10_000 * (number + 1))
        assert add(chain, manifest, ledger=governed).waiting == ()


def test_names_that_are_not_on_the_shelf_are_all_refused_at_once() -> None:
    with pytest.raises(InputError) as caught:
        chosen(["Nothing", "EnergyPool", "ProofVerifier:nothing", "ListGate", "Settlement", "Issuance:1"], AdditionTerms())
    assert len(caught.value.faults) == 6
    assert "EnergyPool:SLOT" in str(caught.value)


def test_the_command_deploys_all_and_adds_by_the_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = (EXAMPLES / "rural1.toml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(source + '\n[ledger]\ncontracts = ["PaymentChannels"]\n', encoding="utf-8")
    keys = ledger_keys(run_seed(load_community(mine)))
    with anvil() as url:
        for key in (keys.admin, keys.operator):
            rpc(url, "anvil_setBalance", key.address, hex(10**24))
        manifest = tmp_path / "m.json"
        deploy_command(mine, url, manifest, "permissioned", None)
        assert "PaymentChannels" in contracts_of(manifest)
        for _ in range(2):
            deploy_command(mine, url, manifest, "permissioned", None, contracts=["all"])
    last = capsys.readouterr().out
    for name in contracts_of(manifest):
        assert name in last
    assert len(contracts_of(manifest)) == 3 + len(chosen(["all"], AdditionTerms()))


def test_the_page_lists_every_contract_with_the_gas_it_takes(tmp_path: Path) -> None:
    """The figures on the page are the receipts of this very deployment, to the nearest thousand."""
    manifest = tmp_path / "ledger.json"
    with chain_of("anvil") as chain:
        council = replace(TERMS, council=tuple(KEYS.member(i).address for i in range(3)), council_threshold=2, timelock_s=60)
        core = deploy_once(chain, KEYS, council, manifest, timestamp=START)
        done = add_once(chain, KEYS, manifest, chosen(["all", POOL], ADDED), ADDED, timestamp=START)
    content = json.loads(manifest.read_text())
    labels = [step["label"] for step in content["transactions"]]
    labels += [step["label"] for part in content["additions"] for step in part["transactions"]]
    gas: dict[str, int] = {}
    for label, receipt in zip(labels, (*core.receipts, *done.receipts), strict=True):
        if label.startswith("create "):
            gas.setdefault(contract_of(label.removeprefix("create "))[0], receipt.gas_used)
    page = (ROOT / "docs" / "do" / "settle-on-a-chain.md").read_text(encoding="utf-8")
    rows = {name: int(figure.replace(",", "")) for name, figure in re.findall(r"^\| `(\w+)` \|.*\| ([\d,]+) \|$", page, re.M)}
    assert rows == {name: round(used, -3) for name, used in gas.items()}
