"""Pools: the invariant never falls, no round trip earns, adding and removing liquidity never earns, digits are exact."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.books import conventions, nasty_books
from walras.errors import InputError, RangeError
from walras.market import _wide
from walras.market.concentrated import CONCENTRATED, Concentrated, open_concentrated
from walras.market.constant_product import CONSTANT_PRODUCT, ConstantProduct, open_constant_product, swap_many
from walras.market.constant_sum import CONSTANT_SUM, ConstantSum, open_constant_sum
from walras.market.conventions import Conventions
from walras.market.expiring import EXPIRING, Expiring, open_expiring
from walras.market.laws import assert_laws
from walras.market.mechanism import Mechanism, run
from walras.market.orders import Orders, make_orders
from walras.market.pool import MAX_POOL_NANO, MAX_POOL_WH, PPM, SwapRefused, buy_at_most, impermanent_loss_nano, sell_at_least
from walras.market.stableswap import STABLESWAP, StableSwap, balance, exact_invariant, invariant, open_stableswap

AnyPool = ConstantProduct | ConstantSum | StableSwap | Concentrated | Expiring

WH = st.one_of(st.integers(1, 50), st.integers(1, 10**6), st.integers(1, 10**12))
NANO = st.one_of(st.integers(1, 10**4), st.integers(1, 10**13), st.integers(1, 2**62))
PRICE = st.one_of(st.integers(1, 10), st.integers(10_000, 500_000), st.integers(1, 10**9))
FEE = st.sampled_from([0, 0, 1, 3_000, 100_000, PPM - 1])


@st.composite
def concentrated_pools(draw: st.DrawFn) -> Concentrated:
    low, price, high = sorted(draw(st.lists(PRICE, min_size=3, max_size=3)))
    return open_concentrated(draw(WH), price, low, high + 1, draw(FEE))


@st.composite
def expiring_pools(draw: st.DrawFn) -> Expiring:
    low, high = sorted([draw(PRICE) - 1, draw(PRICE)])
    capacity = draw(WH)
    return open_expiring(draw(st.integers(0, capacity)), draw(NANO), capacity, low, high, draw(FEE))


POOLS: st.SearchStrategy[AnyPool] = st.one_of(
    st.builds(open_constant_product, WH, NANO, FEE),
    st.builds(open_constant_sum, WH, NANO, PRICE, FEE),
    st.builds(open_stableswap, st.integers(1, 10**9), st.integers(1, 10**15), PRICE, st.sampled_from([1, 10, 100, 5_000]), FEE),
    concentrated_pools(),
    expiring_pools(),
)
SWAPS = st.lists(st.tuples(st.sampled_from([1, -1]), st.one_of(st.integers(1, 100), st.integers(1, 10**12))), max_size=8)


def worth(pool: AnyPool) -> Fraction:
    """The curve's own invariant, exact, in a unit that swaps do not change."""
    if isinstance(pool, ConstantProduct):
        return Fraction(pool.energy_wh * pool.money_nano)
    if isinstance(pool, ConstantSum):
        return Fraction(pool.energy_wh * pool.price_micro_per_kwh + pool.money_nano)
    if isinstance(pool, Expiring):
        return Fraction(pool.invariant())
    if isinstance(pool, StableSwap):
        return Fraction(exact_invariant(pool.energy_wh * pool.price_micro_per_kwh << 8, pool.money_nano << 8, pool.amplification))
    return min(Fraction(pool.money_nano - pool.curve_money_nano()), Fraction(pool.energy_wh - pool.curve_energy_wh()))


def swap(pool: AnyPool, side: int, wh: int) -> tuple[AnyPool, int | None]:
    """The pool after, and what the trader pays (negative: gets); None where the pool cannot."""
    money = pool.quote_buy(wh) if side == 1 else pool.quote_sell(wh)
    if money is None:
        return pool, None
    return (pool.buy(wh), money) if side == 1 else (pool.sell(wh), -money)


