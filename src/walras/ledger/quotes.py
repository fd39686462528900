"""Quotes signed off the chain in Python: sign, check, price every fill to the last token unit, fill, take back.

A quote offers rights (claims, certificates: 1 unit = 1 Wh; a lot: 1) at whole nano-units of currency for one unit, which for a
watt-hour is the same number as micro-units per kWh. Token units are rounded over the running total of a quote in the maker's
favour: fills in parts cost together what one fill costs.
"""

from __future__ import annotations

from dataclasses import dataclass

from eth_abi.abi import encode

from walras.errors import LedgerError
from walras.ledger._keccak import keccak256
from walras.ledger.calls import Contract
from walras.ledger.chain import Chain, Receipt
from walras.ledger.encoding import typed_data_digest
from walras.ledger.keys import SigningKey, recover_address

ANYBODY = "0x" + "00" * 20
FILL_GAS = 400_000

_RIGHT = b"Right(address token,uint256 id,bool isLot)"
_RIGHT_TYPE = keccak256(_RIGHT)
_QUOTE_TYPE = keccak256(
    b"Quote(address maker,address taker,bool makerSells,Right right,uint128 amount,uint128 priceNano,uint64 nonce,uint64 expiry)"
    + _RIGHT
)


@dataclass(frozen=True, slots=True)
class Right:
    """What is delivered: units of an ERC-1155 `token_id`, or the one ERC-721 token where `is_lot`."""

    token: str
    token_id: int
    is_lot: bool = False

    def as_arguments(self) -> tuple[str, int, bool]:
        """As the contracts take it."""
        return self.token, self.token_id, self.is_lot


@dataclass(frozen=True, slots=True)
class Quote:
    """What a maker signs. `price_nano` is for one unit; `expiry` [Unix s] is the first second in which it holds no more.

    Quotes of one maker with one `nonce` are alternatives: the first that is filled is the one.
    """

    maker: str
    maker_sells: bool
    right: Right
    amount: int
    price_nano: int
    nonce: int
    expiry: int
    taker: str = ANYBODY

    def as_arguments(self) -> tuple[str, str, bool, tuple[str, int, bool], int, int, int, int]:
        """As the contract takes it."""
        right = self.right.as_arguments()
        return self.maker, self.taker, self.maker_sells, right, self.amount, self.price_nano, self.nonce, self.expiry


def price_units(before: int, amount: int, price_nano: int, nano_per_token_unit: int, *, up: bool) -> int:
    """Token units for `amount` after `before` were filled already; `up` where the maker sells. Parts sum to the whole.

    >>> [price_units(n, 1, 300_000, 1_000_000, up=True) for n in range(4)]      # 0.3 of a token unit each
    [1, 0, 0, 1]
    """
    slack = nano_per_token_unit - 1 if up else 0

    def total(units: int) -> int:
        return (units * price_nano + slack) // nano_per_token_unit

    return total(before + amount) - total(before)


def quote_digest(contract: Contract, quote: Quote) -> bytes:
    """The 32 bytes the maker signs (EIP-712): good for one contract on one chain."""
    right = keccak256(encode(["bytes32", "address", "uint256", "bool"], [_RIGHT_TYPE, *quote.right.as_arguments()]))
    types = ["bytes32", "address", "address", "bool", "bytes32", "uint128", "uint128", "uint64", "uint64"]
    words = [_QUOTE_TYPE, quote.maker, quote.taker, quote.maker_sells, right]
    content = keccak256(encode(types, [*words, quote.amount, quote.price_nano, quote.nonce, quote.expiry]))
    return typed_data_digest("Walras Signed Quotes", contract.chain_id, contract.address, content)


def sign_quote(contract: Contract, quote: Quote, maker: SigningKey) -> bytes:
    """65 bytes by the maker; LedgerError where the key is not the maker's."""
    if maker.address != quote.maker:
        raise LedgerError(f"the quote is {quote.maker}'s, the key is {maker.address}'s", thing=quote)
    return maker.sign_digest(quote_digest(contract, quote))


def check_quote(contract: Contract, quote: Quote, signature: bytes, now: int) -> None:
    """LedgerError unless the maker signed it for this contract and chain and it holds at `now`: look before you count on it."""
    if recover_address(quote_digest(contract, quote), signature) != quote.maker:
        raise LedgerError(f"quote {quote.nonce} is not signed by {quote.maker}", thing=quote)
    if now >= quote.expiry:
        raise LedgerError(f"quote {quote.nonce} of {quote.maker} held until {quote.expiry}", thing=quote)


def fill(
    chain: Chain, contract: Contract, taker: SigningKey, quote: Quote, signature: bytes, amount: int, *, timestamp: int
) -> int:
    """Fill `amount` as the other side; the token units that changed hands. LedgerError with the contract's refusal."""
    arguments = (quote.as_arguments(), signature, amount)
    receipt = contract.act(chain, taker, "fill", *arguments, timestamp=timestamp, gas_limit=FILL_GAS)
    return int(dict(contract.events(receipt))["Filled"]["tokenUnits"])


def filled_of(chain: Chain, contract: Contract, quote: Quote) -> int:
    """Units filled of this quote so far."""
    return int(contract.view(chain, "filledOf", quote.as_arguments())[0])


def cancel(chain: Chain, contract: Contract, maker: SigningKey, nonce: int, *, timestamp: int) -> Receipt:
    """Take back whatever was signed under `nonce`."""
    return contract.act(chain, maker, "cancel", nonce, timestamp=timestamp)
