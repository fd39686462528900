"""What the audit checks where the limits of the wires hold: that the rule cleared what it said, and that the meters kept to it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from walras.errors import AuditError
from walras.exchange.curtailment import WiresSlot, check_wires, limits_broken, recorded_wires
from walras.exchange.journal import Entry
from walras.exchange.phases import EventKind
from walras.exchange.terms import Terms
from walras.units import Int64


def check_cleared(terms: Terms, slot: int, events: Mapping[EventKind, Entry]) -> None:
    """AuditError where the recorded clearing on the wires is not the rule's."""
    wires = recorded_wires(terms, slot, events)
    assert wires is not None
    findings = check_wires(terms, wires)
    if findings:
        raise AuditError(f"slot {slot}: the wires were not cleared by the rule: " + "; ".join(map(str, findings)), thing=slot)


def check_held(terms: Terms, slot: int, wires: WiresSlot, imports: Int64, exports: Int64) -> None:
    """With every reading there [Wh, members]: AuditError where somebody fed in more than it might, or the flow breaks a limit
    that nobody said was broken.
    """
    allowed = np.maximum(-wires.intended.net_wh - wires.curtailed_wh - wires.moved_wh, 0)
    over = np.flatnonzero((wires.curtailed_wh > 0) & (exports > allowed))
    if over.size:
        who = int(over[0])
        what = f"account {who} fed in {int(exports[who])} Wh, the wires allowed {int(allowed[who])}"
        raise AuditError(f"slot {slot}: {what}", thing=slot)
    broken = limits_broken(terms, imports - exports, wires.intended.reactive_var, wires.clearing)
    if broken:
        raise AuditError(f"slot {slot}: a limit is broken and nobody said so: " + "; ".join(broken), thing=slot)
