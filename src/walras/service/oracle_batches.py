"""What an oracle says of a batch of settled slots: it settles every slot again on its own readings, and signs what that comes to.

The exchange sends what is public of each slot: prices, revealed orders, clearing, the wires. The oracle takes none of it on trust.
Prices must be those of its own community file, the clearing must keep the laws and the rule of the mechanism, the wires their
limits; what was metered it has itself, corrected by what came late. From that it makes the batch and its facts, and signs those and
no others, once for every slot: a second batch over slots that it has signed for is refused, the same one is given again.

The state before a batch is that after the one it signed last. Who was away then takes it from the exchange, for the contract
compares it with its own.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from walras.errors import MeteringError, WalrasError
from walras.exchange.accounting import settle_slot
from walras.exchange.batching import BatchSlot, MadeBatch, batch_digest, make_run_batch
from walras.exchange.curtailment import WiresSlot, check_wires, wires_slot_from_public, wires_slot_to_public
from walras.exchange.extras import extra_for
from walras.exchange.journal import canonical
from walras.exchange.public import clearing_from_public, clearing_to_public, orders_from_public, orders_to_public
from walras.exchange.settlement import positions_of
from walras.exchange.terms import Terms
from walras.ledger.calls import Contract
from walras.market.clearing import Clearing
from walras.market.orders import Orders
from walras.market.recheck import recheck
from walras.market.registry import mechanism_named
from walras.metering import SlotReadings
from walras.service.reading_store import ReadingStore
from walras.units import Int64

MAX_UNPACKED = 64_000_000
"""Bytes of a batch's public part, unpacked."""


@dataclass(frozen=True, slots=True)
class BatchDuty:
    """The terms and the contract that an oracle signs batches for, prices by its own file [contracts, items], and its signature."""

    terms: Terms
    contract: Contract
    item_micro: Callable[[int], Int64]
    sign: Callable[[bytes], bytes]


def batch_body(slots: Sequence[BatchSlot], made: MadeBatch) -> bytes:
    """What the exchange asks with: first slot and count, then, packed, the state before and what is public of each slot."""
    public = {"before": [f"{word:x}" for word in made.before], "slots": [_slot_to_public(s) for s in slots]}
    return slots[0].slot.to_bytes(8, "big") + len(slots).to_bytes(2, "big") + zlib.compress(canonical(public))


def batch_word(duty: BatchDuty, store: ReadingStore, readings: Sequence[SlotReadings], body: bytes) -> bytes:
    """Digest of the batch over the slots of `readings`, and this oracle's signature; MeteringError where anything does not hold."""
    first, last = readings[0].slot, readings[-1].slot
    said = store.batch(first)
    if said is not None:
        if said[0] != last:
            raise MeteringError(f"slots {first} to {said[0]} are in a batch that was signed already", thing=first)
        return said[1] + said[2]
    signed_until, words = store.last_batch()
    if signed_until is not None and signed_until >= first:
        raise MeteringError(f"slots up to {signed_until} are in a batch that was signed already", thing=first)
    before, slots = _unpacked(duty.terms, body)
    if [s["slot"] for s in slots] != list(range(first, last + 1)):
        raise MeteringError(f"the batch is not of slots {first} to {last}", thing=first)
    if signed_until == first - 1 and words != before:
        raise MeteringError(f"the batch from slot {first} is not on top of the one that was signed before", thing=first)
    made = make_run_batch(duty.terms, before, [_settled(duty, s, r) for s, r in zip(slots, readings, strict=True)], bytes(32))
    digest = batch_digest(duty.terms, made, duty.contract)
    signature = duty.sign(digest)
    with store.transaction():
        store.note_batch(first, last, digest, signature, made.afterwards)
    return digest + signature


def _slot_to_public(s: BatchSlot) -> dict[str, Any]:
    return {
        "slot": s.slot,
        "item_micro": s.item_micro.tolist(),
        "orders": orders_to_public(s.orders),
        "clearing": clearing_to_public(s.clearing),
        "wires": None if s.on_wires is None else wires_slot_to_public(s.on_wires),
        "reactive_var": None if s.reactive_var is None else s.reactive_var.tolist(),
    }


def _unpacked(terms: Terms, body: bytes) -> tuple[tuple[int, ...], list[Mapping[str, Any]]]:
    try:
        unpacker = zlib.decompressobj()
        public = json.loads(unpacker.decompress(body, MAX_UNPACKED))
        if unpacker.unconsumed_tail:
            raise ValueError(f"longer than {MAX_UNPACKED} bytes")
        return tuple(int(word, 16) for word in public["before"]), public["slots"]
    except (zlib.error, ValueError, KeyError, TypeError) as cause:
        raise MeteringError(f"not the public part of a batch: {cause}", thing="batch") from cause


def _settled(duty: BatchDuty, public: Mapping[str, Any], readings: SlotReadings) -> BatchSlot:
    """One slot settled on the oracle's own readings, once prices, clearing and wires were found right."""
    terms, slot = duty.terms, readings.slot
    try:
        prices = duty.item_micro(slot)
        if public["item_micro"] != prices.tolist():
            raise MeteringError(f"slot {slot}: the prices are not those of the community's file", thing=slot)
        orders, clearing = orders_from_public(public["orders"]), clearing_from_public(public["clearing"])
        _check_clearing(terms, slot, orders, clearing)
        wires = _wires(terms, slot, public, (orders, clearing), prices)
        reactive = None if public["reactive_var"] is None else np.array(public["reactive_var"], dtype=np.int64)
        metered = readings.import_wh, readings.export_wh
        accounts = settle_slot(terms, terms.layout(), slot, prices, orders, clearing, *metered, wires, reactive)
    except MeteringError:
        raise
    except (WalrasError, KeyError, TypeError, ValueError, IndexError) as cause:
        raise MeteringError(f"slot {slot}: it cannot be settled again: {cause}", thing=slot) from cause
    return BatchSlot(slot, prices, orders, clearing, wires, reactive, *metered, accounts)


def _check_clearing(terms: Terms, slot: int, orders: Orders, clearing: Clearing) -> None:
    if clearing.mechanism != terms.mechanism:
        raise MeteringError(f"slot {slot}: cleared by {clearing.mechanism}, the terms say {terms.mechanism}", thing=slot)
    mechanism = mechanism_named(clearing.mechanism)
    findings = recheck(mechanism, orders, terms.conventions, clearing, extra=extra_for(mechanism, orders))
    if findings:
        raise MeteringError(f"slot {slot}: the clearing breaks its rule: " + "; ".join(map(str, findings)), thing=slot)


def _wires(terms: Terms, slot: int, public: Mapping[str, Any], traded: tuple[Orders, Clearing], prices: Int64) -> WiresSlot | None:
    if (terms.wires is None) != (public["wires"] is None):
        raise MeteringError(f"slot {slot}: the terms and the slot differ on whether the wires were cleared", thing=slot)
    if terms.wires is None:
        return None
    orders, clearing = traded
    sold = positions_of(orders, clearing, terms.members).sold_wh
    wires = wires_slot_from_public(terms, public["wires"], sold, clearing, orders, prices)
    findings = check_wires(terms, wires)
    if findings:
        raise MeteringError(f"slot {slot}: the wires were not cleared by the rule: " + "; ".join(map(str, findings)), thing=slot)
    return wires
