"""Payment channels in Python: running balances to the last fraction, their signatures, and when a watchtower must speak.

A balance is a running total. `advance` adds energy at a price exactly: one watt-second at one micro-unit per kWh is 1/3,600 of a
nano-unit, and what does not make a whole nano-unit is carried in `remainder`. So a thousand small steps come to the same as one
large one, and the two parties, and the contract, agree on every bit.

Signs: payment is positive when the first party pays the second; energy is positive when the first party took it.
"""

from __future__ import annotations

from dataclasses import dataclass

from eth_abi.abi import encode

from walras.errors import LedgerError
from walras.ledger._keccak import keccak256
from walras.ledger.calls import Contract
from walras.ledger.chain import Chain
from walras.ledger.encoding import typed_data_digest
from walras.ledger.keys import SigningKey, recover_address

SECONDS_PER_HOUR = 3_600

_FIELDS = b"(uint256 channel,uint64 sequence,int128 paymentNano,int128 energyWs,uint16 remainder)"
_BALANCE_TYPE = keccak256(b"Balance" + _FIELDS)
_LAST_TYPE = keccak256(b"Last" + _FIELDS)


@dataclass(frozen=True, slots=True)
class ChannelBalance:
    """The running total of a channel: nano-units, watt-seconds, and 1/3,600 nano-units (0 <= remainder < 3,600)."""

    channel: int
    sequence: int = 0
    payment_nano: int = 0
    energy_ws: int = 0
    remainder: int = 0

    def as_arguments(self) -> tuple[int, int, int, int, int]:
        """As the contract takes it."""
        return (self.channel, self.sequence, self.payment_nano, self.energy_ws, self.remainder)


@dataclass(frozen=True, slots=True)
class SignedBalance:
    """A balance that both parties signed: either can close with it, anyone can challenge with it."""

    balance: ChannelBalance
    first_signature: bytes
    second_signature: bytes

    def as_arguments(self) -> tuple[tuple[int, int, int, int, int], bytes, bytes]:
        """As the contract takes it."""
        return (self.balance.as_arguments(), self.first_signature, self.second_signature)


def advance(balance: ChannelBalance, energy_ws: int, price_micro_per_kwh: int) -> ChannelBalance:
    """The next balance: `energy_ws` more taken by the first party (negative: given) at the price. Exact.

    >>> advance(ChannelBalance(1), 90, 300_000)             # 90 Ws are 1/40 Wh: 7,500 nano-units
    ChannelBalance(channel=1, sequence=1, payment_nano=7500, energy_ws=90, remainder=0)
    """
    fine = balance.payment_nano * SECONDS_PER_HOUR + balance.remainder + energy_ws * price_micro_per_kwh
    payment, remainder = divmod(fine, SECONDS_PER_HOUR)
    return ChannelBalance(balance.channel, balance.sequence + 1, payment, balance.energy_ws + energy_ws, remainder)


def balance_digest(contract: Contract, balance: ChannelBalance, *, last: bool = False) -> bytes:
    """The 32 bytes both sign (EIP-712). `last` makes it good to be paid at once; never sign that for a running balance."""
    kind = _LAST_TYPE if last else _BALANCE_TYPE
    types = ["bytes32", "uint256", "uint64", "int128", "int128", "uint16"]
    content = keccak256(encode(types, [kind, *balance.as_arguments()]))
    return typed_data_digest("Walras Payment Channels", contract.chain_id, contract.address, content)


def sign_balance(
    contract: Contract, balance: ChannelBalance, first: SigningKey, second: SigningKey, *, last: bool = False
) -> SignedBalance:
    """Both signatures at once, for tests and for parties on one machine; else each signs `balance_digest` for itself."""
    digest = balance_digest(contract, balance, last=last)
    return SignedBalance(balance, first.sign_digest(digest), second.sign_digest(digest))


def check_balance(contract: Contract, signed: SignedBalance, first: str, second: str) -> None:
    """LedgerError unless both parties signed this running balance: check before you count on it."""
    digest = balance_digest(contract, signed.balance)
    pairs = ((first, signed.first_signature), (second, signed.second_signature))
    for address, signature in pairs:
        if recover_address(digest, signature) != address:
            raise LedgerError(f"balance {signed.balance.sequence} is not signed by {address}", thing=signed)


def must_challenge(chain: Chain, contract: Contract, best: SignedBalance, now: int) -> bool:
    """The watchtower's whole rule: a close is on its way, the time is not over, and we hold a later balance than is shown."""
    _, closes_at, _, sequence, *_, paid = contract.view(chain, "channelOf", best.balance.channel)
    return bool(closes_at and not paid and now < closes_at and best.balance.sequence > sequence)