@settings(max_examples=400, deadline=None)
@given(POOLS, SWAPS)
def test_no_swap_lets_the_invariant_fall_or_the_reserves_run_out(pool: AnyPool, swaps: list[tuple[int, int]]) -> None:
    for side, wh in swaps:
        after, paid = swap(pool, side, wh)
        assert after.energy_wh == pool.energy_wh - (side * wh if paid is not None else 0)
        assert after.money_nano == pool.money_nano + (paid or 0)
        assert 0 <= after.energy_wh <= MAX_POOL_WH
        assert 0 <= after.money_nano <= MAX_POOL_NANO
        if isinstance(pool, Concentrated):
            assert worth(after) >= 0
            assert pool.low_root <= after.root <= pool.high_root  # type: ignore[union-attr]
        else:
            assert worth(after) >= worth(pool)
        pool = after


@settings(max_examples=400, deadline=None)
@given(POOLS, SWAPS, st.sampled_from([1, -1]), WH)
def test_no_round_trip_earns(pool: AnyPool, others: list[tuple[int, int]], side: int, wh: int) -> None:
    for other, size in others:
        pool, _ = swap(pool, other, size)
    there, paid = swap(pool, side, wh)
    if paid is None:
        return
    back, returned = swap(there, -side, wh)
    if returned is not None:
        assert paid + returned >= 0
        assert back.money_nano >= pool.money_nano


@settings(max_examples=250, deadline=None)
@given(POOLS, SWAPS)
def test_no_closed_walk_earns(pool: AnyPool, swaps: list[tuple[int, int]]) -> None:
    start, spent = pool, 0
    for side, wh in swaps:
        pool, paid = swap(pool, side, wh)
        spent += paid or 0
    wh = pool.energy_wh - start.energy_wh
    if wh:
        pool, paid = swap(pool, 1 if wh > 0 else -1, abs(wh))
        if paid is None:
            return
        spent += paid
    assert spent >= 0


@settings(max_examples=300, deadline=None)
@given(POOLS, SWAPS, st.integers(1, 10**15), st.integers(0, 10**15))
def test_adding_and_removing_liquidity_never_earns_and_never_dilutes(
    pool: AnyPool, swaps: list[tuple[int, int]], shares: int, part: int
) -> None:
    for side, wh in swaps:
        pool, _ = swap(pool, side, wh)
    if not pool.shares:
        return
    grown, wh_in, nano_in = pool.mint(shares)
    part = min(part, shares - 1)
    back, wh_a, nano_a = grown.burn(part) if part else (grown, 0, 0)
    back, wh_b, nano_b = back.burn(shares - part)
    assert wh_a + wh_b <= wh_in
    assert nano_a + nano_b <= nano_in
    assert back.energy_wh >= pool.energy_wh
    assert back.money_nano >= pool.money_nano
    assert Fraction(grown.money_nano, grown.shares) >= Fraction(pool.money_nano, pool.shares)
    assert Fraction(grown.energy_wh, grown.shares) >= Fraction(pool.energy_wh, pool.shares)


@settings(max_examples=200, deadline=None)
@given(POOLS, st.sampled_from([1, -1]), WH, st.integers(-1, 1))
def test_the_slippage_limit_passes_at_the_quote_and_refuses_beyond(pool: AnyPool, side: int, wh: int, off: int) -> None:
    quote = pool.quote_buy(wh) if side == 1 else pool.quote_sell(wh)
    limit = (quote or 0) + off
    made = buy_at_most(pool, wh, limit) if side == 1 else sell_at_least(pool, wh, limit)
    if quote is None or off * side < 0:
        assert isinstance(made, SwapRefused)
        assert made.quote_nano == quote
    else:
        assert not isinstance(made, SwapRefused)
        assert made.money_nano == quote


@settings(max_examples=150, deadline=None)
@given(st.builds(open_constant_sum, WH, NANO, PRICE, FEE), WH)
def test_the_constant_sum_pool_keeps_its_fee_to_the_last_nano(pool: ConstantSum, wh: int) -> None:
    worth_it = wh * pool.price_micro_per_kwh
    cost, proceeds = pool.quote_buy(wh), pool.quote_sell(wh)
    if cost is not None:
        assert cost * (PPM - pool.fee_ppm) >= worth_it * PPM > (cost - 1) * (PPM - pool.fee_ppm)
    if proceeds is not None:
        assert proceeds * PPM <= worth_it * (PPM - pool.fee_ppm) < (proceeds + 1) * PPM


