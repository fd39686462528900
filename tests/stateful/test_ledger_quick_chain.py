"""The quick chain does what the embedded one does, on the transactions of every machine (which so runs on the embedded EVM too).

A test run takes the best of four sequences of each machine, a night the best of more. Without pyrevm there is nothing to compare.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import replace

import pytest

from e2e.test_ledger_four_nodes import STORIES, told
from ledger_machines import NIGHTLY
from quick_chain import QuickChain, Unsigned, decoded, pyrevm
from walras.errors import LedgerError
from walras.ledger import SigningKey, read_transaction

pytestmark = pytest.mark.skipif(pyrevm is None, reason="pyrevm is not installed; it is optional")


@pytest.mark.parametrize("name", STORIES)
def test_outcomes_events_and_refusals_are_the_embedded_chains(name: str) -> None:
    chain = told(STORIES[name] if NIGHTLY else replace(STORIES[name], sequences=4))
    assert chain.outcomes == {0, 1}
    quick = QuickChain(chain.genesis)
    for at, (one, own) in enumerate(chain.sent):
        if at == len(chain.sent) // 2:
            quick = copy.deepcopy(quick)  # a copy goes on as the original would
        found = quick.send(one.raw, timestamp=one.timestamp)
        for field in ("transaction_hash", "status", "block_number", "timestamp", "logs", "refusal"):
            assert getattr(found, field) == getattr(own, field), (field, found, own)
    assert quick.head().number == chain.head().number
    for one, _ in chain.sent[-5:]:
        whole, short = read_transaction(one.raw), decoded(one.raw)
        assert (short.hash, short.sender, short.transaction.data) == (whole.hash, whole.sender, whole.transaction.data)


def test_a_call_keeps_nothing() -> None:
    """Every transaction is first tried as a call: what follows is as if it had not been."""
    chain = told(STORIES["channels"])
    quick = QuickChain(chain.genesis)
    for one, own in chain.sent:
        sent = read_transaction(one.raw)
        if sent.transaction.to is not None:
            with suppress(LedgerError):
                quick.call(sent.transaction.to, sent.transaction.data, sender=sent.sender)
        assert quick.send(one.raw, timestamp=one.timestamp).status == own.status


def test_a_sender_told_is_a_sender_recovered() -> None:
    """Without a signature, and with no key behind the name, the same comes of it; the same bytes again change nothing."""
    chain = told(STORIES["channels"])
    quick = QuickChain(chain.genesis)
    for one, own in chain.sent:
        sent = read_transaction(one.raw)
        raw = Unsigned(SigningKey(b"", sent.sender), sent.transaction)
        found = quick.send(raw, timestamp=one.timestamp)
        assert quick.send(raw, timestamp=one.timestamp) is found
        for field in ("status", "block_number", "timestamp", "logs", "refusal"):
            assert getattr(found, field) == getattr(own, field), (field, found, own)
    with pytest.raises(LedgerError, match="nonce"):
        quick.send(Unsigned(SigningKey(b"", sent.sender), replace(sent.transaction, gas_limit=77)), timestamp=0)
