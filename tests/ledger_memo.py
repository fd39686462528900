"""Pure functions of the ledger remembered while a state machine runs: the same question gets the same answer, without the work.

Key derivation, signatures over digests (RFC 6979: deterministic) and the ABI's coding depend on their arguments alone. A machine
asks the same of them thousands of times; that was two thirds of its time. On the quick chain a transaction is not signed either:
it tells its sender. A contract cannot see the difference, for it sees the sender alone; what a contract is to recover itself
(attestations, quotes, balances) is signed as ever.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any
from unittest import mock

from eth_abi import abi as coder

from quick_chain import Unsigned
from walras.ledger import keys
from walras.ledger.keys import SigningKey

KEPT = 20_000  # answers of each function
SENDERS = ("walras.ledger.calls", "walras.ledger.settlement", "walras.ledger.deployment", "ledger_world")


def remembered(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`encode` or `decode`: types and values in; not remembered where a list is among the values."""
    known = lru_cache(KEPT)(function)

    def answer(types: Any, values: Any) -> Any:
        try:
            return known(tuple(types), values if isinstance(values, bytes) else tuple(values))
        except TypeError:
            return function(types, values)

    return answer


_CODERS = {coder.encode: remembered(coder.encode), coder.decode: remembered(coder.decode)}
_PURE = (
    (keys, "signing_key", lru_cache(KEPT)(keys.signing_key)),
    (SigningKey, "sign_digest", lru_cache(KEPT)(SigningKey.sign_digest)),
)


@contextmanager
def remembering(*, unsigned: bool) -> Iterator[None]:
    """Within it the functions above remember; where `unsigned`, transactions carry their sender instead of a signature."""
    with ExitStack() as stack:
        for owner, name, quick in _PURE:
            stack.enter_context(mock.patch.object(owner, name, quick))
        for module in [one for name, one in sys.modules.items() if name.startswith("walras.ledger.")]:
            for name in ("encode", "decode"):
                if getattr(module, name, None) in _CODERS:
                    stack.enter_context(mock.patch.object(module, name, _CODERS[getattr(module, name)]))
        for sender in SENDERS if unsigned else ():
            stack.enter_context(mock.patch(f"{sender}.sign_transaction", Unsigned))
        yield
