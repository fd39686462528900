"""A member leaves: step by step, as far as the contracts allow now, with nobody's leave.

From a settlement slot by slot: ask, wait for the delay, fetch. From batches: while the operator posts, ask, and fetch against a
final batch; where the operator has posted nothing for the exit timeout, halt the contract and take out everything by a Merkle proof
of one's own account, made from what was published. Each call does the next step that the chain takes, and says when to come again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from walras.errors import LedgerError
from walras.exchange.opening import NOTHING_STATED, Opening, posts_of, rebuilt
from walras.ledger import LedgerAddresses, ReadableChain, Revert, SigningKey, account_words, next_sender, read
from walras.ledger.abi import artifact
from walras.ledger.batches import ask_back, exit_now, root_of_state, state_after, withdraw
from walras.ledger.calls import Contract
from walras.ledger.encoding import split_word
from walras.ledger.steps import running_payment

Known = tuple[Mapping[int, bytes], Opening | None]
"""What a record tells of batches: positions by slot, and where it began."""


@dataclass(frozen=True, slots=True)
class Step:
    """What was done, in words; token units paid out, if any; Unix time from which the next step is possible, where that is known;
    `over` once there is nothing left to do."""

    done: str
    paid: int = 0
    again_from: int | None = None
    over: bool = False


def account_of(chain: ReadableChain, registry: str, address: str) -> int:
    """The account of a member's address; LedgerError where it is no member's."""
    try:
        return int(read(chain, artifact("Registry"), registry, "accountOf", address)[0])
    except LedgerError as cause:
        raise LedgerError(
            f"{address} is no member's of the registry at {registry}",
            thing=address,
            way_out="give the key that the account was registered with",
        ) from cause


def leave_settlement(
    chain: ReadableChain,
    addresses: LedgerAddresses,
    member: SigningKey,
    now: int,
    amount_nano: int | None = None,
) -> Step:
    """The next step out of `Settlement`; `amount_nano`: all by default. `now` [Unix s] where the chain takes its time from us."""
    contract = Contract("Settlement", addresses.chain_id, addresses.settlement)
    account = account_of(chain, addresses.registry, member.address)
    asked, available_at = contract.view(chain, "withdrawalOf", account)
    balance, _ = split_word(account_words(chain, addresses, [account])[0])
    if not asked:
        if balance < int(contract.view(chain, "nanoPerTokenUnit")[0]):
            return Step(_empty(account, balance), over=True)
        wanted = balance if amount_nano is None else amount_nano
        contract.act(chain, member, "requestWithdrawal", wanted, timestamp=now)
        available_at = contract.view(chain, "withdrawalOf", account)[1]
        return Step(f"account {account}: asked for {wanted:,} nano of {balance:,}", again_from=int(available_at))
    refusal = _refusal(chain, contract, member, "withdraw")
    if refusal is not None and refusal.name == "WithdrawalNotYet":
        return Step(f"account {account}: {asked:,} nano are asked for, the delay runs", again_from=int(available_at))
    receipt = contract.act(chain, member, "withdraw", timestamp=now)
    units = int(dict(contract.events(receipt))["Withdrawn"]["tokenUnits"])
    return Step(f"account {account}: fetched", paid=units, over=True)


def leave_batches(
    chain: ReadableChain,
    contract: Contract,
    member: SigningKey,
    now: int,
    stated: Mapping[int, bytes] = NOTHING_STATED,
    amount_nano: int | None = None,
    opening: Opening | None = None,
) -> Step:
    """The next step out of `BatchSettlement`; `stated` positions by slot, where a committee publishes (`stated_positions`), since
    `opening` where the record begins on batches of others."""
    account = account_of(chain, str(contract.view(chain, "registry")[0]), member.address)
    if contract.view(chain, "exited", account)[0]:
        return Step(f"account {account} has left already", over=True)
    halted = bool(contract.view(chain, "halted")[0])
    refusal = None if halted else _refusal(chain, contract, member, "halt")
    if refusal is not None:
        return _while_active(chain, contract, member, account, now, (stated, opening), amount_nano, refusal)
    if not halted:
        contract.act(chain, member, "halt", timestamp=now)
    words = _words(chain, contract, int(contract.view(chain, "batchCount")[0]), (stated, opening))
    receipt = exit_now(chain, contract, member, words, account, timestamp=now)
    units = int(dict(contract.events(receipt))["Exited"]["tokenUnits"])
    how = "the operator was silent: halted, and left" if not halted else "the contract is halted: left"
    return Step(f"account {account}: {how} with a proof against the last batch", paid=units, over=True)


def _while_active(
    chain: ReadableChain,
    contract: Contract,
    member: SigningKey,
    account: int,
    now: int,
    known: Known,
    amount_nano: int | None,
    active: Revert,
) -> Step:
    """Ask, or fetch what was asked for against the newest final batch; without the operator the exit is open from a known time."""
    asked, since, *_ = contract.view(chain, "leavingOf", account)
    exit_from = int(active.arguments.get("until", 0)) or None
    count = int(contract.view(chain, "batchCount")[0])
    if not asked:
        words = _words(chain, contract, count, known)
        paid = running_payment(words[account]) if account < len(words) else 0
        own = int(contract.view(chain, "collateralOf", account)[0]) - paid
        if own < int(contract.view(chain, "nanoPerTokenUnit")[0]):
            return Step(_empty(account, max(own, 0)), over=True)
        wanted = own if amount_nano is None else amount_nano
        ask_back(chain, contract, member, wanted, words, account, timestamp=now)
        said = f"account {account}: asked for {wanted:,} nano of {own:,}, to be fetched against a batch that is posted from now on"
        return Step(said, again_from=exit_from)
    final = [index for index in range(count) if contract.view(chain, "isFinal", index)[0]]
    if not final or int(contract.view(chain, "batchOf", final[-1])[6]) < int(since):
        return Step(f"account {account}: {asked:,} nano are asked for, no batch since then is final yet", again_from=exit_from)
    words = _words(chain, contract, final[-1] + 1, known)
    receipt = withdraw(chain, contract, member, final[-1], words, account, timestamp=now)
    units = int(dict(contract.events(receipt))["Withdrawn"]["tokenUnits"])
    return Step(f"account {account}: fetched against batch {final[-1]}", paid=units, over=True)


def _empty(account: int, nano: int) -> str:
    return f"account {account} is empty" + (f": {nano:,} nano are less than the token's smallest unit" if nano else "")


def _words(chain: ReadableChain, contract: Contract, count: int, known: Known) -> list[int]:
    """The state after the first `count` batches, made again from what was published, from the record's opening on where those
    before it are among them and stand as the record found them."""
    stated, opening = known
    words: list[int] = []
    begun = 0 if opening is None or opening.batches > count else opening.batches
    if opening is not None and begun and contract.view(chain, "batchOf", begun - 1)[1] == root_of_state(opening.words):
        words = list(opening.words)
    else:
        begun = 0
    for index, calldata in list(enumerate(posts_of(chain, contract, count)))[begun:]:
        posted = contract.view(chain, "batchOf", index)
        batch = rebuilt(posted, calldata, words, stated)
        if batch is None:
            raise LedgerError(
                f"batch {index} was published by a committee, and the record has no positions with its root",
                thing=index,
                way_out="give the run's public record, or ask an oracle for the data of the batch",
            )
        words = state_after(batch, words, int(posted[5]))
    return words


def _refusal(chain: ReadableChain, contract: Contract, key: SigningKey, function: str, *arguments: Any) -> Revert | None:
    """Why the contract would refuse this now, or None."""
    return chain.rehearse(contract.transaction(next_sender(chain, key), function, *arguments)).refusal
