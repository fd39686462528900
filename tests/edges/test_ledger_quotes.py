"""Delivery against payment: signed quotes and offers in escrow move a right and its price together, to the last token unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from ledger_foreign import foreign
from ledger_rights import certificates_of, claims_of, deliver, issuing, move_on
from ledger_world import CHAINS, World, chain_of, stranger
from walras.errors import LedgerError
from walras.ledger import SigningKey, artifact, keccak256, net_positions, recover_address
from walras.ledger.calls import Contract, create
from walras.ledger.certificates import issue
from walras.ledger.claims import claim, claim_id
from walras.ledger.lots import Lot, grant, lot_of, split
from walras.ledger.offers import buy, offer_of, put_up, take_back
from walras.ledger.quotes import (
    Quote,
    Right,
    cancel,
    check_quote,
    fill,
    filled_of,
    price_units,
    quote_digest,
    sign_quote,
)

WINDOW = 4
LIFE = 40
UNITS = 10**9
NODE = 7
SELLER, BUYER, THIRD = 2, 4, 5


class Rights:
    """Claims, certificates and a lot with the seller, money with everybody, and both places where they change hands."""

    def __init__(self, world: World) -> None:
        self.world, self.chain, self.keys = world, world.chain, world.keys
        body = issuing(world)
        self.claims, self.certificates = claims_of(world, body, LIFE), certificates_of(world, body)
        self.lots = self.made("DeliveryLots", world.addresses.settlement)
        self.quotes = self.made("SignedQuotes", world.addresses.currency)
        self.market = self.made("RightsMarket", world.addresses.currency)
        self.seller, self.buyer, self.third = (self.keys.member(account) for account in (SELLER, BUYER, THIRD))
        self.places = (self.quotes, self.market)
        self._endow()

    def made(self, name: str, *arguments: object) -> Contract:
        return create(self.chain, self.keys.admin, name, *arguments, timestamp=self.world.now)

    def _endow(self) -> None:
        world, now = self.world, self.world.now
        done = deliver(world, {SELLER: 10_000, 3: 500}, net_positions([1, 3], [5, -5], [500, -500]))
        move_on(world, WINDOW)
        claim(self.chain, self.claims, self.seller, done.slot, done.settled, done.shown(SELLER), timestamp=now)
        issue(self.chain, self.certificates, self.keys.member(3), done.slot, [done.record], timestamp=now)
        operator = self.keys.operator
        self.lots.act(self.chain, operator, "setCapacity", NODE, 1_000, timestamp=now)
        self.lot = grant(self.chain, self.lots, operator, self.seller.address, Lot(NODE, 50, 4, 500), timestamp=now)
        self.claim_right = Right(self.claims.address, claim_id(world.addresses.settlement, done.slot))
        self.certificate_right = Right(self.certificates.address, done.slot)
        self.lot_right = Right(self.lots.address, self.lot, is_lot=True)
        for key in (self.seller, self.buyer, self.third, self.keys.member(3)):
            world.send(operator, "TestCurrency", "mint", key.address, UNITS)
            for place in self.places:
                world.send(key, "TestCurrency", "approve", place.address, UNITS)
                for token in (self.claims, self.certificates, self.lots):
                    token.act(self.chain, key, "setApprovalForAll", place.address, True, timestamp=now)

    def quote(self, **changes: object) -> Quote:
        self.nonce = getattr(self, "nonce", 0) + 1
        base = Quote(
            maker=self.seller.address,
            maker_sells=True,
            right=self.claim_right,
            amount=1_000,
            price_nano=300_000,
            nonce=self.nonce,
            expiry=self.world.now + 3_600,
        )
        return replace(base, **changes)  # type: ignore[arg-type]

    def fill(self, quote: Quote, amount: int, by: SigningKey | None = None, signature: bytes | None = None) -> int:
        maker = next(key for key in (self.seller, self.buyer, self.third, self.keys.member(3)) if key.address == quote.maker)
        signed = sign_quote(self.quotes, quote, maker) if signature is None else signature
        return fill(self.chain, self.quotes, by or self.buyer, quote, signed, amount, timestamp=self.world.now)

    def tokens(self) -> list[int]:
        return [self.world.tokens(key.address) for key in (self.seller, self.buyer)]

    def held(self, right: Right) -> list[int]:
        token = self.claims if right.token == self.claims.address else self.certificates
        holders = (self.seller, self.buyer, self.keys.member(3))
        return [int(token.view(self.chain, "balanceOf", key.address, right.token_id)[0]) for key in holders]

    def lot_owner(self) -> str:
        return str(self.lots.view(self.chain, "ownerOf", self.lot)[0])


@pytest.fixture(scope="module", params=CHAINS)
def rights(request: pytest.FixtureRequest) -> Iterator[Rights]:
    with chain_of(request.param) as chain:
        yield Rights(World(chain, window=WINDOW))


def refused(name: str) -> object:
    return pytest.raises(LedgerError, match=rf"refused: {name}\(")


@given(st.lists(st.integers(1, 10**6), max_size=30), st.integers(0, 10**12), st.sampled_from([1, 1_000, 10**9]), st.booleans())
def test_fills_in_parts_cost_together_what_one_fill_costs(parts: list[int], price: int, unit: int, up: bool) -> None:
    done, paid = 0, 0
    for part in parts:
        step = price_units(done, part, price, unit, up=up)
        assert step >= 0
        done, paid = done + part, paid + step
    assert paid == price_units(0, done, price, unit, up=up)
    exact = done * price
    assert (0 <= paid * unit - exact < unit) if up else (0 <= exact - paid * unit < unit)


def test_claims_change_hands_against_money_in_one_transaction_and_in_parts(rights: Rights) -> None:
    """1,000 Wh at 0.0003337 a Wh: 333,700,000 nano-units are 333,700 token units, however it is cut."""
    quote = rights.quote(price_nano=333_700 + 1)
    money, energy = rights.tokens(), rights.held(rights.claim_right)
    parts = [1, 332, 667]
    paid = [rights.fill(quote, part) for part in parts]
    assert sum(paid) == price_units(0, 1_000, 333_701, 1_000, up=True) == 333_701
    assert rights.tokens() == [money[0] + 333_701, money[1] - 333_701]
    assert rights.held(rights.claim_right)[:2] == [energy[0] - 1_000, energy[1] + 1_000]
    assert filled_of(rights.chain, rights.quotes, quote) == 1_000
    with refused("Overfilled"):
        rights.fill(quote, 1)


def test_a_maker_buys_as_well_as_sells_and_pays_no_more_than_it_said(rights: Rights) -> None:
    """The buyer signs; 7 Wh at 0.1 of a token unit: rounded down, in its favour."""
    quote = rights.quote(maker=rights.buyer.address, maker_sells=False, price_nano=100, amount=17)
    money, energy = rights.tokens(), rights.held(rights.claim_right)
    assert [rights.fill(quote, part, by=rights.seller) for part in (7, 3, 7)] == [0, 1, 0]
    assert rights.tokens() == [money[0] + 1, money[1] - 1]
    assert rights.held(rights.claim_right)[:2] == [energy[0] - 17, energy[1] + 17]


def test_certificates_and_lots_change_hands_the_same_way(rights: Rights) -> None:
    giver = rights.keys.member(3)
    certificate = rights.quote(maker=giver.address, right=rights.certificate_right, amount=500)
    before = rights.held(rights.certificate_right)
    rights.fill(certificate, 200)
    assert rights.held(rights.certificate_right) == [before[0], before[1] + 200, before[2] - 200]
    lot = rights.quote(right=rights.lot_right, amount=1, price_nano=5_000_000)
    for amount, name in ((2, "NotDivisible"), (0, "NothingAsked")):
        with refused(name):
            rights.fill(lot, amount)
    assert rights.fill(lot, 1) == 5_000
    assert rights.lot_owner() == rights.buyer.address.lower()
    with refused("Overfilled"):
        rights.fill(lot, 1)
    back = rights.quote(maker=rights.buyer.address, right=rights.lot_right, amount=1, price_nano=0)
    assert rights.fill(back, 1, by=rights.seller) == 0
    wrong = rights.quote(right=rights.lot_right, amount=2)
    with refused("NotDivisible"):
        rights.fill(wrong, 1)


def test_a_quote_is_the_named_takers_until_it_expires_or_is_taken_back(rights: Rights) -> None:
    named = rights.quote(taker=rights.buyer.address)
    with refused("NotForYou"):
        rights.fill(named, 1, by=rights.third)
    rights.fill(named, 1)
    cancel(rights.chain, rights.quotes, rights.seller, named.nonce, timestamp=rights.world.now)
    with refused("NonceUsed"):
        rights.fill(named, 1)
    one, other = rights.quote(), rights.quote()
    alternative = replace(other, nonce=one.nonce, price_nano=1)
    rights.fill(one, 1)
    with refused("NonceUsed"):  # two quotes under one nonce: the first filled is the one
        rights.fill(alternative, 1)
    rights.fill(one, 1)
    rights.quotes.act(rights.chain, rights.seller, "raiseFloor", other.nonce, timestamp=rights.world.now)
    with refused("NonceUsed"):
        rights.fill(one, 1)
    rights.fill(other, 1)
    with refused("NotRaised"):
        rights.quotes.act(rights.chain, rights.seller, "raiseFloor", other.nonce, timestamp=rights.world.now)
    late = rights.quote(expiry=rights.world.now + 60)
    signature = sign_quote(rights.quotes, late, rights.seller)
    check_quote(rights.quotes, late, signature, late.expiry - 1)
    with pytest.raises(LedgerError, match="held until"):
        check_quote(rights.quotes, late, signature, late.expiry)
    rights.world.now += 61
    with refused("QuoteExpired"):
        rights.fill(late, 1)
    with refused("WithYourself"):
        rights.fill(rights.quote(), 1, by=rights.seller)


def test_only_the_makers_signature_over_that_very_quote_counts(rights: Rights) -> None:
    quote = rights.quote()
    signature = sign_quote(rights.quotes, quote, rights.seller)
    for changed in (
        replace(quote, price_nano=1),
        replace(quote, amount=2_000),
        replace(quote, maker_sells=False),
        replace(quote, right=rights.certificate_right),
        replace(quote, right=replace(quote.right, token_id=quote.right.token_id + 1)),
        replace(quote, right=replace(quote.right, is_lot=True), amount=1),
        replace(quote, nonce=quote.nonce + 999),
        replace(quote, expiry=quote.expiry + 1),
        replace(quote, taker=rights.buyer.address),
        replace(quote, maker=rights.third.address),
    ):
        with refused("WrongSignature"):
            rights.fill(changed, 1, signature=signature)
        with pytest.raises(LedgerError, match="is not signed by"):
            check_quote(rights.quotes, changed, signature, 0)
    for wrong in (b"", signature[:-1], signature[:-1] + bytes([signature[-1] ^ 7])):
        with refused("WrongSignature"):
            rights.fill(quote, 1, signature=wrong)
    with pytest.raises(LedgerError, match="the key is"):
        sign_quote(rights.quotes, quote, rights.third)
    rights.fill(quote, 1, signature=signature)


def test_a_quote_holds_for_one_contract_on_one_chain(rights: Rights) -> None:
    quote = rights.quote()
    twin = rights.made("SignedQuotes", rights.world.addresses.currency)
    for elsewhere in (twin, replace(rights.quotes, chain_id=1)):
        signature = sign_quote(elsewhere, quote, rights.seller)
        with refused("WrongSignature"):
            rights.fill(quote, 1, signature=signature)


def test_the_digest_is_the_contracts_and_eip_712s_own(rights: Rights) -> None:
    quote = rights.quote(taker=rights.buyer.address, right=rights.lot_right, amount=1)
    digest = quote_digest(rights.quotes, quote)
    assert digest == rights.quotes.view(rights.chain, "digestOf", quote.as_arguments())[0]
    names = "maker:address taker:address makerSells:bool right:Right amount:uint128 priceNano:uint128 nonce:uint64 expiry:uint64"
    fields = [dict(zip(("name", "type"), one.split(":"), strict=True)) for one in names.split()]
    right = [{"name": "token", "type": "address"}, {"name": "id", "type": "uint256"}, {"name": "isLot", "type": "bool"}]
    values = dict(zip((field["name"] for field in fields), _plain(quote), strict=True))
    message = encode_typed_data(
        {
            "name": "Walras Signed Quotes",
            "version": "1",
            "chainId": rights.chain.chain_id,
            "verifyingContract": rights.quotes.address,
        },
        {"Quote": fields, "Right": right},
        values,
    )
    signed = Account.sign_message(message, rights.seller.secret)
    assert recover_address(digest, bytes(signed.signature)) == rights.seller.address
    assert keccak256(b"\x19\x01" + message.header + message.body) == digest


def _plain(quote: Quote) -> list[object]:
    right = dict(zip(("token", "id", "isLot"), quote.right.as_arguments(), strict=True))
    return [right if isinstance(value, tuple) else value for value in quote.as_arguments()]


def test_what_the_seller_does_not_have_or_the_buyer_cannot_pay_changes_nothing(rights: Rights) -> None:
    money, energy = rights.tokens(), rights.held(rights.claim_right)
    with refused("ERC1155InsufficientBalance"):
        rights.fill(rights.quote(amount=10**6, price_nano=1), 10**6)
    with refused("ERC20InsufficientAllowance"):
        rights.fill(rights.quote(price_nano=UNITS * 1_000), 2)
    assert (rights.tokens(), rights.held(rights.claim_right)) == (money, energy)


def test_a_wallet_that_is_a_contract_signs_by_its_own_rule(rights: Rights) -> None:
    """ERC-1271."""
    wallet = foreign(rights.chain, rights.keys.admin, "HostileHolder", timestamp=rights.world.now)
    now = rights.world.now
    approval = artifact("EnergyClaims").call("setApprovalForAll", rights.quotes.address, True)
    wallet.act(rights.chain, rights.seller, "perform", rights.claims.address, approval, timestamp=now)
    gift = (rights.seller.address, wallet.address, rights.claim_right.token_id, 10, b"")
    rights.claims.act(rights.chain, rights.seller, "safeTransferFrom", *gift, timestamp=now)
    quote = rights.quote(maker=wallet.address, price_nano=1_000)
    assert fill(rights.chain, rights.quotes, rights.buyer, quote, b"its own rule", 10, timestamp=now) == 10
    assert rights.world.tokens(wallet.address) == 10


def test_an_offer_in_escrow_is_sold_in_parts_and_the_rest_taken_back(rights: Rights) -> None:
    chain, market, now = rights.chain, rights.market, rights.world.now
    money, energy = rights.tokens(), rights.held(rights.claim_right)
    number = put_up(chain, market, rights.seller, rights.claim_right, 100, 333_333, timestamp=now)
    assert rights.held(rights.claim_right)[0] == energy[0] - 100
    with refused("TooDear"):
        buy(chain, market, rights.buyer, number, 10, 3_333, timestamp=now)
    paid = [buy(chain, market, rights.buyer, number, part, 10**6, timestamp=now) for part in (10, 1, 60)]
    assert paid == [3_334, 333, 20_000]
    assert sum(paid) == price_units(0, 71, 333_333, 1_000, up=True)
    with refused("NotLeft"):
        buy(chain, market, rights.buyer, number, 30, 10**6, timestamp=now)
    with refused("NotSeller"):
        take_back(chain, market, rights.buyer, number, timestamp=now)
    with refused("WithYourself"):
        buy(chain, market, rights.seller, number, 1, 10**6, timestamp=now)
    assert take_back(chain, market, rights.seller, number, timestamp=now) == 29
    for attempt in (
        lambda: take_back(chain, market, rights.seller, number, timestamp=now),
        lambda: buy(chain, market, rights.buyer, number, 1, 10**6, timestamp=now),
        lambda: buy(chain, market, rights.buyer, 99, 1, 10**6, timestamp=now),
    ):
        with refused("NotOpen"):
            attempt()
    assert rights.tokens() == [money[0] + sum(paid), money[1] - sum(paid)]
    assert rights.held(rights.claim_right)[:2] == [energy[0] - 71, energy[1] + 71]
    assert (offer_of(chain, market, number).sold, offer_of(chain, market, number).is_open) == (71, False)


def test_a_lot_is_offered_whole(rights: Rights) -> None:
    chain, market, now = rights.chain, rights.market, rights.world.now
    with refused("NotDivisible"):
        put_up(chain, market, rights.seller, rights.lot_right, 2, 1, timestamp=now)
    with refused("NothingAsked"):
        put_up(chain, market, rights.seller, rights.claim_right, 0, 1, timestamp=now)
    number = put_up(chain, market, rights.seller, rights.lot_right, 1, 7_000_000, timestamp=now)
    assert rights.lot_owner() == market.address.lower()
    assert buy(chain, market, rights.buyer, number, 1, 7_000, timestamp=now) == 7_000
    assert rights.lot_owner() == rights.buyer.address.lower()
    with refused("NotOpen"):
        take_back(chain, market, rights.seller, number, timestamp=now)
    with refused("ERC721IncorrectOwner"):
        put_up(chain, market, rights.seller, rights.lot_right, 1, 1, timestamp=now)


def test_a_stranger_without_anything_gets_nothing(rights: Rights) -> None:
    with refused("ERC20InsufficientAllowance"):
        rights.fill(rights.quote(), 1, by=stranger())


def test_nobody_is_sold_or_delivers_a_lot_that_was_cut_down_after_the_quote(rights: Rights) -> None:
    """Who bid for a lot, or took an offer of one, gets all of it or nothing: cut in two, it is another lot."""
    chain, now = rights.chain, rights.world.now
    whole = Lot(NODE, 60, 2, 400)
    number = grant(chain, rights.lots, rights.keys.operator, rights.seller.address, whole, timestamp=now)
    right = Right(rights.lots.address, number, is_lot=True)
    bid = rights.quote(maker=rights.buyer.address, maker_sells=False, right=right, amount=1, price_nano=10**9)
    offer = rights.quote(right=right, amount=1, price_nano=10**9)
    rest, part = split(chain, rights.lots, rights.seller, number, 399, timestamp=now)
    before = rights.tokens()
    for quote, by in ((bid, rights.seller), (offer, rights.buyer)):
        with refused("ERC721NonexistentToken"):
            rights.fill(quote, 1, by=by)
    assert rights.tokens() == before
    assert [lot_of(chain, rights.lots, one).energy_wh for one in (rest, part)] == [1, 399]
    cut = rights.quote(right=replace(right, token_id=part), amount=1, price_nano=10**9)
    rights.fill(cut, 1)
    assert rights.lots.view(chain, "ownerOf", part)[0] == rights.buyer.address.lower()
