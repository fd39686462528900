"""Deployment once, whatever happens in between; and four nodes that are fed the same blocks agree on every one of them."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from batch_world import Batches
from ledger_world import COIN, ORACLES, ROOT, SEED, START, THRESHOLD, World, anvil, chain_of, funded, pair, rpc
from walras.commands.deploy import deploy_command
from walras.community import load_community
from walras.errors import InputError, LedgerError
from walras.ledger import (
    EmbeddedChain,
    Fees,
    Genesis,
    JsonRpcChain,
    LedgerKeys,
    LedgerTerms,
    Receipt,
    TimedTransaction,
    Transaction,
    account_words,
    artifact,
    next_sender,
    read,
    settlement_transaction,
    sign_transaction,
    transaction_hash,
)
from walras.ledger.batches import find_fraud
from walras.ledger.manifest import check_ledger, deploy_once, read_terms
from walras.ledger.profiles import PROFILES, fees_of
from walras.study.meters import run_seed
from walras.study.runner import ledger_keys

EXAMPLES = ROOT / "examples"
KEYS = LedgerKeys(SEED)
TERMS = LedgerTerms(
    members=tuple(KEYS.member(account).address for account in range(3)),
    oracles=tuple(KEYS.oracle(index).address for index in range(ORACLES)),
    threshold=THRESHOLD,
    deposits_nano=(COIN, 0, COIN),
)


class Failing:
    """A chain whose node goes away after some transactions."""

    def __init__(self, inner: object, left: int) -> None:
        self.inner, self.left = inner, left

    def send(self, raw: bytes, *, timestamp: int) -> object:
        if self.left == 0:
            raise LedgerError("the node cannot be reached")
        self.left -= 1
        return self.inner.send(raw, timestamp=timestamp)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


@pytest.mark.parametrize("kind", ["embedded", "anvil"])
def test_a_deployment_interrupted_everywhere_ends_as_one_ledger(kind: str, tmp_path: Path) -> None:
    manifest = tmp_path / "ledger.json"
    with chain_of(kind) as chain:
        for left in range(8):
            with pytest.raises(LedgerError, match="cannot be reached"):
                deploy_once(Failing(chain, left), KEYS, TERMS, manifest, timestamp=START)  # type: ignore[arg-type]
        done = deploy_once(chain, KEYS, TERMS, manifest, timestamp=START)
        nonces = [chain.nonce(key.address) for key in (KEYS.admin, KEYS.operator)]
        again = deploy_once(chain, KEYS, TERMS, manifest, timestamp=START + 60)
        assert again == done
        assert [chain.nonce(key.address) for key in (KEYS.admin, KEYS.operator)] == nonces
        assert account_words(chain, done.addresses, range(3)) == [COIN, 0, COIN]


def test_a_manifest_of_other_terms_or_another_chain_is_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "ledger.json"
    with chain_of("embedded") as chain:
        deploy_once(chain, KEYS, TERMS, manifest, timestamp=START)
        with pytest.raises(LedgerError, match=r"other terms(.|\n)*another manifest file"):
            deploy_once(chain, KEYS, replace(TERMS, withdrawal_delay_s=1), manifest, timestamp=START)
        with chain_of("embedded", chain_id=5) as other, pytest.raises(LedgerError, match="of chain 31337, the node is of chain 5"):
            deploy_once(other, KEYS, TERMS, manifest, timestamp=START)
        manifest.write_text("{}")
        with pytest.raises(InputError, match="walras ledger manifest 1"):
            deploy_once(chain, KEYS, TERMS, manifest, timestamp=START)


def test_what_stands_at_the_addresses_is_checked(tmp_path: Path) -> None:
    with chain_of("embedded") as chain:
        done = deploy_once(chain, KEYS, TERMS, tmp_path / "ledger.json", timestamp=START)
        check_ledger(chain, done.addresses, TERMS)
        with pytest.raises(LedgerError, match="oracles is 4, expected 1"):
            check_ledger(chain, done.addresses, replace(TERMS, oracles=TERMS.oracles[:1], threshold=1))
        with pytest.raises(LedgerError, match="no contract at"):
            check_ledger(chain, replace(done.addresses, registry=KEYS.admin.address), TERMS)


def test_a_real_currency_is_taken_as_it_is_and_nothing_is_minted(tmp_path: Path) -> None:
    with chain_of("embedded") as chain:
        first = deploy_once(chain, KEYS, TERMS, tmp_path / "first.json", timestamp=START)
        terms = replace(TERMS, currency=first.addresses.currency, deposits_nano=(0, 0, 0))
        second = deploy_once(chain, KEYS, terms, tmp_path / "second.json", timestamp=START)
    assert second.addresses.currency == first.addresses.currency
    assert second.addresses.settlement != first.addresses.settlement
    with pytest.raises(InputError, match="cannot be minted"):
        replace(TERMS, currency=first.addresses.currency)


def test_terms_come_from_a_file_with_all_faults_at_once(tmp_path: Path) -> None:
    file = tmp_path / "terms.json"
    content = {"members": TERMS.members, "oracles": TERMS.oracles, "threshold": 3, "deposits_nano": TERMS.deposits_nano}
    file.write_text(json.dumps(content))
    assert read_terms(file) == TERMS
    file.write_text(json.dumps({"members": [], "thresold": 3}))
    with pytest.raises(InputError) as caught:
        read_terms(file)
    assert [fault.field for fault in caught.value.faults] == ["deposits_nano", "oracles", "threshold", "thresold"]
    file.write_text(json.dumps({**content, "threshold": "3"}))
    with pytest.raises(InputError, match="Expected `int`"):
        read_terms(file)
    with pytest.raises(InputError, match="a JSON file"):
        read_terms(tmp_path / "none.json")


def test_the_node_suggests_fees_that_it_then_takes() -> None:
    with anvil() as url:
        for address in funded():
            rpc(url, "anvil_setBalance", address, hex(10**20))
        chain = JsonRpcChain(url)
        fees = chain.suggested_fees()
        assert fees.max_fee_per_gas > fees.max_priority_fee_per_gas >= 0
        transfer = Transaction(chain.chain_id, 0, KEYS.operator.address, b"", 21_000, fees, value=1)
        assert chain.send(sign_transaction(KEYS.admin, transfer), timestamp=START).status == 1
    assert {profile.free_gas for profile in PROFILES.values()} == {True, False}


def test_four_nodes_fed_the_same_blocks_have_equal_roots_and_hashes() -> None:
    """Validators agree on (height, transactions, time); each node executes for itself."""
    source = World(EmbeddedChain(Genesis(funded(), timestamp=START - 900)))
    raws = [one.raw for one in source.deployment.transactions]
    for slot, payment in enumerate([COIN, -7, 10**16, 5]):  # the third is refused: it, too, is part of the chain
        operator = next_sender(source.chain, source.keys.operator)
        raw = settlement_transaction(source.addresses, operator, source.settlement(slot, pair(1, 2, payment, slot)))
        source.chain.send(raw, timestamp=START + 900 * (slot + 1))
        raws.append(raw)
    blocks = [raws[at : at + 3] for at in range(0, len(raws), 3)]
    options = ("--no-mining", "--timestamp", str(START - 900))
    with ExitStack() as stack:
        nodes = [stack.enter_context(anvil(options=options)) for _ in range(4)]
        for url in nodes:
            for address in funded():
                rpc(url, "anvil_setBalance", address, hex(10**24))
        for height, transactions in enumerate(blocks):
            seen = {_execute(url, transactions, START + 12 * height) for url in nodes}
            assert len(seen) == 1, f"block {height}: the nodes differ"
        words = [account_words(JsonRpcChain(url), source.addresses, range(6)) for url in nodes]
    assert words == [account_words(source.chain, source.addresses, range(6))] * 4


def test_a_price_spike_is_refused_before_anything_is_signed(tmp_path: Path) -> None:
    spike = Fees(101 * 10**9, 10**9)
    with pytest.raises(LedgerError, match=r"101 gwei now, more than the 100 of profile mainnet(.|\n)*nothing was signed"):
        fees_of(PROFILES["mainnet"], lambda: spike)
    assert fees_of(PROFILES["mainnet"], lambda: Fees(100 * 10**9, 10**9)).max_fee_per_gas == 100 * 10**9
    assert fees_of(PROFILES["permissioned"], lambda: spike).max_fee_per_gas == 10 * 10**9
    with anvil() as url:
        rpc(url, "anvil_setNextBlockBaseFeePerGas", hex(60 * 10**9))
        rpc(url, "evm_mine")
        with pytest.raises(LedgerError, match="profile mainnet"):
            deploy_command(EXAMPLES / "rural1.toml", url, tmp_path / "m.json", "mainnet", None)
    assert not (tmp_path / "m.json").exists()


def test_a_deployment_on_mainnet_waits_until_it_is_final(tmp_path: Path) -> None:
    keys = ledger_keys(run_seed(load_community(EXAMPLES / "rural1.toml")))
    with anvil(options=("--block-time", "0.02")) as url:
        for key in (keys.admin, keys.operator):
            rpc(url, "anvil_setBalance", key.address, hex(10**24))
        deploy_command(EXAMPLES / "rural1.toml", url, tmp_path / "m.json", "mainnet", None)
        content = json.loads((tmp_path / "m.json").read_text())
        last = rpc(
            url, "eth_getTransactionReceipt", "0x" + transaction_hash(bytes.fromhex(content["transactions"][-1]["raw"])).hex()
        )
        assert int(rpc(url, "eth_blockNumber"), 16) >= int(last["blockNumber"], 16) + 64


def test_a_council_is_deployed_with_the_ledger_and_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = ledger_keys(run_seed(load_community(EXAMPLES / "rural1.toml")))
    seats = tmp_path / "council.json"
    seats.write_text(json.dumps({"members": [KEYS.member(i).address for i in range(3)], "threshold": 2, "delay_s": 60}))
    with anvil() as url:
        for key in (keys.admin, keys.operator):
            rpc(url, "anvil_setBalance", key.address, hex(10**24))
        for _ in range(2):
            deploy_command(EXAMPLES / "rural1.toml", url, tmp_path / "m.json", "permissioned", None, seats)
        addresses = json.loads((tmp_path / "m.json").read_text())["addresses"]
        chain = JsonRpcChain(url)
        offered = read(chain, artifact("Registry"), addresses["registry"], "pendingDefaultAdmin")[0]
    assert offered == addresses["timelock"].lower()
    assert "council has it accepted" in " ".join(capsys.readouterr().out.split())
    seats.write_text("{}")
    with pytest.raises(InputError, match="threshold"):
        deploy_command(EXAMPLES / "rural1.toml", "http://127.0.0.1:1", tmp_path / "m2.json", "permissioned", None, seats)


def test_four_embedded_chains_fed_the_same_transactions_have_equal_blocks() -> None:
    """Batches, a proof of fraud and a withdrawal among them: every block hash and state root agrees at every height."""
    genesis = Genesis(funded(), timestamp=START - 900)
    recorded: list[TimedTransaction] = []
    source = EmbeddedChain(genesis)
    keep = source.send

    def record(raw: bytes, *, timestamp: int) -> Receipt:
        receipt = keep(raw, timestamp=timestamp)
        recorded.append(TimedTransaction(raw, receipt.timestamp))
        return receipt

    source.send = record  # type: ignore[method-assign]
    batches = Batches(World(source, members=3))
    batches.post_honest([{1: 5, 2: -5}, {}])
    batch, _, facts, tree = batches.honest([{1: 7, 2: -7}])
    wrong = replace(batch, slots=((bytes(32), batch.slots[0][1]),))
    assert batches.post(wrong).status == 1
    by_key = {(fact.slot, fact.account): fact for fact in facts}
    fraud = find_fraud(wrong, batches.words, 3, by_key, tree, batches.collateral(1))  # type: ignore[arg-type]
    assert fraud is not None
    assert batches.send(KEYS.member(2), fraud.function, 1, *fraud.arguments).status == 1
    others = [EmbeddedChain(genesis) for _ in range(4)]
    for height, one in enumerate(recorded):
        heads = {node.head() for node in others if node.send(one.raw, timestamp=one.timestamp).block_number == height + 1}
        assert len(heads) == 1, f"block {height}: the nodes differ"
    assert {node.head() for node in others} == {source.head()}


def _execute(url: str, transactions: list[bytes], timestamp: int) -> tuple[str, str, str]:
    for raw in transactions:
        rpc(url, "eth_sendRawTransaction", "0x" + raw.hex())
    rpc(url, "evm_setNextBlockTimestamp", timestamp)
    rpc(url, "anvil_setNextBlockBaseFeePerGas", "0x0")
    rpc(url, "evm_mine")
    block = rpc(url, "eth_getBlockByNumber", "latest", False)
    assert len(block["transactions"]) == len(transactions)
    return block["hash"], block["stateRoot"], block["gasUsed"]
