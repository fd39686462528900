"""The balance oracle's word in the record: what the homes' masked readings summed to, beside the readings that settled.

`masked` in the public part of `readings_admitted` is the word (`metering.masked`), its signature, by how much the secret sum
exceeds the contributors' readings (`gap_wh`, import and export), and whose contribution did not open to what their meter signed
(`named`); or null, where the oracle did not answer. Oracles that settle on other readings than the meters sent, all of them
together, would leave a gap here: the meters tell the balance oracle themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from walras.errors import AuditError, MeteringError
from walras.exchange.terms import Terms
from walras.ledger import LedgerAddresses, recover_address
from walras.metering.masked import MaskedWord, gap_wh, word_from_public
from walras.units import Int64


def masked_to_public(
    terms: Terms,
    addresses: LedgerAddresses,
    spoken: tuple[MaskedWord, bytes] | None,
    readings: tuple[Int64, Int64],
    named: Sequence[int],
) -> dict[str, Any] | None:
    """The word as it is recorded; `readings` [devices] as they settle. MeteringError where another than the appointed signed it."""
    if spoken is None:
        return None
    word, signature = spoken
    signer = recover_address(word.digest(addresses.chain_id, addresses.settlement), signature)
    if signer != terms.balance_oracle:
        raise MeteringError(f"slot {word.slot}: the word on the masked sum is signed by {signer}", thing=word.slot)
    gap = gap_wh(word, *(column.tolist() for column in readings))
    return {
        **word.to_public(),
        "signature": signature.hex(),
        "gap_wh": None if gap is None else list(gap),
        "named": list(named),
    }


def check_masked(
    terms: Terms, addresses: LedgerAddresses, slot: int, admitted: Mapping[str, Any], import_wh: Int64, export_wh: Int64
) -> str:
    """What was checked of a slot's word; `import_wh`, `export_wh` [members] are what settled. AuditError if it does not hold."""
    public = admitted["masked"]
    if public is None:
        return "slots without a word on the masked sum"
    word = word_from_public(slot, public)
    signer = recover_address(word.digest(addresses.chain_id, addresses.settlement), bytes.fromhex(public["signature"]))
    if signer != terms.balance_oracle:
        raise AuditError(f"slot {slot}: {signer} signed the word on the masked sum, not the balance oracle", thing=slot)
    if not all(0 <= device < terms.members for device in (*word.contributors, *public["named"])):
        raise AuditError(f"slot {slot}: the word on the masked sum is of meters that are not there", thing=slot)
    gap = gap_wh(word, import_wh.tolist(), export_wh.tolist())
    if public["gap_wh"] != (None if gap is None else list(gap)):
        raise AuditError(
            f"slot {slot}: the masked sum is {gap} Wh off what settled, the record says {public['gap_wh']}", thing=slot
        )
    if gap is None:
        return "slots without a masked sum"
    return "masked sums that are what settled" if gap == (0, 0) else "masked sums that differ from what settled"
