"""Secure aggregation: the oracle learns what a feeder's meters sum to, and of no meter what it measured.

Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning" (CCS 2017), on the sparse random
graph of Bell et al., "Secure single-server aggregation with (poly)logarithmic overhead" (CCS 2020): each meter has k
neighbours on a ring in an order drawn from a public seed. Per slot:

1. `open_round`: each meter commits to its masks and deals shares of two secrets of this slot among its neighbours: of
its own mask, and of the key to its pairwise masks. `partners_of` keeps the pairs whose two ends committed to the same
mask. 2. `contribute`: the reading, plus the meter's own mask, plus one mask for each partner, with opposite signs at
the two ends, modulo 2**64. 3. `reveal`: for each neighbour a share of *either* its own mask, if it contributed, *or*
its pairwise key, if it dropped out; never both. A meter answers once a slot, and not for fewer than `minimum`
contributors. 4. `total`: the sum, with every mask taken off again.

Pairwise masks come from Diffie-Hellman secrets (X25519) agreed once, by HMAC with the slot. An oracle that tells two lists
of contributors gets `threshold` shares of only one of a meter's secrets, because a neighbour answers once and the threshold is
more than half of them; with c neighbours on its side it needs threshold <= (k + c) / 2. Wrong masks and wrong shares
are found by their commitments. A wrong *reading* is not: the feeder's balance catches it, and where a contribution and a
signed reading are told to differ, `disclose` and `opened_value` show whose, to somebody who may see the readings.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from walras.errors import Fault, InputError, MeteringError
from walras.metering.secret_sharing import SHARE_BYTES, commitment, recover, split_secret

MODULUS = 2**64
_NO_NONCE = bytes(12)  # every key below seals one message


@dataclass(frozen=True, slots=True)
class AggregationRule:
    """Neighbours of a meter (even), shares needed of a secret, and the fewest contributors that are summed."""

    neighbours: int = 12
    threshold: int = 7
    minimum: int = 5

    def __post_init__(self) -> None:
        faults = []
        if self.neighbours < 2 or self.neighbours % 2:
            faults.append(Fault("aggregation rule", "neighbours", self.neighbours, "an even number from 2 up"))
        if not self.neighbours < 2 * self.threshold <= 2 * self.neighbours:
            faults.append(Fault("aggregation rule", "threshold", self.threshold, "more than half of the neighbours, at most all"))
        if self.minimum < 2:
            faults.append(Fault("aggregation rule", "minimum", self.minimum, "at least 2"))
        if faults:
            raise InputError("aggregation rule", faults)


def ring(meters: int, seed: bytes, rule: AggregationRule) -> list[tuple[int, ...]]:
    """Each meter's neighbours: the nearest k/2 on either side in an order that `seed` (public) draws. Symmetric."""
    if meters <= rule.neighbours:
        raise InputError("ring", [Fault("ring", "meters", meters, f"more than the {rule.neighbours} neighbours of each")])
    order = sorted(range(meters), key=lambda meter: sha256(seed + meter.to_bytes(8, "big")).digest())
    half = rule.neighbours // 2
    beside: list[tuple[int, ...]] = [()] * meters
    for at, meter in enumerate(order):
        steps = (step for step in range(-half, half + 1) if step)
        beside[meter] = tuple(sorted(order[(at + step) % meters] for step in steps))
    return beside


def pair_secret(mine: X25519PrivateKey, theirs: X25519PublicKey) -> bytes:
    """The 32 bytes that two meters share, the same from either end."""
    return HKDF(SHA256(), 32, salt=b"walras pair", info=b"").derive(mine.exchange(theirs))


@dataclass(frozen=True, slots=True)
class Meter:
    """What one meter holds for aggregation: its number, a secret of its own, and one secret shared with each neighbour."""

    number: int
    own_secret: bytes
    pair_secrets: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Opening:
    """What a meter publishes at the start of a slot. `shares` are sealed for one neighbour each."""

    meter: int
    pair_commitments: Mapping[int, bytes]
    mask_commitment: bytes
    key_commitment: bytes
    hidden_pairs: bytes
    shares: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Reveal:
    """A meter's shares after the contributions: of own masks of contributors, of pairwise keys of dropouts."""

    meter: int
    of_masks: Mapping[int, bytes]
    of_keys: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Total:
    """The sum of the contributors' readings, who they are, and who was caught with a wrong commitment."""

    value: int
    contributors: tuple[int, ...]
    liars: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unrecovered:
    """No total: of these meters too few true shares came back, or their opening was a lie that only their dropping out
    showed."""

    meters: tuple[int, ...]


