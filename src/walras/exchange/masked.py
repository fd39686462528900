"""The balance oracle's word in the record: what the homes' masked readings summed to, beside the readings that settled.

`masked` in the public part of `readings_admitted` is the word (`metering.masked`), its signature, by how much the secret sum
exceeds the contributors' readings (`gap_wh`, import and export), and whose contribution did not open to what their meter signed
(`named`); or null, where the oracle did not answer. Oracles that settle on other readings than the meters sent, all of them
together, would leave a gap here: the meters tell the balance oracle themselves.

A word that does not hold stops no settlement either: it is kept as it was given, with its signature and why it is `refused`, and
counts as none. Signed by the oracle it is the evidence against it.

    signature       another than the appointed oracle signed it
    contributors    not the list that the meters revealed for
    liars           not those whom the openings show
    transformer     not what the transformer's own meter signed
    balance         not what its own sums and the transformer's number come to on the feeder
    contributions   the oracle does not show the contributions that it says it summed
    sum             the contributions, opened, come to another sum
    silent          no word, after messages that no meter said

`invented` are digests of messages that the oracle passed on and no meter said; they are there only where there were any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from walras.errors import AuditError, InputError, MeteringError
from walras.exchange.terms import Terms
from walras.ledger import LedgerAddresses, recover_address
from walras.metering.feeder import Feeder
from walras.metering.feeder import check_masked as feeder_check
from walras.metering.masked import MaskedWord, gap_wh, word_from_public
from walras.metering.parcel_reading import split_item
from walras.units import Int64

Spoken = tuple[MaskedWord, bytes]
"""The balance oracle's word and its signature."""

SIGNATURE, TRANSFORMER, SILENT = "signature", "transformer", "silent"
REFUSALS = (SIGNATURE, "contributors", "liars", TRANSFORMER, "balance", "contributions", "sum", SILENT)
MOST_INVENTED = 100
"""Digests kept of a slot's invented messages: an oracle is not to fill the record with them."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a slot's round: the word, if any; whom the meters revealed for (None: for nobody); who lied by the openings;
    the SHA-256 digests of messages that no meter said."""

    spoken: Spoken | None
    told: tuple[int, ...] | None
    liars: tuple[int, ...]
    invented: tuple[str, ...] = ()


def refusal_of(terms: Terms, addresses: LedgerAddresses, heard: Heard, transformer: bytes, feeder: Feeder) -> str | None:
    """Why the word is refused, by what everybody but the oracle knows; None where there is none, or it holds so far.

    `transformer` is the reading of the slot that the transformer's meter signed, `feeder` what lies behind it.
    """
    if heard.spoken is None:
        return None
    word, signature = heard.spoken
    if _signer(addresses, word, signature) != terms.balance_oracle:
        return SIGNATURE
    if word.contributors != (heard.told or ()) or not set(word.lost) <= {*range(terms.members)}:
        return "contributors"
    if word.liars != (heard.liars if word.import_wh is not None else ()):
        return "liars"
    if _other_transformer(word, transformer):
        return TRANSFORMER
    return "balance" if _other_balance(terms, word, feeder) else None


def _other_balance(terms: Terms, word: MaskedWord, feeder: Feeder) -> bool:
    """Whether the balance is another than the word's numbers come to, by more than the 1 Wh that machines may round apart."""
    through, whole = word.transformer_wh, len(word.contributors) == terms.members
    if through is None or word.import_wh is None or word.export_wh is None or not whole:
        return word.balance is not None
    check = feeder_check(feeder, terms.grid, word.import_wh, word.export_wh, through)
    expected = check.residual_wh, check.tolerance_wh
    return word.balance is None or any(abs(a - b) > 1 for a, b in zip(word.balance, expected, strict=True))


def _other_transformer(word: MaskedWord, reading: bytes) -> bool:
    """Whether the word has another number than the transformer's reading; one that the oracle did not hear is no other."""
    fields = split_item(reading)
    return word.transformer_wh is not None and (fields is None or word.transformer_wh != fields[2] - fields[3])


def _signer(addresses: LedgerAddresses, word: MaskedWord, signature: bytes) -> str | None:
    try:
        return recover_address(word.digest(addresses.chain_id, addresses.settlement), signature)
    except InputError:
        return None


def masked_to_public(
    heard: Heard, readings: tuple[Int64, Int64], named: Sequence[int], refused: str | None
) -> dict[str, Any] | None:
    """What is recorded; `readings` [devices] as they settle, `refused` why the word is (`refusal_of`, `MaskedMeters.opened`)."""
    invented = {"invented": list(heard.invented[:MOST_INVENTED])} if heard.invented else {}
    if heard.spoken is None:
        return {"refused": SILENT, **invented} if invented else None
    word, signature = heard.spoken
    kept = {**word.to_public(), "signature": signature.hex(), **invented}
    if refused is not None:
        return {**kept, "gap_wh": None, "named": list(named), "refused": refused}
    gap = gap_wh(word, *(column.tolist() for column in readings))
    return {**kept, "gap_wh": None if gap is None else list(gap), "named": list(named)}


def check_masked(
    terms: Terms, addresses: LedgerAddresses, slot: int, admitted: Mapping[str, Any], import_wh: Int64, export_wh: Int64
) -> str:
    """What was checked of a slot's word; `import_wh`, `export_wh` [members] are what settled. AuditError if it does not hold."""
    public = admitted["masked"]
    if public is None:
        return "slots without a word on the masked sum"
    if "refused" in public:
        return _check_refused(terms, addresses, slot, public, bytes.fromhex(admitted["feeder"]))
    word = word_from_public(slot, public)
    signer = _signer(addresses, word, bytes.fromhex(public["signature"]))
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


def _check_refused(terms: Terms, addresses: LedgerAddresses, slot: int, public: Mapping[str, Any], feeder: bytes) -> str:
    """A refusal names its reason, and is not made up where the record itself shows: the signature, the transformer's number."""
    why = public["refused"]
    if why not in REFUSALS or (why == SILENT) != ("signature" not in public):
        raise AuditError(f"slot {slot}: a word on the masked sum was refused for {why!r}, which is no reason", thing=slot)
    if why == SILENT:
        return "balance oracle's words refused"
    try:
        word = word_from_public(slot, public)
    except MeteringError as cause:
        raise AuditError(f"slot {slot}: the refused word on the masked sum was not kept: {cause}", thing=slot) from cause
    signed = _signer(addresses, word, bytes.fromhex(public["signature"])) == terms.balance_oracle
    if signed == (why == SIGNATURE) or (why == TRANSFORMER and not _other_transformer(word, feeder)):
        raise AuditError(f"slot {slot}: the word on the masked sum was refused for its {why}, which holds", thing=slot)
    return "balance oracle's words refused"
