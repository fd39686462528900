"""What a hostile party tries, one test an attempt, each with its outcome: censors, peekers, bribers, re-entrants, dust, replays.

Lying and equivocating oracles are in test_ledger_oracle_bond and test_ledger_false_roots, stale channel closes in
test_ledger_watchtower.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from ledger_foreign import Foreign, foreign
from ledger_rights import LIFE, claims_of, deliver, issuing, move_on
from ledger_world import CHAINS, DELAY_S, THRESHOLD, World, chain_of, pair, stranger
from walras.errors import LedgerError
from walras.ledger import (
    Chain,
    SigningKey,
    artifact,
    attestation_digest,
    correction_digest,
    net_positions,
    next_slot,
    request_withdrawal,
    settle,
    withdraw,
)
from walras.ledger.auction import order_commitment, pack_fills, read_orders
from walras.ledger.calls import Contract, create
from walras.ledger.channels import ChannelBalance, balance_digest
from walras.ledger.claims import claim_id
from walras.ledger.oracle_bond import bribe_floor
from walras.ledger.quotes import ANYBODY, Quote, Right, fill, quote_digest, sign_quote

HOUR = 3_600
HONEST, KEEPS_ONE, SAYS_NO, CALLS_BACK = range(4)


def refused(name: str) -> object:
    return pytest.raises(LedgerError, match=rf"refused: {name}\(")


@pytest.fixture(params=CHAINS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with chain_of(request.param) as chain:
        yield World(chain)


# --- the operator and the auction ---------------------------------------------------------------------------------------


def auction_of(world: World) -> Contract:
    terms = (world.addresses.currency, world.addresses.registry, world.keys.admin.address, 0, 1, 2)
    made = create(world.chain, world.keys.admin, "SealedAuction", *terms, timestamp=world.now)
    made.act(world.chain, world.keys.operator, "open", 0, world.now + HOUR, world.now + 2 * HOUR, timestamp=world.now)
    return made


def hold(world: World, auction: Contract, orders: list[tuple[int, int, int]], *, reveal: bool = True) -> None:
    for account, quantity, price in orders:
        sealed = order_commitment(auction, 0, account, quantity, price, bytes(32))
        auction.act(world.chain, world.keys.member(account), "commit", 0, sealed, timestamp=world.now)
    world.now += HOUR + 60
    if reveal:
        show(world, auction, orders)


def show(world: World, auction: Contract, orders: list[tuple[int, int, int]]) -> None:
    for number, (account, *order) in enumerate(orders):
        auction.act(world.chain, world.keys.member(account), "reveal", 0, number, *order, bytes(32), timestamp=world.now)


def test_an_operator_who_leaves_a_bid_out_finds_no_clearing_that_passes(world: World) -> None:
    """Outcome: every clearing without the bid is refused; the member itself submits the one with it."""
    auction = auction_of(world)
    hold(world, auction, [(1, 10, 300), (2, 10, 200), (3, -10, 100)])
    world.now += HOUR
    orders = read_orders(world.chain, auction, 0)

    def submit(key: SigningKey, price: int, fills: list[int]) -> None:
        arguments = (0, price, pack_fills(orders, np.array(fills)))
        auction.act(world.chain, key, "submitClearing", *arguments, timestamp=world.now)

    for price in (150, 200, 250):
        with refused("NotSupported"):
            submit(world.keys.operator, price, [0, 10, 10])
    submit(world.keys.member(1), 250, [10, 0, 10])
    assert auction.view(world.chain, "resultOf", 0)[0] == 250


def test_an_operator_who_saw_the_reveals_cannot_bid_any_more(world: World) -> None:
    """Outcome: commitments end before reveals begin; what was committed then cannot be opened as another order."""
    auction = auction_of(world)
    hold(world, auction, [(1, 10, 300), (2, 10, 200)], reveal=False)
    sealed = order_commitment(auction, 0, 3, 10, 301, bytes(32))
    with refused("NotCommitting"):
        auction.act(world.chain, world.keys.member(3), "commit", 0, sealed, timestamp=world.now)
    auction.act(world.chain, world.keys.member(1), "reveal", 0, 0, 10, 300, bytes(32), timestamp=world.now)
    with refused("WrongOpening"):
        auction.act(world.chain, world.keys.member(2), "reveal", 0, 1, 10, 301, bytes(32), timestamp=world.now)


def test_who_front_runs_a_reveal_with_its_content_gets_nothing(world: World) -> None:
    """Outcome: the opening names its member; sent by another it opens nothing, and the member's own goes through after it."""
    auction = auction_of(world)
    hold(world, auction, [(1, 10, 300)], reveal=False)
    for thief in (world.keys.member(2), world.keys.operator, world.keys.admin):
        with pytest.raises(LedgerError, match=r"WrongOpening|NotMember"):
            auction.act(world.chain, thief, "reveal", 0, 0, 10, 300, bytes(32), timestamp=world.now)
    show(world, auction, [(1, 10, 300)])


