"""Devices by their identifiers on a chain, as an oracle sees them: whose key no longer speaks for its identifier is revoked.

A credential names a key; the identifier says whether that key still speaks. The oracle asks the chain again whenever it has a new
block. A chain that cannot be asked stops admission: a MeteringError says why, as with a status list that does not hold. A key
that was rotated away is refused at once; the new one needs a credential of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from walras.errors import Fault, InputError, LedgerError, MeteringError
from walras.ledger.chain import ReadableChain
from walras.ledger.identifiers import registry_in, resolve
from walras.metering import did_of
from walras.metering.identity import PublicKey


class ChainIdentifiers:
    """Rows of `keys` whose identifier in `names` (by row) no longer has that key, by `chain`."""

    def __init__(self, chain: ReadableChain, names: Mapping[int, str], keys: Sequence[PublicKey]) -> None:
        other = [name for name in names.values() if registry_in(name).chain_id != chain.chain_id]
        if other:
            raise InputError("identifiers", [Fault("roll", "identifiers", name, f"on chain {chain.chain_id}") for name in other])
        self._chain, self._names, self._keys = chain, dict(names), list(keys)
        self._seen: int | None = None
        self._rows: list[int] = []

    def __call__(self, now: datetime) -> list[int]:
        """The rows revoked; `now` is the chain's own present. MeteringError where the chain does not say."""
        try:
            block = self._chain.head().number
            if block != self._seen:
                self._rows = [row for row, name in sorted(self._names.items()) if not self._speaks(row, name)]
                self._seen = block
        except LedgerError as cause:
            raise MeteringError(f"identifiers of the devices: {cause.message}", thing="chain", way_out=cause.way_out) from cause
        return self._rows

    def _speaks(self, row: int, name: str) -> bool:
        found = resolve(self._chain, registry_in(name), name)
        current = [period.key for period in found.keys if period.until is None]
        return not found.deactivated and [did_of(key) for key in current] == [did_of(self._keys[row])]