def open_round(meter: Meter, slot: int, rule: AggregationRule) -> Opening:
    """Commitments to the slot's masks, and the sealed shares of the two secrets for each neighbour."""
    neighbours = sorted(meter.pair_secrets)
    mask, key = _secret(meter, slot, b"mask"), _secret(meter, slot, b"key")
    seeds = {other: _pair_seed(meter.pair_secrets[other], slot) for other in neighbours}
    hidden = ChaCha20Poly1305(_stretch(key)).encrypt(_NO_NONCE, b"".join(seeds[other] for other in neighbours), None)
    masks = split_secret(mask, _randomness(meter, slot, b"mask"), len(neighbours), rule.threshold)
    keys = split_secret(key, _randomness(meter, slot, b"key"), len(neighbours), rule.threshold)
    sealed = {
        other: ChaCha20Poly1305(_share_key(meter.pair_secrets[other], meter.number, slot)).encrypt(
            _NO_NONCE, of_mask + of_key, None
        )
        for other, of_mask, of_key in zip(neighbours, masks, keys, strict=True)
    }
    committed = {other: commitment(seed) for other, seed in seeds.items()}
    return Opening(meter.number, committed, commitment(mask), commitment(key), hidden, sealed)


def partners_of(openings: Mapping[int, Opening], rule: AggregationRule) -> dict[int, tuple[int, ...]]:
    """Who takes part, and each one's partners: neighbours that take part too and committed to the same mask for the pair.

    A meter with fewer than `threshold` partners is too little hidden to take part, so it is left out, and with it its pairs.
    """
    partners = {number: _agreeing(opening, openings) for number, opening in openings.items()}
    while exposed := [number for number, others in partners.items() if len(others) < rule.threshold]:
        for number in exposed:
            del partners[number]
        partners = {number: tuple(n for n in others if n in partners) for number, others in partners.items()}
    return partners


def _agreeing(opening: Opening, openings: Mapping[int, Opening]) -> tuple[int, ...]:
    return tuple(
        other
        for other, committed in sorted(opening.pair_commitments.items())
        if other in openings and openings[other].pair_commitments.get(opening.meter) == committed
    )


def contribute(meter: Meter, slot: int, value_wh: int, partners: Sequence[int]) -> int:
    """The masked reading, 0 to 2**64 - 1: by itself a uniformly random number. `value_wh` may be negative."""
    masked = value_wh + _mask_number(_secret(meter, slot, b"mask"))
    for other in partners:
        masked += _pair_number(_pair_seed(meter.pair_secrets[other], slot), meter.number, other)
    return masked % MODULUS


def reveal(
    meter: Meter,
    slot: int,
    openings: Mapping[int, Opening],
    partners: Mapping[int, Sequence[int]],
    contributors: Collection[int],
    answered: Collection[int],
    rule: AggregationRule,
) -> Reveal:
    """The shares that take the masks off, for one list of `contributors`. The caller adds `slot` to `answered` on disk first.

    MeteringError if this slot was answered before (two lists would give away both secrets of a meter) or for too few.
    """
    if slot in answered:
        raise MeteringError(f"meter {meter.number} has answered slot {slot}", thing=slot, way_out="the first answer stands")
    if len(contributors) < rule.minimum:
        raise MeteringError(f"a sum of {len(contributors)} meters would tell too much of each", thing=slot)
    of_masks, of_keys = {}, {}
    for other in meter.pair_secrets:
        if other not in openings or other not in partners:
            continue
        sealed = openings[other].shares.get(meter.number, b"")
        try:
            shares = ChaCha20Poly1305(_share_key(meter.pair_secrets[other], other, slot)).decrypt(_NO_NONCE, sealed, None)
        except InvalidTag:
            continue  # a share that does not open counts as not given; the threshold decides
        if other in contributors:
            of_masks[other] = shares[:SHARE_BYTES]
        else:
            of_keys[other] = shares[SHARE_BYTES:]
    return Reveal(meter.number, of_masks, of_keys)


def total(
    openings: Mapping[int, Opening],
    partners: Mapping[int, Sequence[int]],
    contributions: Mapping[int, int],
    reveals: Collection[Reveal],
    rule: AggregationRule,
) -> Total | Unrecovered:
    """The sum of the contributed readings (signed, below 2**63 in size), or of whom the masks could not be recovered.

    Contributions of meters that do not take part (`partners`) are left out.
    """
    contributions = {number: value for number, value in contributions.items() if number in partners}
    masks, keys = _collected(reveals, openings)
    value, lost = sum(contributions.values()), []
    for number in contributions:
        secret = recover(masks.get(number, {}), rule.threshold, openings[number].mask_commitment)
        if secret is None:
            lost.append(number)
        else:
            value -= _mask_number(secret)
    for number in partners:
        with_whom = [other for other in partners[number] if other in contributions]
        if number in contributions or not with_whom:
            continue
        seeds = _seeds_of_dropout(openings[number], keys.get(number, {}), rule)
        if seeds is None:
            lost.append(number)
            continue
        value -= sum(_pair_number(seeds[other], other, number) for other in with_whom)
    if lost:
        return Unrecovered(tuple(sorted(lost)))
    value %= MODULUS
    signed = value - MODULUS if value >= MODULUS // 2 else value
    return Total(signed, tuple(sorted(contributions)), liars_among(openings))


