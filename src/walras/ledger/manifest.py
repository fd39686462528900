"""Deployment by one command, once: the manifest is written before the first transaction is sent.

A manifest holds the chain, the terms' fingerprint, the addresses that will be, and every signed transaction. The same command
with the same manifest carries on where it was broken off and, when all is there, changes nothing. With other terms or on another
chain it is refused: a ledger is never deployed beside itself by accident. Contracts added later are written into the same
manifest, in the same way: planned, written, sent (`add_once`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from walras.errors import Fault, InputError, LedgerError, reason_of
from walras.ledger.abi import artifact
from walras.ledger.additions import Added, AdditionPlan, check_additions, plan_additions, powers_of
from walras.ledger.chain import Chain, Receipt, TimedTransaction, read, require_accepted
from walras.ledger.deployment import (
    Deployment,
    DeploymentPlan,
    LedgerAddresses,
    LedgerTerms,
    PlannedTransaction,
    carry_out,
    plan_deployment,
)
from walras.ledger.governance import Proposal
from walras.ledger.keys import LedgerKeys
from walras.ledger.shelf import AdditionTerms
from walras.ledger.transactions import DEFAULT_FEES, GWEI, Fees

FORMAT = "walras ledger manifest 1"


@dataclass(frozen=True, slots=True)
class Additions:
    """All that was ever added by a manifest: contracts, the transactions as included, and what the council must still do."""

    contracts: tuple[Added, ...]
    transactions: tuple[TimedTransaction, ...]
    receipts: tuple[Receipt, ...]
    waiting: tuple[str, ...]
    for_council: tuple[tuple[str, Proposal], ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """How to speak to a kind of chain.

    confirmations: blocks on top of every receipt before the next step; finality_blocks: blocks on top of the last one before the
    whole counts as final; receipt_timeout_s: patience for one of them. Gas: free, or at most `cap_gwei` a unit, beyond which
    nothing is signed.
    """

    name: str
    confirmations: int
    finality_blocks: int
    receipt_timeout_s: float
    free_gas: bool
    cap_gwei: int


PROFILES: Mapping[str, Profile] = {
    "permissioned": Profile("permissioned", 0, 0, receipt_timeout_s=60, free_gas=True, cap_gwei=0),
    "l2": Profile("l2", 1, 900, receipt_timeout_s=3_600, free_gas=False, cap_gwei=5),
    "mainnet": Profile("mainnet", 2, 64, receipt_timeout_s=1_800, free_gas=False, cap_gwei=100),
}
"""A BFT chain is final at once; a rollup when its data is in a final block of the chain below (900 blocks of two seconds: half an
hour); proof of stake after two epochs of 32 blocks. `docs/explain/chains.md` has the sources."""


def fees_of(profile: Profile, suggested: Fees) -> Fees:
    """What to offer a unit of gas: nothing that matters where gas is free, else what the node suggests.

    LedgerError where that is above the profile's cap: a price spike is waited out, not paid.
    """
    if profile.free_gas:
        return DEFAULT_FEES
    if suggested.max_fee_per_gas > profile.cap_gwei * GWEI:
        now = suggested.max_fee_per_gas / GWEI
        raise LedgerError(
            f"gas may cost {now:g} gwei now, more than the {profile.cap_gwei} of profile {profile.name}",
            thing=suggested,
            way_out="nothing was signed; wait until gas is cheaper and give the same command again",
        )
    return suggested


def fingerprint(keys: LedgerKeys, terms: LedgerTerms) -> str:
    """Hash of everything that makes a deployment this one: terms, admin, operator, and the contracts' code."""
    used = ("TestCurrency", "Registry", "Settlement", *(("Council", "Timelock") if terms.council else ()))
    content = {
        "terms": asdict(terms),
        "admin": keys.admin.address,
        "operator": keys.operator.address,
        "code": {name: sha256(artifact(name).bytecode).hexdigest() for name in used},
    }
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def deploy_once(
    chain: Chain, keys: LedgerKeys, terms: LedgerTerms, manifest: Path, *, timestamp: int, fees: Fees = DEFAULT_FEES
) -> Deployment:
    """Deploy, or finish, or confirm the ledger of `manifest`. `timestamp` [Unix s] matters on the embedded chain only.

    Raises LedgerError where the manifest is of other terms or another chain, where a step is refused, and where what stands at
    the addresses afterwards is not the ledger.
    """
    mark = fingerprint(keys, terms)
    if manifest.exists():
        plan = _read_plan(manifest, chain.chain_id, mark)
    else:
        admin, operator = chain.nonce(keys.admin.address), chain.nonce(keys.operator.address)
        plan = plan_deployment(keys, terms, chain.chain_id, admin_nonce=admin, operator_nonce=operator, fees=fees)
        _write(manifest, {"format": FORMAT, "fingerprint": mark, **_plan_to_json(plan)})
    deployment = carry_out(chain, plan, timestamp=timestamp)
    check_ledger(chain, plan.addresses, terms)
    return deployment


