"""The later sections of a report in words: what members gain, where the money goes, why to trust it, and what it rests on.

The rule is that of `report_sections`: a title states what was found. Who is worse off is computed and named, whatever the
settlement rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from walras.exchange.terms import FIRM
from walras.study.ordered_lines import ordered_rows
from walras.study.report_data import ReportData, World
from walras.study.report_headlines import Headlines, kind_of
from walras.study.report_html import amount, figure, linked, money, scrolled, table
from walras.tariffs.bill import ACCOUNTS
from walras.units import NANO, Int64, checked_sum, format_energy

ACCOUNT_NAMES = {
    "supplier": "Supplier",
    "grid_operator": "Grid operator",
    "state": "State (levies, taxes, VAT)",
    "operator": "Market operator",
    "balancing": "Balancing",
}


def members(data: ReportData, h: Headlines) -> str:
    """Gains and bills of everybody."""
    kinds = [kind_of(member) for member in data.community.members]
    pairs = data.terms.members * data.slots.size
    gaining = int((data.gain_nano > 0).sum())
    if h.least_gain_nano > 0:
        title = f"Every member gains, the least by {money(h.least_gain_nano, data, 4)}"
    elif h.worse_off == 0:
        title = f"No member is worse off, and {gaining} of {data.terms.members} gain"
    else:
        verb, worst = "is" if h.worse_off == 1 else "are", _exactly(-h.least_gain_nano, data)
        title = f"{h.worse_off} of {data.terms.members} members {verb} worse off, the worst by {worst}"
    if data.worse == 0:
        slots = f"In none of the {pairs:,} member-slots did anyone pay more than the same metered energy costs on the own contract."
    else:
        slots = (
            f"In {data.worse:,} of {pairs:,} member-slots a member paid more than the same metered energy costs on its own "
            f"contract, {money(checked_sum(data.worse_nano), data, 4)} in all: {_most(data.worse_nano, data)}."
        )
    rule = (
        "<em>firm</em>: positions stand, and what differs from them is bought and sold"
        if data.terms.rule == FIRM
        else "<em>as delivered</em>: trades count up to what both sides metered"
    )
    stored = data.with_market.stored_wh[-1] / 1e3, data.without.stored_wh[-1] / 1e3
    left = checked_sum(data.with_market.left_nano) - checked_sum(data.without.left_nano)
    if h.worse_off:
        slots += f" Over the whole run, what is stored counted, these lose: {_most(-data.gain_nano, data)}."
        if data.worse == 0:
            slots += (
                " Their batteries sold at what stored energy was worth by the plan of the day, and the days that followed "
                "were not as forecast: the promise holds slot by slot, not against a later plan."
            )
    words = (
        f"{slots} The settlement rule is {rule}. The bars below also count what batteries hold at the end: {stored[0]:.1f} kWh "
        f"stored, without the market {stored[1]:.1f} kWh, a difference worth {money(left, data)} to their owners' plans. On the "
        f"same metered energy, as single bills state it, members gain {money(h.same_gain_nano, data)}."
    )
    caption = "Bill without the market, less the bill with it, plus the worth of what is stored more (or less) at the end."
    return f"""<section id="members"><p class="eyebrow">Members</p><h2>{title}</h2><p>{words}</p>
{figure("gains", _gains_title(data), caption)}
{_kinds_table(data, kinds)}{_member_table(data, kinds)}</section>"""


def _gains_title(data: ReportData) -> str:
    gain = np.sort(data.gain_nano)
    median = int(gain[gain.size // 2])
    return (
        f"Gains from {money(int(gain[0]), data)} to {money(int(gain[-1]), data)}, half of the members above {money(median, data)}"
    )


def _most(nano: Int64, data: ReportData, count: int = 8) -> str:
    """The members with the largest positive amounts, in words."""
    order = [int(m) for m in np.argsort(-nano, kind="stable") if nano[m] > 0]
    listed = [f"{escape(data.community.members[m].id)} {_exactly(int(nano[m]), data)}" for m in order[:count]]
    return ", ".join(listed) + (f" and {len(order) - count} more" if len(order) > count else "")


def _exactly(nano: int, data: ReportData) -> str:
    """Money to cents, below one unit to hundredths of a cent."""
    return money(nano, data, 2 if abs(nano) >= NANO else 4)


def _kinds_table(data: ReportData, kinds: Sequence[str]) -> str:
    gain, pays, without = data.gain_nano, data.with_market.pays_nano, data.without.pays_nano
    bought, sold = data.bought_wh.sum(axis=0), data.sold_wh.sum(axis=0)
    rows = []
    for kind in dict.fromkeys(kinds):
        mine = np.array([k == kind for k in kinds])
        count = int(mine.sum())
        means = [money(int(column[mine].sum()) // count, data) for column in (without, pays, gain)]
        rows.append([kind, f"{count}", *(f"{v[mine].sum() / 1e3:,.1f}" for v in (bought, sold)), *means])
    order = sorted(rows, key=lambda row: -float(row[-1].split()[0].replace("−", "-").replace(",", "")))
    head_cells = ["kind of member", "members", "bought, kWh", "sold, kWh", "mean bill without", "mean bill with", "mean gain"]
    return '<h3 class="above">By kind</h3>' + table(head_cells, order)


def _member_table(data: ReportData, kinds: Sequence[str]) -> str:
    net = data.with_market.net_wh
    sums = [np.maximum(net, 0).sum(axis=0), np.maximum(-net, 0).sum(axis=0), data.bought_wh.sum(axis=0), data.sold_wh.sum(axis=0)]
    left = data.with_market.left_nano - data.without.left_nano
    worths = [data.without.pays_nano, data.with_market.pays_nano, left, data.gain_nano]
    names = ["member", "kind", "contract", "taken, kWh", "given, kWh", "bought, kWh", "sold, kWh"]
    names += ["bill without", "bill with", "stored more, worth", "gain"]
    rows = []
    for m, member in enumerate(data.community.members):
        cells = [f"<td>{escape(member.id)}</td><td class=text>{kinds[m]}</td><td class=text>{escape(member.contract)}</td>"]
        cells += [f"<td>{int(v[m]) / 1e3:,.1f}</td>" for v in sums]
        cells += [f'<td data-v="{int(v[m])}">{amount(int(v[m]))}</td>' for v in worths]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = "".join(
        f'<th scope="col"{" class=text" if 0 < i < 3 else ""}><button type="button">{name}</button></th>'
        for i, name in enumerate(names)
    )
    whole = f'<table id="member-table"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f"""<div class="tools"><h3>Every member, in {escape(data.terms.currency)}</h3>
