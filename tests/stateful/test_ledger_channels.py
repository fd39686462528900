"""Payment channels: exact running balances, and a contract that pays the latest one both signed, whatever either tries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger_machines import hunting, machine_chain, machine_settings, prepared, run_machine
from ledger_planted import planted
from ledger_world import CHAINS, START, World, chain_of, funded, stranger
from walras.errors import LedgerError
from walras.ledger import Genesis, SigningKey, artifact, next_sender
from walras.ledger.calls import Contract, create
from walras.ledger.channels import (
    ChannelBalance,
    SignedBalance,
    advance,
    balance_digest,
    check_balance,
    must_challenge,
    sign_balance,
)

PERIOD = 3_600
UNITS = 1_000_000


class Channels:
    """Two members with tokens and a contract for channels; `first` opens."""

    def __init__(self, world: World) -> None:
        self.world, self.chain = world, world.chain
        self.first, self.second = world.keys.member(1), world.keys.member(2)
        self.contract = create(self.chain, world.keys.admin, "PaymentChannels", world.addresses.currency, timestamp=world.now)
        for party in (self.first, self.second):
            assert world.send(world.keys.operator, "TestCurrency", "mint", party.address, 50 * UNITS).status == 1
            assert world.send(party, "TestCurrency", "approve", self.contract.address, 50 * UNITS).status == 1

    def act(self, key: SigningKey, function: str, *arguments: object) -> object:
        return self.contract.act(self.chain, key, function, *arguments, timestamp=self.world.now)

    def open(self, first: int = UNITS, second: int = UNITS) -> ChannelBalance:
        self.act(self.first, "open", self.second.address, PERIOD, first)
        number = self.contract.view(self.chain, "channels")[0]
        self.act(self.second, "fund", number, second)
        return ChannelBalance(number)

    def signed(self, balance: ChannelBalance, *, last: bool = False) -> SignedBalance:
        return sign_balance(self.contract, balance, self.first, self.second, last=last)

    def credits(self) -> list[int]:
        return [self.contract.view(self.chain, "creditOf", party.address)[0] for party in (self.first, self.second)]

    def collected(self) -> list[int]:
        before = [self.world.tokens(party.address) for party in (self.first, self.second)]
        for party in (self.first, self.second):
            self.act(party, "collect")
        return [self.world.tokens(p.address) - was for p, was in zip((self.first, self.second), before, strict=True)]


@pytest.fixture(scope="module", params=CHAINS)
def channels(request: pytest.FixtureRequest) -> Iterator[Channels]:
    with chain_of(request.param) as chain:
        yield Channels(World(chain))


def refused(name: str) -> object:
    return pytest.raises(LedgerError, match=rf"refused: {name}\(")


steps = st.lists(st.tuples(st.integers(-10_000, 10_000), st.integers(-(10**9), 10**9)), max_size=20)


@given(steps)
def test_many_small_steps_come_to_the_same_as_the_exact_sum(taken: list[tuple[int, int]]) -> None:
    balance = ChannelBalance(7)
    for energy_ws, price in taken:
        balance = advance(balance, energy_ws, price)
    exact = sum(energy_ws * price for energy_ws, price in taken)
    assert balance.payment_nano * 3_600 + balance.remainder == exact
    assert 0 <= balance.remainder < 3_600
    assert (balance.energy_ws, balance.sequence) == (sum(e for e, _ in taken), len(taken))


def test_both_together_are_paid_at_once(channels: Channels) -> None:
    balance = advance(channels.open(), 3_600 * 1_000, 250_000)  # 1 kWh at 0.25
    assert balance.payment_nano == 250_000_000
    channels.act(stranger(), "closeTogether", *channels.signed(balance, last=True).as_arguments())
    assert channels.collected() == [UNITS - 250_000, UNITS + 250_000]
    with refused("AlreadyPaid"):
        channels.act(stranger(), "closeTogether", *channels.signed(balance, last=True).as_arguments())


def test_an_old_balance_shown_alone_is_replaced_by_anybodys_later_one(channels: Channels) -> None:
    """The watchtower is a stranger without rights; it needs the later balance and nothing else."""
    opening = channels.open()
    old = channels.signed(advance(opening, 3_600_000, 100_000))
    new = channels.signed(advance(old.balance, 3_600_000, 300_000))
    now = channels.world.now
    assert not must_challenge(channels.chain, channels.contract, new, now)
    channels.act(channels.first, "closeAlone", *old.as_arguments())
    assert must_challenge(channels.chain, channels.contract, new, now)
    channels.act(stranger(), "challenge", *new.as_arguments())
    assert not must_challenge(channels.chain, channels.contract, new, now)
    for stale in (old, new):
        with refused("NotLater"):
            channels.act(channels.first, "challenge", *stale.as_arguments())
    with refused("ChallengeOpen"):
        channels.act(channels.second, "finish", opening.channel)
    channels.world.now += PERIOD + 60
    channels.act(stranger(), "finish", opening.channel)
    assert channels.collected() == [UNITS - 400_000, UNITS + 400_000]
    with refused("AlreadyPaid"):
        channels.act(stranger(), "finish", opening.channel)
    assert not must_challenge(channels.chain, channels.contract, new, now)


def test_the_challenge_ends_with_its_period(channels: Channels) -> None:
    opening = channels.open()
    one = channels.signed(advance(opening, 3_600_000, 100_000))
    channels.act(channels.first, "closeUnused", opening.channel)
    channels.world.now += PERIOD + 60
    assert not must_challenge(channels.chain, channels.contract, one, channels.world.now)
    with refused("ChallengeOver"):
        channels.act(channels.second, "challenge", *one.as_arguments())
    channels.act(channels.first, "finish", opening.channel)
    assert channels.collected() == [UNITS, UNITS]


def test_a_running_balance_is_not_a_last_one_and_holds_on_its_channel_and_contract_only(channels: Channels) -> None:
    opening, other = channels.open(), channels.open()
    balance = advance(opening, 3_600_000, 100_000)
    running = channels.signed(balance)
    with refused("WrongSigner"):
        channels.act(channels.first, "closeTogether", *running.as_arguments())
    with refused("WrongSigner"):
        channels.act(channels.first, "closeAlone", *channels.signed(balance, last=True).as_arguments())
    moved = replace(running, balance=replace(balance, channel=other.channel))
    with refused("WrongSigner"):
        channels.act(channels.first, "closeAlone", *moved.as_arguments())
    foreign = sign_balance(
        replace(channels.contract, address=channels.world.addresses.registry), balance, channels.first, channels.second
    )
    with refused("WrongSigner"):
        channels.act(channels.first, "closeAlone", *foreign.as_arguments())
    for field in ("sequence", "payment_nano", "energy_ws", "remainder"):
        changed = replace(running, balance=replace(balance, **{field: getattr(balance, field) + 1}))
        with refused("WrongSigner"):
            channels.act(channels.first, "closeAlone", *changed.as_arguments())
    half = replace(running, second_signature=running.first_signature)
    with refused("WrongSigner"):
        channels.act(channels.first, "closeAlone", *half.as_arguments())
    check_balance(channels.contract, running, channels.first.address, channels.second.address)
    with pytest.raises(LedgerError, match="is not signed by"):
        check_balance(channels.contract, half, channels.first.address, channels.second.address)


def test_the_digest_is_the_contracts_own(channels: Channels) -> None:
    balance = ChannelBalance(3, 5, -(2**100), 2**90, 3_599)
    for last in (False, True):
        own = channels.contract.view(channels.chain, "digestOf", balance.as_arguments(), last)[0]
        assert own == balance_digest(channels.contract, balance, last=last)


def test_a_balance_beyond_the_deposits_is_refused_at_its_edge(channels: Channels) -> None:
    opening = channels.open(first=10, second=20)
    for nano in (11_000, -20_001):
        with refused("PaymentBeyondDeposit"):
            channels.act(
                channels.first, "closeAlone", *channels.signed(replace(opening, sequence=1, payment_nano=nano)).as_arguments()
            )
    channels.act(channels.first, "closeAlone", *channels.signed(replace(opening, sequence=1, payment_nano=10_999)).as_arguments())
    edge = channels.signed(replace(opening, sequence=2, payment_nano=-20_000))
    channels.act(channels.second, "challenge", *edge.as_arguments())
    channels.world.now += PERIOD + 60
    channels.act(channels.second, "finish", opening.channel)
    assert channels.collected() == [30, 0]


def test_strangers_closed_channels_and_bad_terms_are_refused(channels: Channels) -> None:
    opening = channels.open()
    one = channels.signed(advance(opening, 1, 1))
    cases = [
        ("NotParty", stranger(), "closeAlone", one.as_arguments()),
        ("NotParty", stranger(), "closeUnused", (opening.channel,)),
        ("NotParty", stranger(), "fund", (opening.channel, 1)),
        ("NotClosing", channels.first, "challenge", one.as_arguments()),
        ("NotClosing", channels.first, "finish", (opening.channel,)),
        ("NotOpen", channels.first, "fund", (99, 1)),
        ("NotOpen", channels.first, "closeTogether", channels.signed(ChannelBalance(99), last=True).as_arguments()),
        ("BadParties", channels.first, "open", (channels.first.address, PERIOD, 1)),
        ("BadParties", channels.first, "open", ("0x" + "00" * 20, PERIOD, 1)),
        ("BadPeriod", channels.first, "open", (channels.second.address, 0, 1)),
        ("BadPeriod", channels.first, "open", (channels.second.address, 31 * 86_400, 1)),
    ]
    for name, key, function, arguments in cases:
        with refused(name):
            channels.act(key, function, *arguments)
    channels.act(channels.first, "closeUnused", opening.channel)
    for function, arguments in (("fund", (opening.channel, 1)), ("closeAlone", one.as_arguments())):
        with refused("NotOpen"):
            channels.act(channels.first, function, *arguments)


def channelling() -> Channels:
    """Two members with money and a contract without channels."""
    return Channels(World(machine_chain(Genesis(funded(3), timestamp=START - 900)), members=3))


class ChannelMachine(RuleBasedStateMachine):
    """One channel, two parties who sign on and on, and everybody showing whatever they hold."""

    @initialize(first=st.integers(0, 50), second=st.integers(0, 50))
    def begin(self, first: int, second: int) -> None:
        self.channels = prepared(channelling)
        self.held = [self.channels.open(first, second)]
        self.deposits = (first, second)
        self.shown: ChannelBalance | None = None
        self.closes_at = 0
        self.paid = False

    def attempt(self, key: SigningKey, function: str, *arguments: object) -> bool:
        channels = self.channels
        raw = channels.contract.transaction(next_sender(channels.chain, key), function, *arguments)
        receipt = channels.chain.send(raw, timestamp=channels.world.now)
        channels.world.now = receipt.timestamp
        return receipt.status == 1

    def covered(self, balance: ChannelBalance) -> bool:
        units = balance.payment_nano // 1_000
        return -self.deposits[1] <= units <= self.deposits[0]

    @rule(energy_ws=st.integers(-400, 400), price=st.integers(0, 300_000))
    def sign_on(self, energy_ws: int, price: int) -> None:
        self.held.append(advance(self.held[-1], energy_ws, price))

    @rule(data=st.data(), by=st.sampled_from(["first", "second", "stranger"]))
    def show(self, data: st.DataObject, by: str) -> None:
        self.show_one(data.draw(st.sampled_from(self.held)), by)

    def show_one(self, balance: ChannelBalance, by: str) -> None:
        key = {"first": self.channels.first, "second": self.channels.second, "stranger": stranger()}[by]
        arguments = self.channels.signed(balance).as_arguments()
        if self.shown is None:
            done = self.attempt(key, "closeAlone", *arguments)
            assert done == (by != "stranger" and not self.paid and self.covered(balance))
            if done:
                self.shown, self.closes_at = balance, self.channels.world.now + PERIOD
        else:
            open_still = not self.paid
            done = self.attempt(key, "challenge", *arguments)
            in_time = self.channels.world.now < self.closes_at
            assert done == (open_still and in_time and balance.sequence > self.shown.sequence and self.covered(balance))
            self.shown = balance if done else self.shown

    @rule(wait=st.sampled_from([0, PERIOD // 2, PERIOD // 2, PERIOD]))
    def finish(self, wait: int) -> None:
        self.channels.world.now += wait
        done = self.attempt(stranger(), "finish", self.held[0].channel)
        assert done == (self.shown is not None and not self.paid and self.channels.world.now >= self.closes_at)
        self.paid = self.paid or done

    @rule(
        by=st.sampled_from(["first", "second", "stranger"]),
        wait=st.sampled_from([PERIOD // 2, PERIOD]),
        late=st.booleans(),
        ws=st.sampled_from([1, 400, -400]),
    )
    def show_sign_on_and_challenge(self, by: str, wait: int, late: bool, ws: int) -> None:
        """One balance is shown, a later one is signed and shown by a stranger, in time or not; then somebody wants to be paid."""
        self.show_one(self.held[-1], by)
        self.sign_on(ws, 600_000)  # 400 Ws are more than either put in
        self.channels.world.now += wait if late else 0
        self.show_one(self.held[-1], "stranger")
        self.finish(0 if late else wait)

    @rule(data=st.data())
    def close_together(self, data: st.DataObject) -> None:
        balance = data.draw(st.sampled_from(self.held))
        done = self.attempt(stranger(), "closeTogether", *self.channels.signed(balance, last=True).as_arguments())
        assert done == (not self.paid and self.covered(balance))
        if done:
            self.shown, self.paid = balance, True

    @invariant()
    def every_token_is_somebodys(self) -> None:
        channels = self.channels
        total = sum(self.deposits)
        assert channels.world.tokens(channels.contract.address) == total
        expected = [0, 0]
        if self.paid and self.shown is not None:
            units = self.shown.payment_nano // 1_000
            expected = [self.deposits[0] - units, self.deposits[1] + units]
        assert channels.credits() == expected


def test_a_channel_pays_the_latest_balance_shown_and_keeps_every_token() -> None:
    run_machine(ChannelMachine, machine_settings(20, 15))


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("correct", "wrong"),
    [
        ("if (balance.sequence <= channel.sequence) revert", "if (balance.sequence < channel.sequence) revert"),
        ("        channel.paid = true;\n", ""),
        ("if (block.timestamp < closesAt) revert ChallengeOpen", "if (block.timestamp + 2000 < closesAt) revert ChallengeOpen"),
        ("if (block.timestamp >= closesAt) revert ChallengeOver", "if (block.timestamp >= closesAt + 2000) revert ChallengeOver"),
        ("        if (units * nanoPerTokenUnit > paymentNano) --units;\n", ""),
        ("if (units > int256(uint256(channel.firstDeposit)) ||", "if (units > int256(uint256(channel.firstDeposit)) + 1000 ||"),
        ("        _checkParty(balance.channel, channel);\n", ""),
    ],
    ids=[
        "the same balance again",
        "paid twice",
        "paid too early",
        "challenged too late",
        "rounded the other way",
        "beyond the deposit",
        "closed by anybody",
    ],
)
def test_a_planted_bug_is_found(correct: str, wrong: str) -> None:
    with planted("PaymentChannels", correct, wrong), pytest.raises((AssertionError, BaseExceptionGroup)):
        run_machine(ChannelMachine, hunting(120, 15))


def test_every_function_of_the_contract_is_known_to_python() -> None:
    assert {"open", "fund", "closeTogether", "closeAlone", "closeUnused", "challenge", "finish", "collect"} <= set(
        artifact("PaymentChannels").functions
    )
    assert Contract("PaymentChannels", 1, "0x").name == "PaymentChannels"
