"""A watchtower for readings' roots: the oracle that signed two of them for one slot, or one correction of it, is convicted by its
own two signatures.

Signatures are heard where they are public: in a run's record, in the calldata of settlements and corrections, and in whatever
other copy of the record is at hand; an operator who shows different people different records needs oracles that sign both. A
member who holds its own statement can have a reading of another slot convicted, too (`foreign_readings`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode

from walras.errors import LedgerError
from walras.exchange.fold import LEDGER_DEPLOYED, SLOT_CORRECTED
from walras.exchange.journal import Entry
from walras.exchange.phases import EventKind
from walras.ledger import ReadableChain, SigningKey, attestation_digest, correction_digest, recover_address
from walras.ledger.abi import artifact
from walras.ledger.calls import Contract
from walras.ledger.false_roots import WrongSlot, prove_false
from walras.ledger.keys import SIGNATURE_BYTES
from walras.ledger.leaf_proofs import read_leaf, shown_leaf
from walras.ledger.oracle_bond import SignedRoot, slash
from walras.metering.merkle import Proof


@dataclass(frozen=True, slots=True)
class Sworn:
    """That `oracle` signed a root for a slot, or for a correction of it."""

    oracle: str
    signed: SignedRoot


@dataclass(frozen=True, slots=True)
class Conviction:
    """An oracle, why, and the transaction that took its stake; None where no bond can be taken."""

    oracle: str
    what: str
    transaction: bytes | None


def sworn_in_record(record: Iterable[Entry]) -> list[Sworn]:
    """Every signature under a readings' root in a public record, whoever made it."""
    at: tuple[int, str] | None = None
    found = []
    for entry in record:
        if entry.kind == LEDGER_DEPLOYED:
            at = entry.public["chain_id"], entry.public["settlement"]
        if entry.kind == EventKind.ATTESTED.value and entry.slot is not None and at is not None:
            found += _sworn(at, entry.slot, *_root_and_signatures(entry))
        if entry.kind == SLOT_CORRECTED and at is not None:
            found += _sworn(at, entry.public["slot"], *_root_and_signatures(entry), entry.public["revision"])
    return found


def _root_and_signatures(entry: Entry) -> tuple[bytes, bytes]:
    return bytes.fromhex(entry.public["root"]), bytes.fromhex(entry.public["signatures"])


def sworn_on_chain(chain: ReadableChain, settlement: str) -> list[Sworn]:
    """The same from the calldata of every slot settled and every correction."""
    code, found = artifact("Settlement"), []
    for event, function in (("SlotSettled", "settleSlot"), ("SlotCorrected", "correctSlot")):
        topic = next(t for t, known in code.events.items() if known.name == event)
        signature = code.functions[function]
        for one in chain.logs(settlement, topic):
            data = chain.calldata(one.transaction_hash)
            if data[:4] == signature.hash[:4]:
                slot, header, _, joined = decode(signature.inputs, data[4:])
                revision = int.from_bytes(one.log.topics[2], "big") if event == "SlotCorrected" else 0
                found += _sworn((chain.chain_id, settlement), slot, header[0], joined, revision)
    return found


def _sworn(at: tuple[int, str], slot: int, root: bytes, joined: bytes, revision: int = 0) -> list[Sworn]:
    digest = correction_digest(*at, slot, revision, root) if revision else attestation_digest(*at, slot, root)
    parts = [joined[i : i + SIGNATURE_BYTES] for i in range(0, len(joined), SIGNATURE_BYTES)]
    return [Sworn(recover_address(digest, part), SignedRoot(slot, root, part, revision)) for part in parts]


def contradictions(sworn: Iterable[Sworn]) -> list[tuple[Sworn, Sworn]]:
    """Two roots of one oracle for one slot, or for one correction of it: the first such pair of each oracle."""
    first: dict[tuple[str, int, int], Sworn] = {}
    found: dict[str, tuple[Sworn, Sworn]] = {}
    for one in sworn:
        before = first.setdefault((one.oracle, one.signed.slot, one.signed.revision), one)
        if before.signed.root != one.signed.root:
            found.setdefault(one.oracle, (before, one))
    return list(found.values())


def convict(
    chain: ReadableChain, bond: Contract, key: SigningKey, pairs: Sequence[tuple[Sworn, Sworn]], now: int
) -> list[Conviction]:
    """Hand in every pair whose oracle still has a stake in `bond`; who has none is named all the same."""
    done = []
    for one, other in pairs:
        what = f"signed two roots for slot {one.signed.slot}"
        amount, _, convicted = bond.view(chain, "bondOf", one.oracle)
        if convicted:
            continue  # somebody was faster
        receipt = slash(chain, bond, key, one.signed, other.signed, timestamp=now) if amount else None
        done.append(Conviction(one.oracle, what, None if receipt is None else receipt.transaction_hash))
    return done


def foreign_readings(statement: Mapping[str, Any]) -> list[tuple[int, bytes, WrongSlot]]:
    """(slot, root, proof) of every reading in a member's statement (`walras bill --json`) that is not of the slot it is under."""
    found = []
    for proof in statement["proofs"]:
        leaf = bytes.fromhex(proof["leaf"])
        reading = read_leaf(leaf) if proof["kind"] == "reading" else None
        if reading is not None and reading.slot != proof["slot"]:
            path = Proof(proof["index"], proof["count"], tuple(bytes.fromhex(step) for step in proof["path"]))
            found.append((proof["slot"], bytes.fromhex(proof["root"]), WrongSlot(shown_leaf(leaf, path))))
    return found


def convict_foreign(
    chain: ReadableChain, bond: Contract, key: SigningKey, statement: Mapping[str, Any], sworn: Iterable[Sworn], now: int
) -> list[Conviction]:
    """Every oracle with a stake that signed a root over such a reading."""
    wrong = {(slot, root): proof for slot, root, proof in foreign_readings(statement)}
    done = []
    for one in sworn:
        proof = wrong.get((one.signed.slot, one.signed.root))
        if proof is not None and bond.view(chain, "bondOf", one.oracle)[0]:
            receipt = prove_false(chain, bond, key, one.signed, proof, timestamp=now)
            what = f"signed a root for slot {one.signed.slot} over a reading of another"
            done.append(Conviction(one.oracle, what, receipt.transaction_hash))
    return done


def check_bond(chain: ReadableChain, bond: Contract, settlement: str) -> None:
    """LedgerError unless the stakes are behind this very settlement."""
    held = str(bond.view(chain, "settlement")[0])
    if held.lower() != settlement.lower():
        raise LedgerError(f"the stakes at {bond.address} are behind settlement {held}, the record is of {settlement}", thing=held)
