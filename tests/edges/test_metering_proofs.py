"""A prover with a false witness, and the edges of what can be proven: true by one watt-hour passes, false by one does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from proofs_world import (
    CAPACITY_WH,
    FIRST_SLOT,
    KEY,
    LIMIT_SLOTS,
    METER,
    WINDOW,
    baseline,
    below,
    cases,
    days,
    development_key,
    golden,
    salt,
)
from walras.errors import InputError, MeteringError
from walras.metering.merkle import root_of
from walras.metering.proofs import (
    MAX_WH,
    BelowLimit,
    Day,
    DayStatement,
    DaySum,
    NetPosition,
    Proof,
    Reduction,
    Statement,
    baseline_context,
    circuit,
    context_of,
    day_agrees,
    day_is_signed,
    day_of_payloads,
    day_sum,
    decode_proof,
    make_day,
    manifest,
    net_position,
    prove,
    sign_day,
    statement_from,
    statement_record,
    verify,
    verify_batch,
    verifying_key,
    violations,
    witness_of,
)
from walras.metering.proofs.bn254 import BASE_FIELD, FIELD_1, FIELD_2, multiples, weighted_sum
from walras.metering.proofs.groth16 import prove_unchecked
from walras.metering.proofs.poseidon import SCALAR_FIELD
from walras.metering.reading import encode_payload

DAY = days()[0]
PEAK = int((DAY.import_wh + DAY.export_wh).max())


def broken(statement: Statement, openings: Sequence[Day]) -> int:
    """How many constraints an honest transcript for this statement breaks."""
    found = circuit(statement.circuit)
    return len(violations(found, witness_of(found, statement, openings)))


@pytest.mark.parametrize("name", cases())
def test_a_true_statement_has_a_witness(name: str) -> None:
    assert broken(*cases()[name]) == 0


REDUCTION = cases()["reduction"][0]
FALSE: dict[str, tuple[Statement, tuple[Day, ...]]] = {
    "a total of one Wh less": (replace(day_sum(DAY, CAPACITY_WH), import_total_wh=int(DAY.import_wh.sum()) - 1), (DAY,)),
    "a total of one Wh more": (replace(day_sum(DAY, CAPACITY_WH), export_total_wh=int(DAY.export_wh.sum()) + 1), (DAY,)),
    "a capacity one Wh below the peak": (day_sum(DAY, PEAK - 1), (DAY,)),
    "another salt": (day_sum(DAY, CAPACITY_WH), (replace(DAY, salt=DAY.salt + 1),)),
    "another day under its commitment": (day_sum(DAY, CAPACITY_WH), (days()[1],)),
    "another meter's context": (replace(day_sum(DAY, CAPACITY_WH), context=days()[1].context), (DAY,)),
    "a reading that is the limit": (replace(below(50), import_limit_wh=int(DAY.import_wh[50])), (DAY,)),
    "an export that is the limit": (replace(below(50), export_limit_wh=int(DAY.export_wh[50])), (DAY,)),
    "another slot's limit": (replace(below(int(DAY.import_wh.argmin())), slot=int(DAY.import_wh.argmax())), (DAY,)),
    "a net position one Wh off": (replace(net_position(days(), 50), net_wh=net_position(days(), 50).net_wh + 1), days()),
    "a net position of the next slot": (replace(net_position(days(), 50), slot=51), days()),
    "meters in another order": (net_position(days(), 50), (days()[1], days()[0], days()[2])),
    "a reduction one Wh too large": (replace(REDUCTION, reduction_wh=300 * (WINDOW[1] - WINDOW[0]) + 1), (DAY, baseline())),
    "a reduction in a shorter window": (replace(REDUCTION, until=WINDOW[1] - 1), (DAY, baseline())),
    "readings as their own baseline": (replace(REDUCTION, baseline=DAY.commitment, reduction_wh=0), (DAY, DAY)),
    "another meter's baseline": (
        replace(REDUCTION, baseline=(other := replace(baseline(), context=baseline_context(days()[1].context))).commitment),
        (DAY, other),
    ),
}


@pytest.mark.parametrize("name", FALSE)
def test_a_false_statement_has_none(name: str) -> None:
    statement, openings = FALSE[name]
    assert broken(statement, openings) > 0


def test_a_prover_with_a_false_witness_gets_no_proof_and_a_forced_one_convinces_nobody() -> None:
    """The whole way, with the key in hand: refused by `prove`; made all the same, it does not verify; nor does a true proof shown
    for the false statement, nor any change to one."""
    true, proof = golden("below_limit at 50")
    assert isinstance(true, BelowLimit)
    false = replace(true, import_limit_wh=true.import_limit_wh - 1)
    found, key = circuit("below_limit"), development_key("below_limit")
    witness = witness_of(found, false, [DAY])
    with pytest.raises(MeteringError, match=r"the witness breaks \d+ of 1167 constraints"):
        prove(found, key, witness, (1, 2))
    forced = prove_unchecked(found, key, witness, (1, 2))
    assert not verify(key.verifying, forced, false.public)
    lying = [*witness]  # the true witness, with only the public limit turned
    lying[: len(true.public) + 1] = [1, *false.public]
    assert not verify(key.verifying, prove_unchecked(found, key, lying, (1, 2)), false.public)
    assert verify(key.verifying, proof, true.public)
    assert not verify(key.verifying, proof, false.public)
    again = prove(found, key, witness_of(found, true, [DAY]), (3, 4))
    assert again != proof
    assert verify(key.verifying, again, true.public)


def test_every_golden_proof_holds_for_its_statement_and_for_no_other_number() -> None:
    for name in ("day_sum", "net_position", "reduction", "below_limit at 0"):
        statement, proof = golden(name)
        key = verifying_key(statement.circuit)
        assert verify(key, proof, statement.public)
    for row in range(len(statement.public)):
        turned = [*statement.public]
        turned[row] = (turned[row] + 1) % SCALAR_FIELD
        assert not verify(key, proof, turned)


def test_a_batch_holds_when_all_do_and_fails_when_one_does_not() -> None:
    key = verifying_key("below_limit")
    proven = [(proof, statement.public) for statement, proof in (golden(f"below_limit at {slot}") for slot in LIMIT_SLOTS)]
    assert verify_batch(key, proven)
    swapped = [(proven[0][0], proven[1][1]), (proven[1][0], proven[0][1]), *proven[2:]]
    assert not verify_batch(key, swapped)
    assert verify_batch(key, [])


def test_points_off_the_curve_or_outside_the_subgroup_are_no_proof() -> None:
    statement, proof = golden("below_limit at 50")
    key = verifying_key("below_limit")
    assert proof.a is not None
    off = Proof((proof.a[0], proof.a[1] + 1), proof.b, proof.c)
    assert not verify(key, off, statement.public)
    on_twist = _twist_point_outside_the_subgroup()
    assert not verify(key, Proof(proof.a, on_twist, proof.c), statement.public)
    assert not verify(key, Proof(None, None, None), statement.public)
    too_large = [statement.public[0] + SCALAR_FIELD, *statement.public[1:]]
    assert not verify(key, proof, too_large)
    assert not verify(key, proof, statement.public[:-1])


def _twist_point_outside_the_subgroup() -> tuple[tuple[int, int], tuple[int, int]]:
    """The first point of the twist by x whose order does not divide r: its cofactor is large, so nearly every point is one."""
    from py_ecc.fields import optimized_bn128_FQ2 as FQ2
    from py_ecc.optimized_bn128.optimized_curve import b2, is_inf, multiply

    for x in range(1, 100):
        square = FQ2([x, 0]) ** 3 + b2
        root = square ** ((BASE_FIELD**2 + 15) // 32)  # q^2 = 9 mod 16: one of these is a root where there is one
        for number in range(16):
            unit = FQ2([9, 1]) ** ((BASE_FIELD**2 - 1) // 16 * number)
            candidate = root * unit
            if candidate * candidate == square:
                point = (FQ2([x, 0]), candidate, FQ2.one())
                assert not is_inf(multiply(point, SCALAR_FIELD))
                return (x, 0), (int(candidate.coeffs[0]), int(candidate.coeffs[1]))
    raise AssertionError("no point found")


def test_anybody_can_turn_a_proof_into_another_of_the_same_statement() -> None:
    """Why a proof is never an identifier: (k A, B / k, C) holds where (A, B, C) does."""
    statement, proof = golden("below_limit at 50")
    k = 12_345
    a = weighted_sum(FIELD_1, [proof.a], [k])
    b = weighted_sum(FIELD_2, [proof.b], [pow(k, -1, SCALAR_FIELD)])
    other = Proof(a, b, proof.c)
    assert other != proof
    assert verify(verifying_key("below_limit"), other, statement.public)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DaySum(1, 2, 2 * MAX_WH + 2, 0, 0),
        lambda: DaySum(SCALAR_FIELD, 2, 5, 0, 0),
        lambda: BelowLimit(1, 2, 96, 5),
        lambda: BelowLimit(1, 2, 95, MAX_WH + 2),
        lambda: NetPosition((), 0, 0),
        lambda: NetPosition(((1, 1), (1, 1)), 0, 0),
        lambda: NetPosition(((1, 1),), 0, 4 * MAX_WH + 1),
        lambda: Reduction(1, 2, 3, 5, 4, 0),
        lambda: Reduction(1, 2, 3, 0, 97, 0),
        lambda: Reduction(1, 2, 3, 0, 96, SCALAR_FIELD - 5),
        lambda: Reduction(1, baseline_context(2), 3, 0, 96, 0),
        lambda: make_day([0] * 95, [0] * 96, 1, salt(1)),
        lambda: make_day([MAX_WH + 1] + [0] * 95, [0] * 96, 1, salt(1)),
        lambda: make_day([0] * 96, [-1] + [0] * 95, 1, salt(1)),
        lambda: make_day([0] * 96, [0] * 96, 1, b"short"),
    ],
)
def test_numbers_that_a_field_would_take_for_others_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InputError):
        make()


@pytest.mark.parametrize("slot", [96, 97])
def test_the_two_empty_places_behind_the_day_are_no_slots(slot: int) -> None:
    """Slots 96 and 97 would lie in the last word, as zeros: one constraint is there to refuse them, and no other does."""
    padded = Day(np.append(DAY.import_wh, [0, 0]), np.append(DAY.export_wh, [0, 0]), DAY.context, DAY.salt)
    statement = BelowLimit(DAY.commitment, DAY.context, 95, 1, 1)
    object.__setattr__(statement, "slot", slot)
    assert broken(statement, (padded,)) == 1


def test_a_baseline_does_not_pass_for_the_readings_of_a_reduction() -> None:
    """Two baselines, one upon the other, satisfy the circuit; as a statement about readings the lower one is refused."""
    agreed = make_day([0] * 96, [0] * 96, baseline_context(DAY.context), salt(3))
    above = make_day([500] * 96, [0] * 96, baseline_context(agreed.context), salt(4))
    statement = Reduction(agreed.commitment, DAY.context, above.commitment, 0, 96, 48_000)
    object.__setattr__(statement, "context", agreed.context)
    assert broken(statement, (agreed, above)) == 0
    with pytest.raises(InputError, match="context"):
        replace(statement)


def test_a_claimed_reduction_below_zero_has_no_witness_whatever_the_record_says() -> None:
    statement = replace(REDUCTION)
    object.__setattr__(statement, "reduction_wh", -5)
    object.__setattr__(statement, "first", 70)
    assert broken(statement, (DAY, baseline())) > 0


def test_a_window_that_ends_before_it_starts_has_no_witness() -> None:
    """With first and until exchanged the sum would count backwards: consumption above the baseline would look like a reduction."""
    more = make_day(DAY.import_wh - DAY.import_wh % 20, DAY.export_wh, baseline_context(DAY.context), salt(8))
    statement = Reduction(DAY.commitment, DAY.context, more.commitment, 10, 20, 0)
    object.__setattr__(statement, "first", 20)
    object.__setattr__(statement, "until", 10)
    assert broken(statement, (DAY, more)) > 0


def payloads(day: Day, first: int = FIRST_SLOT) -> list[bytes]:
    rows = zip(day.import_wh.tolist(), day.export_wh.tolist(), strict=True)
    return [encode_payload(first + slot, taken, given, 7 + slot, 0) for slot, (taken, given) in enumerate(rows)]


def test_one_signature_binds_the_merkle_root_and_the_commitment_of_a_day() -> None:
    day, statement = day_of_payloads(METER, payloads(DAY), salt(0))
    assert (day.words, day.context, day.salt) == (DAY.words, DAY.context, DAY.salt)
    assert statement == DayStatement(FIRST_SLOT, root_of(payloads(DAY)), DAY.commitment)
    signature = sign_day(KEY, statement)
    assert day_is_signed(KEY.public_key(), statement, signature)
    assert day_agrees(METER, payloads(DAY), salt(0), statement)
    for other in (
        replace(statement, first_slot=FIRST_SLOT + 96),
        replace(statement, readings_root=bytes(32)),
        replace(statement, commitment=days()[1].commitment),
    ):
        assert not day_is_signed(KEY.public_key(), other, signature)
        assert not day_agrees(METER, payloads(DAY), salt(0), other)


def test_a_commitment_agrees_with_one_meters_readings_under_one_salt_only() -> None:
    statement = day_of_payloads(METER, payloads(DAY), salt(0))[1]
    changed = payloads(DAY)
    changed[50] = encode_payload(FIRST_SLOT + 50, int(DAY.import_wh[50]) + 1, int(DAY.export_wh[50]), 57, 0)
    assert not day_agrees(METER, changed, salt(0), statement)
    assert not day_agrees(METER, changed, salt(0), replace(statement, readings_root=root_of(changed)))
    assert not day_agrees(METER, payloads(DAY, FIRST_SLOT + 96), salt(0), statement)
    assert not day_agrees(bytes(16), payloads(DAY), salt(0), statement)
    assert not day_agrees(METER, payloads(DAY), salt(1), statement)


def test_what_is_no_day_of_payloads_is_refused() -> None:
    whole = payloads(DAY)
    skipping = [*whole[:95], encode_payload(FIRST_SLOT + 96, 1, 1, 500, 0)]
    for wrong in (
        [],
        whole[:95],
        [*whole, whole[0]],
        [whole[1], whole[0], *whole[2:]],
        skipping,
        [b"", *whole[1:]],
        [whole[0] + b"0", *whole[1:]],
    ):
        with pytest.raises(InputError):
            day_of_payloads(METER, wrong, salt(0))


def test_the_same_readings_of_another_meter_day_or_salt_have_another_commitment() -> None:
    others = [
        replace(DAY, context=context_of(bytes(16), FIRST_SLOT)),
        replace(DAY, context=context_of(METER, FIRST_SLOT + 96)),
        replace(DAY, salt=DAY.salt ^ 1),
        make_day(np.roll(DAY.import_wh, 1), DAY.export_wh, DAY.context, salt(0)),
    ]
    assert len({day.commitment for day in (DAY, *others)}) == 5


def test_a_statement_survives_its_record_and_nothing_else_does() -> None:
    for name in ("day_sum", "net_position", "reduction", "below_limit at 6"):
        statement = cases()[name][0]
        record = statement_record(statement)
        assert statement_from(record) == statement
        for wrong in (record | {"extra": "1"}, record | {"circuit": "other"}, record | {"slot": "x"} if "slot" in record else {}):
            with pytest.raises(InputError):
                statement_from(wrong)


def test_a_proof_survives_its_bytes_and_nothing_else_does() -> None:
    _, proof = golden("day_sum")
    assert decode_proof(proof.encode()) == proof
    for wrong in (b"", proof.encode()[:-1], b"\xff" * 256):
        with pytest.raises(InputError):
            decode_proof(wrong)


def test_the_shipped_keys_are_marked_as_development_keys() -> None:
    assert manifest().ceremony == "DEVELOPMENT"
    assert manifest().is_development


def test_the_fast_multiples_are_those_of_plain_addition() -> None:
    points = multiples(FIELD_1, (1, 2), list(range(5)))
    total = None
    for point in points:
        assert point == total
        total = weighted_sum(FIELD_1, [total, (1, 2)], [1, 1])