def test_a_commitment_for_another_auction_contract_chain_or_slot_opens_nothing(world: World) -> None:
    auction = auction_of(world)
    elsewhere = (
        Contract("SealedAuction", 1, auction.address),
        Contract("SealedAuction", auction.chain_id, world.addresses.registry),
    )
    sealed = [order_commitment(one, 0, 1, 10, 300, bytes(32)) for one in elsewhere]
    sealed.append(order_commitment(auction, 1, 1, 10, 300, bytes(32)))
    for commitment in sealed:
        auction.act(world.chain, world.keys.member(1), "commit", 0, commitment, timestamp=world.now)
    world.now += HOUR + 60
    for number in range(len(sealed)):
        with refused("WrongOpening"):
            auction.act(world.chain, world.keys.member(1), "reveal", 0, number, 10, 300, bytes(32), timestamp=world.now)


# --- oracles ------------------------------------------------------------------------------------------------------------


def test_with_too_few_oracles_nothing_settles_and_members_withdraw(world: World) -> None:
    """Outcome, the stated fallback: no quorum, no settlement; escrow is the members' own, whatever operator and oracles do."""
    slot = next_slot(world.chain, world.addresses)
    assert str(world.settle_raw(slot, b"", world.signatures(slot, (0, 1))).refusal) == "QuorumNotReached(given=2, threshold=3)"
    member = world.keys.member(1)
    request_withdrawal(world.chain, world.addresses, member, 5_000_000, timestamp=world.now)
    world.now += DELAY_S + 60
    assert withdraw(world.chain, world.addresses, member, timestamp=world.now) == 5_000
    settle(world.chain, world.addresses, world.keys.operator, world.settlement(slot, pair(1, 2, 5, 5)), timestamp=world.now)


def test_oracles_rotated_out_attest_nothing_any_more_and_new_ones_do(world: World) -> None:
    registry = Contract("Registry", world.chain.chain_id, world.addresses.registry)
    new = [world.keys.oracle(index).address for index in (4, 5, 6)]
    with refused("AccessControlUnauthorizedAccount"):
        registry.act(world.chain, world.keys.operator, "setOracles", new, 2, timestamp=world.now)
    registry.act(world.chain, world.keys.admin, "setOracles", new, 2, timestamp=world.now)
    slot = next_slot(world.chain, world.addresses)
    old = world.settle_raw(slot, b"", world.signatures(slot, (0, 1, 2)))
    assert old.refusal is not None
    assert old.refusal.name == "NotOracle"
    assert world.settle_raw(slot, b"", world.signatures(slot, (4, 6))).status == 1


def test_a_briber_pays_more_than_the_stakes_that_burn_even_if_the_bribed_report_themselves() -> None:
    """Four oracles, three a quorum, a million at stake each, a tenth for the reporter: two must sign twice, 1.8 million burns.

    Outcome: stakes are sized so that this is above what any slot's money could bring.
    """
    assert bribe_floor(4, THRESHOLD, 1_000_000) == 2_000_000
    assert bribe_floor(4, THRESHOLD, 1_000_000, reporter_share_bp=1_000) == 1_800_000
    assert bribe_floor(4, THRESHOLD, 1_000_000, reporter_share_bp=5_000) == 1_000_000


