"""Rights for sale in escrow in Python: put up, buy, take back. Prices and rounding as in `quotes`, the seller being the maker."""

from __future__ import annotations

from dataclasses import dataclass

from walras.ledger.calls import Contract
from walras.ledger.chain import Chain
from walras.ledger.keys import SigningKey
from walras.ledger.quotes import FILL_GAS, Right


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer as the contract holds it; `amount - sold` units are in escrow while it is open."""

    seller: str
    is_open: bool
    right: Right
    amount: int
    sold: int
    price_nano: int


def put_up(
    chain: Chain, contract: Contract, seller: SigningKey, right: Right, amount: int, price_nano: int, *, timestamp: int
) -> int:
    """Put `amount` of `right` in escrow (approve the contract before); the offer's number."""
    arguments = (right.as_arguments(), amount, price_nano)
    receipt = contract.act(chain, seller, "offer", *arguments, timestamp=timestamp)
    return int(dict(contract.events(receipt))["Offered"]["number"])


def buy(chain: Chain, contract: Contract, buyer: SigningKey, number: int, amount: int, limit_units: int, *, timestamp: int) -> int:
    """Buy `amount` of an offer for at most `limit_units`; the token units paid."""
    arguments = (number, amount, limit_units)
    receipt = contract.act(chain, buyer, "buy", *arguments, timestamp=timestamp, gas_limit=FILL_GAS)
    return int(dict(contract.events(receipt))["Sold"]["tokenUnits"])


def take_back(chain: Chain, contract: Contract, seller: SigningKey, number: int, *, timestamp: int) -> int:
    """End an offer; the units that came back."""
    receipt = contract.act(chain, seller, "takeBack", number, timestamp=timestamp)
    return int(dict(contract.events(receipt))["TakenBack"]["amount"])


def offer_of(chain: Chain, contract: Contract, number: int) -> Offer:
    """The offer as it stands."""
    seller, is_open, right, amount, sold, price_nano = contract.view(chain, "offerOf", number)
    return Offer(seller, is_open, Right(*right), amount, sold, price_nano)