@dataclass(frozen=True, slots=True)
class Disclosure:
    """What takes the masks off one contribution: to be given only to who has the meter's reading of the slot anyway."""

    mask: bytes
    seeds: Mapping[int, bytes]


def disclose(meter: Meter, slot: int, partners: Sequence[int]) -> Disclosure:
    """The meter's masks of one slot."""
    seeds = {other: _pair_seed(meter.pair_secrets[other], slot) for other in partners}
    return Disclosure(_secret(meter, slot, b"mask"), seeds)


def opened_value(opening: Opening, contribution: int, partners: Sequence[int], given: Disclosure) -> int | None:
    """What was contributed, 0 to 2**64 - 1; None where `given` are not the masks that the opening committed to."""
    if commitment(given.mask) != opening.mask_commitment or set(given.seeds) != set(partners):
        return None
    if any(commitment(seed) != opening.pair_commitments.get(other) for other, seed in given.seeds.items()):
        return None
    masks = sum(_pair_number(seed, opening.meter, other) for other, seed in given.seeds.items())
    return (contribution - _mask_number(given.mask) - masks) % MODULUS


def _collected(
    reveals: Collection[Reveal], openings: Mapping[int, Opening]
) -> tuple[dict[int, dict[int, bytes]], dict[int, dict[int, bytes]]]:
    """Shares by meter and position, of masks and of keys; the position is the revealer's among the meter's neighbours,
    from 1."""
    positions = {n: {other: at for at, other in enumerate(sorted(o.shares), start=1)} for n, o in openings.items()}
    masks: dict[int, dict[int, bytes]] = {}
    keys: dict[int, dict[int, bytes]] = {}
    for given in reveals:
        for collected, shares in ((masks, given.of_masks), (keys, given.of_keys)):
            for number, share in shares.items():
                position = positions.get(number, {}).get(given.meter)
                if position is not None:
                    collected.setdefault(number, {})[position] = share
    return masks, keys


def _seeds_of_dropout(opening: Opening, shares: Mapping[int, bytes], rule: AggregationRule) -> dict[int, bytes] | None:
    """The dropout's pairwise seeds, each as committed; None where they cannot be had."""
    key = recover(shares, rule.threshold, opening.key_commitment)
    if key is None:
        return None
    try:
        plain = ChaCha20Poly1305(_stretch(key)).decrypt(_NO_NONCE, opening.hidden_pairs, None)
    except InvalidTag:
        return None
    neighbours = sorted(opening.pair_commitments)
    seeds = {other: plain[16 * at : 16 * at + 16] for at, other in enumerate(neighbours)}
    honest = all(commitment(seeds[other]) == opening.pair_commitments[other] for other in neighbours)
    return seeds if honest else None


def liars_among(openings: Mapping[int, Opening]) -> tuple[int, ...]:
    """Meters whose commitments differ from those of half or more of their neighbours: one bad pair does not tell which
    end lied."""
    liars = []
    for number, opening in openings.items():
        opened = sum(other in openings for other in opening.pair_commitments)
        if opened and 2 * len(_agreeing(opening, openings)) <= opened:
            liars.append(number)
    return tuple(sorted(liars))


def _secret(meter: Meter, slot: int, what: bytes) -> bytes:
    return hmac.digest(meter.own_secret, b"secret " + what + slot.to_bytes(8, "big"), "sha256")[:16]


def _randomness(meter: Meter, slot: int, what: bytes) -> bytes:
    return hmac.digest(meter.own_secret, b"shares " + what + slot.to_bytes(8, "big"), "sha256")


def _pair_seed(secret: bytes, slot: int) -> bytes:
    return hmac.digest(secret, b"pair" + slot.to_bytes(8, "big"), "sha256")[:16]


def _share_key(secret: bytes, dealer: int, slot: int) -> bytes:
    return hmac.digest(secret, b"deal" + dealer.to_bytes(8, "big") + slot.to_bytes(8, "big"), "sha256")


def _stretch(key: bytes) -> bytes:
    return sha256(b"walras hidden pairs" + key).digest()


def _mask_number(secret: bytes) -> int:
    return int.from_bytes(sha256(b"walras own mask" + secret).digest()[:8], "big")


def _pair_number(seed: bytes, mine: int, other: int) -> int:
    number = int.from_bytes(sha256(b"walras pair mask" + seed).digest()[:8], "big")
    return number if mine < other else -number