# --- hostile currencies, holders and tokens -------------------------------------------------------------------------------


@dataclass
class Bazaar:
    """Every contract of ours that takes a currency, with a hostile one, and a member that is a hostile contract."""

    world: World
    currency: Foreign
    right: Foreign
    holder: Foreign
    quotes: Contract
    market: Contract
    channels: Contract
    auction: Contract
    bond: Contract
    pool: Contract
    claims: Contract

    def act(self, contract: Contract, key: SigningKey, function: str, *arguments: object) -> None:
        contract.act(self.world.chain, key, function, *arguments, timestamp=self.world.now, gas_limit=2_000_000)

    def behave(self, manner: int, contract: Contract | None = None, function: str = "", *arguments: object) -> None:
        """How the currency behaves from now on; with CALLS_BACK, which call it makes while it moves money."""
        data = artifact(contract.name).call(function, *arguments) if contract else b""
        target = contract.address if contract else ANYBODY
        self.currency.act(self.world.chain, stranger(), "behave", manner, target, data, timestamp=self.world.now)

    def called_back(self, one: Foreign) -> bool:
        """Whether it called back (it must have, or the test shows nothing), and did not get through."""
        count, through = (one.view(self.world.chain, name)[0] for name in ("callbacks", "gotThrough"))
        return bool(count) and not through


MEMBER, OTHER = 1, 2


@pytest.fixture(scope="module")
def bazaar() -> Iterator[Bazaar]:
    with chain_of("embedded") as chain:
        yield bazaar_on(chain)


def bazaar_on(chain: Chain) -> Bazaar:
    """Every contract that a currency comes into, on one that misbehaves."""
    world = World(chain)
    admin, now = world.keys.admin, world.now
    currency = foreign(chain, admin, "HostileCurrency", timestamp=now)
    right = foreign(chain, admin, "HostileRight", timestamp=now)
    holder = foreign(chain, admin, "HostileHolder", timestamp=now)
    body = issuing(world)

    def made(name: str, *arguments: object) -> Contract:
        return create(chain, admin, name, *arguments, timestamp=now)

    settlement = made("Settlement", currency.address, world.addresses.registry, HOUR, 4)
    claims = claims_of(world, body)
    bazaar = Bazaar(
        world,
        currency,
        right,
        holder,
        quotes=made("SignedQuotes", currency.address),
        market=made("RightsMarket", currency.address),
        channels=made("PaymentChannels", currency.address),
        auction=made("SealedAuction", currency.address, world.addresses.registry, admin.address, 5, 1, 2),
        bond=made("OracleBond", settlement.address, ANYBODY, admin.address, 100, 60, 1_000),
        pool=made("EnergyPool", currency.address, right.address, 1, 3_000),
        claims=claims,
    )
    for key in (world.keys.member(MEMBER), world.keys.member(OTHER)):
        currency.act(chain, admin, "mint", key.address, 10**9, timestamp=now)
        right.act(chain, admin, "give", key.address, 1, 10**6, timestamp=now)
    currency.act(chain, admin, "mint", holder.address, 10**9, timestamp=now)
    right.act(chain, admin, "behave", True, ANYBODY, b"", timestamp=now)
    return bazaar


def entries(bazaar: Bazaar) -> list[tuple[Contract, str, tuple[object, ...]]]:
    """Every way by which a currency comes into one of our contracts."""
    member = bazaar.world.keys.member(MEMBER)
    return [
        (bazaar.channels, "open", (bazaar.world.keys.member(OTHER).address, HOUR, 50)),
        (bazaar.auction, "payIn", (50,)),
        (bazaar.bond, "bond", (member.address, 50)),
        (bazaar.pool, "payIn", (50,)),
    ]


