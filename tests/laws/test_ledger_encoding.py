"""Encodings of the ledger against naive twins and against other people's code."""

from __future__ import annotations

import numpy as np
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from ledger_world import row
from walras.errors import InputError, RangeError
from walras.ledger import (
    Header,
    LedgerKeys,
    Transaction,
    artifact,
    attestation_digest,
    join_signatures,
    net_positions,
    pack_positions,
    read_transaction,
    recover_address,
    sign_attestation,
    sign_transaction,
    signing_key,
    unpack_positions,
)
from walras.ledger.abi import Revert, read_revert
from walras.ledger.encoding import join_word, split_word

SETTLEMENT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"


@st.composite
def balanced(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Rows by increasing account whose payments and energy each sum to zero, with extremes of both fields."""
    accounts = sorted(draw(st.sets(st.integers(0, 65_535), min_size=2, max_size=8)))
    rows = [(account, 0, 0) for account in accounts]
    for _ in range(draw(st.integers(1, 3))):
        one, other = draw(st.permutations(range(len(rows))))[:2]
        payment = draw(st.integers(-(2**61), 2**61))
        energy = draw(st.integers(-(2**45), 2**45))
        rows[one] = (rows[one][0], rows[one][1] + payment, rows[one][2] + energy)
        rows[other] = (rows[other][0], rows[other][1] - payment, rows[other][2] - energy)
    return rows


@given(balanced())
def test_packed_positions_equal_the_bytes_written_by_hand_and_come_back(rows: list[tuple[int, int, int]]) -> None:
    positions = net_positions(*zip(*rows, strict=True))
    packed = pack_positions(positions)
    assert packed == b"".join(row(*one) for one in rows)
    again = unpack_positions(packed)
    columns = (again.account, again.payment_nano, again.energy_wh)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == rows


def test_extremes_of_a_position_survive() -> None:
    top, low = 2**63 - 1, 2**47 - 1
    positions = net_positions([0, 65_535], [top, -top], [low, -low])
    assert pack_positions(positions) == row(0, top, low) + row(65_535, -top, -low)
    assert unpack_positions(pack_positions(positions)).energy_wh.tolist() == [low, -low]


def test_all_faults_of_positions_come_at_once() -> None:
    with pytest.raises(InputError) as caught:
        net_positions([3, 3, 70_000], [1, 0, 0], [0, 2**47, 0])
    fields = [(fault.where, fault.field) for fault in caught.value.faults]
    assert fields == [
        ("row 2", "account"),
        ("row 1", "account"),
        ("row 1", "energy_wh"),
        ("positions", "sum of payment_nano"),
        ("positions", "sum of energy_wh"),
    ]
    with pytest.raises(InputError, match="payment_nano = 1: expected 2 rows"):
        net_positions([1, 2], [0], [0, 0])
    with pytest.raises(RangeError):
        net_positions([1, 2], [2**63, -(2**63)], [0, 0])
    with pytest.raises(InputError, match="a multiple of 16"):
        unpack_positions(bytes(17))


@given(st.integers(0, 2**128 - 1), st.integers(-(2**127), 2**127 - 1))
def test_an_account_word_holds_balance_and_signed_energy(balance: int, energy: int) -> None:
    assert split_word(join_word(balance, energy)) == (balance, energy)


@given(st.integers(1, 2**64), st.integers(0, 2**64 - 1), st.binary(min_size=32, max_size=32))
def test_the_attestation_digest_is_eip_712(chain_id: int, slot: int, root: bytes) -> None:
    key = signing_key(bytes(32), "oracle/0")
    typed = encode_typed_data(
        domain_data={"name": "Walras Settlement", "version": "1", "chainId": chain_id, "verifyingContract": SETTLEMENT},
        message_types={"Attestation": [{"name": "slot", "type": "uint64"}, {"name": "readingsRoot", "type": "bytes32"}]},
        message_data={"slot": slot, "readingsRoot": root},
    )
    address, signature = sign_attestation(key, chain_id, SETTLEMENT, slot, root)
    assert Account.sign_message(typed, key.secret).signature == signature
    assert recover_address(attestation_digest(chain_id, SETTLEMENT, slot, root), signature) == address


def test_joined_signatures_are_ordered_by_signer_however_they_came() -> None:
    keys = LedgerKeys(bytes(32))
    signed = [sign_attestation(keys.oracle(index), 1, SETTLEMENT, 0, bytes(32)) for index in range(5)]
    joined = join_signatures(signed)
    assert joined == join_signatures(signed[::-1])
    digest = attestation_digest(1, SETTLEMENT, 0, bytes(32))
    signers = [int(recover_address(digest, joined[at : at + 65]), 16) for at in range(0, len(joined), 65)]
    assert signers == sorted(signers)


def test_keys_follow_from_seed_and_label_and_stay_out_of_repr() -> None:
    """Golden: HKDF-SHA256 (RFC 5869) computed by hand from HMAC, not by the library the code uses."""
    import hashlib
    import hmac

    seed = bytes(range(32))
    extracted = hmac.digest(b"walras/ledger/keys/1", seed, hashlib.sha256)
    first = hmac.digest(extracted, b"operator\x01", hashlib.sha256)
    second = hmac.digest(extracted, first + b"operator\x02", hashlib.sha256)
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    secret = int.from_bytes((first + second)[:48], "big") % (order - 1) + 1
    key = LedgerKeys(seed).operator
    assert int.from_bytes(key.secret, "big") == secret
    assert key.address == Account.from_key(key.secret).address
    assert key.secret.hex() not in repr(key)
    assert seed.hex() not in repr(LedgerKeys(seed))
    assert repr(LedgerKeys(seed)) == "LedgerKeys(oracles=(), members=(), balance='')"
    with pytest.raises(InputError, match="32 bytes"):
        signing_key(b"short", "operator")


@given(st.integers(0, 2**40), st.binary(max_size=80), st.booleans())
def test_a_raw_transaction_reads_back_as_what_was_signed(nonce: int, data: bytes, creates: bool) -> None:
    key = signing_key(bytes(32), "member/1")
    transaction = Transaction(31_337, nonce, None if creates else SETTLEMENT, data, 100_000)
    raw = sign_transaction(key, transaction)
    assert raw == sign_transaction(key, transaction)
    sent = read_transaction(raw)
    assert (sent.sender, sent.transaction) == (key.address, transaction)


def test_bytes_that_are_no_transaction_are_an_input_error() -> None:
    for raw in (b"", b"\x02", b"\x02\xc0", bytes(100)):
        with pytest.raises(InputError, match="EIP-1559"):
            read_transaction(raw)


def test_a_header_is_three_hashes() -> None:
    with pytest.raises(InputError, match="2 faults"):
        Header(bytes(31), bytes(32), b"")


def test_revert_data_is_read_or_shown_as_it_is() -> None:
    error = next(one for one in artifact("Settlement").errors.values() if one.name == "SlotNotNext")
    data = error.hash[:4] + (7).to_bytes(32, "big") + (9).to_bytes(32, "big")
    assert str(read_revert(data)) == "SlotNotNext(slot=7, nextSlot=9)"
    assert read_revert(b"") == Revert("UnknownRevert", {"data": b""})
    assert read_revert(data[:20]).name == "UnknownRevert"
    assert (
        str(read_revert(bytes.fromhex("08c379a0") + bytes(31) + b"\x20" + bytes(31) + b"\x02" + b"no" + bytes(30)))
        == "Error(message=no)"
    )


def test_account_column_types_are_int64() -> None:
    positions = net_positions(np.array([1, 2], dtype=np.uint16), [1, -1], [0, 0])
    assert {column.dtype for column in (positions.account, positions.payment_nano, positions.energy_wh)} == {np.dtype(np.int64)}
