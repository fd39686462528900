"""Laws of the circuits: for any day the true statement has a witness, and the inputs leave no wire any choice.

An under-constrained wire is how a false witness gets through a circuit whose honest runs all pass. So each wire is shown to follow
from the inputs by rules that are sound on their own, whatever the prover does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofs_world import cases, days, salt
from walras.metering.proofs import (
    CIRCUITS,
    DAY_SLOTS,
    MAX_WH,
    BelowLimit,
    Circuit,
    Day,
    Reduction,
    baseline_context,
    circuit,
    day_sum,
    make_day,
    net_position,
    violations,
    witness_of,
)
from walras.metering.proofs.poseidon import FULL_ROUNDS, SCALAR_FIELD, parameters, poseidon
from walras.metering.proofs.r1cs import Constraint, value_of

WH = st.one_of(st.integers(0, MAX_WH), st.sampled_from([0, 1, MAX_WH - 1, MAX_WH]))
CONTEXT = days()[0].context


def column() -> st.SearchStrategy[list[int]]:
    return st.lists(WH, min_size=DAY_SLOTS, max_size=DAY_SLOTS)


@st.composite
def any_day(draw: st.DrawFn) -> Day:
    return make_day(draw(column()), draw(column()), draw(st.integers(0, 2**248 - 1)), draw(st.binary(min_size=31, max_size=31)))


def breaks(statement: object, openings: list[Day]) -> bool:
    found = circuit(statement.circuit)  # type: ignore[attr-defined]
    return bool(violations(found, witness_of(found, statement, openings)))  # type: ignore[arg-type]


@settings(max_examples=6, deadline=None)
@given(any_day())
def test_the_sums_of_any_day_are_provable_and_no_other_sums(day: Day) -> None:
    peak = int((day.import_wh + day.export_wh).max())
    true = day_sum(day, peak)
    assert not breaks(true, [day])
    assert breaks(replace(true, export_total_wh=(true.export_total_wh + 1) % (DAY_SLOTS * MAX_WH)), [day])
    if peak:
        assert breaks(replace(true, capacity_wh=peak - 1), [day])


@settings(max_examples=12, deadline=None)
@given(any_day(), st.integers(0, DAY_SLOTS - 1), st.integers(1, MAX_WH + 1))
def test_below_a_limit_is_provable_exactly_when_it_is_true(day: Day, slot: int, limit: int) -> None:
    reading = int(day.import_wh[slot])
    for bound in {limit, reading, reading + 1} - {0}:
        statement = BelowLimit(day.commitment, day.context, slot, bound)
        assert breaks(statement, [day]) == (reading >= bound)


@settings(max_examples=6, deadline=None)
@given(st.lists(any_day(), min_size=1, max_size=4), st.integers(0, DAY_SLOTS - 1), st.integers(-2, 2))
def test_a_net_position_is_provable_exactly_when_it_is_true(meters: list[Day], slot: int, off: int) -> None:
    meters = [replace(day, context=number) for number, day in enumerate(meters)]
    true = net_position(meters, slot)
    if abs(true.net_wh + off) <= 4 * MAX_WH:
        assert breaks(replace(true, net_wh=true.net_wh + off), meters) == (off != 0)


@settings(max_examples=6, deadline=None)
@given(column(), column(), st.integers(0, 96), st.integers(0, 96), st.integers(-2, 2))
def test_a_reduction_is_provable_exactly_when_it_is_true(taken: list[int], agreed: list[int], a: int, b: int, off: int) -> None:
    day = make_day(taken, [0] * DAY_SLOTS, CONTEXT, salt(0))
    baseline = make_day(agreed, [0] * DAY_SLOTS, baseline_context(CONTEXT), salt(1))
    first, until = min(a, b), max(a, b)
    reduced = int((baseline.import_wh - day.import_wh)[first:until].sum())
    claim = max(0, reduced + off)
    statement = Reduction(day.commitment, CONTEXT, baseline.commitment, first, until, claim)
    assert breaks(statement, [day, baseline]) == (claim > reduced)


def test_the_hash_is_the_published_one() -> None:
    """poseidon(1, 2) and poseidon(1, ..., 16) as circomlib 2.0.5 computes them; the former is in its own tests."""
    assert poseidon([1, 2]) == 7853200120776062878684798364095072458815029376092732009249414926327459813530
    assert poseidon(list(range(1, 17))) == 9989051620750914585850546081941653841776809718687451684622678807385399211877


def test_the_matrix_mixes_with_no_zero_minor_of_size_two() -> None:
    """A Cauchy matrix is MDS: every square part is regular; looked at where it is cheap."""
    matrix = parameters().matrix
    assert len(parameters().constants) == FULL_ROUNDS + 68
    for i in range(16):
        for j in range(16):
            minor = matrix[i][j] * matrix[i + 1][j + 1] - matrix[i][j + 1] * matrix[i + 1][j]
            assert minor % SCALAR_FIELD


def is_bit(one: Constraint) -> int | None:
    """The wire that `b * (b - 1) = 0` makes a bit."""
    if one.c:
        return None
    for alone, beside in ((dict(one.a), dict(one.b)), (dict(one.b), dict(one.a))):
        wires = set(alone) - {0}
        if len(alone) == len(wires) == 1 and set(beside) == wires | {0}:
            (wire,) = wires
            return wire if (beside[0] + beside[wire]) % SCALAR_FIELD == 0 else None
    return None


def undetermined(found: Circuit, trusted: Sequence[str] = ()) -> set[int]:
    """Wires that the rules do not show to follow from the inputs (and from what is `trusted`).

    1. The one unknown of a constraint, outside of its product. 2. Unknown bits in a constraint outside of its product, whose
    factors are different powers of two of one sign with a sum below the modulus: one way to write a number. 3. Unknown bits that a
    constraint says sum to 1, where another gives them the factors 0, 1, 2, ...: one of them is the index.
    """
    inputs = [name for name in found.names if name.count(".") == 1 and not name.startswith(("main.part[", "main.inside["))]
    bits = {wire for one in found.constraints if (wire := is_bit(one)) is not None}
    one_hot = {frozenset(wire for wire, _ in one.c if wire) for one in found.constraints if _sums_to_one(one)}
    in_product = [{wire for wire, _ in (*one.a, *one.b)} for one in found.constraints]
    unknown = [{wire for wire, _ in one.c} | product for one, product in zip(found.constraints, in_product, strict=True)]
    waiting = defaultdict(list)
    for number, wires in enumerate(unknown):
        for wire in wires:
            waiting[wire].append(number)
    fresh = {0, *(found.names[name] for name in (*inputs, *trusted))}
    known: set[int] = set()
    while fresh:
        touched = {number for wire in fresh for number in waiting[wire]}
        known |= fresh
        for number in touched:
            unknown[number] -= fresh
        fresh = set()
        for number in touched:
            left = unknown[number]
            if not left or left & in_product[number]:
                continue
            if len(left) == 1:
                fresh |= left
            elif left <= bits:
                factors = [coefficient for wire, coefficient in found.constraints[number].c if wire in left]
                if _different_powers(factors):
                    fresh |= left
                elif sorted(map(_size, factors)) == list(range(1, len(factors) + 1)):
                    fresh |= {wire for group in one_hot if left <= group and len(group) == len(left) + 1 for wire in group}
        fresh -= known
    return set(range(found.wires)) - known


def _sums_to_one(one: Constraint) -> bool:
    factors = {coefficient for wire, coefficient in one.c if wire}
    return not one.a and len(factors) == 1 and (dict(one.c).get(0, 0) + next(iter(factors))) % SCALAR_FIELD == 0


def _size(value: int) -> int:
    return min(value, SCALAR_FIELD - value)


def _different_powers(values: list[int]) -> bool:
    sizes = [_size(value) for value in values]
    one_sign = len({value == size for value, size in zip(values, sizes, strict=True)}) == 1
    powers = all(size & (size - 1) == 0 for size in sizes)
    return one_sign and powers and len(set(sizes)) == len(sizes) and sum(sizes) < SCALAR_FIELD


@pytest.mark.parametrize("name", CIRCUITS)
def test_the_inputs_leave_no_wire_any_choice(name: str) -> None:
    """But for a slot's word and seventh, of which 7 * word + seventh = slot with 14 words and 7 sevenths has one pair."""
    found = circuit(name)
    assert not undetermined(found, [hint for hint in ("main.place.word", "main.place.seventh") if hint in found.names])