<input type="search" id="member-search" placeholder="find a member, kind, contract" aria-label="find a member"></div>
{scrolled(whole, "table of every member", "high")}
<p class="note under">A negative bill is paid out to the member.</p>"""


def _stored(data: ReportData, h: Headlines, cash_nano: int) -> str:
    """What batteries hold more or less at the end, beside what members pay less (`cash_nano` > 0) or more."""
    left = checked_sum(data.with_market.left_nano) - checked_sum(data.without.left_nano)
    if not left:
        return ""
    held = f"batteries hold {'less' if left < 0 else 'more'} at the end than they would have without the market"
    if (left < 0) == (cash_nano < 0):
        said = f"Besides, {held}, worth {money(abs(left), data)}"
    else:
        said = f"{money(abs(left), data)} of it is worth of energy that {held}"
    return f" {said}; together members {'gain' if h.gain_nano >= 0 else 'lose'} {money(abs(h.gain_nano), data)}."


def money_section(data: ReportData, h: Headlines) -> str:
    """Who receives what in both worlds; sums to zero."""
    rows = []
    change: Int64 = data.with_market.received_nano - data.without.received_nano

    def members_receive(world: World) -> int:
        return -checked_sum(world.pays_nano)

    def row(name: str, with_market: int, without: int) -> list[str]:
        return [name, *(amount(v, 2) for v in (without, with_market)), amount(with_market - without, 2, "+")]

    rows.append(row("Members together", members_receive(data.with_market), members_receive(data.without)))
    for account, name in enumerate(ACCOUNTS):
        rows.append(
            row(ACCOUNT_NAMES[name], int(data.with_market.received_nano[account]), int(data.without.received_nano[account]))
        )
    exact = [h.balance_without_nano, h.balance_nano, h.balance_nano - h.balance_without_nano]
    rows.append(["Sum of the exact figures", *(amount(-v, 9) for v in exact)])
    cash = checked_sum(data.without.pays_nano) - checked_sum(data.with_market.pays_nano)
    titles = {name: ACCOUNT_NAMES[name].split(" (")[0].lower() for name in ACCOUNTS}
    givers = [
        f"the {titles[name]} receives {money(-int(change[i]), data)} less"
        for i, name in sorted(enumerate(ACCOUNTS), key=lambda pair: int(change[pair[0]]))
        if change[i] < 0
    ]
    takers = [f"the {titles[name]} {money(int(change[i]), data)} more" for i, name in enumerate(ACCOUNTS) if change[i] > 0]
    title = f"Members pay {money(abs(cash), data)} {'less' if cash >= 0 else 'more'}"
    stored = _stored(data, h, cash)
    words = (
        f"Money moves, none is made: {'; '.join([*givers, *takers]) or 'nobody receives less or more'}. A neighbour's kWh "
        f"bears the reduced fees and levies of the local tariff, and the supplier neither sells it nor pays feed-in for it."
        f"{_not_fed_in(data)}{stored}"
    )
    return f"""<section id="money"><p class="eyebrow">Money</p><h2>{title}, and this is where it comes from</h2><p>{words}</p>
{table([f"who receives, {escape(data.terms.currency)}", "without the market", "with it", "change"], rows, last_is_sum=True)}
<p class="note under">Lines are rounded to cents for reading, the last is the sum of the exact figures. Negative: the
account pays.</p></section>"""


def _not_fed_in(data: ReportData) -> str:
    """What the wires took back is another reason why the supplier pays less."""
    taken = sum(int(slot.curtailed_wh.sum()) for slot in data.wires)
    return f" Nor does the supplier pay feed-in for {format_energy(taken, 1)} that the wires took back." if taken else ""


def trust(data: ReportData) -> str:
    """What was signed, attested and paid, and how to check it."""
    t = data.trust
    done = _settled(data)
    substituted = t.readings - t.admitted

    def named(account: int) -> str:
        return data.community.members[account].id

    refused = ", ".join(f"{count:,} {escape(reason.replace('_', ' '))}" for reason, count in t.refused.items()) or "none"
    rows = [
        ["sealed orders, all opened later", f"{t.commitments:,}"],
        ["signed readings admitted", f"{t.admitted:,} of {t.readings:,}"],
        ["readings refused", refused],
        ["readings substituted", f"{substituted:,}"],
        *([escape(words) for words in row] for row in t.corrections.rows()),
        [
            f"oracle signatures ({len(data.terms.oracles)} oracles, {data.terms.quorum} needed)",
            f"{t.attestations:,} over {t.settled:,} roots",
        ],
        *([escape(words) for words in row] for row in t.balance.rows(named)),
        *([escape(words) for words in row] for row in ordered_rows(t.ordered, t.holders, data.terms.grid, named)),
        *([escape(words) for words in row] for row in (t.masked.rows(named) if data.terms.balance_oracle else [])),
        ["single trades under Merkle roots", f"{t.trades:,}"],
        ["transactions on the chain", f"{t.transactions:,}"],
        *_gas(data),
        ["paid into escrow", money(t.deposits_nano, data)],
        ["settlement contract", f"<code>{escape(t.contract)}</code>, chain {t.chain_id}"],
        ["journal entries", f"{t.entries:,}"],
    ]
    example = escape(data.community.members[0].id)
    return f"""<section id="trust"><p class="eyebrow">Trust</p><h2>{done} settled, each attested by
{data.terms.quorum} or more oracles</h2>
<p>Nobody needs to believe this page. The public record holds every order, clearing, root and transaction in one chain of
hashes; the first command checks all of it and runs the contract again, the second proves one member's bill against it.</p>
<pre>walras audit RUN
walras bill RUN {example}</pre>
{table(["what", "how much"], rows, words=True)}{_published(data)}</section>"""


def _published(data: ReportData) -> str:
    """The privacy budget of each period, and what was published under it."""
    if not data.trust.budgets:
        return ""
    rows = [
        [budget.period, *(f"{float(part):g}" for part in (budget.epsilon, budget.spent, budget.left)), escape(names or "nothing")]
        for budget in data.trust.budgets
        for names in [", ".join(one.name for one in budget.released)]
    ]
    return f"""<h3>What was published of the community</h3>
