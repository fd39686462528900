"""The settlement contract, typed: settle a slot, deposit, withdraw, read accounts.

Every action has two halves: a pure function that gives the signed raw transaction (journal it), and a function that sends it
and returns the receipt or the contract's refusal as a LedgerError. Money is in nano-units, energy in Wh; a payment is positive
when the member pays, energy is positive when it takes from the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from walras.errors import Fault, InputError
from walras.ledger.abi import artifact
from walras.ledger.chain import Chain, Receipt, events_of, next_sender, read, require_accepted
from walras.ledger.deployment import LedgerAddresses
from walras.ledger.encoding import Header, NetPositions, pack_positions, split_word
from walras.ledger.keys import SIGNATURE_BYTES, SigningKey
from walras.ledger.transactions import MAX_TRANSACTION_GAS, Fees, Sender, Transaction, sign_transaction
from walras.units import Int64, as_int64

GAS_PER_PARTICIPANT = 26_000
"""Allowance: a first touch of an account writes a fresh word (22,100); later slots use about a quarter of it."""

GAS_PER_SIGNATURE = 12_000
GAS_PER_SETTLEMENT = 200_000
GAS_PER_DEPOSIT = 30_000
GAS_PER_WITHDRAWAL = 200_000
WORDS_PER_CALL = 2_000


@dataclass(frozen=True, slots=True)
class SlotSettlement:
    """Everything that settles one slot. `signatures` of the oracles come from `encoding.join_signatures`."""

    slot: int
    header: Header
    positions: NetPositions
    signatures: bytes


@dataclass(frozen=True, slots=True)
class SlotSettled:
    """The contract's record of a settled slot."""

    slot: int
    header: Header
    participants: int


def settlement_transaction(addresses: LedgerAddresses, operator: Sender, settlement: SlotSettlement) -> bytes:
    """Signed bytes that settle a slot. Pure: the same values, the same bytes."""
    return _slot_transaction("settleSlot", addresses, operator, settlement)


def correction_transaction(addresses: LedgerAddresses, operator: Sender, correction: SlotSettlement) -> bytes:
    """Signed bytes that correct a settled slot: the positions are the differences to what was settled, and the signatures
    are over `encoding.correction_digest` with the slot's next revision."""
    return _slot_transaction("correctSlot", addresses, operator, correction)


def _slot_transaction(function: str, addresses: LedgerAddresses, operator: Sender, content: SlotSettlement) -> bytes:
    header = content.header
    roots = (header.readings_root, header.trades_root, header.journal_head)
    packed = pack_positions(content.positions)
    data = artifact("Settlement").call(function, content.slot, roots, packed, content.signatures)
    signatures = len(content.signatures) // SIGNATURE_BYTES
    gas = GAS_PER_SETTLEMENT + GAS_PER_PARTICIPANT * len(content.positions) + GAS_PER_SIGNATURE * signatures
    return _signed(addresses, operator, addresses.settlement, data, gas)


def settle(
    chain: Chain,
    addresses: LedgerAddresses,
    operator: SigningKey,
    settlement: SlotSettlement,
    *,
    timestamp: int,
    fees: Fees | None = None,
) -> Receipt:
    """Settle a slot now. LedgerError with the contract's custom error, its name and arguments, where it refuses."""
    raw = settlement_transaction(addresses, next_sender(chain, operator, fees), settlement)
    return require_accepted(chain.send(raw, timestamp=timestamp), f"settlement of slot {settlement.slot}")


def settled_slot(receipt: Receipt, addresses: LedgerAddresses) -> SlotSettled | None:
    """The `SlotSettled` event of a receipt, or None where it settled nothing."""
    for name, content in events_of(receipt, "Settlement", addresses.settlement):
        if name == "SlotSettled":
            header = Header(content["readingsRoot"], content["tradesRoot"], content["journalHead"])
            return SlotSettled(content["slot"], header, content["participants"])
    return None


def next_slot(chain: Chain, addresses: LedgerAddresses) -> int:
    """The lowest slot that may still be settled."""
    return int(read(chain, artifact("Settlement"), addresses.settlement, "nextSlot")[0])


def commitment_of(chain: Chain, addresses: LedgerAddresses, slot: int) -> bytes:
    """The commitment of a settled slot (`encoding.slot_commitment`); 32 zero bytes where the slot is not settled."""
    return bytes(read(chain, artifact("Settlement"), addresses.settlement, "commitmentOf", slot)[0])


