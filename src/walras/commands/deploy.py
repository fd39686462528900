"""`walras deploy`: the ledger of a community on a chain, once, by manifest; again it confirms or finishes."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from walras.commands.secrets import read_secret
from walras.community import load_community
from walras.errors import Fault, InputError
from walras.ledger import JsonRpcChain, LedgerKeys, NodeSettings
from walras.ledger.manifest import PROFILES, deploy_once
from walras.study.meters import run_seed
from walras.study.runner import ledger_keys, make_terms
from walras.study.session import ledger_terms_of
from walras.study.trading import Trading


def deploy_command(community: Path, chain: str, manifest: Path, profile: str, secret: Path | None) -> None:
    """Deploy, finish an interrupted deployment, or confirm the one the manifest names."""
    if profile not in PROFILES:
        raise InputError("walras deploy", [Fault("command line", "--profile", profile, "one of " + ", ".join(PROFILES))])
    chosen = PROFILES[profile]
    given = load_community(community)
    keys = ledger_keys(run_seed(given)) if secret is None else LedgerKeys(read_secret(secret, "walras deploy"))
    terms = make_terms(given, Trading(given), keys)
    ledger_terms = ledger_terms_of(terms, keys)
    settings = NodeSettings(receipt_timeout_s=chosen.receipt_timeout_s, confirmations=chosen.confirmations)
    node = JsonRpcChain(chain, settings=settings)
    deployment = deploy_once(node, keys, ledger_terms, manifest, timestamp=int(time.time()))
    console = Console(soft_wrap=True, highlight=False)
    a = deployment.addresses
    for name, address in (("currency", a.currency), ("registry", a.registry), ("settlement", a.settlement)):
        console.print(f"{name:<11} {address}")
    gas = sum(receipt.gas_used for receipt in deployment.receipts)
    console.print(f"chain {a.chain_id}, {len(deployment.transactions)} transactions, {gas:,} gas, {terms.accounts} accounts")
    if secret is None:
        console.print("keys follow from the community's seed: fit for trials, not for money; give --secret FILE for your own")
    console.print(f"manifest: {manifest}; the same command again confirms it")
