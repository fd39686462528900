"""How often whoever asks is answered: a bucket for each host, so that one that floods a node uses up its own patience alone.

What comes too fast is told to come back before anything of it is looked at, for looking costs a signature's verification. At most
`MOST_HOSTS` are remembered; the one that was silent longest is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from walras.metering.flow_control import Bucket, RateRule, full_bucket, take

MOST_HOSTS = 10_000
TOO_FAST = "more requests than this node answers; come back later"


class HostLimits:
    """One `rule` for every host, by a clock in milliseconds."""

    def __init__(self, rule: RateRule, clock_ms: Callable[[], int]) -> None:
        self._rule, self._clock_ms = rule, clock_ms
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def admits(self, host: str) -> bool:
        """Whether one more request of `host` is answered now."""
        now = self._clock_ms()
        bucket = self._buckets.pop(host, None)
        self._buckets[host], admitted = take(full_bucket(self._rule, now) if bucket is None else bucket, self._rule, now)
        if len(self._buckets) > MOST_HOSTS:
            self._buckets.popitem(last=False)
        return admitted
