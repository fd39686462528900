"""`walras watchtower` as its own process on a node: a cheating operator, a stale close, an oracle with two roots are caught."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from e2e.runs import rechain
from e2e.test_run_in_batches import batched, in_batches
from ledger_world import SEED, anvil, rpc
from walras.commands.watchtower import Tower, Watched
from walras.community import load_community
from walras.errors import LedgerError
from walras.exchange.batching import MadeBatch
from walras.exchange.journal import read_public_record
from walras.exchange.statement import opened_terms
from walras.exchange.watch_batch_words import contradicting_words, words_in_record, words_on_chain
from walras.exchange.watch_batches import PROVED, RIGHT, UNPROVABLE, BatchWatch
from walras.ledger import EmbeddedChain, Genesis, JsonRpcChain, LedgerKeys, SigningKey, attestation_digest
from walras.ledger.batch_words import BatchWord
from walras.ledger.batches import state_tree
from walras.ledger.calls import Contract, create
from walras.ledger.channels import ChannelBalance, advance, sign_balance
from walras.ledger.oracle_bond import bonded
from walras.ledger.steps import redo, rows_of
from walras.ledger.watchtower import write_balances
from walras.study import settler
from walras.study.ledger_rules import genesis_time
from walras.study.meters import run_seed
from walras.study.runner import PUBLIC, Options, Run, ledger_keys

STRANGER = LedgerKeys(SEED).member(77)
STEAL_NANO = 1_000_000


def shifted(packed: bytes, at: int, nano: int) -> bytes:
    """Positions with the payment of row `at` moved by `nano`."""
    start = 16 * at + 2
    payment = int.from_bytes(packed[start : start + 8], "big", signed=True) + nano
    return packed[:start] + payment.to_bytes(8, "big", signed=True) + packed[start + 8 :]


def stolen(made: MadeBatch) -> MadeBatch:
    """Somebody pays a thousandth of a currency unit more in the batch's last slot, and the first member as much less."""
    root, packed = made.batch.slots[-1]
    wrong = shifted(shifted(packed, 0, -STEAL_NANO), len(rows_of(packed)) // 2, STEAL_NANO)
    state = list(made.before)
    for _, rows in (*made.batch.slots[:-1], (root, wrong)):
        _, state = redo(state, len(made.afterwards), rows)
    slots = (*made.batch.slots[:-1], (state_tree(state).root, wrong))
    return replace(made, batch=replace(made.batch, slots=slots))


@dataclass(frozen=True)
class Cheated:
    """A run whose operator cheats in one batch, on a chain."""

    run: Path
    chain: Any
    url: str
    keys: LedgerKeys
    contract: Contract


def cheat(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """From now on the operator posts batch number `batch` wrongly; everything else is as it should be."""
    honest, count = settler.post_transaction, [0]

    def post(terms: Any, made: MadeBatch, *rest: Any) -> bytes:
        count[0] += 1
        return honest(terms, stolen(made) if count[0] == batch + 1 else made, *rest)

    monkeypatch.setattr(settler, "post_transaction", post)


@pytest.fixture
def cheated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cheated]:
    cheat(monkeypatch, 2)
    file = batched(tmp_path)
    keys = ledger_keys(run_seed(load_community(file)))
    with anvil() as url:
        for address in (keys.admin.address, keys.operator.address, STRANGER.address):
            rpc(url, "anvil_setBalance", address, hex(10**21))
        for _ in Run(file, tmp_path / "run", Options(chain_url=url)):
            pass
        deployed = next(e.public for e in read_public_record(tmp_path / "run" / PUBLIC) if e.kind == "ledger_deployed")
        contract = Contract("BatchSettlement", deployed["chain_id"], deployed["batches"])
        yield Cheated(tmp_path / "run", JsonRpcChain(url), url, keys, contract)


def look(cheated: Cheated, folder: Path, *options: str, code: int = 0) -> str:
    """The command, once, as a process of its own that has the public record and nothing else of the run."""
    public = folder / "public"
    public.mkdir(exist_ok=True)
    for name in (PUBLIC, "HEAD"):
        (public / name).write_bytes((cheated.run / name).read_bytes())
    (folder / "key").write_text(STRANGER.secret.hex())
    words = ["watchtower", str(public), "--chain", cheated.url, "--key", str(folder / "key"), "--once", *options]
    program = "from walras.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_a_cheating_operator_is_caught_by_a_process_that_has_public_data_only(cheated: Cheated, tmp_path: Path) -> None:
    contract, chain = cheated.contract, cheated.chain
    before = Contract("TestCurrency", contract.chain_id, contract.view(chain, "currency")[0])
    bond = contract.view(chain, "bondOf", cheated.keys.operator.address)[0]
    assert contract.view(chain, "batchCount")[0] == 5
    said = look(cheated, tmp_path)
    assert "batch 0: right" in said
    assert "batch 1: right" in said
    assert "batch 2: proved: slot" in said
    assert contract.view(chain, "batchCount")[0] == 2
    assert contract.view(chain, "bondOf", cheated.keys.operator.address)[0] == 0
    assert before.view(chain, "balanceOf", STRANGER.address)[0] == bond // 2 > 0
    again = look(cheated, tmp_path)  # started anew: it goes on from the chain, and there is nothing left to prove
    assert "proved" not in again
    assert again.count("right") == 2


def test_a_stale_close_and_oracles_with_two_roots_or_batches_are_answered_by_the_same_process(
    cheated: Cheated, tmp_path: Path
) -> None:
    chain, keys = cheated.chain, cheated.keys
    deployed = next(e.public for e in read_public_record(cheated.run / PUBLIC) if e.kind == "ledger_deployed")
    first, second = keys.member(0), keys.member(1)
    token = Contract("TestCurrency", chain.chain_id, deployed["currency"])
    for key in (first, second, keys.oracle(0)):
        rpc(cheated.url, "anvil_setBalance", key.address, hex(10**21))
    channels = create(chain, keys.admin, "PaymentChannels", deployed["currency"], timestamp=0)
    balances = open_and_close_stale(chain, channels, token, keys.operator, first, second)
    write_balances(tmp_path / "balances.jsonl", balances)
    meters = create(chain, keys.admin, "MeterRegister", keys.admin.address, timestamp=0)
    terms = (deployed["settlement"], meters.address, keys.admin.address, 1_000, 60, 1_000)
    bond = create(chain, keys.admin, "OracleBond", *terms, timestamp=0)
    token.act(chain, keys.operator, "mint", keys.operator.address, 2_000, timestamp=0)
    token.act(chain, keys.operator, "approve", bond.address, 2_000, timestamp=0)
    for oracle in (0, 1):
        bond.act(chain, keys.operator, "bond", keys.oracle(oracle).address, 1_000, timestamp=0)
    Contract("Registry", chain.chain_id, deployed["registry"]).act(chain, keys.admin, "setOracleBond", bond.address, timestamp=0)
    assert bonded(chain, bond, keys.oracle(0).address)
    other = two_faced(cheated.run, tmp_path / "other.jsonl", (keys.oracle(0), keys.oracle(1)), deployed)
    options = ("--channels", channels.address, "--balances", str(tmp_path / "balances.jsonl"), "--bond", bond.address)
    said = look(cheated, tmp_path, *options, "--copies", str(other))
    assert "a stale close at 0 answered with 3" in said
    assert f"oracle {keys.oracle(0).address}: signed two roots for slot" in said
    assert f"oracle {keys.oracle(1).address}: signed two batches over slot" in said
    assert "2 oracles contradict themselves" in said
    assert channels.view(chain, "channelOf", 1)[3] == 3
    assert [bond.view(chain, "bondOf", keys.oracle(oracle).address)[2] for oracle in (0, 1, 2)] == [True, True, False]
    assert "answered" not in look(cheated, tmp_path, *options, "--copies", str(other))


def open_and_close_stale(
    chain: Any, channels: Contract, token: Contract, operator: SigningKey, first: SigningKey, second: SigningKey
) -> list[Any]:
    """A channel with three signed balances, which its first party closes as if there had been none."""
    token.act(chain, operator, "mint", first.address, 10_000_000, timestamp=0)
    token.act(chain, first, "approve", channels.address, 10_000_000, timestamp=0)
    channels.act(chain, first, "open", second.address, 3_600, 1_000_000, timestamp=0)
    balance, signed = ChannelBalance(1), []
    for _ in range(3):
        balance = advance(balance, 3_600_000, 100_000)
        signed.append(sign_balance(channels, balance, first, second))
    channels.act(chain, first, "closeUnused", 1, timestamp=0)
    return signed


def two_faced(run: Path, to: Path, oracles: tuple[SigningKey, SigningKey], deployed: Any) -> Path:
    """Another record, shown to somebody else, in which one oracle attests another root for the tenth slot and another one other
    facts of the second batch."""
    lines = (run / PUBLIC).read_bytes().splitlines()
    root, chain_id = bytes(range(32)), deployed["chain_id"]
    row, record = nth(lines, "attested", 9)
    digest = attestation_digest(chain_id, deployed["settlement"], record["slot"], root)
    record["public"] |= {"root": root.hex(), "signatures": oracles[0].sign_digest(digest).hex()}
    lines[row] = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    row, record = nth(lines, "batch_posted", 1)
    first, last = record["public"]["first"], record["public"]["last"]
    digest = BatchWord(first, last - first + 1, root).digest(chain_id, deployed["batches"])
    record["public"] |= {"facts_root": root.hex(), "signatures": oracles[1].sign_digest(digest).hex()}
    lines[row] = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    data, head = rechain(lines)
    folder = to.parent / "copy"
    folder.mkdir()
    (folder / PUBLIC).write_bytes(data)
    (folder / "HEAD").write_text(head + "\n")
    return folder / PUBLIC


def nth(lines: list[bytes], kind: str, n: int) -> tuple[int, Any]:
    """Row and content of the n-th line of this kind."""
    row = [row for row, line in enumerate(lines) if json.loads(line)["kind"] == kind][n]
    return row, json.loads(lines[row])


def test_a_copy_of_another_ledgers_record_is_refused_before_it_is_believed(cheated: Cheated, tmp_path: Path) -> None:
    lines = (cheated.run / PUBLIC).read_bytes().splitlines()
    row, record = nth(lines, "ledger_deployed", 0)
    record["public"]["batches"] = record["public"]["settlement"]
    lines[row] = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    data, head = rechain(lines)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / PUBLIC).write_bytes(data)
    (tmp_path / "copy" / "HEAD").write_text(head + "\n")
    tower = Tower(cheated.run, cheated.chain, STRANGER, Watched(copies=(tmp_path / "copy" / PUBLIC,)))
    with pytest.raises(LedgerError, match="it is of another ledger"):
        tower.look()


