"""A small ledger to test against: named actors, one community, on either chain.

`AnvilChain` is the JSON-RPC adapter with block times given in (anvil lets its clock be set), so the same test runs on both
chains with the same times. The node is a real one, started as a child process from node_modules.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from walras.ledger import (
    Chain,
    EmbeddedChain,
    Genesis,
    Header,
    JsonRpcChain,
    LedgerKeys,
    LedgerTerms,
    NetPositions,
    NodeSettings,
    Receipt,
    SigningKey,
    SlotSettlement,
    Transaction,
    artifact,
    balances,
    correction_digest,
    deploy_ledger,
    join_signatures,
    net_positions,
    sign_attestation,
    sign_transaction,
)

ROOT = Path(__file__).parent.parent
SEED = bytes(range(32))
ORACLES = 4
THRESHOLD = 3
START = 1_800_000_000
DELAY_S = 3_600
COIN = 10**9  # nano-units
ON_A_NODE = os.environ.get("WALRAS_LEDGER") == "anvil"  # then every test that takes its chain from here runs on a node alone
CHAINS = ("anvil",) if ON_A_NODE else ("embedded", "anvil")


def anvil_binary() -> Path:
    """The node's executable; skips (or fails where CI=true) with the command that brings it."""
    for path in sorted(ROOT.glob("node_modules/@foundry-rs/anvil-*/bin/anvil*")):
        return path
    reason = "anvil is not installed; way out: npm ci"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def anvil(*, hardfork: str = "osaka", options: Sequence[str] = ()) -> Iterator[str]:
    """A node on a free port, stopped at the end; its address.

    It keeps a state for each block on disk, gigabytes in an hour, and leaves them there when stopped: so in a folder that goes.
    """
    kept = ROOT / ".tools"
    kept.mkdir(exist_ok=True)
    command = [
        str(anvil_binary()),
        "--port",
        "0",
        "--accounts",
        "0",
        "--gas-limit",
        "60000000",
        "--hardfork",
        hardfork,
        *options,
        "--cache-path",
    ]
    with (
        TemporaryDirectory(prefix="anvil-", dir=kept) as states,
        subprocess.Popen([*command, states], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("Listening on"):
                    threading.Thread(target=process.stdout.read, daemon=True).start()  # or its full pipe stops it
                    yield f"http://{line.split()[-1]}"
                    break
            else:
                pytest.fail("anvil ended before it listened")
        finally:
            process.kill()


def rpc(url: str, method: str, *arguments: Any) -> Any:
    """One JSON-RPC call beside the adapter, for what only a test node offers."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(arguments)}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        content = json.load(answer)
    assert "error" not in content, content
    return content["result"]


class AnvilChain:
    """`Chain` on anvil, with the block times of the caller."""

    def __init__(self, url: str, funded: Sequence[str]) -> None:
        self.url = url
        for address in funded:
            rpc(url, "anvil_setBalance", address, hex(10**24))
        self.inner = JsonRpcChain(url, settings=NodeSettings(receipt_timeout_s=20, poll_interval_s=0.005))

    def send(self, raw: bytes, *, timestamp: int) -> Receipt:
        later = max(timestamp, self.inner.head().timestamp + 1)
        rpc(self.url, "evm_setNextBlockTimestamp", later)
        return self.inner.send(raw, timestamp=later)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class World:
    """A deployed ledger with `members` accounts of 1,000 currency units each, four oracles, three of them a quorum."""

    def __init__(
        self, chain: Chain, *, members: int = 6, deposit_nano: int = 1_000 * COIN, delay_s: int = DELAY_S, window: int = 4
    ) -> None:
        self.chain = chain
        self.keys = LedgerKeys(SEED)
        self.members = members
        terms = LedgerTerms(
            members=tuple(self.keys.member(account).address for account in range(members)),
            oracles=tuple(self.keys.oracle(index).address for index in range(ORACLES)),
            threshold=THRESHOLD,
            deposits_nano=(deposit_nano,) * members,
            withdrawal_delay_s=delay_s,
            correction_window_slots=window,
        )
        self.deployment = deploy_ledger(chain, self.keys, terms, timestamp=START)
        self.addresses = self.deployment.addresses
        self.now = START + 900

    def header(self, slot: int) -> Header:
        return Header(*(bytes([kind]) + slot.to_bytes(31, "big") for kind in (1, 2, 3)))

    def signatures(self, slot: int, oracles: Sequence[int] = (0, 1, 2)) -> bytes:
        root = self.header(slot).readings_root
        keys = [self.keys.oracle(index) for index in oracles]
        settlement = self.addresses.settlement
        return join_signatures([sign_attestation(key, self.chain.chain_id, settlement, slot, root) for key in keys])

    def correction_signatures(self, slot: int, revision: int, root: bytes, oracles: Sequence[int] = (0, 1, 2)) -> bytes:
        digest = correction_digest(self.chain.chain_id, self.addresses.settlement, slot, revision, root)
        keys = [self.keys.oracle(index) for index in oracles]
        return join_signatures([(key.address, key.sign_digest(digest)) for key in keys])

    def settlement(self, slot: int, positions: NetPositions, oracles: Sequence[int] = (0, 1, 2)) -> SlotSettlement:
        return SlotSettlement(slot, self.header(slot), positions, self.signatures(slot, oracles))

    def send(self, key: SigningKey, contract: str, function: str, *arguments: Any) -> Receipt:
        """Any function of any contract by anybody; the receipt tells what became of it."""
        to = {"TestCurrency": "currency", "Registry": "registry", "Settlement": "settlement"}[contract]
        data = artifact(contract).call(function, *arguments)
        nonce = self.chain.nonce(key.address)
        raw = sign_transaction(key, Transaction(self.chain.chain_id, nonce, getattr(self.addresses, to), data, 8_000_000))
        return self.chain.send(raw, timestamp=self.now)

    def settle_raw(self, slot: int, packed: bytes, signatures: bytes, key: SigningKey | None = None) -> Receipt:
        """Hand the contract bytes that our own encoder would refuse."""
        return self.send(key or self.keys.operator, "Settlement", "settleSlot", slot, self.roots(slot), packed, signatures)

    def correct_raw(self, slot: int, packed: bytes, signatures: bytes, key: SigningKey | None = None) -> Receipt:
        return self.send(key or self.keys.operator, "Settlement", "correctSlot", slot, self.roots(slot), packed, signatures)

    def roots(self, slot: int) -> tuple[bytes, bytes, bytes]:
        header = self.header(slot)
        return header.readings_root, header.trades_root, header.journal_head

    def balances(self) -> list[int]:
        return balances(self.chain, self.addresses, range(self.members))[0].tolist()

    def energies(self) -> list[int]:
        return balances(self.chain, self.addresses, range(self.members))[1].tolist()

    def tokens(self, address: str) -> int:
        token = artifact("TestCurrency")
        return int(token.result("balanceOf", self.chain.call(self.addresses.currency, token.call("balanceOf", address)))[0])


def funded(members: int = 6) -> tuple[str, ...]:
    """Who pays gas: admin, operator, a stranger, and the members."""
    keys = LedgerKeys(SEED)
    own = (keys.admin.address, keys.operator.address, stranger().address)
    return own + tuple(keys.member(account).address for account in range(members))


@cache
def stranger() -> SigningKey:
    """A key that has no role."""
    return LedgerKeys(bytes(32)).member(0)


@contextmanager
def chain_of(kind: str, members: int = 6, *, chain_id: int = 31_337) -> Iterator[Chain]:
    """A fresh chain of the kind, with everybody's gas money on it."""
    if kind == "embedded" and not ON_A_NODE:
        yield EmbeddedChain(Genesis(funded(members), chain_id=chain_id, timestamp=START - 900))
    else:
        with anvil(options=("--chain-id", str(chain_id), "--timestamp", str(START - 900))) as url:
            yield AnvilChain(url, funded(members))


def row(account: int, payment_nano: int, energy_wh: int) -> bytes:
    """One packed position, by hand: the naive twin of `pack_positions`."""
    parts = (
        account.to_bytes(2, "big"),
        payment_nano.to_bytes(8, "big", signed=True),
        energy_wh.to_bytes(6, "big", signed=True),
    )
    return b"".join(parts)


def pair(payer: int, payee: int, payment_nano: int, energy_wh: int) -> NetPositions:
    """One member takes energy and pays, another gives it and is paid."""
    rows = sorted([(payer, payment_nano, energy_wh), (payee, -payment_nano, -energy_wh)])
    return net_positions(*zip(*rows, strict=True))
