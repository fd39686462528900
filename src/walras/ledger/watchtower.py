"""A watchtower for payment channels: it holds balances that both parties signed, and answers a close with a newer one.

Anyone can run one, for anyone: it needs the signed balances (they say nothing that the parties did not both say), a key that pays
gas, and a look at the chain once in every challenge period. It can harm nobody: it moves no money, and the contract takes
nothing from it that the parties did not sign.

A balance is kept when the contract would take it: of a channel that is not paid out, signed by both, within the deposits, and newer
than the one held. `Watchtower.look` asks the chain and acts; the rest are values.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from eth_utils.address import to_checksum_address

from walras.errors import Fault, InputError, LedgerError
from walras.ledger.calls import Contract
from walras.ledger.chain import Chain, Receipt
from walras.ledger.channels import ChannelBalance, SignedBalance, check_balance, must_challenge
from walras.ledger.keys import SigningKey

_FIELDS = ("channel", "sequence", "payment_nano", "energy_ws", "remainder")


class Heard(Enum):
    """What became of a balance handed to a watchtower."""

    KEPT = "kept"
    OLDER = "a balance as new or newer is held"
    NO_CHANNEL = "no such channel, or it is paid out"
    NOT_SIGNED = "not signed by both parties of the channel"
    NOT_COVERED = "beyond the deposits: the contract would refuse it"


@dataclass(frozen=True, slots=True)
class Answer:
    """A challenge that a watchtower sent: with which balance, against which sequence, and the receipt."""

    balance: ChannelBalance
    against: int
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A channel as the contract holds it. `closes_at` [Unix s] is 0 while it is open; deposits in token units."""

    first: str
    second: str
    closes_at: int
    sequence: int
    first_deposit: int
    second_deposit: int
    paid: bool


def channel_state(chain: Chain, contract: Contract, number: int) -> ChannelState | None:
    """The channel, or None where there is none."""
    first, closes_at, second, sequence, one, other, _, _, paid = contract.view(chain, "channelOf", number)
    return ChannelState(first, second, closes_at, sequence, one, other, paid) if int(first, 16) else None


class Watchtower:
    """One contract's channels, watched. `key` pays the gas of what `look` sends."""

    def __init__(self, chain: Chain, contract: Contract, key: SigningKey) -> None:
        self._chain, self._contract, self._key = chain, contract, key
        self._nano_per_unit = int(contract.view(chain, "nanoPerTokenUnit")[0])
        self._best: dict[int, SignedBalance] = {}

    @property
    def held(self) -> tuple[SignedBalance, ...]:
        """The newest balance of each channel watched, by channel."""
        return tuple(self._best[number] for number in sorted(self._best))

    def take(self, signed: SignedBalance) -> Heard:
        """Keep a balance if the contract would take it and nothing newer is held."""
        number = signed.balance.channel
        state = channel_state(self._chain, self._contract, number)
        if state is None or state.paid:
            return Heard.NO_CHANNEL
        if number in self._best and signed.balance.sequence <= self._best[number].balance.sequence:
            return Heard.OLDER
        try:
            check_balance(self._contract, signed, to_checksum_address(state.first), to_checksum_address(state.second))
        except (LedgerError, InputError):
            return Heard.NOT_SIGNED
        units = signed.balance.payment_nano // self._nano_per_unit
        if not -state.second_deposit <= units <= state.first_deposit:
            return Heard.NOT_COVERED
        self._best[number] = signed
        return Heard.KEPT

    def look(self, now: int) -> list[Answer]:
        """Answer every close that shows an older balance than the one held, and forget channels that are paid out.

        `now` is the chain's present time [Unix s]. One channel's failure leaves the others watched: the first error is raised
        after all were looked at.
        """
        answers, failures = [], []
        for signed in self.held:
            state = channel_state(self._chain, self._contract, signed.balance.channel)
            if state is None or state.paid:
                del self._best[signed.balance.channel]
            elif must_challenge(self._chain, self._contract, signed, now):
                try:
                    arguments = signed.as_arguments()
                    receipt = self._contract.act(self._chain, self._key, "challenge", *arguments, timestamp=now)
                    answers.append(Answer(signed.balance, state.sequence, receipt))
                except LedgerError as failure:
                    failures.append(failure)
        if failures:
            raise failures[0]
        return answers


def write_balances(path: Path, balances: Iterable[SignedBalance]) -> None:
    """One JSON object a line: what a party hands to a watchtower."""
    lines = [
        json.dumps(
            {
                **{name: getattr(one.balance, name) for name in _FIELDS},
                "first_signature": one.first_signature.hex(),
                "second_signature": one.second_signature.hex(),
            }
        )
        for one in balances
    ]
    path.write_text("".join(line + "\n" for line in lines), encoding="ascii")


def read_balances(path: Path) -> list[SignedBalance]:
    """The balances in a file of `write_balances`; InputError naming every line that is none."""
    faults, found = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            content = json.loads(line)
            numbers = [content[name] for name in _FIELDS]
            if not all(type(value) is int for value in numbers):
                raise ValueError(line)
            signatures = (bytes.fromhex(content["first_signature"]), bytes.fromhex(content["second_signature"]))
            found.append(SignedBalance(ChannelBalance(*numbers), *signatures))
        except (ValueError, KeyError, TypeError):
            expected = "a JSON object with " + ", ".join((*_FIELDS, "first_signature", "second_signature"))
            faults.append(Fault(f"{path}, line {number}", "balance", line[:60], expected))
    if faults:
        raise InputError("signed balances", faults)
    return found
