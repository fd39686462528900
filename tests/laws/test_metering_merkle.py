"""Laws of the Merkle trees: every leaf proves itself, nothing else does, and OpenZeppelin's rule accepts the keccak proofs."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walras.errors import InputError
from walras.metering.merkle import (
    KECCAK_SORTED,
    SHA256_RFC6962,
    HashScheme,
    keccak,
    root_of,
    tree_over,
    tree_over_digests,
    verify_inclusion,
)

leaves_lists = st.lists(st.binary(max_size=8), max_size=40)
schemes = st.sampled_from([SHA256_RFC6962, KECCAK_SORTED])


def root_by_rfc_6962(leaves: list[bytes]) -> bytes:
    """Section 2.1 as it is written: split at the largest power of two below n."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\x01" + root_by_rfc_6962(leaves[:k]) + root_by_rfc_6962(leaves[k:])).digest()


def process_proof(leaf: bytes, siblings: tuple[bytes, ...]) -> bytes:
    """OpenZeppelin MerkleProof.processProof: hash sorted pairs upwards."""
    digest = leaf
    for sibling in siblings:
        digest = keccak(min(digest, sibling) + max(digest, sibling))
    return digest


@given(leaves_lists)
def test_the_tree_is_the_one_that_rfc_6962_defines(leaves: list[bytes]) -> None:
    assert root_of(leaves) == root_by_rfc_6962(leaves)


@settings(max_examples=60)
@given(leaves_lists.filter(bool), schemes)
def test_every_leaf_proves_itself_and_only_itself(leaves: list[bytes], scheme: HashScheme) -> None:
    tree = tree_over(leaves, scheme)
    for index, leaf in enumerate(leaves):
        proof = tree.proof(index)
        assert verify_inclusion(leaf, proof, tree.root, scheme)
        assert not verify_inclusion(leaf + b"x", proof, tree.root, scheme)
        assert not verify_inclusion(leaf, proof, bytes(32), scheme)


@given(leaves_lists.filter(bool))
def test_openzeppelin_accepts_the_keccak_proofs(leaves: list[bytes]) -> None:
    tree = tree_over(leaves, KECCAK_SORTED)
    for index, leaf in enumerate(leaves):
        assert process_proof(keccak(keccak(leaf)), tree.proof(index).siblings) == tree.root


@given(leaves_lists.filter(lambda leaves: len(leaves) > 1), st.data())
def test_a_proof_with_another_position_count_or_path_is_false(leaves: list[bytes], data: st.DataObject) -> None:
    distinct = [leaf + bytes([index]) for index, leaf in enumerate(leaves)]
    tree = tree_over(distinct)
    index = data.draw(st.integers(0, len(distinct) - 1))
    proof = tree.proof(index)
    other = data.draw(st.integers(0, len(distinct) - 1).filter(lambda at: at != index))
    assert not verify_inclusion(distinct[index], replace(proof, index=other), tree.root)
    assert not verify_inclusion(distinct[index], replace(proof, siblings=proof.siblings[1:]), tree.root)
    assert not verify_inclusion(distinct[index], replace(proof, siblings=(*proof.siblings, bytes(32))), tree.root)
    assert not verify_inclusion(distinct[index], replace(proof, siblings=(b"short", *proof.siblings[1:])), tree.root)
    assert not verify_inclusion(distinct[index], replace(proof, index=-1), tree.root)
    assert not verify_inclusion(distinct[index], replace(proof, index=proof.count), tree.root)


@given(leaves_lists.filter(lambda leaves: len(leaves) > 1), schemes)
def test_a_node_is_not_a_leaf(leaves: list[bytes], scheme: HashScheme) -> None:
    tree = tree_over(leaves, scheme)
    left, right = tree.levels[0][:2]
    upper = tree_over_digests(tree.levels[1], scheme)
    assert upper.root == tree.root
    assert not verify_inclusion(left + right, upper.proof(0), tree.root, scheme)


@given(st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=20))
def test_the_last_leaf_twice_is_another_tree(leaves: list[bytes]) -> None:
    assert root_of(leaves) != root_of([*leaves, leaves[-1]])
    assert root_of(leaves, KECCAK_SORTED) != root_of([*leaves, leaves[-1]], KECCAK_SORTED)


@pytest.mark.parametrize("index", [-1, 3])
def test_there_is_no_proof_of_a_leaf_that_is_not_there(index: int) -> None:
    with pytest.raises(InputError, match="between 0 and 2"):
        tree_over([b"a", b"b", b"c"]).proof(index)


def test_an_empty_tree_has_a_root_and_no_proof() -> None:
    assert tree_over([], KECCAK_SORTED).root == keccak(b"")
    with pytest.raises(InputError):
        tree_over([]).proof(0)
