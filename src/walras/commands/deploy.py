"""`walras deploy`: the ledger of a community on a chain, once, by manifest; again it confirms, finishes, or adds contracts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from walras.commands.secrets import read_secret
from walras.commands.terminal import say, screen
from walras.community import load_community
from walras.errors import Fault, InputError
from walras.ledger import JsonRpcChain, LedgerKeys, NodeSettings
from walras.ledger.calls import Contract
from walras.ledger.issuance import enter_meters
from walras.ledger.leaf_proofs import meter_key
from walras.ledger.manifest import add_once, contracts_of, deploy_once, first_batch_slot, note_standing
from walras.ledger.profiles import PROFILES, fees_of
from walras.ledger.shelf import chosen
from walras.ledger.transactions import DEFAULT_FEES
from walras.service.roll import read_roll
from walras.study.ledger_rules import addition_terms, ledger_terms_of
from walras.study.meters import make_meters, run_seed
from walras.study.runner import ledger_keys, make_terms
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
    manifest: Path | None,
    profile: str,
    secret: Path | None,
    council: Path | None = None,
    contracts: Sequence[str] = (),
    roll: Path | None = None,
) -> None:
    """Deploy, finish an interrupted deployment, confirm the one the manifest names, or add contracts to it."""
    if profile not in PROFILES:
        raise InputError("walras deploy", [Fault("command line", "--profile", profile, "one of " + ", ".join(PROFILES))])
    kind = PROFILES[profile]
    given = load_community(community)
    manifest = manifest or (Path("ledger.json") if given.ledger.manifest is None else community.parent / given.ledger.manifest)
    keys = ledger_keys(run_seed(given)) if secret is None else LedgerKeys(read_secret(secret, "walras deploy"))
    terms = make_terms(given, Trading(given), keys)
    meters = make_meters(given, run_seed(given))
    if roll is not None:
        held = read_roll(roll, given)
        if keys.admin.address != held.admin:
            raise InputError("walras deploy", [Fault(str(roll), "admin", held.admin, f"{keys.admin.address}, that of --secret")])
        keys = LedgerKeys(keys.seed, held.oracles, held.accounts, held.balance)
        terms = make_terms(given, Trading(given), keys)
        meters = held.meters(given)
    ledger_terms = ledger_terms_of(given, terms, keys)
    if council is not None:
        seats = _read_council(council)
        ledger_terms = replace(ledger_terms, council=seats.members, council_threshold=seats.threshold, timelock_s=seats.delay_s)
    added_terms = addition_terms(given, terms)
    begun = None if not manifest.exists() else first_batch_slot(manifest)
    if begun is not None:
        added_terms = replace(added_terms, first_slot=begun)
    needed = () if terms.batches is None else ("BatchSettlement",)
    names = chosen((*needed, *given.ledger.contracts, *contracts), added_terms)
    settings = NodeSettings(receipt_timeout_s=kind.receipt_timeout_s, confirmations=kind.confirmations)
    node = JsonRpcChain(chain, settings=settings)
    complete = manifest.exists() and set(names) <= set(contracts_of(manifest))
    fees = DEFAULT_FEES if complete else fees_of(kind, node.suggested_fees)
    now = int(time.time())
    deployment = deploy_once(node, keys, ledger_terms, manifest, timestamp=now, fees=fees)
    added = add_once(node, keys, manifest, names, added_terms, timestamp=now, fees=fees)
    transactions = (*deployment.transactions, *added.transactions)
    if kind.finality_blocks > kind.confirmations:
        final = JsonRpcChain(chain, settings=replace(settings, confirmations=kind.finality_blocks))
        final.send(transactions[-1].raw, timestamp=0)  # the node has it: this waits for the blocks on top
    note_standing(node, manifest, profile)
    console = screen()
    known = contracts_of(manifest)
    entered = 0
    if "MeterRegister" in known:
        register = Contract("MeterRegister", node.chain_id, known["MeterRegister"])
        registry = deployment.addresses.registry
        if register.view(node, "admitted", registry)[0]:
            points = [meter_key(key) for key in meters.registry.keys]
            entered = enter_meters(node, register, keys.operator, registry, points, timestamp=now)
    a = deployment.addresses
    for name, address in contracts_of(manifest).items():
        say(console, f"{name:<27} {address}")
    gas = sum(receipt.gas_used for receipt in (*deployment.receipts, *added.receipts))
    say(console, f"chain {a.chain_id}, {len(transactions)} transactions, {gas:,} gas, {terms.accounts} accounts")
    if a.timelock is not None:
        say(console, "the admin's role is offered to the timelock: it takes effect when the council has it accepted")
    if entered:
        say(console, f"entered the meters of {entered} accounts in the MeterRegister")
    for label in added.waiting:
        say(console, f"for the council to do: {label} (its call is in the manifest, under for_council)")
    if secret is None:
        say(console, "keys follow from the community's seed: fit for trials, not for money; give --secret FILE for your own")
    say(console, f"manifest: {manifest}; the same command again confirms it")


def _read_council(path: Path) -> CouncilTerms:
    """From a JSON file; InputError with what is wrong."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=CouncilTerms)
    except (OSError, msgspec.DecodeError) as cause:
        expected = 'a JSON file {"members": [addresses], "threshold": number, "delay_s": seconds}'
        raise InputError("walras deploy", [Fault(str(path), "--council", str(cause), expected)]) from cause