@pytest.mark.parametrize("name", CIRCUITS)
def test_turning_any_one_wire_breaks_a_constraint(name: str) -> None:
    statement, openings = cases()["below_limit at 50" if name == "below_limit" else name]
    found = circuit(name)
    witness = witness_of(found, statement, openings)
    touching = defaultdict(list)
    for one in found.constraints:
        for wire in {wire for wire, _ in (*one.a, *one.b, *one.c)}:
            touching[wire].append(one)
    for wire in np.random.default_rng(5).permutation(np.arange(1, found.wires))[:600].tolist():
        turned = [*witness]
        turned[wire] = (turned[wire] + 1) % SCALAR_FIELD
        assert any((value_of(o.a, turned) * value_of(o.b, turned) - value_of(o.c, turned)) % SCALAR_FIELD for o in touching[wire])


@pytest.mark.parametrize("position", [0, 100, 500, 1_000])
def test_the_rules_do_find_a_wire_that_was_left_free(position: int) -> None:
    """Take out any one constraint that gives a wire its value, and that wire is named."""
    found = circuit("below_limit")
    giving = [number for number, one in enumerate(found.constraints) if is_bit(one) is None and one.c]
    cut = giving[position % len(giving)]
    kept = found.constraints[:cut] + found.constraints[cut + 1 :]
    assert undetermined(replace(found, constraints=kept), ["main.place.word", "main.place.seventh"])


def test_the_rules_do_find_a_bit_that_may_be_any_number() -> None:
    found = circuit("below_limit")
    first = next(number for number, one in enumerate(found.constraints) if is_bit(one) is not None)
    kept = found.constraints[:first] + found.constraints[first + 1 :]
    assert undetermined(replace(found, constraints=kept), ["main.place.word", "main.place.seventh"])
