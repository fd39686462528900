"""Merkle trees over byte strings: one root commits to all leaves and their order; a short proof shows one of them.

Two named schemes, one tree:

- `SHA256_RFC6962`: the tree of Certificate Transparency (RFC 6962 section 2.1, RFC 9162 section 2.1): leaf =
  SHA-256(0x00 || data), node = SHA-256(0x01 || left || right). The prefixes keep a node from passing as a leaf.
  Position and count are part of the proof.
- `KECCAK_SORTED`: what OpenZeppelin's `MerkleProof.verify` checks in a contract: leaf = keccak(keccak(data)), node =
  keccak of the two children in ascending order. A proof carries no position; the doubled leaf hash keeps a node from
  passing as a leaf.

An odd node at the end of a level moves up unchanged, which is RFC 6962's split at the largest power of two below the count; so
any count works, 0 and 1 included, and no leaf is ever counted twice (the flaw of duplicating the last leaf, CVE-2012-2459).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sha3 import keccak_256

from walras.errors import Fault, InputError


@dataclass(frozen=True, slots=True)
class HashScheme:
    """How leaves and nodes are hashed, and whether a proof depends on the position of the leaf."""

    name: str
    leaf: Callable[[bytes], bytes]
    node: Callable[[bytes, bytes], bytes]
    empty: bytes
    positional: bool


def _sha_leaf(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def _sha_node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def keccak(data: bytes) -> bytes:
    """Keccak-256 as the EVM has it (not SHA3-256).

    >>> keccak(b"").hex()[:16]
    'c5d2460186f7233c'
    """
    return bytes(keccak_256(data).digest())


def _keccak_leaf(data: bytes) -> bytes:
    return keccak(keccak(data))


def _keccak_node(left: bytes, right: bytes) -> bytes:
    return keccak(left + right if left <= right else right + left)


SHA256_RFC6962 = HashScheme("sha256-rfc6962", _sha_leaf, _sha_node, sha256(b"").digest(), positional=True)
KECCAK_SORTED = HashScheme("keccak-sorted", _keccak_leaf, _keccak_node, keccak(b""), positional=False)


@dataclass(frozen=True, slots=True)
class Proof:
    """The siblings from leaf `index` of `count` up to the root, lowest first; at most ceil(log2(count)) digests of 32 bytes."""

    index: int
    count: int
    siblings: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class MerkleTree:
    """All levels of a tree, leaf digests first; the last level holds the root alone."""

    scheme: HashScheme
    levels: tuple[tuple[bytes, ...], ...]

    @property
    def count(self) -> int:
        """Number of leaves."""
        return len(self.levels[0])

    @property
    def root(self) -> bytes:
        """32 bytes that commit to every leaf; the scheme's `empty` for no leaf."""
        return self.levels[-1][0] if self.count else self.scheme.empty

    def proof(self, index: int) -> Proof:
        """The inclusion proof of leaf `index`; InputError where there is none."""
        if not 0 <= index < self.count:
            raise InputError("merkle proof", [Fault("tree", "index", index, f"between 0 and {self.count - 1}")])
        siblings = []
        at = index
        for level in self.levels[:-1]:
            beside = at ^ 1
            if beside < len(level):
                siblings.append(level[beside])
            at >>= 1
        return Proof(index, self.count, tuple(siblings))


def tree_over(leaves: Sequence[bytes], scheme: HashScheme = SHA256_RFC6962) -> MerkleTree:
    """The tree over `leaves` (data, not digests) in their order.

    >>> tree = tree_over([b"a", b"b", b"c"])
    >>> verify_inclusion(b"c", tree.proof(2), tree.root), verify_inclusion(b"a", tree.proof(2), tree.root)
    (True, False)
    """
    leaf = scheme.leaf
    return tree_over_digests([leaf(data) for data in leaves], scheme)


def tree_over_digests(digests: Sequence[bytes], scheme: HashScheme = SHA256_RFC6962) -> MerkleTree:
    """The tree over leaf digests already made by `scheme.leaf`."""
    node = scheme.node
    level = tuple(digests)
    levels = [level]
    while len(level) > 1:
        above = [node(left, right) for left, right in zip(level[0::2], level[1::2], strict=False)]
        if len(level) % 2:
            above.append(level[-1])
        level = tuple(above)
        levels.append(level)
    return MerkleTree(scheme, tuple(levels))


def root_of(leaves: Sequence[bytes], scheme: HashScheme = SHA256_RFC6962) -> bytes:
    """The root alone."""
    return tree_over(leaves, scheme).root


def verify_inclusion(data: bytes, proof: Proof, root: bytes, scheme: HashScheme = SHA256_RFC6962) -> bool:
    """True when `data` is leaf `proof.index` of the `proof.count` leaves under `root`; any malformed proof is False."""
    return root_from_proof(data, proof, scheme) == root


def root_from_proof(data: bytes, proof: Proof, scheme: HashScheme = SHA256_RFC6962) -> bytes | None:
    """The root under which `proof` puts `data`, or None for a malformed proof (RFC 9162 section 2.1.3.2).

    Under a scheme without positions, index and count only say how many siblings to expect.
    """
    if not 0 <= proof.index < proof.count or any(len(sibling) != 32 for sibling in proof.siblings):
        return None
    digest, at, last = scheme.leaf(data), proof.index, proof.count - 1
    remaining = iter(proof.siblings)
    while last:
        if at ^ 1 <= last:
            sibling = next(remaining, None)
            if sibling is None:
                return None
            digest = scheme.node(sibling, digest) if at & 1 else scheme.node(digest, sibling)
        at >>= 1
        last >>= 1
    return digest if next(remaining, None) is None else None
