"""`walras deploy`: the ledger of a community on a chain, once, by manifest; again it confirms or finishes."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from rich.console import Console

from walras.commands.secrets import read_secret
from walras.community import load_community
from walras.errors import Fault, InputError
from walras.ledger import JsonRpcChain, LedgerKeys, NodeSettings
from walras.ledger.manifest import PROFILES, deploy_once, fees_of
from walras.ledger.transactions import DEFAULT_FEES
from walras.service.roll import read_roll
from walras.study.meters import run_seed
from walras.study.runner import ledger_keys, make_terms
from walras.study.session import ledger_terms_of
from walras.study.trading import Trading


@dataclass(frozen=True, slots=True)
class CouncilTerms:
    """Who holds the admin's power once it is handed over: addresses, how many of them act, and the delay in seconds."""

    members: tuple[str, ...]
    threshold: int
    delay_s: int


def deploy_command(
    community: Path,
    chain: str,
    manifest: Path,
    profile: str,
    secret: Path | None,
    council: Path | None = None,
    roll: Path | None = None,
) -> None:
    """Deploy, finish an interrupted deployment, or confirm the one the manifest names."""
    if profile not in PROFILES:
        raise InputError("walras deploy", [Fault("command line", "--profile", profile, "one of " + ", ".join(PROFILES))])
    chosen = PROFILES[profile]
    given = load_community(community)
    keys = ledger_keys(run_seed(given)) if secret is None else LedgerKeys(read_secret(secret, "walras deploy"))
    terms = make_terms(given, Trading(given), keys)
    if roll is not None:
        held = read_roll(roll, given)
        if keys.admin.address != held.admin:
            raise InputError("walras deploy", [Fault(str(roll), "admin", held.admin, f"{keys.admin.address}, that of --secret")])
        keys = LedgerKeys(keys.seed, held.oracles, held.accounts)
        terms = make_terms(given, Trading(given), keys)
    ledger_terms = ledger_terms_of(terms, keys)
    if council is not None:
        seats = _read_council(council)
        ledger_terms = replace(ledger_terms, council=seats.members, council_threshold=seats.threshold, timelock_s=seats.delay_s)
    settings = NodeSettings(receipt_timeout_s=chosen.receipt_timeout_s, confirmations=chosen.confirmations)
    node = JsonRpcChain(chain, settings=settings)
    planned = manifest.exists()
    fees = DEFAULT_FEES if planned else fees_of(chosen, node.suggested_fees())
    deployment = deploy_once(node, keys, ledger_terms, manifest, timestamp=int(time.time()), fees=fees)
    if chosen.finality_blocks > chosen.confirmations:
        final = JsonRpcChain(chain, settings=replace(settings, confirmations=chosen.finality_blocks))
        final.send(deployment.transactions[-1].raw, timestamp=0)  # the node has it: this waits for the blocks on top
    console = Console(soft_wrap=True, highlight=False)
    a = deployment.addresses
    for name in ("currency", "registry", "settlement", "council", "timelock"):
        if (address := getattr(a, name)) is not None:
            console.print(f"{name:<11} {address}")
    gas = sum(receipt.gas_used for receipt in deployment.receipts)
    console.print(f"chain {a.chain_id}, {len(deployment.transactions)} transactions, {gas:,} gas, {terms.accounts} accounts")
    if a.timelock is not None:
        console.print("the admin's role is offered to the timelock: it takes effect when the council has it accepted")
    if secret is None:
        console.print("keys follow from the community's seed: fit for trials, not for money; give --secret FILE for your own")
    console.print(f"manifest: {manifest}; the same command again confirms it")


def _read_council(path: Path) -> CouncilTerms:
    """From a JSON file; InputError with what is wrong."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=CouncilTerms)
    except (OSError, msgspec.DecodeError) as cause:
        expected = 'a JSON file {"members": [addresses], "threshold": number, "delay_s": seconds}'
        raise InputError("walras deploy", [Fault(str(path), "--council", str(cause), expected)]) from cause
