"""Sealed bids on chain in Python: commitments, orders as the contract holds them, fills as it wants them.

The contract numbers orders as they are committed; the number is the time priority. A solver reads the revealed orders, clears them
with the uniform-price rule (tie by time, the contract's k) and submits price and fills; the contract accepts that clearing and
no other. Quantities are Wh, positive for a bid and negative for an ask; prices micro-units of currency per kWh.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from eth_abi.abi import encode
from numpy.typing import ArrayLike

from walras.errors import Fault, InputError
from walras.ledger._keccak import keccak256
from walras.ledger.calls import Contract
from walras.ledger.chain import Chain
from walras.units import Int64, as_int64

_REVEALED = 1 << 128
_SEALED = 1 << 255


@dataclass(frozen=True, slots=True)
class ChainOrders:
    """The revealed orders of one auction, columns by increasing number; `count` numbers were given out in all."""

    count: int
    number: Int64
    account: Int64
    quantity_wh: Int64
    price_micro_per_kwh: Int64


def order_commitment(contract: Contract, slot: int, account: int, quantity_wh: int, price: int, salt: bytes) -> bytes:
    """What a member commits to; `salt` is 32 secret bytes. Bound to chain, contract, slot and member: of no use to a copyist."""
    types = ["uint256", "address", "uint64", "uint256", "int48", "int64", "bytes32"]
    return keccak256(encode(types, [contract.chain_id, contract.address, slot, account, quantity_wh, price, salt]))


def orders_from_words(words: list[int]) -> ChainOrders:
    """The revealed orders in the contract's words; sealed and forfeited ones are left out.

    >>> orders_from_words([0, 1 << 128 | 7 << 112 | (2**48 - 500) << 64 | 300_000]).quantity_wh.tolist()
    [-500]
    """
    shown = [number for number, word in enumerate(words) if word & _REVEALED and not word & _SEALED]
    return ChainOrders(
        count=len(words),
        number=as_int64(shown, "number"),
        account=as_int64([words[n] >> 112 & 0xFFFF for n in shown], "account"),
        quantity_wh=as_int64([_signed(words[n] >> 64, 48) for n in shown], "quantity_wh"),
        price_micro_per_kwh=as_int64([_signed(words[n], 64) for n in shown], "price_micro_per_kwh"),
    )


def read_orders(chain: Chain, contract: Contract, slot: int) -> ChainOrders:
    """The revealed orders of `slot` as they stand now."""
    return orders_from_words(list(contract.view(chain, "wordsOf", slot)[0]))


def pack_fills(orders: ChainOrders, filled_wh: ArrayLike) -> bytes:
    """Fills [rows of `orders`, Wh >= 0] as the contract reads them: 8 bytes for each number given out, 0 where unrevealed."""
    filled = as_int64(filled_wh, "filled_wh")
    faults = []
    if filled.size != orders.number.size:
        faults.append(Fault("fills", "rows", filled.size, f"{orders.number.size}, as orders have"))
    elif filled.size and int(filled.min()) < 0:
        faults.append(Fault("fills", "filled_wh", int(filled.min()), "0 or more"))
    if faults:
        raise InputError("fills", faults)
    column = np.zeros(orders.count, dtype=">u8")
    column[orders.number] = filled
    return column.tobytes()


def _signed(value: int, bits: int) -> int:
    low = value & ((1 << bits) - 1)
    return low - (1 << bits) if low >> (bits - 1) else low
