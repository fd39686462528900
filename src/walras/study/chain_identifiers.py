"""Devices by their identifiers on a chain, as an oracle sees them: whose key no longer speaks for its identifier is revoked.

A credential names a key; the identifier says whether that key still speaks. The oracle asks the chain again whenever it has a new
block. A chain that cannot be asked stops admission: a MeteringError says why, as with a status list that does not hold. A key
that was rotated away is refused at once; the new one needs a credential of its own, and is heard from the slot of its exchange on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from walras.community.model import Community
from walras.errors import Fault, InputError, LedgerError, MeteringError
from walras.ledger.chain import ReadableChain
from walras.ledger.identifiers import registry_in, resolve
from walras.metering import Registry, key_id


class ChainIdentifiers:
    """The identifiers in `names`, by row of the devices, on `chain`."""

    def __init__(self, chain: ReadableChain, names: Mapping[int, str]) -> None:
        other = [name for name in names.values() if registry_in(name).chain_id != chain.chain_id]
        if other:
            raise InputError("identifiers", [Fault("device", "identifier", name, f"on chain {chain.chain_id}") for name in other])
        self._chain, self._names = chain, dict(names)
        self._seen: tuple[int, int] | None = None
        self._gone: list[bytes] = []

    def silent(self, registries: Sequence[Registry]) -> list[bytes]:
        """The ids of the keys that do not speak now, of all that ever hung in their rows: `registries` follow each other as meters
        are exchanged. MeteringError where the chain does not say."""
        try:
            at = self._chain.head().number, len(registries)
            if at != self._seen:
                self._gone = [kid for row, name in sorted(self._names.items()) for kid in self._silent(registries, row, name)]
                self._seen = at
        except LedgerError as cause:
            raise MeteringError(f"identifiers of the devices: {cause.message}", thing="chain", way_out=cause.way_out) from cause
        return self._gone

    def _silent(self, registries: Sequence[Registry], row: int, name: str) -> list[bytes]:
        found = resolve(self._chain, registry_in(name), name)
        speaks = {key_id(period.key) for period in found.keys if period.until is None and not found.deactivated}
        return [kid for kid in {key_id(registry.keys[row]): None for registry in registries} if kid not in speaks]


def identifiers_on(chain: ReadableChain, community: Community, named: Mapping[str, str]) -> ChainIdentifiers | None:
    """Those of the members' devices in `named`, by member; None where no device has one."""
    return ChainIdentifiers(chain, rows_of(community, named)) if named else None


def rows_of(community: Community, named: Mapping[str, str]) -> dict[int, str]:
    """What is named by member, by the member's row."""
    return {row: named[member.id] for row, member in enumerate(community.members) if member.id in named}
