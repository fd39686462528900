"""The operator's status list as an oracle reads it: a file that is looked at again whenever it changes.

A list that does not hold, has ended, or takes a revocation back stops the oracle from admitting anything: a MeteringError
names why. So nobody brings a revoked meter back by putting an old list in place of a newer one while the oracle runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from walras.errors import InputError, MeteringError
from walras.metering import CredentialRefusal, StatusList, newer_list, read_list
from walras.metering.identity import PublicKey


class StatusFile:
    """Which keys are revoked, by the list in `path` signed by `issuer`. `bits`: the credentials' indexes by key id, now.

    A key is revoked and not a place: the meter that is hung in place of a stolen one has a credential with a bit of its own.
    """

    def __init__(self, path: Path, issuer: PublicKey, bits: Callable[[], Mapping[bytes, int]]) -> None:
        self._path, self._issuer, self._bits = path, issuer, bits
        self._known: StatusList | None = None
        self._text = ""

    def __call__(self, now: datetime) -> list[bytes]:
        """The ids of the keys revoked at `now` (aware). MeteringError where there is no valid list."""
        try:
            text = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as cause:
            raise self._missing(str(cause)) from cause
        if self._known is None or text != self._text or not self._known.valid_from <= now < self._known.valid_until:
            offered = read_list(text, self._issuer, now)
            if isinstance(offered, CredentialRefusal):
                raise self._missing(offered.value)
            try:
                self._known = offered if self._known is None else newer_list(self._known, offered)
            except InputError as cause:
                raise self._missing("it takes a revocation back") from cause
            self._text = text
        return [kid for kid, index in self._bits().items() if self._known.is_revoked(index)]

    def _missing(self, why: str) -> MeteringError:
        return MeteringError(
            f"{self._path}: no status list that holds: {why}", thing=self._path, way_out="`walras revoke` writes one"
        )
