"""The report's section on what the chain costs: as it was settled, the other way, and beside what the members gain.

The rule: gas of the way in which the run was settled comes from its own receipts, gas of the other way is counted by
`ledger.costs`; what gas costs is an assumption that the reader can change, and says so.
"""

from __future__ import annotations

from dataclasses import replace

from walras.ledger.costs import WEI_PER_GWEI, Cost, CostTerms, price_of_gas, settlement_costs
from walras.study.report_data import ReportData
from walras.study.report_html import money, table
from walras.units import checked_sum


def chain_costs(data: ReportData, terms: CostTerms) -> str:
    """Direct and batched settlement of this run at the gas and coin price of `terms`."""
    used, members = data.terms.batches, data.terms.members
    slots = data.trust.settled if used is None else data.trust.batched
    if used is not None and not slots:
        return f"""<section id="chain"><p class="eyebrow">Chain</p><h2>No batch is on the chain yet</h2>
<p>{data.trust.settled:,} slots are settled; a batch takes {used.slots}. Its cost stands here once it is posted.</p></section>"""
    direct, batched, estimate = _costs(data, terms, slots)
    size = terms.batch_slots if used is None else used.slots
    gain = checked_sum(data.gain_nano)
    fewer = f"{direct.gas / batched.gas:.1f} times the gas" if direct.gas >= batched.gas else "less gas"
    gwei = f"{terms.wei_per_gas / WEI_PER_GWEI:g} gwei"
    coin = money(terms.coin_nano, data)

    def line(name: str, cost: Cost) -> list[str]:
        each = f"{money(-(-cost.nano // members), data, 4)}"
        return [name, f"{cost.transactions:,}", f"{cost.gas:,}", f"{cost.gas / members / slots:,.0f}", money(cost.nano, data), each]

    head = ["settled", "transactions", "gas", "gas for each member and slot", "cost of all", "cost for each member"]
    here = ", as in this run"
    rows = [
        line("slot by slot" + (here if used is None else ""), direct),
        line(f"in batches of {size} slots" + (here if used is not None else ""), batched),
    ]
    until = "" if slots == data.trust.settled else f" for the {slots:,} slots posted so far"
    origin = (
        "Slot by slot: the receipts of this run. In batches: counted from the calldata of the same positions"
        if used is None
        else f"In batches: the receipts of this run{until}, published by {used.publish} "
        f"(estimate with calldata: {estimate.gas:,} gas). "
        "Slot by slot: counted from the calldata of the same positions"
    )
    per_gwei = price_of_gas(batched.gas, CostTerms(WEI_PER_GWEI, terms.coin_nano, terms.batch_slots))
    ends = (
        f"batches use up the members' gain of {money(gain, data)} at {gain / per_gwei:,.2f} gwei" if gain > 0 and per_gwei else ""
    )
    break_even = f" With a coin at that price, {ends}." if ends else ""
    return f"""<section id="chain"><p class="eyebrow">Chain</p><h2>Settled slot by slot takes {fewer} of batches</h2>
<p>At {gwei} for a unit of gas and {coin} for a coin, which are assumptions: <code>walras report RUN</code> counts with others by
<code>--gas-gwei G</code>, <code>--coin-price P</code> and <code>--batch-slots N</code>.
On a permissioned chain gas is free.{break_even}</p>
{table(head, rows)}
<p class="note under">{origin}; every position is published, and anybody can prove a wrong one.</p></section>"""


def _costs(data: ReportData, terms: CostTerms, settled: int) -> tuple[Cost, Cost, Cost]:
    """Direct, batched, and batched by the estimate alone, of `settled` slots: in batches, those that are posted."""
    slots, batches = data.trust.positions.slots(settled), data.terms.batches
    if batches is None:
        direct, batched = settlement_costs(slots, terms, data.trust.gas)
        return direct, batched, batched
    direct, estimate = settlement_costs(slots, replace(terms, batch_slots=batches.slots))
    gas = sum(data.trust.batch_gas)
    return direct, Cost(len(data.trust.batch_gas), gas, price_of_gas(gas, terms)), estimate
