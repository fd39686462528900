"""Keys of the ledger's actors: secp256k1, drawn from one seed by HKDF-SHA256 (RFC 5869) with a label for each.

The same seed and label give the same key on every machine, so a run can be repeated to the byte; keys of different labels
tell nothing about each other or about the seed. Nothing here is random: whoever runs live gives 32 secret bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from eth_keys.main import KeyAPI

from walras.errors import Fault, InputError

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SEED_BYTES = 32
SECRET_BYTES = 32
SIGNATURE_BYTES = 65

_SALT = b"walras/ledger/keys/1"
_EIP191_V = 27


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A secp256k1 key and the address (EIP-55 checksum) it controls. The secret is kept out of `repr`."""

    secret: bytes = field(repr=False)
    address: str

    def sign_digest(self, digest: bytes) -> bytes:
        """65 bytes r, s, v (27 or 28; s in the lower half) over a 32-byte digest; deterministic (RFC 6979)."""
        signature = KeyAPI().PrivateKey(self.secret).sign_msg_hash(digest)
        raw = bytes(signature.to_bytes())  # r, s, and v as 0 or 1
        return raw[:64] + bytes([_EIP191_V + raw[64]])


def signing_key(seed: bytes, label: str) -> SigningKey:
    """The key of `label` under `seed` (32 bytes). InputError for a seed of another length.

    48 bytes of HKDF output reduced modulo n - 1 and raised by one: in 1..n-1 with a bias below 2^-128.
    >>> signing_key(bytes(32), "operator").address == signing_key(bytes(32), "operator").address
    True
    """
    if len(seed) != SEED_BYTES:
        raise InputError("ledger keys", [Fault("seed", "length", len(seed), f"{SEED_BYTES} bytes")])
    stream = HKDF(algorithm=SHA256(), length=48, salt=_SALT, info=label.encode()).derive(seed)
    secret = (int.from_bytes(stream, "big") % (CURVE_ORDER - 1) + 1).to_bytes(32, "big")
    return key_of(secret)


def key_of(secret: bytes) -> SigningKey:
    """The key of a secret scalar (32 bytes, big-endian); InputError unless it is in 1..n-1 of secp256k1.

    >>> key_of((1).to_bytes(32, "big")).address
    '0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf'
    """
    if len(secret) != SECRET_BYTES or not 0 < int.from_bytes(secret, "big") < CURVE_ORDER:
        expected = f"{SECRET_BYTES} bytes, a number from 1 to below the order of secp256k1"
        raise InputError("ledger keys", [Fault("key", "secret", f"{len(secret)} bytes", expected)])
    return SigningKey(secret, KeyAPI().PrivateKey(secret).public_key.to_checksum_address())


def recover_address(digest: bytes, signature: bytes) -> str:
    """The address that signed `digest`; InputError for 65 bytes that are no signature."""
    try:
        parts = KeyAPI().Signature(signature_bytes=signature[:64] + bytes([signature[64] - _EIP191_V]))
        return parts.recover_public_key_from_msg_hash(digest).to_checksum_address()
    except Exception as cause:  # eth_keys raises its own and the backend's, without a common root
        raise InputError("signature", [Fault("signature", "bytes", signature.hex(), "65 bytes r, s, v")]) from cause


@dataclass(frozen=True, slots=True)
class LedgerKeys:
    """The actors of one ledger under one seed: admin, operator, oracles and members by their index.

    Where `oracles`, `members` or the `balance` oracle are given, these are addresses of actors who hold their own keys: nobody here
    signs for them.
    """

    seed: bytes = field(repr=False)
    oracles: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    balance: str = ""

    @property
    def admin(self) -> SigningKey:
        """Deploys the contracts and names operator and oracles."""
        return signing_key(self.seed, "admin")

    @property
    def operator(self) -> SigningKey:
        """Registers members and settles slots."""
        return signing_key(self.seed, "operator")

    def oracle_address(self, index: int) -> str:
        """The address of oracle `index`, whoever holds its key."""
        return self.oracles[index] if self.oracles else self.oracle(index).address

    def member_address(self, account: int) -> str:
        """The owner of the ledger account `account`, whoever holds the key."""
        return self.members[account] if self.members else self.member(account).address

    def oracle(self, index: int) -> SigningKey:
        """Attests readings. InputError where the oracle holds its key itself."""
        if self.oracles:
            raise InputError("ledger keys", [Fault(f"oracle {index}", "key", "its own", "a process of its own that signs with it")])
        return signing_key(self.seed, f"oracle/{index}")

    @property
    def balance_address(self) -> str:
        """The address of the balance oracle, whoever holds its key."""
        return self.balance or self.balance_oracle().address

    def balance_oracle(self) -> SigningKey:
        """Says what a feeder's masked readings sum to. InputError where it holds its key itself."""
        if self.balance:
            raise InputError("ledger keys", [Fault("balance oracle", "key", "its own", "a process of its own that signs with it")])
        return signing_key(self.seed, "balance oracle")

    def member(self, account: int) -> SigningKey:
        """Owns the ledger account `account`."""
        return signing_key(self.seed, f"member/{account}")
