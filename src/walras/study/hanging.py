"""Which meters hang in a run that drives them: those it began with, and those that were hung in their place.

A meter's exchange is told by the operator's statement (`metering.meter_exchange`). The simulated world flows on as it did: in the
slot of the exchange the new meter counts what the old one had not counted of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from walras.community.model import Community
from walras.errors import MeteringError
from walras.metering import Key, Registry, derive_key, did_of, key_id, sign_reading
from walras.metering.meter_exchange import MeterExchange
from walras.study.masked import Hung
from walras.study.meters import Meters
from walras.units import Int64

KeyOf = Callable[[int, int], Key]
"""(account, slot) -> the key of the meter that is hung there in that slot."""


def exchanged_keys(community: Community, seed: bytes) -> KeyOf:
    """The keys of new meters, where they follow from the seed."""
    return lambda account, slot: derive_key(seed, f"meter/{community.members[account].id}/from slot {slot}")


class HangingMeters:
    """The meters of a run as they are exchanged."""

    def __init__(self, meters: Meters, community: Community, key_of: KeyOf | None) -> None:
        self._meters, self._key_of = meters, key_of
        self._generations = meters.generations(community)
        self._new: list[tuple[MeterExchange, Key]] = []

    def hear(self, token: str) -> Hung | None:
        """A meter was exchanged: the new one, None where it is known. MeteringError where the statement does not follow, or its key
        is not here."""
        after = self._generations.after(token)
        if after is self._generations:
            return None
        exchange = after.exchanges[-1]
        if self._key_of is None:
            raise MeteringError("the key of the new meter is not here", thing=exchange, way_out="name its place in --keys")
        key, stated = self._key_of(exchange.account, exchange.slot), after.registries[-1].keys[exchange.account]
        if did_of(key.public_key()) != did_of(stated):
            raise MeteringError(f"the key of account {exchange.account} is not {did_of(stated)}, which was hung", thing=exchange)
        self._generations = after
        self._new.append((exchange, key))
        return Hung(exchange.slot, exchange.account, key, exchange.credential, after.registries[-1])

    def registry(self, slot: int) -> Registry:
        """Who may speak for whom in a slot."""
        return self._generations.at(slot)

    def exchanged_in(self, slot: int) -> list[int]:
        """The accounts whose meter is exchanged in a slot."""
        return [exchange.account for exchange in self._generations.in_slot(slot)]

    def key_ids(self, slot: int) -> list[bytes]:
        """The meters of a slot, by account."""
        return [key_id(key) for key in self.registry(slot).keys]

    def sign(self, slot: int, counter: int, net_wh: Int64) -> list[bytes]:
        """What the meters send of a slot; see `Meters.sign`."""
        keys = list(self._meters.keys)
        for exchange, key in self._new:
            if exchange.slot <= slot:
                keys[exchange.account] = key
        sent = replace(self._meters, keys=tuple(keys)).sign(slot, counter, net_wh)
        for exchange, key in self._new:
            if exchange.slot == slot:
                net = int(net_wh[exchange.account])
                taken, given = exchange.old_energy(self._generations.at(slot - 1))
                rest = max(max(net, 0) - taken, 0), max(max(-net, 0) - given, 0)
                sent[exchange.account] = sign_reading(key, slot, *rest, counter)
        return sent
