"""What the private part of each event holds, member by member, and back.

    run_opened          the member's id and their meter's credential
    delivered           metered net energy and the energy in the member's batteries after the slot
    act                 of an order to a member's devices: its signed bytes; of a meter's exchange: what the operator stated;
                        of a member's admission to what is their own: the DID of their key
    days_committed      the meter's key id and the salt of the member's committed day; common: the digests of all commitments
    slot_corrected      as readings_admitted: what came late, and the salted leaf of the corrected slot
    readings_admitted   what the member's meter sent, and the salted leaf they are billed by; behind them, where it is not 0, the
                        seconds from the end of the slot until it was heard; common: the digests of all leaves

So each member's data stand alone: they can be handed out, or erased, without touching another's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import cbor2
import numpy as np

from walras.errors import Fault, InputError, JournalError
from walras.exchange.fold import DAYS_COMMITTED, SLOT_CORRECTED
from walras.exchange.journal import Entry, canonical
from walras.exchange.sealed import Private
from walras.metering import SHA256_RFC6962, MerkleTree, Registry, SlotReadings
from walras.metering.merkle import tree_over_digests
from walras.metering.parcel_reading import split_item
from walras.metering.slot_readings import readings_of_leaves
from walras.metering.vault import SALT_BYTES
from walras.units import Int64

DIGEST_BYTES = 32

Delays = Sequence[int | None]
"""By device: whole seconds from the end of the slot until its reading was heard (below 0: before); None where none was."""


def opened_private(ids: Sequence[str], credentials: Sequence[str]) -> Private:
    """The private part of `run_opened`."""
    return Private(b"", tuple(canonical({"id": i, "credential": c}) for i, c in zip(ids, credentials, strict=True)))


def ordered_private(account: int, encoded: bytes) -> Private:
    """The private part of an order to the devices of `account`: the bytes that its sender signed."""
    return Private(b"", (*[b""] * account, canonical({"order": encoded.hex()})))


def holder_private(account: int, did: str) -> Private:
    """The private part of admitting `account` to what is the member's own: the DID of the member's key."""
    return Private(b"", (*[None] * account, canonical({"holder": did})), alone=True)


def signed_order(entry: Entry, account: int) -> bytes | None:
    """The signed bytes of such an order; None where they were erased."""
    part = None if entry.private is None else entry.private.part(account)
    return bytes.fromhex(json.loads(part)["order"]) if part else None


def member_ids(opened: Entry) -> dict[str, int]:
    """Member ids and their accounts, of those that were not forgotten; empty without the private part."""
    if opened.private is None:
        return {}
    return {json.loads(part)["id"]: account for account, part in enumerate(opened.private.members) if part is not None}


def unknown_member(opened: Entry, member: str) -> InputError:
    """That `member` has no account here: the ids there are, and how many were forgotten and have none any more."""
    members = list(member_ids(opened))
    gone = 0 if opened.private is None else sum(part is None for part in opened.private.members)
    known = ", ".join(members[:8]) + (f" … ({len(members)} in all)" if len(members) > 8 else "")
    expected = f"one of {known or 'nobody: all are forgotten'}"
    hint = f"{gone} forgotten: who was has no id in the folder any more" if gone else ""
    return InputError("member", [Fault("run", "member", member, expected)], way_out=hint)


def delivered_private(net_wh: Int64, soc_uwh: Int64, owner: Int64) -> Private:
    """The private part of `delivered`: `net_wh` [members], `soc_uwh` [batteries] of the members `owner` [batteries]."""
    soc: list[list[int]] = [[] for _ in range(net_wh.size)]
    for battery, member in enumerate(owner.tolist()):
        soc[member].append(int(soc_uwh[battery]))
    return Private(b"", tuple(canonical({"net_wh": n, "soc": s}) for n, s in zip(net_wh.tolist(), soc, strict=True)))


def delivered_from(entry: Entry, owner: Int64) -> tuple[Int64, Int64]:
    """The inverse of `delivered_private`; JournalError where a part was erased."""
    parts = [json.loads(part) for part in _private(entry).whole(_where(entry))]
    net = np.array([part["net_wh"] for part in parts], dtype=np.int64)
    waiting = [iter(part["soc"]) for part in parts]
    return net, np.array([next(waiting[member]) for member in owner.tolist()], dtype=np.int64)


def admitted_private(
    batch: Sequence[bytes], registry: Registry, readings: SlotReadings, secrets: Sequence[bytes], delays: Delays
) -> Private:
    """The private part of `readings_admitted`: `batch` as the meters sent it, `readings` as they were closed, `delays` [members].

    What no registered meter can have sent belongs to nobody and is not kept.
    """
    sent: list[list[bytes]] = [[] for _ in readings.leaves]
    for encoded in batch:
        fields = split_item(encoded)
        device = -1 if fields is None else registry.index.get(fields[0], -1)
        if device >= 0:
            sent[device].append(encoded)
    salted = [readings.salted_leaf(secret, device) for device, secret in enumerate(secrets)]
    parts = []
    for mine, leaf, delay in zip(sent, salted, delays, strict=True):
        bare = leaf[SALT_BYTES:]
        usual = 0 if mine else None  # most are heard as the slot ends: that is left out
        heard = [] if delay == usual else [delay]
        parts.append(cbor2.dumps([leaf[:SALT_BYTES], mine, mine.index(bare) if bare in mine else bare, *heard]))
    return Private(b"".join(SHA256_RFC6962.leaf(leaf) for leaf in salted), tuple(parts))


def delays_of(registry: Registry, batch: Sequence[bytes], delays: Delays) -> Delays:
    """The delays of those devices that sent something in `batch`."""
    fields = (split_item(encoded) for encoded in batch)
    sent = {registry.index.get(one[0]) for one in fields if one is not None}
    return [delay if device in sent else None for device, delay in enumerate(delays)]


def exchange_private(account: int, statement: str) -> Private:
    """The private part of a meter exchange's act: the operator's statement, with the member concerned."""
    return Private(b"", (*[b""] * account, canonical({"statement": statement})))


def exchange_statement(act: Entry) -> str | None:
    """The operator's statement in the act of a meter exchange; None in any other act. JournalError where it was erased."""
    if act.public["act"] != "meter_exchanged":
        return None
    part = _private(act).part(act.public["account"])
    if not part:
        raise JournalError(f"{_where(act)}: what was stated of the meter's exchange was erased", thing=act.seq)
    return str(json.loads(part)["statement"])


