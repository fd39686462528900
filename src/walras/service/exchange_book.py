"""The registry of a node as meters are exchanged: every statement that holds is on its disk before it counts.

A node that comes back after a kill reads its statements again, in the order in which they came.
"""

from __future__ import annotations

from walras.metering.identity import PublicKey, key_id
from walras.metering.meter_exchange import Generations
from walras.service.reading_store import ReadingStore


class ExchangeBook:
    """The generations of a node's registry, kept in its store."""

    def __init__(self, generations: Generations, store: ReadingStore) -> None:
        self.generations, self._store = generations, store
        for statement in store.exchanges():
            self._learn(generations := generations.after(statement))

    def take(self, statement: str) -> None:
        """One more exchange, on disk when this returns; MeteringError where it does not follow."""
        after = self.generations.after(statement)
        if after is self.generations:
            return
        with self._store.transaction():
            self._store.add_exchange(after.exchanges[-1].account, statement)
        self._learn(after)

    def _learn(self, after: Generations) -> None:
        account = after.exchanges[-1].account
        self._store.add_device(key_id(after.registries[-1].keys[account]), account)
        self.generations = after

    def devices(self) -> dict[bytes, PublicKey]:
        """The keys of the new meters."""
        pairs = zip(self.generations.exchanges, self.generations.registries[1:], strict=True)
        keys = [registry.keys[exchange.account] for exchange, registry in pairs]
        return {key_id(key): key for key in keys}
