"""Not too fast and not in vain: a token bucket and a circuit breaker, as values with the time as an argument.

Times are whole milliseconds of any clock that does not go back. The bucket refuses what comes faster than `per_second` after a
burst; tokens are counted in thousandths, so nothing is lost to rounding. The breaker stops trying a peer after
`failures` in a row, waits, lets one try through, and waits twice as long each time that fails, up to `longest_ms`.
"""

from __future__ import annotations

from dataclasses import dataclass

from walras.errors import Fault, InputError


@dataclass(frozen=True, slots=True)
class RateRule:
    """At most `burst` at once and `per_second` on average."""

    per_second: int
    burst: int

    def __post_init__(self) -> None:
        faults = [
            Fault("rate rule", name, getattr(self, name), "a whole number of at least 1")
            for name in ("per_second", "burst")
            if getattr(self, name) < 1
        ]
        if faults:
            raise InputError("rate rule", faults)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Thousandths of a token at a time."""

    milli_tokens: int
    at_ms: int


def full_bucket(rule: RateRule, now_ms: int) -> Bucket:
    """A bucket that admits a burst."""
    return Bucket(rule.burst * 1_000, now_ms)


def take(bucket: Bucket, rule: RateRule, now_ms: int) -> tuple[Bucket, bool]:
    """One token, if there is one. A clock that went back adds nothing.

    >>> rule = RateRule(per_second=1, burst=1)
    >>> bucket, first = take(full_bucket(rule, 0), rule, 0)
    >>> first, take(bucket, rule, 999)[1], take(bucket, rule, 1_000)[1]
    (True, False, True)
    """
    passed = max(0, now_ms - bucket.at_ms)
    tokens = min(rule.burst * 1_000, bucket.milli_tokens + passed * rule.per_second)
    at = max(bucket.at_ms, now_ms)
    return (Bucket(tokens - 1_000, at), True) if tokens >= 1_000 else (Bucket(tokens, at), False)


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """Open after `failures` in a row; wait `first_ms`, doubling up to `longest_ms`."""

    failures: int = 3
    first_ms: int = 500
    longest_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class Breaker:
    """Failures in a row, and until when nothing is tried (0: now)."""

    failed: int = 0
    closed_until_ms: int = 0


def may_try(breaker: Breaker, now_ms: int) -> bool:
    """Whether the peer may be tried now."""
    return now_ms >= breaker.closed_until_ms


def succeeded() -> Breaker:
    """After a success nothing is held against the peer."""
    return Breaker()


def failed(breaker: Breaker, rule: BreakerRule, now_ms: int) -> Breaker:
    """After one more failure."""
    count = breaker.failed + 1
    if count < rule.failures:
        return Breaker(count, 0)
    wait = min(rule.longest_ms, rule.first_ms << min(count - rule.failures, 40))
    return Breaker(count, now_ms + wait)