def replayed(run: Path) -> tuple[list[Any], EmbeddedChain]:
    """The record, and the embedded chain that its transactions make."""
    record = read_public_record(run / PUBLIC)
    deployed = next(e.public for e in record if e.kind == "ledger_deployed")
    genesis = Genesis((*deployed["funded"], STRANGER.address), timestamp=deployed["genesis_time"])
    chain = EmbeddedChain(genesis)
    for entry in record:
        for step in entry.public.get("transactions", ()):
            assert chain.send(bytes.fromhex(step["raw"]), timestamp=step["time"]).status == 1
    return record, chain


@pytest.mark.parametrize("publish", ["calldata", pytest.param("committee", marks=pytest.mark.nightly)])
def test_on_the_embedded_chain_honest_batches_are_right_and_a_missing_record_is_said(publish: str) -> None:

    record, chain = replayed(in_batches(publish))
    watch = BatchWatch(record, chain, STRANGER)
    assert [f.outcome for f in watch.look(0)] == [RIGHT] * 5
    told, posted = words_in_record(record), words_on_chain(chain, watch.contract.address)
    assert told == posted
    assert {one.oracle for one in told} <= set(opened_terms(record)[0].oracles)
    assert contradicting_words(told + posted) == []
    settled = [row for row, e in enumerate(record) if e.kind == "settled"]
    short = BatchWatch(record[: settled[49] + 1], chain, STRANGER)
    outcomes = [f.outcome for f in short.look(0)]
    assert outcomes[:2] == [RIGHT, RIGHT]
    assert set(outcomes[2:]) == {UNPROVABLE}


def test_on_the_embedded_chain_a_wrong_batch_is_proved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cheat(monkeypatch, 4)
    file = batched(tmp_path)
    run = Run(file, tmp_path / "run", Options())
    for _ in run:
        pass
    record, chain = replayed(tmp_path / "run")
    findings = BatchWatch(record, chain, STRANGER).look(genesis_time(run.terms))
    assert [f.outcome for f in findings] == [RIGHT] * 4 + [PROVED]
    assert "the facts come to" in findings[-1].what
