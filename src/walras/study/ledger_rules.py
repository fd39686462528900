"""What a community means for its contracts: members and deposits, windows, stakes, lists, the accounts that penalties go to.

A penalty goes to the grid operator's account: to nobody who could be in league with who pays it.
"""

from __future__ import annotations

from walras.community.model import Community
from walras.exchange.terms import SYSTEM_ACCOUNTS, Terms
from walras.ledger import LedgerKeys, LedgerTerms
from walras.ledger.credentials import GateList
from walras.ledger.shelf import DAY_S, AdditionTerms

UNITS_PER_CURRENCY = 1_000_000
"""The test currency has six decimals."""

ESCROW_NANO = 200 * 10**9
"""First deposit of every account, and what it is topped up by before it could run dry: 200 currency units."""

CLAIM_MARGIN = 2
"""A claim lives for twice the time in which its slot can be corrected."""


def addition_terms(community: Community, terms: Terms) -> AdditionTerms:
    """The terms of all that can be added to the community's ledger."""
    rules = community.ledger
    correction_s = rules.correction_window_slots * community.grid.minutes * 60
    return AdditionTerms(
        first_slot=terms.first,
        fraud_window_s=rules.fraud_window_s,
        exit_timeout_s=rules.exit_timeout_s,
        operator_bond=rules.operator_bond * UNITS_PER_CURRENCY,
        penalty_account=terms.members + SYSTEM_ACCOUNTS.index("grid_operator"),
        unbonding_delay_s=correction_s + 15 * DAY_S,
        k=terms.conventions.k,
        claim_life_slots=CLAIM_MARGIN * rules.correction_window_slots,
        gate=tuple(GateList(one.name, one.keeper, one.denies) for one in rules.gate),
        meter_operators=rules.meter_operators,
        zone="".join(c for c in community.name.lower().replace(" ", "-") if c.isascii() and (c.isalnum() or c == "-")) or "walras",
    )


def genesis_time(terms: Terms) -> int:
    """Unix time of the embedded chain's first block: two days before the first slot; contracts are deployed a day later."""
    return int(terms.grid.start(terms.first).timestamp()) - 2 * 86_400


def deployed_at(terms: Terms) -> int:
    """Unix time of the blocks in which the contracts are made, where the chain takes its time from the run."""
    return genesis_time(terms) + 86_400


def ledger_terms_of(community: Community, terms: Terms, keys: LedgerKeys) -> LedgerTerms:
    """The terms of the run's contracts. Where slots go to the chain in batches, the deposits are behind the batches instead."""
    members = tuple(keys.member_address(account) for account in range(terms.accounts))
    deposit = ESCROW_NANO if terms.batches is None else 0
    window = community.ledger.correction_window_slots
    return LedgerTerms(members, terms.oracles, terms.quorum, (deposit,) * terms.accounts, correction_window_slots=window)
