"""What the rules of a community's file mean for its contracts: windows, stakes, lists, the accounts that penalties go to.

A penalty goes to the grid operator's account: to nobody who could be in league with who pays it.
"""

from __future__ import annotations

from walras.community.model import Community
from walras.exchange.terms import SYSTEM_ACCOUNTS, Terms
from walras.ledger.credentials import GateList
from walras.ledger.shelf import DAY_S, AdditionTerms

UNITS_PER_CURRENCY = 1_000_000
"""The test currency has six decimals."""

CORRECTION_WINDOW_SLOTS = 2_880
CLAIM_MARGIN = 2
"""A claim lives for twice the time in which its slot can be corrected."""


def addition_terms(community: Community, terms: Terms) -> AdditionTerms:
    """The terms of all that can be added to the community's ledger."""
    rules = community.ledger
    correction_s = CORRECTION_WINDOW_SLOTS * community.grid.minutes * 60
    return AdditionTerms(
        first_slot=terms.first,
        fraud_window_s=rules.fraud_window_s,
        exit_timeout_s=rules.exit_timeout_s,
        operator_bond=rules.operator_bond * UNITS_PER_CURRENCY,
        penalty_account=terms.members + SYSTEM_ACCOUNTS.index("grid_operator"),
        unbonding_delay_s=correction_s + 15 * DAY_S,
        k=terms.conventions.k,
        claim_life_slots=CLAIM_MARGIN * CORRECTION_WINDOW_SLOTS,
        gate=tuple(GateList(one.name, one.keeper, one.denies) for one in rules.gate),
        meter_operators=rules.meter_operators,
        zone="".join(c for c in community.name.lower().replace(" ", "-") if c.isascii() and (c.isalnum() or c == "-")) or "walras",
    )
