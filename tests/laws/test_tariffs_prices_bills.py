"""Prices add up item by item, the limit price sits on the knife edge, and bills of any slots sum to exactly zero."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walras.errors import InputError, RangeError
from walras.slots import SlotGrid
from walras.tariffs import (
    ACCOUNTS,
    Contract,
    LocalTariff,
    PriceItem,
    TimeWindow,
    bill_balance,
    bill_layout,
    gross_limit,
    limit_price,
    local_charges,
    local_cost_nano,
    make_bills,
    net_limit,
    price_table,
)
from walras.units import Int64

GRID = SlotGrid(datetime(2015, 12, 31, 23, tzinfo=UTC), 15, "Europe/Berlin")
LEVIES = (PriceItem("renewables", 63_540), PriceItem("electricity_tax", 20_500))
CONTRACTS = (
    Contract("flat", "flat", 71_000, 68_100, LEVIES, 1_900),
    Contract(
        "night",
        "time_of_use",
        80_000,
        70_000,
        LEVIES[1:],
        1_900,
        (
            TimeWindow("night", 0, 360, tuple(range(7)), 50_000, 30_000),
            TimeWindow("weekend", 600, 1_440, (5, 6), 60_000),
        ),
    ),
    Contract("dynamic", "dynamic", 15_000, 68_100, LEVIES, 700),
)
LOCAL = LocalTariff(20_000, LEVIES[1:], 1_900, 5_000)
TARIFFS = st.builds(
    LocalTariff,
    st.integers(0, 200_000),
    st.tuples(st.builds(PriceItem, st.just("levy"), st.integers(0, 100_000))),
    st.sampled_from([0, 700, 1_900, 2_500]),
    st.integers(0, 50_000),
    st.booleans(),
)


@dataclass(frozen=True)
class Delivered:
    supplied_wh: Int64
    exported_wh: Int64
    bought_wh: Int64
    local_nano: Int64
    imbalance_nano: Int64


def random_delivered(rng: np.random.Generator, slots: int, members: int) -> Delivered:
    def column(high: int) -> Int64:
        return rng.integers(0, high, (slots, members)) * (rng.random((slots, members)) < 0.6)

    bought = column(3_000)
    signed = rng.integers(-300_000_000, 900_000_000, (slots, members))
    return Delivered(column(3_000), column(3_000), bought, np.where(bought > 0, signed, -np.abs(signed)), column(1_000) * 400_000)


@settings(max_examples=300, deadline=None)
@given(TARIFFS, st.integers(-300_000, 600_000), st.integers(1, 10**6))
def test_the_limit_is_no_dearer_than_the_own_contract_and_one_micro_more_is(local: LocalTariff, own: int, wh: int) -> None:
    limit = int(limit_price(own, local))
    assert int(local_cost_nano(limit * wh, wh, local)) <= own * wh
    whole = 10_000 * wh  # so much that VAT on the trade is a whole number
    assert int(local_cost_nano((limit + 1) * whole, whole, local)) > own * whole


@given(st.integers(-(10**9), 10**9), st.integers(0, 10**6))
def test_net_and_gross_limits_are_each_others_inverse(limit: int, fee: int) -> None:
    assert net_limit(gross_limit(limit, fee), fee) == limit


def test_a_fee_inside_the_merit_order_leaves_the_buyer_the_same_price() -> None:
    """A buyer at its gross limit pays price + fee = gross limit exactly when the mechanism's price is its net limit."""
    net = int(limit_price(300_000, LOCAL))
    fee = local_charges(LOCAL)
    assert gross_limit(net, fee) == 300_000


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_items_are_what_the_contract_says_and_add_up_to_the_all_in_price(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slots = range(first := int(rng.integers(0, 30_000)), first + 300)
    wholesale = rng.integers(-130_000, 200_000, 300)
    table = price_table(CONTRACTS, LOCAL, GRID, slots, wholesale)
    assert np.array_equal(table.item_micro.sum(axis=2), table.import_micro)
    for t in range(0, 300, 7):
        local = GRID.local(slots[t])
        minute = local.hour * 60 + local.minute
        for c, contract in enumerate(CONTRACTS):
            energy, network = contract.energy_micro_per_kwh, contract.network_micro_per_kwh
            if contract.kind == "dynamic":
                energy += int(wholesale[t])
            for window in contract.windows:
                if window.start_minute <= minute < window.end_minute and local.weekday() in window.weekdays:
                    energy = window.energy_micro_per_kwh
                    network = network if window.network_micro_per_kwh is None else window.network_micro_per_kwh
            net = energy + network + sum(levy.micro_per_kwh for levy in contract.levies)
            vat = net * contract.vat_basis_points // 10_000
            assert table.import_micro[t, c] == net + vat
            assert table.item_micro[t, c, 0] == energy
            assert table.item_micro[t, c, -1] == vat
            assert table.limit_micro[t, c] == limit_price(net + vat, LOCAL)


@pytest.mark.parametrize(("day", "count", "night"), [(date(2016, 3, 27), 92, 20), (date(2016, 10, 30), 100, 28)])
def test_days_of_92_and_100_quarter_hours_have_nights_of_20_and_28(day: date, count: int, night: int) -> None:
    slots = GRID.local_day(day)
    table = price_table(CONTRACTS, LOCAL, GRID, slots, np.zeros(count, np.int64))
    assert len(slots) == count
    assert int((table.item_micro[:, 1, 0] == 50_000).sum()) == night


def plain_bills(
    local: LocalTariff, first: int, wholesale: Int64, contract_of: Int64, feed_in: Int64, d: Delivered
) -> list[dict[str, int]]:
    """The same bills, a member and a slot at a time, in Python whole numbers."""
    table = price_table(CONTRACTS, local, GRID, range(first, first + wholesale.size), wholesale)
    bills: list[dict[str, int]] = []
    for i, c in enumerate(contract_of.tolist()):
        bill = dict.fromkeys(bill_layout(table, local).items, 0)
        for t in range(wholesale.size):
            for k, name in enumerate(table.items):
                bill[name] += int(d.supplied_wh[t, i]) * int(table.item_micro[t, c, k])
            wh, trade = int(d.bought_wh[t, i]), int(d.local_nano[t, i])
            bill["local_trade"] += trade
            bill["local_network"] += wh * local.network_micro_per_kwh
            for levy in local.levies:
                bill[f"local_{levy.name}"] += wh * levy.micro_per_kwh
            bill["local_operator"] += wh * local.operator_fee_micro_per_kwh
            bill["local_vat"] += int(local_cost_nano(max(trade, 0), wh, local)) - max(trade, 0) if wh else 0
            bill["feed_in"] -= int(d.exported_wh[t, i]) * int(feed_in[i])
            bill["imbalance"] += int(d.imbalance_nano[t, i])
        fees = sum(bill[k] for k in bill if k.startswith("local_") and k not in ("local_trade", "local_vat"))
        bill["local_vat"] -= fees
        bills.append(bill)
    return bills


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), TARIFFS)
def test_bills_equal_a_plain_loop_and_every_nano_has_a_receiver(seed: int, local: LocalTariff) -> None:
    rng = np.random.default_rng(seed)
    slots, members, first = int(rng.integers(1, 6)), int(rng.integers(1, 6)), int(rng.integers(0, 30_000))
    wholesale = rng.integers(-130_000, 200_000, slots)
    contract_of, feed_in = rng.integers(0, 3, members), rng.integers(-10_000, 130_000, members)
    delivered = random_delivered(rng, slots, members)
    table = price_table(CONTRACTS, local, GRID, range(first - 3, first + slots + 2), np.pad(wholesale, (3, 2)))
    layout = bill_layout(table, local)
    bills = make_bills(layout, table, range(first, first + slots), contract_of, feed_in, delivered)
    plain = plain_bills(local, first, wholesale, contract_of, feed_in, delivered)
    assert [dict(zip(bills.items, row, strict=True)) for row in bills.nano.tolist()] == plain
    assert bill_balance(bills) == 0
    receipts = dict.fromkeys(ACCOUNTS, 0)
    for bill in plain:
        for name, nano in bill.items():
            receipts[ACCOUNTS[int(layout.account[layout.items.index(name)])]] += nano
    assert bills.received_nano.tolist() == list(receipts.values())


