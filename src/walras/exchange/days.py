"""Committed days in the record: one entry a piece of a local day, with the root of all members' commitments under a quorum's word.

    days_committed   public: first_slot, last_slot, commitments, root, at, oracles, signatures
                     private, a member: the meter's key id and the salt of the member's day; common: the digests of all leaves

The entry comes when the piece's last slot can be corrected no more, so the days commit to what the slots stand at. The root says
nothing without the salts; with their own, members open their day (`opened_day`) and prove statements about it in zero knowledge.
Oracles compute each commitment from the readings that they admitted themselves before they sign the root; the audit checks that
quorum, and that every slot of the run is in exactly one piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import cbor2
import numpy as np

from walras.errors import AuditError, Fault, InputError, JournalError
from walras.exchange.correction import corrected_at
from walras.exchange.fold import DAYS_COMMITTED, LEDGER_DEPLOYED, RUN_OPENED, SLOT_CORRECTED, ExchangeState
from walras.exchange.journal import Entry
from walras.exchange.parts import DIGEST_BYTES, salted_leaf
from walras.exchange.phases import EventKind
from walras.exchange.sealed import Private
from walras.exchange.terms import Terms, terms_from_public
from walras.ledger import LedgerAddresses, days_digest, recover_address
from walras.ledger.keys import SIGNATURE_BYTES
from walras.metering import SHA256_RFC6962, Proof, verify_inclusion
from walras.metering.committed_days import CommittedDays, day_of, leaf_of, pieces
from walras.metering.merkle import tree_over_digests
from walras.metering.proofs.day import Day
from walras.metering.slot_readings import energy_of_leaf
from walras.metering.vault import SALT_BYTES

Public = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OpenedDay:
    """A member's day of a run, opened: what it commits to, which slots, and the proof that its leaf is under the public root."""

    day: Day
    slots: range
    proof: Proof
    root: bytes


def days_private(days: CommittedDays, meters: Sequence[bytes], salts: Sequence[bytes]) -> Private:
    """The private part of `days_committed`: `meters` the key ids [members], `salts` [members]."""
    parts = tuple(cbor2.dumps([meter, salt]) for meter, salt in zip(meters, salts, strict=True))
    return Private(b"".join(days.digests), parts)


def days_public(days: CommittedDays, attested: Public) -> dict[str, Any]:
    """The public part; `attested` is what a quorum signed: at, root, oracles, signatures."""
    return {
        **attested,
        "first_slot": days.slots.start,
        "last_slot": days.slots.stop - 1,
        "commitments": len(days.digests),
    }


def check_days(terms: Terms, addresses: LedgerAddresses, state: ExchangeState, entry: Entry) -> int:
    """How many oracles signed the days of `entry`, which follows on `state`; AuditError naming what does not hold."""
    public = entry.public
    first, last = public["first_slot"], public["last_slot"]
    where = f"days of slots {first} to {last}"
    expected = next((p for p in pieces(terms.grid, terms.first, terms.last) if p.start == first), None)
    before = terms.first - 1 if state.committed is None else state.committed
    if not terms.commits_days or expected != range(first, last + 1) or first != before + 1:
        raise AuditError(f"{where}: the next committed days of this run are others", thing=entry.seq)
    if public["at"] != corrected_at(terms, last):
        raise AuditError(f"{where}: committed at {public['at']}, it should be {corrected_at(terms, last)}", thing=entry.seq)
    if not 0 <= public["commitments"] <= terms.members:
        raise AuditError(f"{where}: {public['commitments']} commitments of {terms.members} members", thing=entry.seq)
    return _signers(terms, addresses, public)


def _signers(terms: Terms, addresses: LedgerAddresses, public: Public) -> int:
    """How many oracles signed the root, a quorum of them and nobody else; AuditError else."""
    first, last = public["first_slot"], public["last_slot"]
    where = f"days of slots {first} to {last}"
    root, signatures = bytes.fromhex(public["root"]), bytes.fromhex(public["signatures"])
    digest = days_digest(addresses.chain_id, addresses.settlement, first, last - first + 1, root)
    parts = [signatures[i : i + SIGNATURE_BYTES] for i in range(0, len(signatures), SIGNATURE_BYTES)]
    signers = {recover_address(digest, part) for part in parts}
    if signers - set(terms.oracles) or len(signers) < terms.quorum:
        known = len(signers & set(terms.oracles))
        raise AuditError(f"{where}: {known} oracles signed the root of the commitments, {terms.quorum} must", thing=where)
    return len(signers)