def sent_batch(entry: Entry) -> tuple[list[bytes], list[int]]:
    """What the meters sent, by device, and when: seconds after the end of the slot. JournalError where a part was erased."""
    parts = _private(entry).whole(_where(entry))
    sent = [(encoded, delay_of(entry, n) or 0) for n, part in enumerate(parts) for encoded in cbor2.loads(part)[1]]
    return [encoded for encoded, _ in sent], [delay for _, delay in sent]


def leaves_tree(entry: Entry) -> MerkleTree:
    """The tree of all salted leaves of `readings_admitted`, from their digests; JournalError where they were erased."""
    common = _private(entry).common
    return tree_over_digests([common[at : at + DIGEST_BYTES] for at in range(0, len(common), DIGEST_BYTES)])


def salted_leaf(entry: Entry, account: int) -> bytes | None:
    """The salted leaf a member is billed by; None where it was erased."""
    part = _private(entry).part(account)
    if part is None:
        return None
    salt, sent, leaf = cbor2.loads(part)[:3]
    return bytes(salt) + bytes(sent[leaf] if isinstance(leaf, int) else leaf)


def corrected_leaves(entry: Entry, slot: int, members: int) -> list[bytes]:
    """The leaves by which `slot` was corrected, if that is what `entry` says."""
    if entry.kind != SLOT_CORRECTED or entry.public["slot"] != slot:
        return []
    return [leaf[SALT_BYTES:] for account in range(members) if (leaf := salted_leaf(entry, account)) is not None]


def delay_of(entry: Entry, account: int) -> int | None:
    """Seconds from the end of the slot until the member's meter was heard; None where it was not, or where that was erased."""
    part = _private(entry).part(account)
    if part is None:
        return None
    _, sent, _, *heard = cbor2.loads(part)
    usual = 0 if sent else None
    delay: int | None = heard[0] if heard else usual
    return delay


def closed_readings(slot: int, entry: Entry) -> SlotReadings:
    """The readings of the slot as they were closed, from the leaves kept; JournalError where one was erased or is none."""
    parts = _private(entry).whole(_where(entry))
    salted = (salted_leaf(entry, account) for account in range(len(parts)))
    return readings_of_leaves(slot, [leaf[SALT_BYTES:] for leaf in salted if leaf is not None])


def part_as_json(kind: str, part: bytes) -> Mapping[str, Any]:
    """A member's part in plain JSON values, bytes as hex: what a member is shown of what is kept about them."""
    if kind == DAYS_COMMITTED:
        meter, day_salt = cbor2.loads(part)
        return {"meter": meter.hex(), "day_salt": day_salt.hex()}
    if kind not in ("readings_admitted", SLOT_CORRECTED):
        return dict(json.loads(part))
    salt, sent, leaf, *heard = cbor2.loads(part)
    billed = sent[leaf] if isinstance(leaf, int) else leaf
    shown = {"salt": salt.hex(), "sent": [encoded.hex() for encoded in sent], "leaf": billed.hex()}
    return shown | ({"heard_after_s": heard[0]} if heard else {})


def _private(entry: Entry) -> Private:
    if entry.private is None:
        raise JournalError(
            f"{_where(entry)}: its private part was erased",
            thing=entry.seq,
            way_out="a run whose private parts were erased can be audited and billed, not continued",
        )
    return entry.private


def _where(entry: Entry) -> str:
    return f"entry {entry.seq} ({entry.kind})" + ("" if entry.slot is None else f" of slot {entry.slot}")
