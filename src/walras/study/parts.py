"""What a run is made of, and the terms of its contracts that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

from walras.community.model import Community
from walras.exchange.terms import Terms
from walras.ledger import Chain, LedgerKeys, LedgerTerms
from walras.study.hanging import KeyOf
from walras.study.meters import Meters
from walras.study.oracles import MeteringPath
from walras.study.trading import Trading

ESCROW_NANO = 200 * 10**9
"""First deposit of every account, and what it is topped up by before it could run dry: 200 currency units."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run is made of."""

    community: Community
    terms: Terms
    meters: Meters
    keys: LedgerKeys
    trading: Trading
    chain: Chain
    seed: bytes
    leaf_secrets: tuple[bytes, ...]
    path: MeteringPath
    exchanged_key: KeyOf | None = None


def genesis_time(terms: Terms) -> int:
    """Unix time of the embedded chain's first block: two days before the first slot; contracts are deployed a day later."""
    return int(terms.grid.start(terms.first).timestamp()) - 2 * 86_400


def ledger_terms_of(terms: Terms, keys: LedgerKeys) -> LedgerTerms:
    """The terms of the run's contracts. Where slots go to the chain in batches, the deposits are behind the batches instead."""
    members = tuple(keys.member_address(account) for account in range(terms.accounts))
    deposit = ESCROW_NANO if terms.batches is None else 0
    return LedgerTerms(members, terms.oracles, terms.quorum, (deposit,) * terms.accounts)
