"""Signed quotes against a twin in whole numbers: makers, takers, alternatives, cancellations, time, and fills of every size.

Right and money move together or not at all; a quote never gives more than it says, nor at another price; fills in parts cost
what one costs; and each bug planted into the contract is found.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger_foreign import Foreign, foreign
from ledger_machines import hunting, machine_chain, machine_settings, prepared, run_machine
from ledger_planted import planted
from ledger_world import START, World, funded
from walras.ledger import Genesis, next_sender
from walras.ledger.calls import Contract, create
from walras.ledger.quotes import ANYBODY, Quote, Right, price_units, quote_digest, sign_quote

MEMBERS, MONEY, ENERGY, UNIT = 3, 400, 400, 1_000
accounts = st.integers(0, MEMBERS - 1)


@dataclass(frozen=True)
class Signed:
    """A quote with its maker's number and signature."""

    quote: Quote
    by: int
    signature: bytes


def quoting() -> tuple[World, Contract, Foreign]:
    """Three members with a right and money each, and the contract where they quote."""
    world = World(machine_chain(Genesis(funded(MEMBERS), timestamp=START - 900)), members=MEMBERS)
    admin, now = world.keys.admin, world.now
    contract = create(world.chain, admin, "SignedQuotes", world.addresses.currency, timestamp=now)
    token = foreign(world.chain, admin, "HostileRight", timestamp=now)
    token.act(world.chain, admin, "behave", True, ANYBODY, b"", timestamp=now)  # honest: it only carries the amounts
    for key in (world.keys.member(account) for account in range(MEMBERS)):
        token.act(world.chain, admin, "give", key.address, 1, ENERGY, timestamp=now)
        assert world.send(world.keys.operator, "TestCurrency", "mint", key.address, MONEY).status == 1
        assert world.send(key, "TestCurrency", "approve", contract.address, 2**200).status == 1
    return world, contract, token


