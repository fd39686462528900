"""Identifiers against their twin: who controls one, which key spoke when, offers and recoveries begun, stopped and carried through.

Only the controller changes anything but by a recovery that it named, begun and left to run its delay; who takes control over has no
recovery address of the one before; the past of the keys never changes; what is deactivated stays so; and each bug
planted into the contract is found.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger_machines import hunting, machine_chain, machine_settings, prepared, run_machine
from ledger_planted import planted
from ledger_world import START, World, funded
from walras.ledger import Genesis, next_sender
from walras.ledger.calls import Contract, create

PEOPLE, DELAY = 3, 600
NOBODY = "0x" + "00" * 20
people = st.integers(0, PEOPLE - 1)
points = st.integers(1, 3)  # any 32 bytes serve: the contract keeps keys and does not use them


@dataclass
class Did:
    """An identifier as the twin knows it; -1 is nobody."""

    id: bytes
    controller: int
    recovery: int
    offered: int = -1
    heir: int = -1
    recoverable_at: int = 0
    dead: bool = False
    keys: list[list[int]] = field(default_factory=list)  # from, until (0: open), point


def naming() -> tuple[World, Contract]:
    """A ledger and a registry of identifiers."""
    world = World(machine_chain(Genesis(funded(PEOPLE), timestamp=START - 900)), members=PEOPLE)
    return world, create(world.chain, world.keys.admin, "DidRegistry", DELAY, timestamp=world.now)


class IdentifierMachine(RuleBasedStateMachine):
    """Three people, any of whom may be controller, recovery, heir or stranger of each identifier."""

    @initialize()
    def begin(self) -> None:
        self.world, self.contract = prepared(naming)
        self.keys = [self.world.keys.member(one) for one in range(PEOPLE)]
        self.names = [*(key.address for key in self.keys), NOBODY]  # -1 is nobody
        self.dids: list[Did] = []
        self.create_one(0, 1, 1)

    def attempt(self, by: int, function: str, *arguments: object) -> bool:
        raw = self.contract.transaction(next_sender(self.world.chain, self.keys[by]), function, *arguments)
        receipt = self.world.chain.send(raw, timestamp=self.world.now)
        self.world.now = receipt.timestamp
        return receipt.status == 1

    @rule(by=people, point=points, recovery=st.integers(-1, PEOPLE - 1))
    def create_one(self, by: int, point: int, recovery: int) -> None:
        x, y = point.to_bytes(32, "big"), bytes(32)
        made = self.contract.view(self.world.chain, "idOf", self.keys[by].address, x, y)[0]
        done = self.attempt(by, "create", x, y, self.names[recovery])
        assert done == all(did.id != made for did in self.dids)
        if done:
            self.dids.append(Did(made, by, recovery, keys=[[self.world.now, 0, point]]))

    def controlled(self, data: st.DataObject, by: int, own: bool) -> tuple[Did, int, bool]:
        """An identifier, who tries, and whether that is its controller while it lives."""
        did = data.draw(st.sampled_from(self.dids))
        by = did.controller if own else by
        return did, by, by == did.controller and not did.dead

    @rule(data=st.data(), by=people, own=st.booleans(), point=st.integers(0, 3))
    def rotate(self, data: st.DataObject, by: int, own: bool, point: int) -> None:
        did, by, may = self.controlled(data, by, own)
        done = self.attempt(by, "rotate", did.id, point.to_bytes(32, "big"), bytes(32))
        assert done == (may and point > 0)
        if done:
            did.keys[-1][1] = did.keys[-1][1] or self.world.now
            did.keys.append([self.world.now, 0, point])

    @rule(data=st.data(), by=people, own=st.booleans())
    def revoke(self, data: st.DataObject, by: int, own: bool) -> None:
        did, by, may = self.controlled(data, by, own)
        done = self.attempt(by, "revokeKey", did.id)
        assert done == (may and did.keys[-1][1] == 0)
        if done:
            did.keys[-1][1] = self.world.now

    @rule(data=st.data(), by=people, own=st.booleans(), to=st.integers(-1, PEOPLE - 1))
    def offer(self, data: st.DataObject, by: int, own: bool, to: int) -> None:
        did, by, may = self.controlled(data, by, own)
        assert self.attempt(by, "offerControl", did.id, self.names[to]) == may
        did.offered = to if may else did.offered

    @rule(data=st.data(), by=people)
    def accept(self, data: st.DataObject, by: int) -> None:
        did = data.draw(st.sampled_from(self.dids))
        done = self.attempt(by, "acceptControl", did.id)
        assert done == (by == did.offered and not did.dead)
        if done:
            did.controller, did.recovery, did.offered, did.heir = by, -1, -1, -1

    @rule(data=st.data(), by=people, own=st.booleans(), recovery=st.integers(-1, PEOPLE - 1))
    def set_recovery(self, data: st.DataObject, by: int, own: bool, recovery: int) -> None:
        did, by, may = self.controlled(data, by, own)
        assert self.attempt(by, "setRecovery", did.id, self.names[recovery]) == may
        if may:
            did.recovery, did.heir = recovery, -1

    @rule(data=st.data(), by=people, named=st.booleans(), heir=st.integers(-1, PEOPLE - 1))
    def start_recovery(self, data: st.DataObject, by: int, named: bool, heir: int) -> None:
        did = data.draw(st.sampled_from(self.dids))
        self.begin_recovery(did, did.recovery if named and did.recovery >= 0 else by, heir)

    def begin_recovery(self, did: Did, by: int, heir: int) -> None:
        done = self.attempt(by, "startRecovery", did.id, self.names[heir])
        assert done == (by == did.recovery and heir >= 0 and not did.dead)
        if done:
            did.heir, did.recoverable_at = heir, self.world.now + DELAY

    @rule(data=st.data(), by=people, own=st.booleans())
    def stop_recovery(self, data: st.DataObject, by: int, own: bool) -> None:
        did, by, _ = self.controlled(data, by, own)
        self.call_off_recovery(did, by)

    def call_off_recovery(self, did: Did, by: int) -> None:
        done = self.attempt(by, "stopRecovery", did.id)
        assert done == (by == did.controller and not did.dead and did.heir >= 0)
        did.heir = -1 if done else did.heir

    @precondition(lambda self: any(did.heir >= 0 for did in self.dids))
    @rule(data=st.data(), by=people, wait=st.sampled_from([0, DELAY - 5, DELAY]))
    def finish_recovery(self, data: st.DataObject, by: int, wait: int) -> None:
        self.world.now += wait
        self.end_recovery(data.draw(st.sampled_from([one for one in self.dids if one.heir >= 0])), by)

    @rule(data=st.data(), by=people, heir=people, stopped=st.booleans(), wait=st.sampled_from([DELAY - 5, DELAY]))
    def recover_to_the_end(self, data: st.DataObject, by: int, heir: int, stopped: bool, wait: int) -> None:
        """Begun by whom it was given to, called off by the controller or not, finished by anybody: what few walks reach."""
        did = data.draw(st.sampled_from(self.dids))
        if did.recovery < 0 or did.dead:
            return
        self.begin_recovery(did, did.recovery, heir)
        if stopped:
            self.call_off_recovery(did, did.controller)
        self.world.now += wait
        self.end_recovery(did, by)

    def end_recovery(self, did: Did, by: int) -> None:
        done = self.attempt(by, "finishRecovery", did.id)
        assert done == (not did.dead and did.heir >= 0 and self.world.now >= did.recoverable_at)
        if done:
            did.controller, did.recovery, did.offered, did.heir = did.heir, -1, -1, -1

    @rule(data=st.data(), by=people, own=st.booleans(), sure=st.integers(0, 3))
    def deactivate(self, data: st.DataObject, by: int, own: bool, sure: int) -> None:
        did, by, may = self.controlled(data, by, own and sure == 0)
        assert self.attempt(by, "deactivate", did.id) == may
        if may:
            did.keys[-1][1], did.dead = did.keys[-1][1] or self.world.now, True

    @invariant()
    def controllers_and_the_keys_of_all_times_are_the_twins(self) -> None:
        chain = self.world.chain
        for did in self.dids:
            found = self.contract.view(chain, "didOf", did.id)
            people_of = (did.controller, did.recovery, did.offered, did.heir)
            assert [one.lower() for one in found[:4]] == [self.names[one].lower() for one in people_of]
            assert found[5] == did.dead
            assert not (did.heir >= 0) or found[4] == did.recoverable_at
            times = {edge + off for key in did.keys for edge in key[:2] for off in (-1, 0)} - {-1, 0}
            for time in sorted(times)[-8:]:
                spoke = [point for start, end, point in did.keys if start <= time and (end == 0 or time < end)]
                assert len(spoke) <= 1
                x = self.contract.view(chain, "keyAt", did.id, time)[0]
                assert int.from_bytes(x, "big") == (spoke[0] if spoke else 0)


def test_identifiers_equal_their_twin() -> None:
    run_machine(IdentifierMachine, machine_settings(8, 25))


PLANTED = {
    "a key that never closes": ("        last.until = uint64(block.timestamp);\n", "        last.until = OPEN;\n"),
    "a key before its time": ("if (key.from <= time && time", "if (time"),
    "a key a second too long": ("time < key.until) return", "time <= key.until) return"),
    "recovered at once": ("if (block.timestamp < did.recoverableAt)", "if (false)"),
    "recovered by anybody": ("did.recovery == address(0) || msg.sender != did.recovery", "did.recovery == address(0)"),
    "a recovery nobody stops": (
        "        didOf[id].heir = address(0);\n        emit RecoveryStopped",
        "        emit RecoveryStopped",
    ),
    "control taken": ("if (msg.sender != did.offered) revert", "if (false) revert"),
    "an offer that stays": ("        didOf[id].offered = address(0);\n", ""),
    "a guardian of the controller before": ("            didOf[id].recovery = address(0);\n", ""),
    "deactivated and back": (
        "if (did.deactivated) revert IsDeactivated(id);\n        if (msg.sender != did.controller)",
        "if (msg.sender != did.controller)",
    ),
    "anybody controls": ("if (msg.sender != did.controller) revert", "if (false) revert"),
    "created twice": ("if (didOf[id].controller != address(0)) revert AlreadyCreated(id);", ""),
}


@pytest.mark.nightly
@pytest.mark.parametrize(("correct", "wrong"), PLANTED.values(), ids=PLANTED)
def test_a_planted_bug_is_found(correct: str, wrong: str) -> None:
    with planted("DidRegistry", correct, wrong), pytest.raises((AssertionError, BaseExceptionGroup)):
        run_machine(IdentifierMachine, hunting(100, 30))