@pytest.mark.parametrize("number", range(4))
def test_a_currency_that_keeps_a_fee_or_does_not_pay_is_refused_at_every_entry(bazaar: Bazaar, number: int) -> None:
    contract, function, arguments = entries(bazaar)[number]
    key = bazaar.world.keys.member(MEMBER)
    for manner, name in ((KEEPS_ONE, "ShortTransfer"), (SAYS_NO, "SafeERC20FailedOperation")):
        bazaar.behave(manner)
        with refused(name):
            bazaar.act(contract, key, function, *arguments)
    bazaar.behave(HONEST)
    bazaar.act(contract, key, function, *arguments)


@pytest.mark.parametrize("number", range(4))
def test_a_currency_that_calls_back_on_the_way_in_does_not_get_in_twice(bazaar: Bazaar, number: int) -> None:
    contract, function, arguments = entries(bazaar)[number]
    again = {"open": ("fund", (1, 0))}.get(function, (function, arguments))
    bazaar.behave(CALLS_BACK, contract, again[0], *again[1])
    bazaar.act(contract, bazaar.world.keys.member(MEMBER), function, *arguments)
    assert bazaar.called_back(bazaar.currency)


def test_a_currency_that_calls_back_on_the_way_out_takes_nothing_twice(bazaar: Bazaar) -> None:
    """Outcome: balances are at zero before a coin leaves, and the way is barred besides."""
    key = bazaar.world.keys.member(MEMBER)
    bazaar.behave(HONEST)
    for contract in (bazaar.auction, bazaar.pool):
        bazaar.act(contract, key, "payIn", 70)
        bazaar.behave(CALLS_BACK, contract, "payOut")
        before = bazaar.currency.view(bazaar.world.chain, "balanceOf", key.address)[0]
        bazaar.act(contract, key, "payOut")
        assert bazaar.currency.view(bazaar.world.chain, "balanceOf", key.address)[0] >= before + 70
        assert bazaar.called_back(bazaar.currency)
        bazaar.behave(HONEST)


def quote_of(bazaar: Bazaar, **changes: object) -> Quote:
    maker = bazaar.world.keys.member(MEMBER)
    fields = {"maker_sells": True, "amount": 10, "price_nano": 5_000, "nonce": 1, **changes}
    right = Right(bazaar.right.address, 1, bool(fields.pop("is_lot", False)))
    return Quote(maker=maker.address, right=right, expiry=bazaar.world.now + 10**6, **fields)  # type: ignore[arg-type]


def test_a_fill_within_a_fill_is_refused_whoever_calls_back(bazaar: Bazaar) -> None:
    """The currency, and the right itself, try a second fill of the quote in mid-fill. Outcome: one fill, one price."""
    world, quote = bazaar.world, quote_of(bazaar, nonce=100)
    taker = world.keys.member(OTHER)
    signature = sign_quote(bazaar.quotes, quote, world.keys.member(MEMBER))
    inner = (quote.as_arguments(), signature, 1)
    bazaar.behave(CALLS_BACK, bazaar.quotes, "fill", *inner)
    fill(world.chain, bazaar.quotes, taker, quote, signature, 4, timestamp=world.now)
    assert bazaar.called_back(bazaar.currency)
    bazaar.behave(HONEST)
    data = artifact("SignedQuotes").call("fill", *inner)
    bazaar.right.act(world.chain, taker, "behave", True, bazaar.quotes.address, data, timestamp=world.now)
    fill(world.chain, bazaar.quotes, taker, quote, signature, 4, timestamp=world.now)
    assert bazaar.called_back(bazaar.right)
    bazaar.right.act(world.chain, taker, "behave", True, ANYBODY, b"", timestamp=world.now)
    assert bazaar.quotes.view(world.chain, "filledOf", quote.as_arguments())[0] == 8


