"""Every error that Walras raises on purpose.

    WalrasError
    ├── InputError          what came in is wrong: a list of `Fault`s, all of them at once (command line: exit code 2)
    ├── RangeError          a whole number would leave int64: what was given is too large (command line: exit code 2)
    ├── PhaseError          an event came in a phase of the slot that does not accept it
    ├── ClearingError       a mechanism was asked for what it cannot do, or a solver did not finish
    ├── GridError           a network that cannot be solved (island, zero impedance, no convergence)
    ├── MeteringError       an identity, encoding or batch that cannot be used at all (a refused reading is a value, not this)
    │   └── RefusedForGood  the same bytes will get the same answer however often they are sent
    ├── LedgerError         the chain refused, or could not be reached
    ├── JournalError        the journal is damaged, or belongs to another run
    └── AuditError          the public record contradicts itself: names what broke

Each carries the thing that failed and the way out. Expected outcomes (an order refused, a reading rejected) are values,
not exceptions. Errors of other libraries are mapped to these at the border where they arise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in what came in: where (file, line or record), which field, the value seen, what was expected."""

    where: str
    field: str
    value: object
    expected: str

    def __str__(self) -> str:
        return f"{self.where}: {self.field} = {self.value!r}: expected {self.expected}"


def reason_of(cause: Exception) -> str:
    """Why a file could not be read or written, in words: `No such file or directory`, `not text in UTF-8`."""
    if isinstance(cause, UnicodeDecodeError):
        return "not text in UTF-8"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) if isinstance(cause, OSError | ValueError) else f"{type(cause).__name__} {cause}"


class WalrasError(Exception):
    """Root of the tree. `thing` names what failed; `way_out` says what to do about it."""

    def __init__(self, message: str, *, thing: object = None, way_out: str = "") -> None:
        self.message = message
        self.thing = thing
        self.way_out = way_out
        super().__init__(message if not way_out else f"{message}\n  way out: {way_out}")


class InputError(WalrasError):
    """What came in has faults. All of them are in `faults`, in the order of the input."""

    def __init__(self, what: str, faults: Sequence[Fault], *, way_out: str = "") -> None:
        self.faults = tuple(faults)
        count = len(self.faults)
        head = f"{what}: {count} fault{'s' if count != 1 else ''}" if count else what
        super().__init__("\n".join([head, *(f"  {fault}" for fault in self.faults)]), thing=what, way_out=way_out)


class RangeError(WalrasError):
    """A whole number would leave int64."""


class PhaseError(WalrasError):
    """An event came in a phase that does not accept it; the message names slot, phase and event."""


class ClearingError(WalrasError):
    """A mechanism was asked for what it cannot do, or a solver did not finish."""


class GridError(WalrasError):
    """A network cannot be solved: an island, a zero impedance, no convergence."""


class MeteringError(WalrasError):
    """An identity, an encoding or a batch cannot be used at all."""


class RefusedForGood(MeteringError):
    """What was sent will never be taken: sent again, the same bytes get the same answer. Any other refusal may pass."""


class LedgerError(WalrasError):
    """The chain refused a transaction, or could not be reached."""


class JournalError(WalrasError):
    """The journal is damaged, or belongs to another run."""


class AuditError(WalrasError):
    """The public record contradicts itself; the message names what broke."""