def add_once(
    chain: Chain,
    keys: LedgerKeys,
    manifest: Path,
    names: Sequence[str],
    terms: AdditionTerms,
    *,
    timestamp: int,
    fees: Fees = DEFAULT_FEES,
) -> Additions:
    """Add those of `names` (`shelf.chosen`) that the manifest of a deployed ledger does not have, and confirm all that it has.

    What the manifest planned before is finished first. Raises LedgerError as `deploy_once`, and where a contract that stands was
    made on other terms; then nothing new is signed.
    """
    content = _read(manifest)
    addresses = LedgerAddresses(**content["addresses"])
    plans = [_addition_from_json(one) for one in content.get("additions", [])]
    timed, receipts = _carry_out_additions(chain, plans, timestamp)
    contracts = [one for plan in plans for one in plan.contracts]
    waiting = check_additions(chain, keys, terms, addresses, contracts)
    present = {one.name: one.address for one in contracts}
    missing = [name for name in names if name not in present]
    if missing:
        powers = powers_of(chain, keys, addresses, present)
        nonce = chain.nonce(keys.admin.address)
        plan = plan_additions(keys, terms, addresses, present, missing, powers, admin_nonce=nonce, fees=fees)
        _write(manifest, {**content, "additions": [*content.get("additions", []), _addition_to_json(plan)]})
        more = _carry_out_additions(chain, [plan], timestamp)
        timed, receipts = [*timed, *more[0]], [*receipts, *more[1]]
        plans.append(plan)
        contracts += plan.contracts
        waiting = check_additions(chain, keys, terms, addresses, contracts)
    for_council = tuple(one for plan in plans for one in plan.for_council if one[0] in waiting)
    return Additions(tuple(contracts), tuple(timed), tuple(receipts), waiting, for_council)


def contracts_of(manifest: Path) -> dict[str, str]:
    """Every contract in a manifest by name, as `currency` or `BatchSettlement`, with its address; InputError where it is none."""
    content = _read(manifest)
    core = {name: value for name, value in content["addresses"].items() if isinstance(value, str)}
    return core | {one["name"]: one["address"] for part in content.get("additions", []) for one in part["contracts"]}


def _carry_out_additions(
    chain: Chain, plans: Sequence[AdditionPlan], timestamp: int
) -> tuple[list[TimedTransaction], list[Receipt]]:
    steps = [step for plan in plans for step in plan.transactions]
    receipts = [require_accepted(chain.send(step.raw, timestamp=timestamp), f"addition, {step.label}") for step in steps]
    return [TimedTransaction(s.raw, r.timestamp) for s, r in zip(steps, receipts, strict=True)], receipts


def _addition_to_json(plan: AdditionPlan) -> dict[str, Any]:
    return {
        "contracts": [asdict(one) for one in plan.contracts],
        "transactions": [{"label": step.label, "raw": step.raw.hex()} for step in plan.transactions],
        "for_council": [{"label": label, "to": act.target, "data": act.data.hex()} for label, act in plan.for_council],
    }


def _addition_from_json(part: Mapping[str, Any]) -> AdditionPlan:
    return AdditionPlan(
        tuple(Added(**one) for one in part["contracts"]),
        tuple(PlannedTransaction(step["label"], bytes.fromhex(step["raw"])) for step in part["transactions"]),
        tuple((one["label"], Proposal(one["to"], bytes.fromhex(one["data"]))) for one in part["for_council"]),
    )


