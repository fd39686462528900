"""The liquidity pool in Python: reserves as the contract holds them, to set beside the market's own pool."""

from __future__ import annotations

from dataclasses import dataclass

from walras.ledger.calls import Contract
from walras.ledger.chain import Chain


@dataclass(frozen=True, slots=True)
class PoolReserves:
    """Wh of one vintage's certificates, nano-units of money, and liquidity shares outstanding."""

    energy_wh: int
    money_nano: int
    shares: int


def reserves(chain: Chain, contract: Contract) -> PoolReserves:
    """What the pool holds now; what was sent to it unasked is not counted."""
    return PoolReserves(*(int(contract.view(chain, name)[0]) for name in ("energyWh", "moneyNano", "shares")))


def free_nano(chain: Chain, contract: Contract, owner: str) -> int:
    """Money that `owner` can swap with, provide, or take out."""
    return int(contract.view(chain, "freeNanoOf", owner)[0])
