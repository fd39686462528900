"""Laws of the balance oracle: only meters speak, each once, in time; the sum is exact; who lies is found by who may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import cbor2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walras.errors import InputError, MeteringError, PhaseError
from walras.grid import Line, build_network
from walras.ledger import LedgerAddresses, recover_address
from walras.ledger.keys import LedgerKeys
from walras.metering import Rules, SlotReadings, derive_key, registry_of, sign_reading
from walras.metering.aggregation import (
    MODULUS,
    AggregationRule,
    _collected,
    _mask_number,
    _pair_number,
    disclose,
    open_round,
    opened_value,
    partners_of,
)
from walras.metering.balance_oracle import EARLIEST, BalanceDuty, BalanceOracle, MemoryMessages, taken_until, window
from walras.metering.feeder import Feeder
from walras.metering.masked import (
    REGISTER,
    Kind,
    MaskedWord,
    contribution_message,
    gap_wh,
    join_message,
    opening_message,
    opening_of,
    pack,
    read_message,
    reveal_of,
    rule_for,
    unpack,
    word_from_public,
)
from walras.metering.secret_sharing import recover
from walras.slots import SlotGrid
from walras.study.masked import InProcessBalance, MaskedMeters

HOMES, SLOT = 9, 40
GRID = SlotGrid(datetime(2015, 12, 31, 23, tzinfo=UTC), 15, "Europe/Berlin")
RULES = Rules(GRID, deadline=timedelta(minutes=15))
SEED = b"the seed of the masked meters"
KEYS = [derive_key(SEED, f"meter-{home}") for home in range(HOMES)]
TRANSFORMER = derive_key(SEED, "transformer")
SECRETS = [sha256(b"member" + bytes([home])).digest() for home in range(HOMES)]
BUSES = [f"b{home}" for home in range(HOMES)]
NETWORK = build_network(
    {"t": 0.4, **dict.fromkeys(BUSES, 0.4)},
    [Line(f"l{n}", (["t", *BUSES])[n], BUSES[n], 0.05, 0.2, 0.08, max_i_ka=0.3) for n in range(HOMES)],
    root="t",
)
BUS = np.array([NETWORK.bus_names.index(name) for name in BUSES], dtype=np.int64)
ALWAYS = ([0] * HOMES, [2**40] * HOMES)
REGISTRY = registry_of([key.public_key() for key in KEYS], range(HOMES), *ALWAYS, [10**6] * HOMES, [10**6] * HOMES)
FEEDER = Feeder(registry_of([TRANSFORMER.public_key()], [HOMES], [0], [2**40], [10**7], [10**7]), NETWORK, BUS)
DUTY = BalanceDuty(REGISTRY, RULES, FEEDER)
LEDGER = LedgerKeys(bytes(32))
AT = LedgerAddresses(1, *("0x" + f"{n}" * 40 for n in (1, 2, 3)))
energies = st.lists(st.integers(0, 10**6), min_size=HOMES, max_size=HOMES)


class Village:
    """All meters and the oracle in this process; `said` what the meters are made to mask instead."""

    def __init__(self, said: dict[int, int] | None = None) -> None:
        self.path = InProcessBalance(DUTY, LEDGER.balance_oracle())
        self.meters = MaskedMeters(
            REGISTRY, KEYS, SECRETS, self.path, lambda slot, home, taken, given_: (said or {}).get(home, pack(taken, given_))
        )

    def word(self, taken: Sequence[int], given_: Sequence[int], silent: Sequence[int] = (), through: int = 0) -> MaskedWord:
        reading = sign_reading(TRANSFORMER, SLOT, max(through, 0), max(-through, 0), 1)
        self.meters.round(SLOT, np.array(taken), np.array(given_), silent, reading)
        spoken = self.meters.word(SLOT, AT)
        assert spoken is not None
        assert recover_address(spoken[0].digest(AT.chain_id, AT.settlement), spoken[1]) == LEDGER.balance_address
        return spoken[0]


def readings(taken: Sequence[int], given_: Sequence[int], substitutes: Sequence[int] = ()) -> SlotReadings:
    quality = np.array([16 if home in substitutes else 0 for home in range(HOMES)])
    return SlotReadings(SLOT, np.array(taken), np.array(given_), quality, ())


@settings(max_examples=25, deadline=None)
@given(energies, energies, st.sets(st.integers(0, HOMES - 1), max_size=HOMES))
def test_the_word_is_the_sum_of_who_contributed_or_says_that_there_is_none(
    taken: list[int], given_: list[int], silent: set[int]
) -> None:
    word = Village().word(taken, given_, sorted(silent))
    heard = tuple(home for home in range(HOMES) if home not in silent)
    assert word.contributors == heard
    if len(silent) <= 3:  # eight neighbours each, five of whom must answer
        assert (word.import_wh, word.export_wh) == (sum(taken[h] for h in heard), sum(given_[h] for h in heard))
        assert gap_wh(word, taken, given_) == (0, 0)
    else:
        assert (word.import_wh, word.export_wh, gap_wh(word, taken, given_)) == (None, None, None)
        assert word.lost == (heard if len(heard) >= rule_for(HOMES).minimum else ())


def test_the_balance_is_struck_where_everybody_contributed_and_the_transformer_was_heard() -> None:
    taken, given_ = [400] * HOMES, [0] * HOMES
    honest = Village().word(taken, given_, through=3_610)
    assert honest.balance is not None
    assert abs(honest.balance[0]) <= honest.balance[1] < 100
    stolen = Village().word([*taken[1:], 150], given_, through=3_610)
    assert stolen.balance is not None
    assert stolen.balance[0] > stolen.balance[1]
    assert Village().word(taken, given_, [4], through=3_610).balance is None


@settings(max_examples=15, deadline=None)
@given(energies, st.dictionaries(st.integers(0, HOMES - 1), st.integers(0, 2**62), min_size=1, max_size=3))
def test_who_contributes_another_number_than_its_meter_signed_is_named_and_nobody_else(
    taken: list[int], said: dict[int, int]
) -> None:
    nothing = [0] * HOMES
    village = Village(said)
    word = village.word(taken, nothing)
    lying = tuple(sorted(home for home, number in said.items() if number != pack(taken[home], 0)))
    differs = sum(said[home] - pack(taken[home], 0) for home in lying) % MODULUS != 0
    assert village.meters.named(word, readings(taken, nothing)) == (lying if differs else ())


def test_who_contributed_and_sent_no_reading_in_time_is_not_accused() -> None:
    taken, nothing = list(range(100, 100 + HOMES)), [0] * HOMES
    village = Village()
    word = village.word(taken, nothing)
    standing = readings([0, *taken[1:]], nothing, substitutes=[0])
    assert gap_wh(word, standing.import_wh.tolist(), nothing) == (100, 0)
    assert village.meters.named(word, standing) == ()


def test_masks_that_were_not_committed_to_open_nothing() -> None:
    village = Village()
    village.word([7] * HOMES, [0] * HOMES)
    openings = {home: opening_of(message) for home, message in village.meters._openings.items()}
    partners = partners_of(openings, village.meters.rule)
    meter = village.meters._meters[2]
    given_ = disclose(meter, SLOT, partners[2])
    contributed = read_message(village.path.contributions(SLOT)[2], REGISTRY)
    assert contributed is not None
    (number,) = contributed.fields
    assert opened_value(openings[2], number, partners[2], given_) == pack(7, 0)
    one = partners[2][0]
    for false in (
        replace(given_, mask=bytes(16)),
        replace(given_, seeds={**given_.seeds, one: bytes(16)}),
        replace(given_, seeds={other: seed for other, seed in given_.seeds.items() if other != one}),
    ):
        assert opened_value(openings[2], number, partners[2], false) is None
    assert opened_value(openings[2], number, partners[2], disclose(meter, SLOT + 1, partners[2])) is None


@settings(max_examples=10, deadline=None)
@given(energies, st.permutations(range(HOMES)))
def test_all_that_the_oracle_holds_fits_any_other_readings_with_the_same_sum(taken: list[int], order: list[int]) -> None:
    """The oracle takes every own mask off by the shares. What is left of a home are its reading and its pairs' masks; and for any
    other readings with the same sum there are pairwise masks, as likely as the true ones, by which all homes sent the very same."""
    village = Village()
    village.word(taken, [0] * HOMES)
    held = village.path._messages
    read = {kind: {h: read_message(e, REGISTRY) for h, e in held.of(SLOT, kind).items()} for kind in Kind}
    openings = {home: opening_of(message) for home, message in read[Kind.OPENING].items() if message}
    partners, rule = partners_of(openings, rule_for(HOMES)), rule_for(HOMES)
    shares, _ = _collected([reveal_of(message) for message in read[Kind.REVEAL].values() if message], openings)
    left = []
    for home in range(HOMES):
        own = recover(shares[home], rule.threshold, openings[home].mask_commitment)
        contributed = read[Kind.CONTRIBUTION][home]
        assert own is not None
        assert contributed is not None
        left.append((contributed.fields[0] - _mask_number(own)) % MODULUS)
    assert sum(left) % MODULUS == sum(taken)
    assert all(number != reading for number, reading in zip(left, taken, strict=True))
    other = [taken[home] for home in order]
    moved, carried = [0] * HOMES, 0
    for home in range(HOMES - 1):  # 0-1-2-... : every two of them are partners here, and each such mask is moved by `carried`
        assert home + 1 in partners[home]
        carried += taken[home] - other[home]
        moved[home], moved[home + 1] = moved[home] + carried, moved[home + 1] - carried
    for home in range(HOMES):
        given_ = disclose(village.meters._meters[home], SLOT, partners[home])
        pairs = sum(_pair_number(seed, home, beside) for beside, seed in given_.seeds.items())
        assert left[home] == (taken[home] + pairs) % MODULUS == (other[home] + pairs + moved[home]) % MODULUS


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_bit_of_a_message_can_be_changed_and_nobody_else_can_send_one(data: st.DataObject) -> None:
    messages = [
        join_message(KEYS[1], bytes(32)),
        contribution_message(KEYS[1], SLOT, 5),
        opening_message(KEYS[1], SLOT, open_round(_meter(1), SLOT, rule_for(HOMES))),
    ]
    encoded = data.draw(st.sampled_from(messages))
    read = read_message(encoded, REGISTRY)
    assert read is not None
    assert read.device == 1
    bit = data.draw(st.integers(0, 8 * len(encoded) - 1))
    changed = bytearray(encoded)
    changed[bit >> 3] ^= 1 << (bit & 7)
    assert read_message(bytes(changed), REGISTRY) is None
    assert read_message(contribution_message(derive_key(SEED, "stranger"), SLOT, 5), REGISTRY) is None


def _meter(home: int):  # type: ignore[no-untyped-def]
    village = Village()
    assert village.meters._joined()
    return village.meters._meters[home]


@given(st.binary(max_size=80))
def test_noise_is_no_message(noise: bytes) -> None:
    assert read_message(noise, REGISTRY) is None
    for kind in range(5):
        assert read_message(cbor2.dumps([bytes(16), kind, noise, bytes(64)]), REGISTRY) is None


class Clock:
    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment


def test_each_message_has_its_time_is_said_once_and_is_for_neighbours_alone() -> None:
    clock = Clock(taken_until(RULES, SLOT, Kind.OPENING))
    oracle = BalanceOracle(DUTY, MemoryMessages(), clock)
    meter, rule = _meter(0), rule_for(HOMES)
    opening = open_round(meter, SLOT, rule)
    to_itself = replace(
        opening,
        pair_commitments={**opening.pair_commitments, 0: bytes(32)},
        shares={**opening.shares, 0: bytes(50)},
        hidden_pairs=bytes(16 * 9 + 16),
    )
    assert not oracle.take(opening_message(KEYS[0], SLOT, to_itself))
    assert oracle.take(opening_message(KEYS[0], SLOT, opening))
    assert not oracle.take(opening_message(KEYS[0], SLOT, replace(opening, mask_commitment=bytes(32))))
    assert oracle.take(contribution_message(KEYS[0], SLOT, 5))
    assert not oracle.take(contribution_message(KEYS[0], SLOT, 6))
    with pytest.raises(PhaseError, match="takes opening messages until"):
        oracle.openings(SLOT)
    clock.moment += timedelta(seconds=1)
    assert len(oracle.openings(SLOT)) == 1
    assert oracle.take(opening_message(KEYS[0], SLOT, opening))  # again: it stands
    assert not oracle.take(opening_message(KEYS[1], SLOT, open_round(_meter(1), SLOT, rule)))
    for tell in (oracle.contributors, oracle.contributions, oracle.word):
        with pytest.raises(PhaseError, match=f"slot {SLOT}"):
            tell(SLOT)
    clock.moment = taken_until(RULES, SLOT, Kind.CONTRIBUTION) + timedelta(seconds=1)
    assert not oracle.take(contribution_message(KEYS[1], SLOT, 5))
    assert oracle.contributors(SLOT) == ()  # alone, and so with too few partners to be hidden
    clock.moment = GRID.start(SLOT) - EARLIEST - timedelta(seconds=1)
    assert not oracle.take(contribution_message(KEYS[2], SLOT, 5))


def test_the_times_of_a_round_end_at_the_deadline_of_readings_however_short_that_is() -> None:
    for minutes in (1, 2, 3, 15, 600):
        rules = Rules(GRID, deadline=timedelta(minutes=minutes))
        ends = [taken_until(rules, SLOT, kind) for kind in (Kind.OPENING, Kind.CONTRIBUTION, Kind.REVEAL)]
        assert GRID.end(SLOT) < ends[0] < ends[1] < ends[2] == GRID.end(SLOT) + rules.deadline
        assert window(rules) <= timedelta(minutes=1)


def test_an_oracle_that_passes_on_a_key_of_its_own_for_a_neighbours_is_found_out() -> None:
    village = Village()
    joins = village.path.join([])
    assert joins == []
    mallory = derive_key(SEED, "mallory")
    village.path.join = lambda messages: [*messages[:-1], join_message(mallory, bytes(32))]  # type: ignore[method-assign]
    word = village.word([1] * HOMES, [0] * HOMES)
    assert (word.contributors, word.import_wh) == (tuple(range(HOMES - 1)), HOMES - 1)  # the others sum without it
    assert len(village.meters.heard(SLOT, AT).invented) == 1


def test_a_meter_answers_for_one_list_of_contributors_a_slot() -> None:
    village = Village()
    told = village.path.contribute
    seen: list[int] = []
    village.path.reveal = lambda slot, messages: seen.append(len(messages))  # type: ignore[method-assign]
    village.word([1] * HOMES, [0] * HOMES)
    village.word([1] * HOMES, [0] * HOMES)
    assert seen == [HOMES, HOMES]  # the same list again: the same answer
    village.path.contribute = lambda slot, messages: told(slot, messages)[1:]  # type: ignore[method-assign]
    village.word([1] * HOMES, [0] * HOMES)
    assert seen == [HOMES, HOMES]


@given(st.lists(st.tuples(st.integers(0, 2**28), st.integers(0, 2**28)), max_size=10))
def test_sums_of_packed_registers_are_the_registers_sums(rows: list[tuple[int, int]]) -> None:
    assert unpack(sum(pack(*row) for row in rows)) == (sum(i for i, _ in rows), sum(e for _, e in rows))
    assert REGISTER**2 == MODULUS


def test_a_word_is_signed_field_by_field_and_is_what_was_published() -> None:
    word = MaskedWord(SLOT, (0, 1), (), (2,), 5, 6, 7, (1, 2))
    assert word_from_public(SLOT, word.to_public()) == word
    changes: list[dict[str, object]] = [
        {"slot": 41}, {"contributors": (0,)}, {"lost": (1,)}, {"liars": ()}, {"import_wh": 6}, {"export_wh": None},
        {"transformer_wh": None}, {"balance": None},
    ]  # fmt: skip
    digests = {replace(word, **change).digest(1, AT.settlement) for change in changes}  # type: ignore[arg-type]
    digests |= {word.digest(1, AT.settlement), word.digest(2, AT.settlement), word.digest(1, AT.registry)}
    assert len(digests) == len(changes) + 3
    with pytest.raises(MeteringError, match="not a word"):
        word_from_public(SLOT, {**word.to_public(), "import_wh": "5"})


def test_the_rule_for_so_many_meters_needs_more_than_half_and_never_a_sum_of_fewer_than_five() -> None:
    for meters in range(5, 200):
        rule = rule_for(meters)
        assert isinstance(rule, AggregationRule)
        assert rule.neighbours < meters
        assert 2 * rule.threshold > rule.neighbours
        assert rule.minimum >= 5
    with pytest.raises(InputError, match="at least 5"):
        rule_for(4)