def check_ledger(chain: Chain, addresses: LedgerAddresses, terms: LedgerTerms) -> None:
    """LedgerError unless settlement and registry at `addresses` are joined as they should be and hold these members and oracles."""
    registry, settlement = artifact("Registry"), artifact("Settlement")
    for name, address in (("registry", addresses.registry), ("settlement", addresses.settlement)):
        if not chain.code(address):
            raise LedgerError(
                f"there is no contract at {address} ({name})", thing=address, way_out="deploy, or correct the address"
            )
    oracle_set = read(chain, registry, addresses.registry, "oracleSet")
    found = {
        "settlement's registry": str(read(chain, settlement, addresses.settlement, "registry")[0]).lower(),
        "settlement's currency": str(read(chain, settlement, addresses.settlement, "currency")[0]).lower(),
        "oracles": oracle_set[1],
        "threshold": oracle_set[2],
        "every oracle appointed": all(read(chain, registry, addresses.registry, "isOracle", o)[0] for o in terms.oracles),
        "members or more": read(chain, registry, addresses.registry, "memberCount")[0] >= len(terms.members),
    }
    expected = {
        "settlement's registry": addresses.registry.lower(),
        "settlement's currency": addresses.currency.lower(),
        "oracles": len(terms.oracles),
        "threshold": terms.threshold,
        "every oracle appointed": True,
        "members or more": True,
    }
    wrong = [f"{name} is {found[name]}, expected {expected[name]}" for name in expected if found[name] != expected[name]]
    if wrong:
        raise LedgerError(
            f"the ledger at {addresses.settlement} is not as its terms say: {'; '.join(wrong)}",
            thing=addresses,
            way_out="if its oracles were rotated since, give the new terms; else deploy with a new manifest",
        )


def read_terms(path: Path) -> LedgerTerms:
    """Terms from a JSON file with the fields of `LedgerTerms`; InputError with every unknown or missing field."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise InputError("ledger terms", [Fault(str(path), "file", reason_of(cause), "a JSON file")]) from cause
    if not isinstance(content, dict):
        raise InputError("ledger terms", [Fault(str(path), "file", type(content).__name__, "a JSON object")])
    needed = {"members", "oracles", "threshold", "deposits_nano"}
    known = set(LedgerTerms.__dataclass_fields__)
    faults = [Fault(str(path), name, "missing", "a value") for name in sorted(needed - set(content))]
    faults += [Fault(str(path), name, content[name], f"one of {sorted(known)}") for name in sorted(set(content) - known)]
    if faults:
        raise InputError("ledger terms", faults)
    try:
        return msgspec.convert(content, LedgerTerms)
    except msgspec.ValidationError as cause:
        raise InputError("ledger terms", [Fault(str(path), "types", str(cause), "the types of LedgerTerms")]) from cause


def _plan_to_json(plan: DeploymentPlan) -> dict[str, Any]:
    steps = [{"label": step.label, "raw": step.raw.hex()} for step in plan.transactions]
    return {"addresses": asdict(plan.addresses), "transactions": steps}


def _read_plan(manifest: Path, chain_id: int, mark: str) -> DeploymentPlan:
    content = _read(manifest)
    addresses = LedgerAddresses(**content["addresses"])
    steps = tuple(PlannedTransaction(step["label"], bytes.fromhex(step["raw"])) for step in content["transactions"])
    if addresses.chain_id != chain_id:
        raise LedgerError(
            f"{manifest} is of chain {addresses.chain_id}, the node is of chain {chain_id}",
            thing=manifest,
            way_out="give the node of that chain, or another manifest file for this one",
        )
    if content["fingerprint"] != mark:
        raise LedgerError(
            f"{manifest} was made for other terms, keys or contracts",
            thing=manifest,
            way_out="give the terms it was made for, or another manifest file to deploy a second ledger",
        )
    return DeploymentPlan(addresses, steps)


def _read(manifest: Path) -> dict[str, Any]:
    """The manifest's content; InputError where it is none."""
    try:
        content: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        LedgerAddresses(**content["addresses"])
        for step in content["transactions"]:
            bytes.fromhex(step["raw"])
        for part in content.get("additions", []):
            _addition_from_json(part)
        if content["format"] != FORMAT:
            raise ValueError(content["format"])
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise InputError("manifest", [Fault(str(manifest), "content", type(cause).__name__, FORMAT)]) from cause
    return content


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """All of it or nothing, and on the disk before the first transaction leaves."""
    aside = path.with_suffix(path.suffix + ".new")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
