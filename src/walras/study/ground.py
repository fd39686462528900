"""Contracts that stand already, as the ground of a run: held against its terms, and taken over as they are found.

Nothing is deployed. A run's first entry on them has the transactions of the manifest, which the chain knows, and what every
account had before the first slot. Slots that were settled there before, by whichever run, are refused; a run that was cut off goes
on in its own folder, and its journal says that it began before them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from walras.community.model import Community
from walras.errors import JournalError, LedgerError
from walras.exchange.journal import Entry
from walras.exchange.opening import NOTHING_STATED, Opening, opening_of_batches, opening_of_settlement
from walras.exchange.recorder import Decision
from walras.exchange.terms import Terms
from walras.ledger import DeploymentPlan, EmbeddedChain, Fees, LedgerKeys, ReadableChain, Sender, carry_out
from walras.ledger.batch_deployment import missing_bond
from walras.ledger.calls import Contract
from walras.ledger.standing import Standing, check_batches, check_standing
from walras.study.ledger_rules import addition_terms, deployed_at, genesis_time, ledger_terms_of


@dataclass(frozen=True, slots=True)
class Ground:
    """Contracts that stand, found to be what the run needs. `batches` where its slots go to the chain many at a time; `stated`
    positions by slot of runs that posted there before, where a committee published them."""

    standing: Standing
    chain: ReadableChain
    keys: LedgerKeys
    terms: Terms
    fees: Callable[[], Fees]
    batches: Contract | None
    stated: Mapping[int, bytes]

    def opening(self) -> Opening:
        """What every account has there now."""
        if self.batches is not None:
            return opening_of_batches(self.chain, self.batches, self.terms.accounts, self.stated)
        return opening_of_settlement(self.chain, self.standing.addresses, self.terms.accounts)

    def check_next(self) -> Opening:
        """The opening; LedgerError where slots of the run were settled there before, a gap is left that batches do not take, or
        the contract is halted."""
        if self.batches is not None and self.batches.view(self.chain, "halted")[0]:
            raise LedgerError(
                f"{self.batches.name} at {self.batches.address} is halted for good: no batch any more, members take out their own",
                thing=self.batches.address,
                way_out="deploy others with another manifest file",
            )
        opening = self.opening()
        _check_next(self.terms, opening)
        return opening

    def taken_over(self) -> Decision:
        """The `ledger_deployed` of a run that begins on them."""
        a, operator = self.standing.addresses, self.keys.operator
        opening = self.check_next()
        sender = Sender(operator, self.chain.nonce(operator.address), self.fees())
        staked = () if self.batches is None else missing_bond(self.chain, a, self.batches, sender)
        raws = (*(step.raw for step in self.standing.transactions), *staked)
        public = {"chain_id": a.chain_id, "currency": a.currency, "registry": a.registry, "settlement": a.settlement}
        return public | ({} if self.batches is None else {"batches": self.batches.address}) | {
            "operator_nonce": sender.nonce + len(staked),
            "genesis_time": genesis_time(self.terms),
            "funded": [self.keys.admin.address, operator.address],
            "free_gas": self.standing.free_gas,
            "transactions": [{"raw": raw.hex(), "time": deployed_at(self.terms)} for raw in raws],
            "opening": opening.to_public(),
        }, None


def stand_on(
    standing: Standing,
    chain: ReadableChain,
    keys: LedgerKeys,
    terms: Terms,
    fees: Callable[[], Fees],
    community: Community,
    stated: Mapping[int, bytes] = NOTHING_STATED,
) -> Ground:
    """The contracts as the ground of a run; LedgerError where they are not what it needs.

    The chain in the process, which begins empty, has them made from the manifest first.
    """
    if isinstance(chain, EmbeddedChain):
        carry_out(chain, DeploymentPlan(standing.addresses, standing.transactions), timestamp=deployed_at(terms))
    check_standing(chain, standing, keys, ledger_terms_of(community, terms, keys))
    batches = None if terms.batches is None else check_batches(chain, standing, keys, addition_terms(community, terms))
    return Ground(standing, chain, keys, terms, fees, batches, stated)


def check_same(ground: Ground | None, deployed: Entry) -> None:
    """JournalError where a run that goes on was begun on other contracts than those of the manifest given now, or of none."""
    begun_on = deployed.public["settlement"] if "opening" in deployed.public else None
    now = None if ground is None else ground.standing.addresses.settlement
    if begun_on == now:
        return
    was = "contracts of its own" if begun_on is None else f"the contracts at {begun_on}"
    raise JournalError(
        f"the run was begun on {was}, " + ("no manifest is given now" if now is None else f"the manifest given now is of {now}"),
        thing=deployed.seq,
        way_out="give the same --manifest, or none, as then; or --fresh to begin anew",
    )


def _check_next(terms: Terms, opening: Opening) -> None:
    """LedgerError where the run has slots that were settled on these contracts before, or leaves a gap that batches do not take."""
    first, following = terms.first, opening.next_slot
    if following <= first and (terms.batches is None or following == first):
        return
    start = terms.grid.local(following)
    what = f"batches on these contracts go on with slot {following}, the run begins with {first}"
    if following > first:
        what = f"slots {first} to {min(following - 1, terms.last)} are settled on these contracts already, the next is {following}"
    day = start.date()
    if terms.batches is None and following != terms.grid.local_day(day)[0]:
        day += timedelta(days=1)
    raise LedgerError(
        f"{what}, {start:%Y-%m-%d %H:%M} local time",
        thing=following,
        way_out=f"--start {day} in an --out folder of its own; a run that was cut off goes on in the folder that it has",
    )
