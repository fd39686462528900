"""Every mechanism by its name: the one place where a new rule is put on the shelf (one import, one entry)."""

from __future__ import annotations

from collections.abc import Mapping

from walras.errors import ClearingError
from walras.market.blocks import BLOCKS
from walras.market.cda import CDA
from walras.market.concentrated import CONCENTRATED
from walras.market.constant_product import CONSTANT_PRODUCT
from walras.market.constant_sum import CONSTANT_SUM
from walras.market.dutch import DUTCH
from walras.market.english import ENGLISH
from walras.market.expiring import EXPIRING
from walras.market.flexibility import FLEXIBILITY
from walras.market.mcafee import MCAFEE
from walras.market.mechanism import Mechanism
from walras.market.muda import MUDA, MUDA_VICKREY
from walras.market.pay_as_bid import PAY_AS_BID
from walras.market.posted import POSTED
from walras.market.random_pairs import RANDOM_PAIRS
from walras.market.rfq import RFQ
from walras.market.sbba import SBBA
from walras.market.stableswap import STABLESWAP
from walras.market.trade_reduction import TRADE_REDUCTION
from walras.market.uniform import UNIFORM
from walras.market.vcg import VCG
from walras.market.vickrey import VICKREY

_SHELF: tuple[Mechanism, ...] = (
    UNIFORM,
    PAY_AS_BID,
    MCAFEE,
    TRADE_REDUCTION,
    SBBA,
    MUDA,
    MUDA_VICKREY,
    VCG,
    VICKREY,
    CDA,
    CONSTANT_PRODUCT,
    CONSTANT_SUM,
    STABLESWAP,
    CONCENTRATED,
    EXPIRING,
    DUTCH,
    ENGLISH,
    RFQ,
    POSTED,
    RANDOM_PAIRS,
    FLEXIBILITY,
    BLOCKS,
)

MECHANISMS: dict[str, Mechanism] = {mechanism.name: mechanism for mechanism in _SHELF}


def mechanism_named(name: str, shelf: Mapping[str, Mechanism] = MECHANISMS) -> Mechanism:
    """The mechanism called `name` on `shelf`; ClearingError lists the names there are.

    >>> mechanism_named("uniform").title
    'Uniform-price k-double auction'
    """
    if name not in shelf:
        raise ClearingError(f"no mechanism is called {name!r}", thing=name, way_out="one of: " + ", ".join(sorted(shelf)))
    return shelf[name]