@pytest.mark.parametrize("wh", [1, 7, 500, 1_000, 2_499])
def test_a_concentrated_pool_on_exact_roots_never_owes_the_curve(wh: int) -> None:
    pool = open_concentrated(10_000, 90_000, 40_000, 160_000, 0)
    assert pool.energy_wh * pool.root * pool.high_root == pool.liquidity * 2**96 * (pool.high_root - pool.root)
    for after in (pool.sell(wh), pool.buy(wh)):
        assert after.curve_energy_wh() <= after.energy_wh
        assert after.curve_money_nano() <= after.money_nano


@settings(max_examples=150, deadline=None)
@given(expiring_pools(), SWAPS)
def test_the_expiring_pool_prices_between_feed_in_and_retail_and_its_loss_is_bounded(
    pool: Expiring, swaps: list[tuple[int, int]]
) -> None:
    start = pool
    for side, wh in swaps:
        after, paid = swap(pool, side, wh)
        assert isinstance(after, Expiring)
        if paid is not None and side == 1:
            assert paid >= pool.feed_in_micro_per_kwh * wh
            if not pool.fee_ppm:
                assert paid <= pool.retail_micro_per_kwh * wh
        elif paid is not None:
            assert -paid <= pool.retail_micro_per_kwh * wh
            if not pool.fee_ppm:
                assert -paid >= pool.feed_in_micro_per_kwh * wh
        pool = after
    spread = start.retail_micro_per_kwh - start.feed_in_micro_per_kwh
    lost = Fraction(start.invariant(), 2 * start.capacity_wh) - pool.expire()[0].money_nano
    assert lost <= Fraction(spread * start.capacity_wh, 2)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(1, 2**64 - 1))
def test_wide_arithmetic_equals_python(a: int, b: int, divisor: int) -> None:
    high, low = _wide.multiply_wide(np.uint64(a), np.uint64(b))
    assert (int(high) << 64) + int(low) == a * b
    if int(high) < divisor:
        quotient, remainder = _wide.divide_wide(np.uint64(high), np.uint64(low), np.uint64(divisor))
        assert (int(quotient), int(remainder)) == divmod(a * b, divisor)


@settings(max_examples=150, deadline=None)
@given(st.builds(open_constant_product, WH, NANO, FEE), SWAPS)
def test_bulk_swaps_have_the_digits_of_single_ones(pool: ConstantProduct, swaps: list[tuple[int, int]]) -> None:
    side = np.array([s for s, _ in swaps], dtype=np.int64)
    wh = np.array([w for _, w in swaps], dtype=np.int64)
    after, money = swap_many(pool, side, wh)
    for row, (s, w) in enumerate(swaps):
        pool, paid = swap(pool, s, w)  # type: ignore[assignment]
        assert money[row] == (paid or 0)
    assert after == pool


def decimal_invariant(x: int, y: int, amplification: int) -> Decimal:
    """D by bisection of the paper's equation in 80 digits; no Newton, no integers."""
    with localcontext() as context:
        context.prec = 80
        a4, low, high = Decimal(2 * amplification), Decimal(0), Decimal(x + y + 1)
        for _ in range(250):
            d = (low + high) / 2
            if a4 * (x + y) + d >= a4 * d + d**3 / (4 * Decimal(x) * y):
                low = d
            else:
                high = d
        return +low


@settings(max_examples=60, deadline=None)
@given(st.integers(10**6, 10**15), st.integers(10**6, 10**15), st.sampled_from([1, 10, 100, 2_000]))
def test_the_stableswap_invariant_equals_the_equation_in_high_precision(x: int, y: int, amplification: int) -> None:
    d = decimal_invariant(x, y, amplification)
    assert abs(invariant(x, y, amplification) - d) <= 2 + max(x, y) // min(x, y)
    assert exact_invariant(x, y, amplification) == int(d + Decimal("1e-40"))


