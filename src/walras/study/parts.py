"""What a run is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from walras.community.model import Community
from walras.exchange.terms import Terms
from walras.ledger import Fees, LedgerKeys, ReadableChain
from walras.ledger.transactions import DEFAULT_FEES
from walras.study.ground import Ground
from walras.study.hanging import KeyOf
from walras.study.masked import MaskedMeters
from walras.study.meters import Meters
from walras.study.oracles import MeteringPath
from walras.study.trading import Trading


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run is made of. `ground`: contracts that are there already; `fees`: what to offer for gas now."""

    community: Community
    terms: Terms
    meters: Meters
    keys: LedgerKeys
    trading: Trading
    chain: ReadableChain
    seed: bytes
    leaf_secrets: tuple[bytes, ...]
    path: MeteringPath
    ground: Ground | None = None
    fees: Callable[[], Fees] = lambda: DEFAULT_FEES
    masked: MaskedMeters | None = None
    exchanged_key: KeyOf | None = None