def check_all_committed(terms: Terms, state: ExchangeState) -> None:
    """A closed run has committed to the days of all its slots; AuditError where it has not."""
    if terms.commits_days and state.committed != terms.last:
        raise AuditError(f"days are committed to up to slot {state.committed}, the run ends with slot {terms.last}")


def opened_day(terms: Terms, entries: Iterable[Entry], account: int, first_slot: int) -> OpenedDay:
    """The committed day of `account` that begins with `first_slot`, from the readings kept and the member's salt.

    JournalError where the run committed to no such day, where its readings or salt were erased, or where they do not lead to the
    commitment that is under the public root.
    """
    entry, leaves = None, {}
    for e in entries:
        if e.kind == DAYS_COMMITTED and e.public["first_slot"] == first_slot:
            entry = e
        elif e.kind in (EventKind.READINGS_ADMITTED.value, SLOT_CORRECTED) and e.private is not None:
            leaves[e.slot if e.slot is not None else e.public["slot"]] = salted_leaf(e, account)
    if entry is None or entry.private is None:
        raise JournalError(
            f"the run committed to no day that begins with slot {first_slot}",
            thing=first_slot,
            way_out="`day_commitments = true` under [metering] in the community file, and a run of it",
        )
    slots = range(first_slot, entry.public["last_slot"] + 1)
    part = entry.private.part(account)
    gone = [slot for slot in slots if leaves.get(slot) is None]
    if part is None or gone:
        where = f"slots {slots.start} to {slots.stop - 1}"
        raise JournalError(f"{where}: readings or salt of account {account} were erased", thing=account)
    meter, salt = cbor2.loads(part)
    energies = [energy_of_leaf((leaves[slot] or b"")[SALT_BYTES:]) for slot in slots]
    table = np.array([pair for pair in energies if pair is not None], dtype=np.int64).reshape(-1, 2)
    day = day_of(meter, slots, table[:, 0], table[:, 1], salt)
    common = entry.private.common
    digests = [common[at : at + DIGEST_BYTES] for at in range(0, len(common), DIGEST_BYTES)]
    mine = SHA256_RFC6962.leaf(leaf_of(day))
    tree = tree_over_digests(digests)
    if mine not in digests or tree.root.hex() != entry.public["root"]:
        raise JournalError(
            f"account {account}: the readings of slots {slots.start} to {slots.stop - 1} are not those committed to", thing=account
        )
    return OpenedDay(day, slots, tree.proof(digests.index(mine)), tree.root)


def published_in(public: Iterable[Entry], commitment: int, slots: range, proof: Proof) -> bool:
    """Whether a public record holds the commitment among those of exactly these slots, under a quorum's word (else AuditError)."""
    terms, addresses = None, None
    for entry in public:
        if entry.kind == RUN_OPENED:
            terms = terms_from_public(entry.public)
        elif entry.kind == LEDGER_DEPLOYED:
            names = ("chain_id", "currency", "registry", "settlement")
            addresses = LedgerAddresses(**{name: entry.public[name] for name in names})
        elif entry.kind == DAYS_COMMITTED and range(entry.public["first_slot"], entry.public["last_slot"] + 1) == slots:
            assert terms is not None
            assert addresses is not None
            _signers(terms, addresses, entry.public)
            root, size = bytes.fromhex(entry.public["root"]), entry.public["commitments"]
            return proof.count == size and verify_inclusion(commitment.to_bytes(32, "big"), proof, root)
    return False


def pieces_of_day(terms: Terms, day: date) -> list[range]:
    """The committed pieces of a local day; InputError naming the days that the run has."""
    slots = terms.grid.local_day(day)
    found = [p for p in pieces(terms.grid, terms.first, terms.last) if p.start in slots]
    if not found:
        run = f"from {terms.grid.local(terms.first):%Y-%m-%d} to {terms.grid.local(terms.last):%Y-%m-%d}"
        raise InputError("day", [Fault("command line", "--day", day.isoformat(), f"a day of the run, {run}")])
    return found
