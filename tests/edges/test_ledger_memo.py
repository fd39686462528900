"""What the state machines remember is what they would have been told, and only while they run."""

from __future__ import annotations

import pytest
from eth_abi.exceptions import EncodingError

from ledger_memo import remembering
from ledger_world import SEED
from walras.errors import InputError
from walras.ledger import LedgerKeys, Transaction, abi, artifact, calls, recover_address, sign_transaction
from walras.ledger.keys import SigningKey, signing_key

KEYS = LedgerKeys(SEED)


def answers() -> list[object]:
    token = artifact("TestCurrency")
    key = KEYS.member(1)
    return [
        key,
        key.sign_digest(bytes(32)),
        token.call("transfer", key.address, 7),
        token.result("balanceOf", (9).to_bytes(32, "big")),
        artifact("Settlement").call("depositMany", [0, 1], [2, 3]),
    ]


def test_remembered_answers_are_the_answers() -> None:
    plain = answers()
    with remembering(unsigned=False):
        assert answers() == plain
        assert answers() == plain  # by heart
        assert recover_address(bytes(32), KEYS.operator.sign_digest(bytes(32))) == KEYS.operator.address
        assert KEYS.operator.sign_digest(bytes(32)) != KEYS.admin.sign_digest(bytes(32))
        assert KEYS.operator.sign_digest(bytes(32)) != KEYS.operator.sign_digest(bytes(31) + b"1")


def test_what_is_refused_is_refused_each_time() -> None:
    with remembering(unsigned=False):
        for _ in range(2):
            with pytest.raises(InputError, match="32 bytes"):
                signing_key(b"short", "operator")
            with pytest.raises(EncodingError):
                artifact("TestCurrency").call("transfer", KEYS.admin.address, -1)


def test_outside_nothing_is_remembered_and_everything_is_signed() -> None:
    before = (signing_key, SigningKey.sign_digest, abi.encode, abi.decode, calls.sign_transaction)
    with remembering(unsigned=True):
        assert calls.sign_transaction is not sign_transaction
        assert bytes(calls.sign_transaction(KEYS.admin, Transaction(1, 0, None, b"", 1))).startswith(b"unsigned")
    assert (signing_key, SigningKey.sign_digest, abi.encode, abi.decode, calls.sign_transaction) == before