def revision_of(chain: Chain, addresses: LedgerAddresses, slot: int) -> int:
    """How often a settled slot was corrected."""
    return int(read(chain, artifact("Settlement"), addresses.settlement, "revisionOf", slot)[0])


def correction_of(chain: Chain, addresses: LedgerAddresses, slot: int, revision: int) -> bytes:
    """The commitment of the `revision`-th correction of a slot, over its differences; 32 zero bytes where there is none."""
    return bytes(read(chain, artifact("Settlement"), addresses.settlement, "correctionOf", slot, revision)[0])


def account_words(chain: Chain, addresses: LedgerAddresses, accounts: Sequence[int]) -> list[int]:
    """The storage word of each account: energy (int128, Wh) in the high half, balance (uint128, nano) in the low."""
    words: list[int] = []
    for start in range(0, len(accounts), WORDS_PER_CALL):
        part = list(accounts[start : start + WORDS_PER_CALL])
        words.extend(read(chain, artifact("Settlement"), addresses.settlement, "wordsOf", part)[0])
    return words


def balances(chain: Chain, addresses: LedgerAddresses, accounts: Sequence[int]) -> tuple[Int64, Int64]:
    """(balance [nano], running net energy [Wh]) as int64 columns, one row an account; RangeError beyond int64."""
    pairs = [split_word(word) for word in account_words(chain, addresses, accounts)]
    return as_int64([p[0] for p in pairs], "balance_nano"), as_int64([p[1] for p in pairs], "energy_wh")


def deposit_transactions(
    addresses: LedgerAddresses, payer: Sender, accounts: Sequence[int], token_units: Sequence[int]
) -> tuple[bytes, bytes]:
    """Signed bytes of approval and deposit, with the payer's next two nonces: `token_units[i]` into `accounts[i]`."""
    if len(accounts) != len(token_units):
        raise InputError("deposit", [Fault("deposit", "token_units", len(token_units), f"{len(accounts)} rows like accounts")])
    approval = artifact("TestCurrency").call("approve", addresses.settlement, sum(token_units))
    data = artifact("Settlement").call("depositMany", list(accounts), list(token_units))
    following = replace(payer, nonce=payer.nonce + 1)
    return (
        _signed(addresses, payer, addresses.currency, approval, 100_000),
        _signed(addresses, following, addresses.settlement, data, GAS_PER_SETTLEMENT + GAS_PER_DEPOSIT * len(accounts)),
    )


def withdrawal_request_transaction(addresses: LedgerAddresses, member: Sender, amount_nano: int) -> bytes:
    """Signed bytes by which a member asks for `amount_nano` of its balance; zero cancels."""
    data = artifact("Settlement").call("requestWithdrawal", amount_nano)
    return _signed(addresses, member, addresses.settlement, data, GAS_PER_WITHDRAWAL)


def withdrawal_transaction(addresses: LedgerAddresses, member: Sender) -> bytes:
    """Signed bytes by which a member fetches what it asked for, after the delay."""
    return _signed(addresses, member, addresses.settlement, artifact("Settlement").call("withdraw"), GAS_PER_WITHDRAWAL)


def request_withdrawal(
    chain: Chain,
    addresses: LedgerAddresses,
    member: SigningKey,
    amount_nano: int,
    *,
    timestamp: int,
    fees: Fees | None = None,
) -> Receipt:
    """Ask for `amount_nano`; it can be fetched once the contract's delay has passed."""
    raw = withdrawal_request_transaction(addresses, next_sender(chain, member, fees), amount_nano)
    return require_accepted(chain.send(raw, timestamp=timestamp), f"withdrawal request of {member.address}")


def withdraw(chain: Chain, addresses: LedgerAddresses, member: SigningKey, *, timestamp: int, fees: Fees | None = None) -> int:
    """Fetch what was asked for; the token units paid. What is left below a token unit stays on the account."""
    raw = withdrawal_transaction(addresses, next_sender(chain, member, fees))
    receipt = require_accepted(chain.send(raw, timestamp=timestamp), f"withdrawal of {member.address}")
    return int(dict(events_of(receipt, "Settlement", addresses.settlement))["Withdrawn"]["tokenUnits"])


def _signed(addresses: LedgerAddresses, sender: Sender, to: str, data: bytes, gas_limit: int) -> bytes:
    limit = min(gas_limit, MAX_TRANSACTION_GAS)
    return sign_transaction(sender.key, Transaction(addresses.chain_id, sender.nonce, to, data, limit, sender.fees))
