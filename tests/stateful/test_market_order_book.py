"""The fast order book and the plain one live the same life, event by event, whatever comes."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stateful.plain_order_book import PlainBook
from walras.market.order_book import (
    KINDS,
    ORDER_TYPES,
    REASONS,
    SELF_TRADE_POLICIES,
    STATUS,
    BookRules,
    make_events,
    open_book,
    step,
)
from walras.market.order_depth import depth, resting_orders

EVENT = st.tuples(
    st.sampled_from(["new", "new", "new", "new", "cancel", "amend", "clock"]),
    st.sampled_from(["limit", "limit", "limit", "market", "immediate_or_cancel", "fill_or_kill", "post_only"]),
    st.sampled_from([1, -1, 1, -1, 1, -1, 0]),
    st.integers(0, 25),
    st.integers(0, 2),
    st.sampled_from([4, 4, 5, 6]),
    st.integers(0, 9),
    st.integers(-21, 12),
    st.sampled_from([0, 0, 0, 0, 1, -1, 3]),
)


class SameLife(RuleBasedStateMachine):
    @initialize(policy=st.sampled_from(SELF_TRADE_POLICIES), levels=st.sampled_from([1, 7, 70]), tick=st.sampled_from([1, 2]))
    def open(self, policy: str, levels: int, tick: int) -> None:
        self.book = open_book(BookRules(-20, tick, levels, (40, 60), 4, policy), 2)  # type: ignore[arg-type]
        self.plain = PlainBook(-20, tick, levels, {4: 40, 5: 60}, policy)
        self.time = 0

    @rule(batch=st.lists(EVENT, max_size=12))
    def send(self, batch: list[tuple[str, str, int, int, int, int, int, int, int]]) -> None:
        rows = []
        for kind, type_, side, id, who, slot, wh, price, later in batch:
            known = next((o for o in self.plain.orders if o.id == id), None)
            owner = known.participant if known is not None and kind != "new" and who else who
            self.time += later
            rows.append((kind, type_, side, id, owner, slot, wh, price, self.time))
        columns = list(zip(*rows, strict=True)) if rows else [[]] * 9
        events = make_events(
            np.array(columns[3], dtype=np.int64),
            kind=np.array([KINDS[k] for k in columns[0]], dtype=np.int64),
            order_type=np.array([ORDER_TYPES[t] for t in columns[1]], dtype=np.int64),
            side=columns[2],
            participant=columns[4],
            slot=columns[5],
            quantity_wh=columns[6],
            price_micro_per_kwh=columns[7],
            time=columns[8],
        )
        before = self.book
        kept = [a.copy() for a in (before.nodes, before.levels, before.words, before.lanes, before.table, before.marks)]
        self.book, done = step(self.book, events)
        for old, now in zip(
            kept, (before.nodes, before.levels, before.words, before.lanes, before.table, before.marks), strict=True
        ):
            assert np.array_equal(old, now)
        first_fill, first_removal = len(self.plain.fills), len(self.plain.removals)
        said = [self.plain.apply(row, *event) for row, event in enumerate(rows)]
        assert [STATUS[int(s)] for s in done.status] == said
        assert list(map(tuple, done.fills.table.T.tolist())) == self.plain.fills[first_fill:]
        removals = [(*row[:5], REASONS[row[5]]) for row in done.removals.table.T.tolist()]
        assert removals == self.plain.removals[first_removal:]
        taken = [sum(f[6] for f in self.plain.fills[first_fill:] if f[0] == row) for row in range(len(rows))]
        assert done.filled_wh.tolist() == taken

    @invariant()
    def same_orders_rest(self) -> None:
        if not hasattr(self, "book"):
            return
        orders, slots = resting_orders(self.book)
        ours = list(
            zip(
                slots.tolist(),
                orders.price_micro_per_kwh.tolist(),
                orders.id.tolist(),
                orders.quantity_wh.tolist(),
                strict=True,
            )
        )
        theirs = sorted(self.plain.orders, key=lambda o: (o.slot, o.price, o.rank))
        assert ours == [(o.slot, o.price, o.id, o.quantity) for o in theirs]
        for slot in self.plain.gates:
            view = depth(self.book, slot)
            bids = sorted({o.price for o in theirs if o.slot == slot and o.side == 1}, reverse=True)
            asks = sorted({o.price for o in theirs if o.slot == slot and o.side == -1})
            assert view.bid_price_micro_per_kwh.tolist() == bids
            assert view.ask_price_micro_per_kwh.tolist() == asks
            assert not bids or not asks or bids[0] < asks[0]
            assert int(view.bid_quantity_wh.sum() + view.ask_quantity_wh.sum()) == sum(o.quantity for o in theirs if o.slot == slot)


SameLife.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestSameLife = SameLife.TestCase
