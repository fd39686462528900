"""A watchtower of a stranger: it takes what both signed, answers every stale close, and can do no harm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ledger_world import CHAINS, World, chain_of, stranger
from walras.errors import InputError, LedgerError
from walras.ledger import SigningKey
from walras.ledger.calls import create
from walras.ledger.channels import ChannelBalance, SignedBalance, advance, sign_balance
from walras.ledger.watchtower import Heard, Watchtower, read_balances, write_balances

PERIOD, UNITS = 3_600, 1_000_000


class Watched:
    """Two parties, their channels, and a stranger's watchtower."""

    def __init__(self, world: World) -> None:
        self.world, self.chain = world, world.chain
        self.first, self.second = world.keys.member(1), world.keys.member(2)
        self.contract = create(self.chain, world.keys.admin, "PaymentChannels", world.addresses.currency, timestamp=world.now)
        for party in (self.first, self.second):
            assert world.send(world.keys.operator, "TestCurrency", "mint", party.address, 50 * UNITS).status == 1
            assert world.send(party, "TestCurrency", "approve", self.contract.address, 50 * UNITS).status == 1
        self.tower = Watchtower(self.chain, self.contract, stranger())

    def act(self, key: SigningKey, function: str, *arguments: object) -> None:
        self.contract.act(self.chain, key, function, *arguments, timestamp=self.world.now)

    def open(self) -> ChannelBalance:
        self.act(self.first, "open", self.second.address, PERIOD, UNITS)
        return ChannelBalance(self.contract.view(self.chain, "channels")[0])

    def signed(self, balance: ChannelBalance) -> SignedBalance:
        return sign_balance(self.contract, balance, self.first, self.second)

    def shown(self, number: int) -> int:
        return int(self.contract.view(self.chain, "channelOf", number)[3])


@pytest.fixture(params=CHAINS)
def watched(request: pytest.FixtureRequest) -> Iterator[Watched]:
    with chain_of(request.param) as chain:
        yield Watched(World(chain))


def test_a_stale_close_of_either_party_is_answered_while_honest_ones_and_open_channels_are_left_alone(watched: Watched) -> None:
    balances = [[watched.open()] for _ in range(4)]
    for steps in balances:
        for _ in range(3):
            steps.append(advance(steps[-1], 3_600_000, 100_000))
        for balance in steps[1:]:
            assert watched.tower.take(watched.signed(balance)) is Heard.KEPT
    assert watched.tower.look(watched.world.now) == []
    cheated_by_first, cheated_by_second, honest, opened = balances
    watched.act(watched.first, "closeUnused", cheated_by_first[0].channel)
    watched.act(watched.second, "closeAlone", *watched.signed(cheated_by_second[1]).as_arguments())
    watched.act(watched.first, "closeAlone", *watched.signed(honest[3]).as_arguments())
    answers = watched.tower.look(watched.world.now)
    assert [(one.balance.channel, one.balance.sequence, one.against) for one in answers] == [
        (cheated_by_first[0].channel, 3, 0),
        (cheated_by_second[0].channel, 3, 1),
    ]
    assert watched.tower.look(watched.world.now) == []
    assert [watched.shown(steps[0].channel) for steps in balances] == [3, 3, 3, 0]
    watched.world.now += PERIOD + 60
    for steps in (cheated_by_first, cheated_by_second, honest):
        watched.act(stranger(), "finish", steps[0].channel)
    before = [watched.world.tokens(party.address) for party in (watched.first, watched.second)]
    for party in (watched.first, watched.second):
        watched.act(party, "collect")
    paid = [watched.world.tokens(party.address) - was for party, was in zip((watched.first, watched.second), before, strict=True)]
    assert paid == [3 * (UNITS - 300_000), 3 * 300_000]
    assert watched.tower.look(watched.world.now) == []
    assert [one.balance.channel for one in watched.tower.held] == [opened[0].channel]


def test_what_the_contract_would_refuse_is_not_kept(watched: Watched) -> None:
    opening = watched.open()
    one = watched.signed(advance(opening, 3_600_000, 100_000))
    assert watched.tower.take(replace(one, second_signature=one.first_signature)) is Heard.NOT_SIGNED
    assert watched.tower.take(replace(one, first_signature=bytes(65))) is Heard.NOT_SIGNED
    assert watched.tower.take(replace(one, balance=replace(one.balance, payment_nano=1))) is Heard.NOT_SIGNED
    assert watched.tower.take(watched.signed(replace(opening, sequence=9, payment_nano=UNITS * 1_000 + 1_000))) is Heard.NOT_COVERED
    assert watched.tower.take(watched.signed(replace(opening, sequence=9, payment_nano=-1))) is Heard.NOT_COVERED
    assert watched.tower.take(watched.signed(ChannelBalance(99, 1))) is Heard.NO_CHANNEL
    assert watched.tower.take(one) is Heard.KEPT
    assert watched.tower.take(one) is Heard.OLDER
    edge = watched.signed(replace(opening, sequence=9, payment_nano=UNITS * 1_000 + 999))  # below the next token unit
    assert watched.tower.take(edge) is Heard.KEPT
    watched.act(watched.first, "closeAlone", *one.as_arguments())
    assert [answer.balance.sequence for answer in watched.tower.look(watched.world.now)] == [9]


def test_after_the_period_a_watchtower_is_too_late_and_says_nothing(watched: Watched) -> None:
    opening = watched.open()
    watched.tower.take(watched.signed(advance(opening, 3_600_000, 100_000)))
    watched.act(watched.first, "closeUnused", opening.channel)
    closes_at = watched.contract.view(watched.chain, "channelOf", opening.channel)[1]
    assert watched.tower.look(closes_at) == []
    assert [answer.against for answer in watched.tower.look(closes_at - 1)] == [0]


def test_a_watchtower_that_cannot_pay_its_gas_says_so_and_looks_at_the_rest(watched: Watched) -> None:
    poor = Watchtower(watched.chain, watched.contract, SigningKey(b"\7" * 32, "0x" + "11" * 20))
    opening = watched.open()
    poor.take(watched.signed(advance(opening, 3_600_000, 100_000)))
    watched.act(watched.first, "closeUnused", opening.channel)
    with pytest.raises(LedgerError):
        poor.look(watched.world.now)
    assert len(poor.held) == 1


def test_balances_pass_through_a_file(watched: Watched, tmp_path: Path) -> None:
    opening = watched.open()
    one = watched.signed(advance(opening, 7, 100_001))  # 7 Ws: far below a watt-hour, with a remainder
    assert one.balance.remainder == 7 * 100_001 % 3_600
    path = tmp_path / "balances.jsonl"
    write_balances(path, [one, one])
    assert read_balances(path) == [one, one]
    path.write_text("{}\nnothing\n" + path.read_text())
    with pytest.raises(InputError, match="line 1") as caught:
        read_balances(path)
    assert len(caught.value.faults) == 2