def test_a_right_that_says_it_moved_and_did_not_is_not_paid_for(bazaar: Bazaar) -> None:
    world = bazaar.world
    maker, taker = world.keys.member(MEMBER), world.keys.member(OTHER)
    bazaar.behave(HONEST)
    bazaar.right.act(world.chain, taker, "behave", False, ANYBODY, b"", timestamp=world.now)
    bazaar.right.act(world.chain, taker, "give", maker.address, 1, 0, timestamp=world.now)  # it owns "lot" 1
    before = bazaar.currency.view(world.chain, "balanceOf", taker.address)
    for quote in (quote_of(bazaar, nonce=200), quote_of(bazaar, nonce=201, is_lot=True, amount=1)):
        signature = sign_quote(bazaar.quotes, quote, maker)
        with refused("NotDelivered"):
            fill(world.chain, bazaar.quotes, taker, quote, signature, 1, timestamp=world.now)
        with refused("NotDelivered"):
            bazaar.act(bazaar.market, maker, "offer", quote.right.as_arguments(), 1, 5)
    assert bazaar.currency.view(world.chain, "balanceOf", taker.address) == before
    bazaar.right.act(world.chain, taker, "behave", True, ANYBODY, b"", timestamp=world.now)


def test_a_currency_that_keeps_a_fee_fills_no_quote_and_buys_no_offer(bazaar: Bazaar) -> None:
    world = bazaar.world
    maker, taker = world.keys.member(MEMBER), world.keys.member(OTHER)
    bazaar.behave(HONEST)
    quote = quote_of(bazaar, nonce=300)
    bazaar.act(bazaar.market, maker, "offer", quote.right.as_arguments(), 10, 5_000)
    number = bazaar.market.view(world.chain, "offers")[0]
    signature = sign_quote(bazaar.quotes, quote, maker)
    for manner, name in ((KEEPS_ONE, "ShortTransfer"), (SAYS_NO, "SafeERC20FailedOperation")):
        bazaar.behave(manner)
        with refused(name):
            fill(world.chain, bazaar.quotes, taker, quote, signature, 1, timestamp=world.now)
        with refused(name):
            bazaar.act(bazaar.market, taker, "buy", number, 1, 100)
    bazaar.behave(CALLS_BACK, bazaar.market, "buy", number, 1, 100)
    bazaar.act(bazaar.market, taker, "buy", number, 1, 100)
    assert bazaar.called_back(bazaar.currency)
    bazaar.behave(HONEST)


def test_a_receiver_that_claims_again_while_it_receives_gets_its_watt_hours_once(bazaar: Bazaar) -> None:
    """A member that is a contract claims, and from within the token's own callback claims again."""
    world, member = bazaar.world, bazaar.world.keys.member(3)
    assert world.send(member, "Registry", "transferAccount", bazaar.holder.address).status == 1
    done = deliver(world, {3: 77})
    move_on(world, 4)
    call = artifact("EnergyClaims").call("claim", done.slot, done.settled.as_arguments(), done.shown(3).as_arguments())
    target = bazaar.claims.address
    bazaar.holder.act(world.chain, member, "behave", 2, target, call, timestamp=world.now)
    bazaar.holder.act(world.chain, member, "perform", target, call, timestamp=world.now)
    assert bazaar.called_back(bazaar.holder)
    number = claim_id(world.addresses.settlement, done.slot)
    assert bazaar.claims.view(world.chain, "balanceOf", bazaar.holder.address, number)[0] == 77
    assert LIFE > 4