<p>Statistics are published with noise, so that none is more than e<sup>ε</sup> times likelier with a member's data than with any
other's; of each period's budget of ε there is left what the record has not spent. Their answers stand in the record.</p>
{table(["period", "budget ε", "spent", "left", "published"], rows, words=True)}"""


def _settled(data: ReportData) -> str:
    """How many slots, and of those settled in batches how many are on the chain yet."""
    t = data.trust
    if data.terms.batches is None:
        return f"{t.settled:,} slots"
    batches = f"{len(t.batch_gas):,} batch{'es' * (len(t.batch_gas) != 1)}"
    if t.batched == t.settled:
        return f"{t.settled:,} slots in {batches}"
    return f"{t.settled:,} slots, {t.batched:,} of them in {batches},"


def _gas(data: ReportData) -> list[list[str]]:
    """What the chain was paid for settlement: of every slot, or of the batches posted so far."""
    t, many = data.trust, data.terms.batches is not None
    gas, slots = (t.batch_gas, t.batched) if many else (t.gas, t.settled)
    if not gas:
        return [["gas of all settlements", "none yet: no batch is full"]]
    return [
        [
            "gas of a batch" if many else "gas of a settled slot",
            f"{sum(gas) // len(gas):,} on average, {min(gas[1:] or gas):,} to {max(gas):,}",
        ],
        ["gas for each member and slot", f"{sum(gas) / slots / data.terms.members:,.0f}"],
        ["gas of all settlements", f"{sum(gas):,}"],
    ]


def method(data: ReportData) -> str:
    """How the figures are made, what they do not say, whose data they rest on."""
    homes = {load.profile for m in data.community.members for load in m.loads if load.kind == "household"}
    count = sum(load.kind == "household" for m in data.community.members for load in m.loads)
    shifted = any(load.shift_slots for m in data.community.members for load in m.loads)
    f = data.community.forecast
    shapes = ""
    if homes:
        moved = ", each moved by whole weeks and quarter hours so that they differ" if shifted else ""
        shapes = (
            f"<li>{count} households draw on {len(homes)} load shapes{moved}: "
            "their peaks are more alike than those of as many real homes.</li>"
        )
    prices = data.community.prices
    wholesale = "" if prices is None else f"<li>Wholesale prices: {linked(prices.source)}. Licence: {linked(prices.licence)}.</li>"
    return f"""<section id="method"><p class="eyebrow">Method and data</p><h2>What these figures rest on</h2>
<ul class="facts">
<li>The neighbourhood is simulated from measured profiles; orders, clearing, signatures, admission, settlement and bills
are the real path.</li>
<li>Without the market means: the same loads, sun, batteries, forecasts and contracts, and nobody trades. Batteries then
act for their owner alone.</li>
<li>A gain is the bill without, less the bill with, plus the worth of what is stored more at the end by the owner's plan
for the next day.</li>
<li>Orders rest on forecasts with errors of {f.load_error_percent} % (load) and {f.pv_error_percent} % (sun); what is paid
rests on what was metered.</li>
{shapes}
<li>Local fees and levies are assumptions of the community file, as a trial may grant them; change them and run again.</li>
<li>Self-consumption and self-sufficiency count what stays behind a member's own meter and, with the market, what
neighbours traded. A battery's charge counts when it is taken.</li>
<li>This page names members. It is made from the operator's journal; the public record knows them as account numbers only.</li>
</ul>
<h3>Data and licences</h3>
<ul class="facts"><li>Network and profiles: {linked(data.community.data.source)}. Licence:
{linked(data.community.data.licence)}.</li>{wholesale}</ul></section>"""