class QuoteMachine(RuleBasedStateMachine):
    """Three members who all quote and fill; the twin holds what each has and what is filled."""

    @initialize()
    def begin(self) -> None:
        self.world, self.contract, self.token = prepared(quoting)
        self.keys = [self.world.keys.member(account) for account in range(MEMBERS)]
        self.right = Right(self.token.address, 1)
        self.money, self.energy = [MONEY] * MEMBERS, [ENERGY] * MEMBERS
        self.signed: list[Signed] = []
        self.filled: Counter[bytes] = Counter()
        self.paid: Counter[bytes] = Counter()
        self.owner_of_nonce: dict[tuple[int, int], bytes] = {}
        self.floor = [0] * MEMBERS
        for by in range(MEMBERS):  # the last of them for the first member alone
            self.sign(by, 0 if by == MEMBERS - 1 else None, bool(by % 2), 40, 333, 3, 2_000)

    def attempt(self, account: int, function: str, *arguments: object) -> bool:
        key = self.keys[account]
        raw = self.contract.transaction(next_sender(self.world.chain, key), function, *arguments)
        receipt = self.world.chain.send(raw, timestamp=self.world.now)
        self.world.now = receipt.timestamp
        return receipt.status == 1

    @rule(
        by=accounts,
        taker=st.sampled_from([None, None, 0, 1, 2]),
        sells=st.booleans(),
        amount=st.integers(1, 60),
        price=st.one_of(st.integers(0, 3_000), st.sampled_from([999, 1_000, 1_001])),
        nonce=st.integers(0, 5),
        lasts=st.sampled_from([0, 2, 5, 2_000, 2_000, 2_000]),
    )
    def sign(self, by: int, taker: int | None, sells: bool, amount: int, price: int, nonce: int, lasts: int) -> None:
        named = ANYBODY if taker is None else self.keys[taker].address
        quote = Quote(self.keys[by].address, sells, self.right, amount, price, nonce, self.world.now + lasts, named)
        self.signed.append(Signed(quote, by, sign_quote(self.contract, quote, self.keys[by])))

    @precondition(lambda self: self.signed)
    @rule(
        data=st.data(),
        by=accounts,
        part=st.one_of(st.integers(0, 5), st.integers(0, 70)),
        wait=st.sampled_from([0, 0, 0, 25]),
    )
    def fill(self, data: st.DataObject, by: int, part: int, wait: int) -> None:
        one = data.draw(st.sampled_from(self.signed))
        self.world.now += wait
        self.take(one, by, part)

    @precondition(lambda self: self.signed)
    @rule(data=st.data(), price=st.integers(0, 3_000), other=st.integers(1, 2), filled=st.booleans())
    def offer_another_price_under_the_same_nonce(self, data: st.DataObject, price: int, other: int, filled: bool) -> None:
        """And, often enough, somebody tries to have some of both."""
        one = data.draw(st.sampled_from(self.signed))
        changed = replace(one.quote, price_nano=price)
        self.signed.append(Signed(changed, one.by, sign_quote(self.contract, changed, self.keys[one.by])))
        for quoted in (one, self.signed[-1]) if filled else ():
            self.take(quoted, (one.by + other) % MEMBERS, 1)

    def take(self, one: Signed, by: int, part: int) -> None:
        done = self.attempt(by, "fill", one.quote.as_arguments(), one.signature, part)
        assert done == self.may_fill(one, by, part), (one, by, part)
        if done:
            self.settle(one, by, part)

    @precondition(lambda self: self.signed)
    @rule(data=st.data(), other=st.integers(1, 2), quarters=st.integers(1, 4), beyond=st.sampled_from([0, 0, 0, 1]))
    def fill_as_a_taker_would(self, data: st.DataObject, other: int, quarters: int, beyond: int) -> None:
        """A quarter, a half, ... of what is left, by somebody who may; now and then one unit too much."""
        one = data.draw(st.sampled_from(self.signed))
        rest = one.quote.amount - self.filled[quote_digest(self.contract, one.quote)]
        part, by = (rest * quarters + 3) // 4 + beyond, (one.by + other) % MEMBERS
        self.take(one, by, part)

    @precondition(lambda self: self.signed)
    @rule(data=st.data(), other=st.integers(1, 2), late=st.integers(-2, 1))
    def fill_at_the_last_moment(self, data: st.DataObject, other: int, late: int) -> None:
        one = data.draw(st.sampled_from(self.signed))
        self.world.now = max(self.world.now, one.quote.expiry + late)
        by = (one.by + other) % MEMBERS
        self.take(one, by, 1)

    @precondition(lambda self: self.signed)
    @rule(data=st.data(), other=st.integers(1, 2), field=st.sampled_from(["price_nano", "amount", "nonce", "expiry"]))
    def fill_what_was_not_signed(self, data: st.DataObject, other: int, field: str) -> None:
        one = data.draw(st.sampled_from(self.signed))
        changed = replace(one.quote, **{field: getattr(one.quote, field) + 7})
        by = (one.by + other) % MEMBERS
        assert not self.attempt(by, "fill", changed.as_arguments(), one.signature, 1)

    def price(self, one: Signed, part: int) -> int:
        before = self.filled[quote_digest(self.contract, one.quote)]
        return price_units(before, part, one.quote.price_nano, UNIT, up=one.quote.maker_sells)

    def may_fill(self, one: Signed, by: int, part: int) -> bool:
        quote, digest = one.quote, quote_digest(self.contract, one.quote)
        seller, buyer = (one.by, by) if quote.maker_sells else (by, one.by)
        return (
            part > 0
            and self.world.now < quote.expiry
            and quote.taker in (ANYBODY, self.keys[by].address)
            and by != one.by
            and quote.nonce >= self.floor[one.by]
            and self.owner_of_nonce.get((one.by, quote.nonce), digest) == digest
            and self.filled[digest] + part <= quote.amount
            and self.energy[seller] >= part
            and self.money[buyer] >= self.price(one, part)
        )

    def settle(self, one: Signed, by: int, part: int) -> None:
        digest, units = quote_digest(self.contract, one.quote), self.price(one, part)
        seller, buyer = (one.by, by) if one.quote.maker_sells else (by, one.by)
        self.money[seller] += units
        self.money[buyer] -= units
        self.energy[seller] -= part
        self.energy[buyer] += part
        self.filled[digest] += part
        self.paid[digest] += units
        self.owner_of_nonce[one.by, one.quote.nonce] = digest

    @precondition(lambda self: len(self.signed) > 2)
    @rule(by=accounts, nonce=st.integers(0, 5))
    def cancel(self, by: int, nonce: int) -> None:
        assert self.attempt(by, "cancel", nonce)
        self.owner_of_nonce[by, nonce] = b"cancelled"

    @precondition(lambda self: len(self.signed) > 2)
    @rule(by=accounts, floor=st.integers(0, 5))
    def raise_floor(self, by: int, floor: int) -> None:
        assert self.attempt(by, "raiseFloor", floor) == (floor > self.floor[by])
        self.floor[by] = max(floor, self.floor[by])

    @precondition(lambda self: self.signed)
    @rule(data=st.data(), above=st.integers(0, 1), other=st.integers(1, 2))
    def raise_the_floor_to_a_quote_or_over_it(self, data: st.DataObject, above: int, other: int) -> None:
        """Somebody who may tries at once whether it still holds."""
        one = data.draw(st.sampled_from(self.signed))
        self.raise_floor(one.by, one.quote.nonce + above)
        by = (one.by + other) % MEMBERS
        self.take(one, by, 1)

    @invariant()
    def nothing_is_lost_or_made(self) -> None:
        world = self.world
        assert [world.tokens(key.address) for key in self.keys] == self.money
        assert [self.token.view(world.chain, "balanceOf", key.address, 1)[0] for key in self.keys] == self.energy
        assert (sum(self.money), sum(self.energy)) == (MONEY * MEMBERS, ENERGY * MEMBERS)
        for one in self.signed:
            digest = quote_digest(self.contract, one.quote)
            whole = price_units(0, self.filled[digest], one.quote.price_nano, UNIT, up=one.quote.maker_sells)
            assert self.paid[digest] == whole