def test_a_buyer_that_refuses_delivery_harms_only_itself(bazaar: Bazaar) -> None:
    """A contract whose hook refuses the token: its own purchase is undone, the offer stays for others."""
    world, seller = bazaar.world, bazaar.world.keys.member(MEMBER)
    done = deliver(world, {MEMBER: 50})
    move_on(world, 4)
    arguments = (done.slot, done.settled.as_arguments(), done.shown(MEMBER).as_arguments())
    bazaar.act(bazaar.claims, seller, "claim", *arguments)
    bazaar.act(bazaar.claims, seller, "setApprovalForAll", bazaar.market.address, True)
    right = Right(bazaar.claims.address, claim_id(world.addresses.settlement, done.slot))
    bazaar.behave(HONEST)
    bazaar.act(bazaar.market, seller, "offer", right.as_arguments(), 50, 5_000)
    number = bazaar.market.view(world.chain, "offers")[0]
    bazaar.holder.act(world.chain, seller, "behave", 1, ANYBODY, b"", timestamp=world.now)
    buy = artifact("RightsMarket").call("buy", number, 10, 10**6)
    with pytest.raises(LedgerError, match="refuses"):
        bazaar.holder.act(world.chain, seller, "perform", bazaar.market.address, buy, timestamp=world.now)
    bazaar.act(bazaar.market, world.keys.member(OTHER), "buy", number, 50, 10**6)


def test_dust_buys_nothing_for_nothing(bazaar: Bazaar) -> None:
    """A thousand fills of one unit at a thousandth of a token unit each: paid a unit up front, not nothing a thousand times."""
    world = bazaar.world
    maker, taker = world.keys.member(MEMBER), world.keys.member(OTHER)
    bazaar.behave(HONEST)
    quote = quote_of(bazaar, nonce=400, amount=30, price_nano=100)
    signature = sign_quote(bazaar.quotes, quote, maker)
    paid = [fill(world.chain, bazaar.quotes, taker, quote, signature, 1, timestamp=world.now) for _ in range(11)]
    assert paid == [1, *[0] * 9, 1]
    with refused("NothingAsked"):
        fill(world.chain, bazaar.quotes, taker, quote, signature, 0, timestamp=world.now)
    bazaar.act(bazaar.market, maker, "offer", quote.right.as_arguments(), 30, 100)
    number = bazaar.market.view(world.chain, "offers")[0]
    with refused("NothingAsked"):
        bazaar.act(bazaar.market, taker, "buy", number, 0, 0)
    with refused("TooDear"):
        bazaar.act(bazaar.market, taker, "buy", number, 1, 0)


# --- replays ------------------------------------------------------------------------------------------------------------


def test_no_signature_holds_on_another_chain_or_for_another_contract_or_thing() -> None:
    """Every digest that anybody signs for a contract, for two chains, two contracts and two contents: all different."""
    seen = set()
    for chain_id in (1, 31_337):
        for address in ("0x" + "11" * 20, "0x" + "22" * 20):
            for number in (1, 2):
                channel = ChannelBalance(number)
                quote = Quote("0x" + "33" * 20, True, Right(address, 1), 1, 1, number, 9)
                seen |= {
                    attestation_digest(chain_id, address, number, bytes(32)),
                    correction_digest(chain_id, address, number, 1, bytes(32)),
                    balance_digest(Contract("PaymentChannels", chain_id, address), channel),
                    balance_digest(Contract("PaymentChannels", chain_id, address), channel, last=True),
                    quote_digest(Contract("SignedQuotes", chain_id, address), quote),
                    order_commitment(Contract("SealedAuction", chain_id, address), number, 1, 1, 1, bytes(32)),
                }
    assert len(seen) == 2 * 2 * 2 * 6


def test_an_attestation_for_another_ledger_settles_nothing(world: World) -> None:
    """The oracles' true signatures, made for a ledger elsewhere with the same oracles: none counts here."""
    slot = next_slot(world.chain, world.addresses)
    root = world.header(slot).readings_root
    keys = sorted((world.keys.oracle(index) for index in range(3)), key=lambda key: int(key.address, 16))
    for chain_id, address in ((1, world.addresses.settlement), (world.chain.chain_id, world.addresses.registry)):
        digest = attestation_digest(chain_id, address, slot, root)
        receipt = world.settle_raw(slot, b"", b"".join(key.sign_digest(digest) for key in keys))
        assert receipt.refusal is not None
        assert receipt.refusal.name in ("NotOracle", "SignersNotSorted")
    settle(
        world.chain, world.addresses, world.keys.operator, world.settlement(slot, net_positions([], [], [])), timestamp=world.now
    )
