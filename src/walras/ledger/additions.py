"""Contracts added to a ledger that stands: planned and signed before the first is sent, joined to the others, and looked at after.

As with the ledger itself the plan is pure: every transaction is the admin's, with consecutive nonces, so all addresses are known
and all bytes are signed before anything leaves. A join needs the power over what it joins: where that power has gone to a
council (`Powers`), the join is not signed but handed back as a proposal for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from walras.errors import LedgerError
from walras.ledger.abi import artifact
from walras.ledger.calls import Contract
from walras.ledger.chain import Chain, read
from walras.ledger.deployment import LedgerAddresses, PlannedTransaction
from walras.ledger.governance import Proposal
from walras.ledger.keys import LedgerKeys, SigningKey
from walras.ledger.shelf import SHELF, AdditionTerms, Join, Site, contract_of
from walras.ledger.transactions import DEFAULT_FEES, MAX_TRANSACTION_GAS, Fees, Transaction, contract_address, sign_transaction

GAS_PER_CODE_BYTE = 350
GAS_PER_JOIN = 150_000


@dataclass(frozen=True, slots=True)
class Added:
    """A contract that will be: where, and the SHA-256 of what creates it (code and constructor arguments), in hex digits."""

    name: str
    address: str
    creation: str


@dataclass(frozen=True, slots=True)
class AdditionPlan:
    """Contracts in their order, the signed transactions that make and join them, and the joins that a council must make."""

    contracts: tuple[Added, ...]
    transactions: tuple[PlannedTransaction, ...]
    for_council: tuple[tuple[str, Proposal], ...]


@dataclass(frozen=True, slots=True)
class Powers:
    """Over what the admin's key still holds the power: the registry's roles, and each owned contract that stands."""

    registry: bool
    owned: frozenset[str]


def powers_of(chain: Chain, keys: LedgerKeys, addresses: LedgerAddresses, present: Mapping[str, str]) -> Powers:
    """Asked of the chain."""
    admin = keys.admin.address.lower()
    holder = str(read(chain, artifact("Registry"), addresses.registry, "defaultAdmin")[0]).lower()
    owned = [
        name
        for name, address in present.items()
        if SHELF[contract_of(name)[0]].owned
        and str(read(chain, artifact(contract_of(name)[0]), address, "owner")[0]).lower() == admin
    ]
    return Powers(holder == admin, frozenset(owned))


def creation_of(site: Site, name: str) -> bytes:
    """Data of the transaction that creates `name` among what `site` has."""
    contract, variant = contract_of(name)
    return artifact(contract).creation(*SHELF[contract].arguments(site, variant))


def plan_additions(
    keys: LedgerKeys,
    terms: AdditionTerms,
    addresses: LedgerAddresses,
    present: Mapping[str, str],
    names: Sequence[str],
    powers: Powers,
    *,
    admin_nonce: int,
    fees: Fees = DEFAULT_FEES,
) -> AdditionPlan:
    """The plan for `names` (`shelf.chosen`, none of them `present`, name to address)."""
    sender = _Signer(keys.admin, addresses.chain_id, admin_nonce, fees)
    added = dict(present)
    contracts, steps, waiting = [], [], []
    fresh: set[str] = set()
    for name in names:
        contract, variant = contract_of(name)
        site = Site(addresses, keys.admin.address, keys.operator.address, added, terms)
        data = creation_of(site, name)
        address = contract_address(keys.admin.address, sender.nonce)
        steps.append(sender.sign(f"create {name}", None, data, 500_000 + GAS_PER_CODE_BYTE * len(data)))
        contracts.append(Added(name, address, sha256(data).hexdigest()))
        added = {**added, name: address}
        fresh.add(name)
        for join in SHELF[contract].joins(site, variant, address):
            data = artifact(join.on).call(join.function, *join.arguments)
            to = addresses.registry if join.on == "Registry" else added[join.on]
            label = f"{join.on}.{join.function} for {name}"
            if powers.registry if join.on in ("Registry", "DeviceRegistry") else join.on in powers.owned | fresh:
                steps.append(sender.sign(label, to, data, GAS_PER_JOIN))
            else:
                waiting.append((label, Proposal(to, data)))
    if addresses.timelock is not None:
        for name in sorted(fresh):
            if SHELF[contract_of(name)[0]].owned:
                data = artifact(name).call("transferOwnership", addresses.timelock)
                steps.append(sender.sign(f"offer {name} to the timelock", added[name], data, GAS_PER_JOIN))
    return AdditionPlan(tuple(contracts), tuple(steps), tuple(waiting))


def check_additions(
    chain: Chain, keys: LedgerKeys, terms: AdditionTerms, addresses: LedgerAddresses, contracts: Sequence[Added]
) -> tuple[str, ...]:
    """LedgerError unless every contract stands, was made with these arguments, and shows them. Returns the joins that lack."""
    added = {one.name: one.address for one in contracts}
    wrong, waiting = [], []
    site = Site(addresses, keys.admin.address, keys.operator.address, added, terms)
    for one in contracts:
        contract, variant = contract_of(one.name)
        entry = SHELF[contract]
        if not chain.code(one.address):
            wrong.append(f"there is no contract at {one.address} ({one.name})")
            continue
        if sha256(creation_of(site, one.name)).hexdigest() != one.creation:
            wrong.append(f"{one.name} was made by other code or with other arguments")
        for view, expected in entry.views(site, variant).items():
            found = Contract(contract, addresses.chain_id, one.address).view(chain, view)[0]
            if _plain(found) != _plain(expected):
                wrong.append(f"{one.name}.{view} is {found}, expected {expected}")
        for join in entry.joins(site, variant, one.address):
            if not _joined(chain, addresses, added, join):
                waiting.append(f"{join.on}.{join.function} for {one.name}")
    if wrong:
        raise LedgerError(
            f"the contracts added are not as their terms say: {'; '.join(wrong)}",
            thing=tuple(added.values()),
            way_out="give the terms they were made with, or another manifest file to deploy others",
        )
    return tuple(waiting)


def _joined(chain: Chain, addresses: LedgerAddresses, added: Mapping[str, str], join: Join) -> bool:
    to = addresses.registry if join.on == "Registry" else added[join.on]
    return bool(_plain(read(chain, artifact(join.on), to, join.view, *join.view_arguments)[0]) == _plain(join.expected))


def _plain(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class _Signer:
    """Signs one key's transactions with consecutive nonces."""

    def __init__(self, key: SigningKey, chain_id: int, nonce: int, fees: Fees) -> None:
        self.key, self.chain_id, self.nonce, self.fees = key, chain_id, nonce, fees

    def sign(self, label: str, to: str | None, data: bytes, gas_limit: int) -> PlannedTransaction:
        limit = min(gas_limit, MAX_TRANSACTION_GAS)
        raw = sign_transaction(self.key, Transaction(self.chain_id, self.nonce, to, data, limit, self.fees))
        self.nonce += 1
        return PlannedTransaction(label, raw)