def test_bills_of_slots_add_up_to_the_bill_of_the_range() -> None:
    rng = np.random.default_rng(3)
    table = price_table(CONTRACTS, LOCAL, GRID, range(10, 18), rng.integers(0, 90_000, 8))
    layout, contract_of, feed_in = bill_layout(table, LOCAL), np.array([0, 1, 2, 1]), np.array([0, 80_000, 123_100, 0])
    d = random_delivered(rng, 8, 4)
    whole = make_bills(layout, table, range(10, 18), contract_of, feed_in, d)
    parts = []
    for t in range(8):
        slot = Delivered(*(column[t] for column in vars(d).values()))
        parts.append(make_bills(layout, table, range(10 + t, 11 + t), contract_of, feed_in, slot))
    assert np.array_equal(sum(part.nano for part in parts), whole.nano)


def test_a_bill_by_hand() -> None:
    """2 kWh on the flat contract, 1 kWh from the roof next door at 0.15, and for that neighbour 3 kWh fed in at 0.12.

    Flat: net 0.071 + 0.0681 + 0.06354 + 0.0205 = 0.22314, VAT floor(0.0423966 -> micro) = 0.042396, all-in 0.265536.
    Local: fees 0.02 + 0.0205 + 0.005 = 0.0455, VAT 0.008645.
    """
    table = price_table(CONTRACTS[:1], LOCAL, GRID, range(1), np.zeros(1, np.int64))
    layout = bill_layout(table, LOCAL)
    one = lambda *v: np.array(v)  # noqa: E731  - a column in one word
    d = Delivered(one(2_000, 0), one(0, 3_000), one(1_000, 0), one(150_000_000, -150_000_000), one(0, 0))
    bills = make_bills(layout, table, range(1), one(0, 0), one(0, 120_000), d)
    assert bills.total_nano.tolist() == [2 * 265_536_000 + 150_000_000 + 45_500_000 + 8_645_000, -150_000_000 - 360_000_000]
    assert dict(zip(ACCOUNTS, bills.received_nano.tolist(), strict=True)) == {
        "supplier": 142_000_000 - 360_000_000,
        "grid_operator": 136_200_000 + 20_000_000,
        "state": 2 * (63_540_000 + 20_500_000 + 42_396_000) + 20_500_000 + 8_645_000,
        "operator": 5_000_000,
        "balancing": 0,
    }


