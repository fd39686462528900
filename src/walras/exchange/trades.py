"""Who supplied whom: the single trades of a settled slot, and the Merkle root that stands on the chain beside the positions.

A uniform-price auction pairs nobody, so the pairs are drawn by a written rule: the energy that counts, buyers and sellers each in
the order of their accounts, laid along one line; where a buyer's stretch and a seller's overlap is a trade. Every member's trades
add up to exactly what counts for it, there are at most buyers + sellers - 1 of them, and anybody can repeat it.

A leaf is the canonical JSON array [slot, buyer, seller, energy_wh, price_micro_per_kwh]; price is null where the rule of the
market has no one price. The tree is the one that OpenZeppelin's MerkleProof verifies (keccak, sorted pairs).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from walras.exchange.journal import canonical
from walras.metering.merkle import KECCAK_SORTED, MerkleTree, tree_over
from walras.units import Int64


@dataclass(frozen=True, slots=True)
class SettledTrades:
    """Columns of equal length: accounts of buyer and seller, Wh > 0; `price_micro_per_kwh` of all, or None."""

    slot: int
    buyer: Int64
    seller: Int64
    energy_wh: Int64
    price_micro_per_kwh: int | None

    def leaves(self) -> list[bytes]:
        """One canonical leaf a trade."""
        rows = zip(self.buyer.tolist(), self.seller.tolist(), self.energy_wh.tolist(), strict=True)
        return [canonical([self.slot, buyer, seller, wh, self.price_micro_per_kwh]) for buyer, seller, wh in rows]

    def tree(self) -> MerkleTree:
        """The tree over the leaves; of no trades, the tree over nothing."""
        return tree_over(self.leaves(), KECCAK_SORTED)


def trades_of(slot: int, bought_wh: Int64, sold_wh: Int64, price_micro_per_kwh: int | None) -> SettledTrades:
    """The trades of what counts; columns [members], equal sums.

    >>> t = trades_of(7, np.array([300, 0, 200]), np.array([0, 450, 50]), 200_000)
    >>> list(zip(t.buyer.tolist(), t.seller.tolist(), t.energy_wh.tolist()))
    [(0, 1, 300), (2, 1, 150), (2, 2, 50)]
    """
    buyers, sellers = np.flatnonzero(bought_wh), np.flatnonzero(sold_wh)
    bought, sold = np.cumsum(bought_wh[buyers]), np.cumsum(sold_wh[sellers])
    ends = np.union1d(bought, sold)
    starts = np.concatenate([[0], ends])[:-1].astype(np.int64)
    return SettledTrades(
        slot,
        buyers[np.searchsorted(bought, starts, side="right")].astype(np.int64),
        sellers[np.searchsorted(sold, starts, side="right")].astype(np.int64),
        (ends - starts).astype(np.int64),
        price_micro_per_kwh,
    )
