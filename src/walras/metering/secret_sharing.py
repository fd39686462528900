"""Shamir's secret sharing of 16-byte secrets: any `threshold` shares give the secret back, fewer say nothing about it.

Shamir, "How to share a secret" (1979), over the integers modulo 2**130 - 5, the smallest prime of 130 bits'
neighbourhood that is in wide use (Poly1305). The coefficients come in as secret random bytes. A share is a point's
ordinate; its abscissa is its position, from 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import combinations, islice

from walras.errors import Fault, InputError

PRIME = 2**130 - 5
SECRET_BYTES = 16
SHARE_BYTES = 17
MAX_TRIES = 500
"""How many sets of shares `recover` tries when some of them are lies."""


def split_secret(secret: bytes, randomness: bytes, shares: int, threshold: int) -> list[bytes]:
    """`shares` shares of 17 bytes, `threshold` of which are needed; `randomness` is 32 secret bytes, used for this
    secret alone.

    >>> shares = split_secret(b"sixteen bytes!!!", bytes(32), 5, 3)
    >>> recover({2: shares[1], 4: shares[3], 5: shares[4]}, 3, commitment(b"sixteen bytes!!!"))
    b'sixteen bytes!!!'
    """
    if len(secret) != SECRET_BYTES or len(randomness) < 32 or not 1 <= threshold <= shares:
        seen = (len(secret), len(randomness), threshold, shares)
        expected = "a secret of 16 bytes, 32 bytes of randomness, 1 <= threshold <= shares"
        raise InputError("secret sharing", [Fault("secret", "sizes", seen, expected)])
    coefficients = [int.from_bytes(secret, "big")]
    for power in range(1, threshold):
        block = sha256(b"walras share" + power.to_bytes(2, "big") + randomness).digest()
        coefficients.append(int.from_bytes(block, "big") % PRIME)
    points = []
    for abscissa in range(1, shares + 1):
        value = 0
        for coefficient in reversed(coefficients):
            value = (value * abscissa + coefficient) % PRIME
        points.append(value.to_bytes(SHARE_BYTES, "big"))
    return points


def commitment(secret: bytes) -> bytes:
    """What is published about a secret beforehand, so that a wrong one is noticed."""
    return sha256(b"walras secret" + secret).digest()


def recover(shares: Mapping[int, bytes], threshold: int, committed: bytes) -> bytes | None:
    """The secret from shares by position, tolerating lies: the first set of `threshold` shares whose secret is the
    committed one.

    None where there are too few, or no set within MAX_TRIES fits.
    """
    usable = {at: int.from_bytes(share, "big") for at, share in sorted(shares.items()) if at >= 1 and len(share) == SHARE_BYTES}
    for chosen in islice(combinations(usable, threshold), MAX_TRIES):
        value = sum(weight * usable[at] for weight, at in zip(_weights(chosen), chosen, strict=True)) % PRIME
        if value < 1 << (8 * SECRET_BYTES):
            secret = value.to_bytes(SECRET_BYTES, "big")
            if commitment(secret) == committed:
                return secret
    return None


@lru_cache(maxsize=10_000)
def _weights(abscissas: Sequence[int]) -> tuple[int, ...]:
    """Lagrange's coefficients at zero."""
    weights = []
    for here in abscissas:
        weight = 1
        for other in abscissas:
            if other != here:
                weight = weight * other * pow(other - here, -1, PRIME) % PRIME
        weights.append(weight)
    return tuple(weights)
