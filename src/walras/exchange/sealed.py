"""Private parts of the journal: one part a member, each sealed under the member's own key, and a salted digest of each.

    digest of a part   = sha256("walras private 1" || salt || part)         salt by member and entry, from the member's key
    commitment         = sha256(sha256(common) || digest of part 0 || digest of part 1 || ...)

The journal's line holds the commitment; the store holds, for each member, the digest and the sealed part (`vault`). To forget
a member is to drop the keys and the sealed parts: the digests stay, so the chain and everybody else's parts still check, and
without the salt a digest says nothing, however few values the part could have had. The seal itself is under no hash: a part can be
sealed anew under another key and the record stays the same. So a member has two keys: one that the salts follow from, which in a
trial follows from the seed, and one that seals, which is always drawn at random: who knows the seed opens nothing with it.

`common` is the operator's alone and not personal: digests, never a reading.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import cbor2

from walras.errors import JournalError
from walras.metering.vault import KeyRing, Place, member_key, salt_secret, seal, unseal

_DOMAIN = b"walras private 1"
_KIND = "journal"
_NO_PART = bytes(32)
"""In the place of a digest where an entry has no part of an account: those before the account that an act concerns."""


@dataclass(frozen=True, slots=True)
class Private:
    """What an entry keeps from the public. `members` one part an account; None where it was erased or there never was one.

    `alone`: it is to be recorded as it is, of the accounts that have a part; without that a missing part is an error.
    """

    common: bytes
    members: tuple[bytes | None, ...]
    alone: bool = field(default=False, compare=False)

    def part(self, account: int) -> bytes | None:
        """The part of one account; None where it was erased or there never was one."""
        return self.members[account] if account < len(self.members) else None

    def whole(self, where: str) -> tuple[bytes, ...]:
        """All parts; JournalError if one was erased."""
        parts = tuple(part for part in self.members if part is not None)
        if len(parts) != len(self.members):
            raise JournalError(
                f"{where}: its private part was erased, for one member at least",
                thing=where,
                way_out="a run whose private parts were erased can be audited and billed, not continued",
            )
        return parts


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where members' keys come from: `master` (32 bytes) wraps them in the store, `fresh` gives the key of an account once.

    With `fresh` from the operating system's generator an erased key is gone for good; a replay derives keys from its seed, so that
    it ends in the same bytes on every machine, and whoever has the seed can derive them again. It is the key of the salts; the one
    that seals is drawn by the journal.
    """

    master: bytes
    fresh: Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class MemberKeys:
    """A member's two keys, 32 bytes each: what salts follow from, and what seals."""

    salts: bytes
    seals: bytes


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """Some members' own keys, for who opens nobody else's parts."""

    keys: Mapping[int, MemberKeys]


def unwrapped(salts: KeyRing, seals: KeyRing, master: bytes) -> dict[int, MemberKeys]:
    """The keys of all members of both rings; MeteringError where `master` is not what wrapped them."""
    return {at: MemberKeys(member_key(salts, master, at), member_key(seals, master, at)) for at in salts.wrapped}


def part_digest(secret: bytes, seq: int, part: bytes) -> bytes:
    """The salted digest of a member's part of entry `seq`; `secret` is the member's `vault.salt_secret`."""
    salt = hmac.digest(secret, _DOMAIN + seq.to_bytes(8, "big"), "sha256")
    return sha256(_DOMAIN + salt + part).digest()


def commitment(common: bytes, digests: Sequence[bytes]) -> str:
    """What the line holds: hex digits."""
    return sha256(sha256(common).digest() + b"".join(digests)).hexdigest()


class Sealer:
    """Seals and opens the private parts of the members whose keys it is given; the others' stay shut."""

    def __init__(self, keys: Mapping[int, MemberKeys]) -> None:
        self._keys: Mapping[int, bytes] = {account: both.seals for account, both in keys.items()}
        self._secrets = {account: salt_secret(both.salts) for account, both in keys.items()}

    def secret(self, account: int) -> bytes:
        """The secret of an account's salts; JournalError where the member was forgotten or never had a key."""
        if account not in self._secrets:
            raise JournalError(
                f"account {account} has no key: never added, or forgotten",
                thing=account,
                way_out="a run that has forgotten a member can be audited and billed, not continued",
            )
        return self._secrets[account]

    def commitment(self, seq: int, private: Private) -> str:
        """The commitment to `private` in entry `seq`."""
        return commitment(private.common, self._digests(seq, private))

    def _digests(self, seq: int, private: Private) -> list[bytes]:
        if not private.alone:
            private.whole(f"entry {seq}")
        return [
            _NO_PART if part is None else part_digest(self.secret(account), seq, part)
            for account, part in enumerate(private.members)
        ]

    def stored(self, seq: int, private: Private, nonce: Callable[[int], bytes]) -> bytes:
        """The bytes for the store: common part, and per account digest and sealed part, all parts of one length."""
        longest = max((len(part) for part in private.members if part is not None), default=0) + 1
        sealed = [
            None if part is None else seal(self._keys[account], nonce(12), Place(account, _KIND, seq), part, longest)
            for account, part in enumerate(private.members)
        ]
        rows = [[digest, record] for digest, record in zip(self._digests(seq, private), sealed, strict=True)]
        return cbor2.dumps([private.common, rows])

    def opened(self, seq: int, stored: bytes, promised: str, where: str) -> Private:
        """The parts that can still be opened, checked against the commitment in the line; JournalError names what does not fit."""
        try:
            common, rows = cbor2.loads(stored)
            digests = [bytes(digest) for digest, _ in rows]
        except (cbor2.CBORDecodeError, ValueError, TypeError) as cause:
            raise JournalError(f"{where}: the private part is damaged: {cause}", thing=where) from cause
        if commitment(common, digests) != promised:
            raise JournalError(f"{where}: the private part is not the one committed to", thing=where)
        parts: list[bytes | None] = []
        for account, (digest, record) in enumerate(rows):
            if record is None or account not in self._keys:
                parts.append(None)
                continue
            part = unseal(self._keys[account], Place(account, _KIND, seq), record)
            if part_digest(self._secrets[account], seq, part) != digest:
                raise JournalError(f"{where}: the private part of account {account} is not the one committed to", thing=where)
            parts.append(part)
        return Private(common, tuple(parts))


def without(stored: bytes, accounts: Sequence[int] | None) -> bytes:
    """Stored bytes with the sealed parts of `accounts` gone (None: of all); their digests stay."""
    common, rows = cbor2.loads(stored)
    gone = range(len(rows)) if accounts is None else accounts
    return cbor2.dumps([common, [[digest, None if at in gone else record] for at, (digest, record) in enumerate(rows)]])
