"""A ledger that stands: read from the manifest of its deployment, and held against what a run means to settle on.

Nothing is believed. The terms must be those that the manifest was made with, field by field; every transaction of the manifest
must have taken effect on the chain; the code at every address must have the hash that was written down; and the parameters that
the contracts show must be the terms'. All differences are named at once, and nothing is signed before there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from walras.errors import Fault, InputError, LedgerError
from walras.ledger.abi import artifact
from walras.ledger.additions import Added, creation_of
from walras.ledger.calls import Contract
from walras.ledger.chain import Chain, read
from walras.ledger.deployment import LedgerAddresses, LedgerTerms, PlannedTransaction
from walras.ledger.keys import LedgerKeys
from walras.ledger.manifest import (
    check_ledger,
    code_hash,
    contracts_of,
    differences,
    first_batch_slot,
    made_with,
    other_terms,
    read_manifest,
)
from walras.ledger.profiles import PROFILES, Profile
from walras.ledger.shelf import SHELF, AdditionTerms, Site
from walras.ledger.transactions import read_transaction

BATCHES = "BatchSettlement"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a manifest says of a ledger. `hashes` of the code by contract's name; `terms` as `made_with` has them."""

    manifest: Path
    addresses: LedgerAddresses
    contracts: Mapping[str, str]
    transactions: tuple[PlannedTransaction, ...]
    added: Mapping[str, Added]
    terms: Mapping[str, Any]
    hashes: Mapping[str, str]
    profile: Profile

    @property
    def deployer(self) -> str:
        """Address of the admin that it was deployed by."""
        return str(self.terms["admin"])

    @property
    def free_gas(self) -> bool:
        """Whether a transaction of it offers nothing for gas: its chain asks nothing."""
        return any(read_transaction(step.raw).transaction.fees.max_fee_per_gas == 0 for step in self.transactions)


def read_standing(manifest: Path) -> Standing:
    """What `walras deploy` wrote; InputError where the file is no manifest, or of a deployment that was never finished."""
    content = read_manifest(manifest)
    missing = [name for name in ("made_with", "standing", "profile") if name not in content]
    if missing or content["profile"] not in PROFILES:
        expected = "the manifest of a finished deployment"
        faults = [Fault(str(manifest), name, "missing", expected) for name in missing]
        raise InputError("manifest", faults, way_out="the same `walras deploy` again finishes it, and writes down what stands")
    parts = content.get("additions", [])
    steps = [*content["transactions"], *(step for part in parts for step in part["transactions"])]
    return Standing(
        manifest,
        LedgerAddresses(**content["addresses"]),
        contracts_of(manifest),
        tuple(PlannedTransaction(step["label"], bytes.fromhex(step["raw"])) for step in steps),
        {one["name"]: Added(**one) for part in parts for one in part["contracts"]},
        content["made_with"],
        content["standing"],
        PROFILES[content["profile"]],
    )


def governed(standing: Standing, terms: LedgerTerms) -> LedgerTerms:
    """`terms` under the government that the ledger was deployed with: its council is no matter of a run."""
    then = standing.terms["terms"]
    council = {name: then[name] for name in ("council_threshold", "timelock_s", "admin_delay_s")}
    return replace(terms, council=tuple(then["council"]), **council)


def check_standing(chain: Chain, standing: Standing, keys: LedgerKeys, terms: LedgerTerms) -> None:
    """LedgerError naming every difference between the manifest, the chain and what is meant; or nothing."""
    if standing.addresses.chain_id != chain.chain_id:
        raise LedgerError(
            f"{standing.manifest} is of chain {standing.addresses.chain_id}, the node is of chain {chain.chain_id}",
            thing=standing.manifest,
            way_out="give the node of that chain, or the manifest of a deployment on this one",
        )
    found = differences(standing.terms, made_with(keys, governed(standing, terms)))
    if found:
        raise other_terms(standing.manifest, found)
    wrong = _not_there(chain, standing) or _other_code(chain, standing)
    if wrong:
        raise LedgerError(
            f"the ledger of {standing.manifest} does not stand on chain {chain.chain_id}: {'; '.join(wrong)}",
            thing=standing.addresses,
            way_out="the same `walras deploy` again finishes what is missing; else ask another node of that chain",
        )
    check_ledger(chain, standing.addresses, terms)
    _check_parameters(chain, standing, terms)


