"""Contracts that stand already, as the ground of a run: held against its terms, and taken over as they are found.

Nothing is deployed. A run's first entry on them has the transactions of the manifest, which the chain knows, and what every
account had before the first slot. Slots that were settled there before, by whichever run, are refused; a run that was cut off goes
on in its own folder, and its journal says that it began before them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from walras.errors import JournalError, LedgerError
from walras.exchange.journal import Entry
from walras.exchange.opening import Opening, opening_of_batches, opening_of_settlement
from walras.exchange.recorder import Decision
from walras.exchange.terms import Terms
from walras.ledger import DeploymentPlan, EmbeddedChain, Sender, carry_out
from walras.ledger.batch_deployment import missing_bond
from walras.ledger.calls import Contract
from walras.ledger.standing import Standing, check_batches, check_standing
from walras.study.ledger_rules import addition_terms
from walras.study.parts import Parts, deployed_at, genesis_time, ledger_terms_of


def stand_on(p: Parts, standing: Standing) -> Callable[[], Decision]:
    """What decides the `ledger_deployed` of a run on contracts that stand; LedgerError where they are not what the run needs.

    The chain in the process, which begins empty, has them made from the manifest first.
    """
    if isinstance(p.chain, EmbeddedChain):
        carry_out(p.chain, DeploymentPlan(standing.addresses, standing.transactions), timestamp=deployed_at(p.terms))
    check_standing(p.chain, standing, p.keys, ledger_terms_of(p.terms, p.keys))
    batches = None
    if p.terms.batches is not None:
        batches = check_batches(p.chain, standing, p.keys, addition_terms(p.community, p.terms))
    return lambda: _taken_over(p, standing, batches)


def check_same(standing: Standing | None, deployed: Entry) -> None:
    """JournalError where a run that goes on was begun on other contracts than those of the manifest given now, or of none."""
    begun_on = deployed.public["settlement"] if "opening" in deployed.public else None
    now = None if standing is None else standing.addresses.settlement
    if begun_on == now:
        return
    was = "contracts of its own" if begun_on is None else f"the contracts at {begun_on}"
    raise JournalError(
        f"the run was begun on {was}, " + ("no manifest is given now" if now is None else f"the manifest given now is of {now}"),
        thing=deployed.seq,
        way_out="give the same --manifest, or none, as then; or --fresh to begin anew",
    )


def _taken_over(p: Parts, standing: Standing, batches: Contract | None) -> Decision:
    a, raws = standing.addresses, [step.raw for step in standing.transactions]
    operator = Sender(p.keys.operator, p.chain.nonce(p.keys.operator.address), p.fees())
    staked: tuple[bytes, ...] = ()
    if batches is None:
        opening = opening_of_settlement(p.chain, a, p.terms.accounts)
    else:
        opening = opening_of_batches(p.chain, batches, p.terms.accounts)
        staked = missing_bond(p.chain, a, batches, operator)
    _check_next(p.terms, opening)
    public = {"chain_id": a.chain_id, "currency": a.currency, "registry": a.registry, "settlement": a.settlement}
    return public | ({} if batches is None else {"batches": batches.address}) | {
        "operator_nonce": operator.nonce + len(staked),
        "genesis_time": genesis_time(p.terms),
        "funded": [p.keys.admin.address, p.keys.operator.address],
        "transactions": [{"raw": raw.hex(), "time": deployed_at(p.terms)} for raw in (*raws, *staked)],
        "opening": opening.to_public(),
    }, None


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
