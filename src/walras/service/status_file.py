"""The operator's status list as an oracle reads it: a file that is looked at again whenever it changes.

A list that does not hold, has ended, or takes a revocation back stops the oracle from admitting anything: a MeteringError
names why. So nobody brings a revoked meter back by putting an old list in place of a newer one while the oracle runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from walras.errors import InputError, MeteringError
from walras.metering import CredentialRefusal, StatusList, newer_list, read_list, revoked_rows
from walras.metering.identity import PublicKey


class StatusFile:
    """Which devices are revoked, by the list in `path` signed by `issuer`; row i of the devices has bit `indexes[i]`."""

    def __init__(self, path: Path, issuer: PublicKey, indexes: Sequence[int]) -> None:
        self._path, self._issuer, self._indexes = path, issuer, list(indexes)
        self._known: StatusList | None = None
        self._text = ""

    def __call__(self, now: datetime) -> list[int]:
        """The rows revoked at `now` (aware). MeteringError where there is no valid list."""
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
        return revoked_rows(self._known, self._indexes)

    def _missing(self, why: str) -> MeteringError:
        return MeteringError(
            f"{self._path}: no status list that holds: {why}", thing=self._path, way_out="`walras revoke` writes one"
        )