def check_batches(chain: Chain, standing: Standing, keys: LedgerKeys, terms: AdditionTerms) -> Contract:
    """The batch settlement of a ledger that stands; LedgerError where it has none, or one made on other terms than these.

    The slot that it began with is its own affair.
    """
    if BATCHES not in standing.contracts:
        raise LedgerError(
            f"{standing.manifest} has no {BATCHES}",
            thing=standing.manifest,
            way_out='`walras deploy` with settle = "batches" in the file adds it to the same manifest',
        )
    contract = Contract(BATCHES, chain.chain_id, standing.contracts[BATCHES])
    begun = replace(terms, first_slot=first_batch_slot(standing.manifest) or 0)
    site = Site(standing.addresses, keys.admin.address, keys.operator.address, standing.contracts, begun)
    wrong = [
        f"{view} is {shown}, by the terms {expected}"
        for view, expected in SHELF[BATCHES].views(site, "").items()
        if _plain(shown := contract.view(chain, view)[0]) != _plain(expected)
    ]
    if not wrong and sha256(creation_of(site, BATCHES)).hexdigest() != standing.added[BATCHES].creation:
        wrong = ["it was made by other code"]
    if wrong:
        raise LedgerError(
            f"{BATCHES} at {contract.address} is not as the terms say: {'; '.join(wrong)}",
            thing=contract.address,
            way_out="give [ledger] the values it was deployed with, or deploy others with another manifest file",
        )
    return contract


def _not_there(chain: Chain, standing: Standing) -> list[str]:
    places = standing.contracts.items()
    empty = [f"there is no contract at {address} ({name})" for name, address in places if not chain.code(address)]
    if empty:
        return empty
    wrong = []
    for step in standing.transactions:
        receipt = chain.receipt(read_transaction(step.raw).hash)
        if receipt is None:
            wrong.append(f"'{step.label}' is not on the chain")
        elif receipt.refusal is not None:
            wrong.append(f"'{step.label}' was refused: {receipt.refusal}")
    return wrong


def _other_code(chain: Chain, standing: Standing) -> list[str]:
    return [
        f"{name} at {address} has other code than was deployed"
        for name, address in standing.contracts.items()
        if code_hash(chain, address) != standing.hashes.get(name)
    ]


def _check_parameters(chain: Chain, standing: Standing, terms: LedgerTerms) -> None:
    """What `check_ledger` does not look at: the windows, and whose every account is."""
    addresses = standing.addresses
    registry, settlement = artifact("Registry"), artifact("Settlement")
    expected: dict[tuple[str, tuple[int, ...]], Any] = {
        ("withdrawalDelay", ()): terms.withdrawal_delay_s,
        ("correctionWindow", ()): terms.correction_window_slots,
    } | {("ownerOf", (account,)): owner for account, owner in enumerate(terms.members)}
    wrong = []
    for (view, arguments), value in expected.items():
        contract, address = (registry, addresses.registry) if arguments else (settlement, addresses.settlement)
        shown = read(chain, contract, address, view, *arguments)[0]
        if _plain(shown) != _plain(value):
            wrong.append(f"{view}{list(arguments) or ''} is {shown}, by the terms {value}")
    if wrong:
        raise LedgerError(
            f"the ledger at {addresses.settlement} is not as the terms say: {'; '.join(wrong)}",
            thing=addresses,
            way_out="give the community file it was deployed for",
        )


def _plain(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value