def test_all_faults_of_a_price_table_come_at_once() -> None:
    with pytest.raises(InputError) as caught:
        price_table((CONTRACTS[0], CONTRACTS[0]), LOCAL, GRID, range(0, 8, 2), np.zeros(3, np.int64))
    assert [fault.field for fault in caught.value.faults] == ["slots", "wholesale_micro", "contract"]


def test_prices_and_bills_beyond_their_range_are_refused() -> None:
    with pytest.raises(RangeError):
        price_table(CONTRACTS, LOCAL, GRID, range(1), np.array([10**9]))
    table = price_table(CONTRACTS, LOCAL, GRID, range(1), np.zeros(1, np.int64))
    layout, zero = bill_layout(table, LOCAL), np.zeros(1, np.int64)
    huge = Delivered(np.array([10**14]), zero, zero, zero, zero)
    with pytest.raises(RangeError):
        make_bills(layout, table, range(1), zero, zero, huge)
    with pytest.raises(InputError):
        make_bills(layout, table, range(1, 2), zero, zero, Delivered(zero, zero, zero, zero, zero))
    with pytest.raises(InputError):
        make_bills(layout, table, range(1), np.zeros(2, np.int64), zero, Delivered(zero, zero, zero, zero, zero))


def test_a_local_levy_may_not_take_the_name_of_another_item() -> None:
    table = price_table(CONTRACTS, LOCAL, GRID, range(1), np.zeros(1, np.int64))
    with pytest.raises(InputError, match="local_trade"):
        bill_layout(table, LocalTariff(0, (PriceItem("trade", 1),), 0, 0))