@settings(max_examples=120, deadline=None)
@given(st.integers(10**4, 10**7), st.integers(1, 40), st.sampled_from([10, 100, 2_000]), st.integers(1, 10**6))
def test_stableswap_quotes_are_the_deployed_digits_while_the_pool_is_not_far_off_balance(
    e: int, tilt: int, a: int, wh: int
) -> None:
    m = e * 300_000 * tilt // 10 + 7
    pool = open_stableswap(e, m, 300_000, a, 0)
    deployed = m - balance((e + wh) * 300_000, invariant(e * 300_000, m, a), a) - 1
    quote = pool.quote_sell(wh)
    assert quote is not None
    assert quote <= max(0, deployed)
    if wh <= e:
        assert quote >= deployed - 1


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10**9), st.integers(1, 10**15), st.sampled_from([1, 3, 10, 100, 2_000]), st.integers(1, 10**9))
def test_stableswap_never_gives_more_than_the_equation_allows_and_hardly_less(e: int, m: int, a: int, wh: int) -> None:
    pool = open_stableswap(e, m, 1, a, 0)
    quote = pool.quote_sell(wh)
    assert quote is not None
    before, after = decimal_invariant(e, m, a), decimal_invariant(e + wh, m - quote, a) if quote < m else Decimal(0)
    assert after >= before - Decimal("1e-30")


BOOK_POOLS: list[tuple[Mechanism, dict[str, int]]] = [
    (CONSTANT_PRODUCT, {"energy_wh": 1_000, "money_nano": 200_000, "fee_ppm": 3_000}),
    (CONSTANT_PRODUCT, {"energy_wh": 10**12, "money_nano": 5 * 10**12, "fee_ppm": 0}),
    (CONSTANT_SUM, {"energy_wh": 300, "money_nano": 2_000, "price_micro_per_kwh": 5, "fee_ppm": 1_000}),
    (STABLESWAP, {"energy_wh": 900, "money_nano": 9_000, "price_micro_per_kwh": 9, "amplification": 50, "fee_ppm": 400}),
    (
        CONCENTRATED,
        {
            "depth_wh": 9_000,
            "price_micro_per_kwh": 4,
            "low_price_micro_per_kwh": 1,
            "high_price_micro_per_kwh": 200,
            "fee_ppm": 3_000,
        },
    ),
    (
        EXPIRING,
        {
            "energy_wh": 40,
            "money_nano": 10**6,
            "capacity_wh": 90,
            "feed_in_micro_per_kwh": 0,
            "retail_micro_per_kwh": 300,
            "fee_ppm": 500,
        },
    ),
]


@pytest.mark.parametrize(("mechanism", "pool"), BOOK_POOLS)
@settings(max_examples=60, deadline=None)
@given(nasty_books(), conventions())
def test_pool_mechanisms_keep_their_laws_on_nasty_books(
    mechanism: Mechanism, pool: dict[str, int], orders: Orders, chosen: Conventions
) -> None:
    extra = {"pool": pool}
    try:
        run(mechanism, orders, chosen, None, extra)
    except RangeError:
        return
    assert_laws(mechanism, orders, chosen, None, extra)


@pytest.mark.parametrize(("mechanism", "fields"), BOOK_POOLS)
def test_an_order_is_filled_up_to_the_watt_hour_where_its_limit_binds(mechanism: Mechanism, fields: dict[str, int]) -> None:
    for side, limit in ((1, 7), (-1, 3), (1, 100), (-1, 1)):
        orders = make_orders([side], [2_000], [limit])
        done = run(mechanism, orders, Conventions(), None, {"pool": fields})
        energy = int(done.filled_wh[0])
        if 0 < energy < 2_000:
            one_more = make_orders([side, side], [energy, 1], [limit, limit])
            again = run(mechanism, one_more, Conventions(), None, {"pool": fields})
            assert again.filled_wh.tolist() == [energy, 0]


def test_a_missing_pool_names_the_fields_and_a_bad_one_every_fault() -> None:
    orders = make_orders([1], [1], [1])
    for mechanism, fields in BOOK_POOLS:
        with pytest.raises(InputError, match=r"energy_wh|depth_wh"):
            run(mechanism, orders, Conventions(), None, {})
        bad = dict.fromkeys(fields, -1) | {"color": 3}
        with pytest.raises(InputError) as refused:
            run(mechanism, orders, Conventions(), None, {"pool": bad})
        assert {fault.field for fault in refused.value.faults} == set(bad)


def test_impermanent_loss_is_what_holding_would_have_earned_more() -> None:
    """Price four times up: the pool is worth 2 sqrt(4) / (1 + 4) = 4/5 of holding (Pintail, 2019)."""
    pool = open_constant_product(1_000_000, 100_000_000_000, 0)
    after = pool.buy(500_000)
    assert after.price() == 400_000
    held = 1_000_000 * 400_000 + 100_000_000_000
    assert impermanent_loss_nano(pool, after, 400_000) == held // 5