def test_quotes_move_right_and_money_together_and_never_beyond_what_was_signed() -> None:
    run_machine(QuoteMachine, machine_settings(16, 25))


PLANTED = {
    "a quote without end": ("Use(bytes16(digest), filled + amount)", "Use(bytes16(digest), filled)"),
    "both alternatives": ("= Use(bytes16(digest), filled + amount)", "= Use(0, filled + amount)"),
    "held a second too long": ("if (block.timestamp >= quote.expiry)", "if (block.timestamp > quote.expiry)"),
    "anybody for the named": ("quote.taker != address(0) && quote.taker != msg.sender", "false"),
    "a floor that holds nothing": ("quote.nonce < nonceFloorOf[quote.maker] || ", ""),
    "anybody's signature": (
        "if (!SignatureChecker.isValidSignatureNowCalldata(quote.maker, digest, signature)) revert WrongSignature(quote.maker);",
        "",
    ),
    "every fill rounded for itself": ("_price(filled, amount, quote.priceNano", "_price(0, amount, quote.priceNano"),
    "sides exchanged": ("quote.makerSells ? (quote.maker, msg.sender)", "!quote.makerSells ? (quote.maker, msg.sender)"),
    "a unit beyond": ("if (amount > quote.amount - filled) revert", "if (amount > quote.amount + 1 - filled) revert"),
}
EVERY_TIME = ("a quote without end",)


@pytest.mark.parametrize(
    ("correct", "wrong"),
    [pytest.param(*bug, id=name, marks=() if name in EVERY_TIME else pytest.mark.nightly) for name, bug in PLANTED.items()],
)
def test_a_planted_bug_is_found(correct: str, wrong: str) -> None:
    with planted("SignedQuotes", correct, wrong), pytest.raises((AssertionError, BaseExceptionGroup)):
        run_machine(QuoteMachine, hunting(60, 25))
