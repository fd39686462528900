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
from walras.ledger._keccak import keccak256
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
from walras.ledger.transactions import DEFAULT_FEES, Fees, read_transaction

FORMAT = "walras ledger manifest 1"


@dataclass(frozen=True, slots=True)
class Additions:
    """All that was ever added by a manifest: contracts, the transactions as included, and what the council must still do."""

    contracts: tuple[Added, ...]
    transactions: tuple[TimedTransaction, ...]
    receipts: tuple[Receipt, ...]
    waiting: tuple[str, ...]
    for_council: tuple[tuple[str, Proposal], ...]


def made_with(keys: LedgerKeys, terms: LedgerTerms) -> dict[str, Any]:
    """Everything that makes a deployment this one: terms, admin, operator, and the contracts' code; plain JSON values."""
    used = ("TestCurrency", "Registry", "Settlement", *(("Council", "Timelock") if terms.council else ()))
    content = {
        "terms": asdict(terms),
        "admin": keys.admin.address,
        "operator": keys.operator.address,
        "code": {name: sha256(artifact(name).bytecode).hexdigest() for name in used},
    }
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return plain


def fingerprint(keys: LedgerKeys, terms: LedgerTerms) -> str:
    """Hash of `made_with`."""
    return sha256(json.dumps(made_with(keys, terms), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def differences(then: Mapping[str, Any], now: Mapping[str, Any], within: str = "") -> list[str]:
    """What differs between two `made_with`, field by field: where, the value of the manifest, the value now.

    >>> differences({"admin": "0xa", "terms": {"oracles": [1, 2]}}, {"admin": "0xa", "terms": {"oracles": [1, 3]}})
    ['terms.oracles[1] is 2 in the manifest, now 3']
    """
    found = []
    for name in sorted({*then, *now}):
        one, other, where = then.get(name), now.get(name), within + name
        if isinstance(one, dict) and isinstance(other, dict):
            found += differences(one, other, where + ".")
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            pairs = enumerate(zip(one, other, strict=True))
            found += [f"{where}[{row}] is {a} in the manifest, now {b}" for row, (a, b) in pairs if a != b]
        elif isinstance(one, list) and isinstance(other, list):
            found.append(f"{where} are {len(one)} in the manifest, now {len(other)}")
        elif one != other:
            found.append(f"{where} is {one} in the manifest, now {other}")
    return found


def deploy_once(
    chain: Chain, keys: LedgerKeys, terms: LedgerTerms, manifest: Path, *, timestamp: int, fees: Fees = DEFAULT_FEES
) -> Deployment:
    """Deploy, or finish, or confirm the ledger of `manifest`. `timestamp` [Unix s] matters on the embedded chain only.

    Raises LedgerError where the manifest is of other terms or another chain, where a step is refused, and where what stands at
    the addresses afterwards is not the ledger.
    """
    mark = fingerprint(keys, terms)
    if manifest.exists():
        plan = _read_plan(manifest, chain.chain_id, made_with(keys, terms), mark)
    else:
        admin, operator = chain.nonce(keys.admin.address), chain.nonce(keys.operator.address)
        plan = plan_deployment(keys, terms, chain.chain_id, admin_nonce=admin, operator_nonce=operator, fees=fees)
        about = {"fingerprint": mark, "made_with": made_with(keys, terms)}
        _write(manifest, {"format": FORMAT, **about, **_plan_to_json(plan)})
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
    content = read_manifest(manifest)
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
    content = read_manifest(manifest)
    core = {name: value for name, value in content["addresses"].items() if isinstance(value, str)}
    return core | {one["name"]: one["address"] for part in content.get("additions", []) for one in part["contracts"]}


def note_standing(chain: Chain, manifest: Path, profile: str) -> None:
    """Write down what stands once all is done: the hash of every contract's code, and the profile it was deployed with.

    Raises LedgerError where a contract has other code than was written down before.
    """
    content = read_manifest(manifest)
    found = {name: code_hash(chain, address) for name, address in contracts_of(manifest).items()}
    wrong = [name for name, mark in content.get("standing", {}).items() if found.get(name) != mark]
    if wrong:
        raise LedgerError(
            f"the code on the chain is not what was deployed: {', '.join(wrong)}",
            thing=manifest,
            way_out="this is not the chain of the manifest, or somebody replaced its state: ask another node",
        )
    if content.get("standing") != found or content.get("profile") != profile:
        _write(manifest, {**content, "profile": profile, "standing": found})


def first_batch_slot(manifest: Path) -> int | None:
    """The slot that the first batch of a ledger was to begin with, the last argument of the contract's creation; None without one.

    It stays what it was when the community's file moves on to other days.
    """
    for part in read_manifest(manifest).get("additions", []):
        for step in part["transactions"]:
            if step["label"] == "create BatchSettlement":
                return int.from_bytes(read_transaction(bytes.fromhex(step["raw"])).transaction.data[-32:], "big")
    return None


def code_hash(chain: Chain, address: str) -> str:
    """Keccak-256 of the code at `address`, as EXTCODEHASH gives it, in hex digits."""
    return keccak256(chain.code(address)).hex()


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


def _read_plan(manifest: Path, chain_id: int, now: Mapping[str, Any], mark: str) -> DeploymentPlan:
    content = read_manifest(manifest)
    addresses = LedgerAddresses(**content["addresses"])
    steps = tuple(PlannedTransaction(step["label"], bytes.fromhex(step["raw"])) for step in content["transactions"])
    if addresses.chain_id != chain_id:
        raise LedgerError(
            f"{manifest} is of chain {addresses.chain_id}, the node is of chain {chain_id}",
            thing=manifest,
            way_out="give the node of that chain, or another manifest file for this one",
        )
    if content["fingerprint"] != mark:
        raise other_terms(manifest, differences(content["made_with"], now) if "made_with" in content else [])
    return DeploymentPlan(addresses, steps)


def other_terms(manifest: Path, found: Sequence[str]) -> LedgerError:
    """The error where a manifest is of another deployment than the one meant: it names what differs."""
    shown = "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
    return LedgerError(
        f"{manifest} was made for other terms, keys or contracts" + (f": {shown}" if shown else ""),
        thing=manifest,
        way_out="give the terms it was made for, or another manifest file to deploy a second ledger",
    )


def read_manifest(manifest: Path) -> dict[str, Any]:
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
