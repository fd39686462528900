"""The audit of accounts: what the contract has for everybody is the journal's at the end, and the record's at the beginning.

A run on contracts that stood already begins with what the accounts had there. Where the audit executes the transactions itself,
that is what the run's own make, or it cannot be known; on a chain the end holds it: beginning, deposits and payments lead to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from walras.errors import AuditError
from walras.exchange.audit_batches import BatchAudit
from walras.exchange.fold import ExchangeState
from walras.exchange.opening import Opening, opening_of_batches, opening_of_settlement
from walras.ledger import Chain, LedgerAddresses, ReadableChain, Receipt, balances, transaction_hash
from walras.units import Int64


def check_opening(
    chain: ReadableChain, addresses: LedgerAddresses, batches: BatchAudit | None, opening: Opening, *, alone: bool
) -> None:
    """AuditError where the contracts did not have what the record begins with; `alone`: the chain has the run's own transactions
    only, and has had no slot yet."""
    if batches is not None:
        batches.begin(chain, opening)
    if not alone:
        return
    accounts = len(opening.balance_nano)
    if batches is None:
        made = opening_of_settlement(chain, addresses, accounts)
    else:
        made = opening_of_batches(chain, batches.contract, accounts)
    if made != opening:
        raise AuditError(
            "the run goes on from slots that others settled on the same contracts: its own record does not have them",
            thing=opening,
            way_out="--chain with a node of the chain that it settled on",
        )


def receipt_of(chain: Chain, transaction: Mapping[str, Any], *, alone: bool) -> Receipt | None:
    """Of a recorded transaction: executed again where the chain is the audit's own, else looked up; an audit sends nothing."""
    raw = bytes.fromhex(transaction["raw"])
    return chain.send(raw, timestamp=transaction["time"]) if alone else chain.receipt(transaction_hash(raw))


@dataclass(frozen=True, slots=True)
class AccountsAudit:
    """What every account must have after the record: `state`, and all that it says was paid in, `paid_nano` [accounts]."""

    addresses: LedgerAddresses
    batches: BatchAudit | None
    state: ExchangeState
    paid_nano: Int64

    def check(self, chain: Chain) -> None:
        """AuditError naming the first account whose balance or running energy on the chain is not the journal's."""
        state = self.state
        if self.batches is not None:
            self.batches.check_end(chain, self.paid_nano, state.energy_wh, state.escrow_nano)
            return
        escrow, energy = balances(chain, self.addresses, range(state.escrow_nano.size))
        for name, found, journal in (("balance", escrow, state.escrow_nano), ("energy", energy, state.energy_wh)):
            wrong = np.flatnonzero(found != journal)
            if wrong.size:
                account = int(wrong[0])
                raise AuditError(
                    f"account {account}: {name} on the chain is {int(found[account])}, by the journal {int(journal[account])}"
                )
