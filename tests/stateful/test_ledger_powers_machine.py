"""Council, devices and gate against their twins: who may act, what a device counts for, who may come in, whatever was done before;
and each bug planted into a contract is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger_machines import hunting, machine_chain, machine_settings, prepared, run_machine
from ledger_planted import planted
from ledger_world import SEED, START, World, funded, stranger
from walras.ledger import Genesis, SigningKey, artifact, next_sender, signing_key
from walras.ledger.calls import Contract, create
from walras.ledger.credentials import DeviceStatus, GateList, closed_by, device_counts, device_signed, registry_id
from walras.ledger.governance import act_digest
from walras.ledger.identifiers import point_of
from walras.metering.identity import derive_key, sign

POOL = sorted((signing_key(SEED, f"council/{index}") for index in range(5)), key=lambda key: int(key.address, 16))
ISSUERS = (1, 2)  # members who may become meter operators
KEYS = [derive_key(SEED, f"device/{device}") for device in range(2)]
DEVICES = [registry_id(key.public_key()) for key in KEYS]
some = st.lists(st.integers(0, 4), unique=True, max_size=5).map(sorted)


@dataclass
class Device:
    """A device as the twin knows it."""

    issuer: int
    account: int
    status: DeviceStatus
    until: int
    with_key: bool


def powers() -> tuple[World, Contract, Contract, Contract]:
    """A ledger, and beside it a council of the first three of the pool, a device registry and a gate of two lists."""
    chain = machine_chain(Genesis(funded(3), timestamp=START - 900))
    world = World(chain, members=3)
    admin, operator = world.keys.admin, world.keys.operator
    lists = (GateList("kyc", admin.address), GateList("sanctions", operator.address, denies=True))
    terms = {
        "Council": ([key.address for key in POOL[:3]], 2),
        "DeviceRegistry": (world.addresses.registry,),
        "ListGate": ([one.as_arguments() for one in lists],),
    }
    made = [create(chain, admin, name, *arguments, timestamp=world.now) for name, arguments in terms.items()]
    return world, made[0], made[1], made[2]


class PowersMachine(RuleBasedStateMachine):
    """Every rule does the same to the contracts and to the twins."""

    @initialize()
    def deploy(self) -> None:
        self.world, self.council, self.device_registry, self.gate = prepared(powers)
        self.chain, self.keys, self.now = self.world.chain, self.world.keys, self.world.now
        self.seats, self.threshold, self.number = {0, 1, 2}, 2, 0
        self.appointed: set[int] = set()
        self.devices: dict[int, Device] = {}
        self.until = {0: 0, 1: 0}

    def attempt(self, contract: Contract, key: SigningKey, function: str, *arguments: object) -> bool:
        raw = contract.transaction(next_sender(self.chain, key), function, *arguments, gas_limit=2_000_000)
        receipt = self.chain.send(raw, timestamp=self.now)
        self.now = receipt.timestamp
        return receipt.status == 1

    @rule(
        signers=some,
        ahead=st.sampled_from([0, 0, 0, -1, 1]),
        order=st.sampled_from(["sorted", "sorted", "twice", "reversed"]),
        exact=st.booleans(),
    )
    def act(self, signers: list[int], ahead: int, order: str, exact: bool) -> None:
        """By any signers in any order; often by as many of the seated as it takes."""
        signers = sorted(self.seats)[: self.threshold] if exact else signers
        data = artifact("Registry").call("memberCount")
        good = self.hand_in(self.world.addresses.registry, data, signers, ahead, order)
        expected = max(self.number + ahead, 0) == self.number and self.enough(signers, order)
        assert good == expected
        self.number += good

    @rule(signers=some, seats=some, threshold=st.integers(0, 5))
    def change_seats(self, signers: list[int], seats: list[int], threshold: int) -> None:
        data = artifact("Council").call("setSeats", [POOL[seat].address for seat in seats], threshold)
        good = self.hand_in(self.council.address, data, signers, 0, "sorted")
        possible = len(seats) < 2 * threshold <= 2 * len(seats)
        assert good == (possible and self.enough(signers, "sorted"))
        if good:
            self.seats, self.threshold, self.number = set(seats), threshold, self.number + 1

    def hand_in(self, target: str, data: bytes, signers: list[int], ahead: int, order: str) -> bool:
        digest = act_digest(self.council, target, data, max(self.number + ahead, 0))
        signed = [POOL[signer].sign_digest(digest) for signer in signers]
        if order == "twice":
            signed = signed[:1] + signed
        elif order == "reversed":
            signed = signed[::-1]
        return self.attempt(self.council, stranger(), "act", target, 0, data, b"".join(signed))

    def enough(self, signers: list[int], order: str) -> bool:
        ordered = order == "sorted" or (order == "reversed" and len(signers) < 2) or not signers
        return ordered and len(signers) >= self.threshold and set(signers) <= self.seats

    @rule(issuer=st.sampled_from(ISSUERS), appointed=st.booleans(), by_admin=st.sampled_from([True, True, False]))
    def appoint(self, issuer: int, appointed: bool, by_admin: bool) -> None:
        key = self.keys.admin if by_admin else self.keys.operator
        done = self.attempt(self.device_registry, key, "setMeterOperator", self.keys.member(issuer).address, appointed)
        assert done == by_admin
        if done:
            self.appointed = self.appointed | {issuer} if appointed else self.appointed - {issuer}

    @rule(
        device=st.integers(0, 1),
        issuer=st.sampled_from(ISSUERS),
        account=st.integers(0, 3),
        lasts=st.sampled_from([-1, 500, 5_000]),
        by=st.sampled_from(["name", "key", "key", "no key"]),
    )
    def enter(self, device: int, issuer: int, account: int, lasts: int, by: str) -> None:
        """By its name alone, with its key, or with a point off the curve."""
        until = self.now + 1 + lasts
        x, y = point_of(KEYS[device].public_key())
        name = {"name": (DEVICES[device],), "key": (x, y), "no key": (x, x)}[by]
        function = "enter" if by == "name" else "enterKey"
        done = self.attempt(self.device_registry, self.keys.member(issuer), function, *name, account, bytes(32), 0, until)
        free = device not in self.devices and by != "no key"
        assert done == (issuer in self.appointed and account < 3 and until >= self.now and free)
        if done:
            self.devices[device] = Device(issuer, account, DeviceStatus.ACTIVE, until, by == "key")

    @precondition(lambda self: self.devices)
    @rule(device=st.integers(0, 1), by=st.integers(0, 1), late=st.sampled_from([0, 0, 1]), changed=st.sampled_from([0, 0, 1]))
    def show_a_signature(self, device: int, by: int, late: int, changed: int) -> None:
        """Of the device's key or the other's, over these bytes or others, in the device's last second or one later."""
        known, said = self.devices.get(device), b"what a meter says"
        time = known.until + late if known else self.now
        shown = sha256(said + bytes(changed)).digest()
        found = device_signed(self.chain, self.device_registry, KEYS[device].public_key(), shown, sign(KEYS[by], said), time)
        true = known is not None and known.with_key and by == device and not changed
        assert found == (true and device_counts(self.chain, self.device_registry, DEVICES[device], time))

    @precondition(lambda self: self.devices)
    @rule(device=st.integers(0, 1), by=st.sampled_from([-1, 0, *ISSUERS]), status=st.sampled_from(list(DeviceStatus)))
    def set_status(self, device: int, by: int, status: DeviceStatus) -> None:
        key = {-1: stranger(), 0: self.keys.admin}.get(by) or self.keys.member(by)
        done = self.attempt(self.device_registry, key, "setStatus", DEVICES[device], status)
        known = self.devices.get(device)
        allowed = known is not None and (
            (by == known.issuer and by in self.appointed) or (by == 0 and status != DeviceStatus.ACTIVE)
        )
        possible = status != DeviceStatus.UNKNOWN and known is not None and known.status != DeviceStatus.REVOKED
        assert done == (allowed and possible)
        if done and known is not None:
            known.status = status

    @rule(
        device=st.integers(0, 1),
        by=st.sampled_from(["name", "key", "key", "no key"]),
        statuses=st.lists(st.sampled_from([DeviceStatus.ACTIVE, DeviceStatus.SUSPENDED, DeviceStatus.REVOKED]), max_size=2),
        dismissed=st.booleans(),
        late=st.sampled_from([0, 1]),
    )
    def live_with_a_device(self, device: int, by: str, statuses: list[DeviceStatus], dismissed: bool, late: int) -> None:
        """Entered by an appointed issuer, changed, its issuer perhaps dismissed, and then a signature of its shown."""
        self.appoint(1, True, True)
        self.enter(device, 1, 0, 5_000, by)
        for status in statuses:
            self.set_status(device, 1, status)
        if dismissed:
            self.appoint(1, False, True)
        if device in self.devices:
            self.show_a_signature(device, device, late, 0)

    @rule(number=st.integers(0, 1), lasts=st.sampled_from([0, 400, 4_000]), by_keeper=st.booleans())
    def write_list(self, number: int, lasts: int, by_keeper: bool) -> None:
        keepers = (self.keys.admin, self.keys.operator)
        until = self.now + lasts if lasts else 0
        key = keepers[number] if by_keeper else keepers[1 - number]
        done = self.attempt(self.gate, key, "set", number, [stranger().address], until)
        assert done == by_keeper
        if done:
            self.until[number] = until

    @rule(seconds=st.sampled_from([300, 600]))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.world.now = self.now
        assert self.attempt(self.council, stranger(), "seats")  # a block at the new time

    @invariant()
    def powers_are_as_the_twins_say(self) -> None:
        assert self.council.view(self.chain, "nextAct")[0] == self.number
        assert {seat for seat in range(5) if self.council.view(self.chain, "isSeated", POOL[seat].address)[0]} == self.seats
        for number, key_id in enumerate(DEVICES):
            known = self.devices.get(number)
            for time in (0, self.now, 2**62) if known is None else (0, known.until, known.until + 1):
                good = known is not None and known.status == DeviceStatus.ACTIVE and known.issuer in self.appointed
                counts = good and known is not None and time <= known.until
                assert device_counts(self.chain, self.device_registry, key_id, time) == counts
        for account in range(3):
            held = [d for d in self.devices.values() if d.account == account and d.status != DeviceStatus.REVOKED]
            assert self.device_registry.view(self.chain, "devicesOf", account)[0] == len(held)
        time = self.chain.head().timestamp + 1  # a call is made as in the next block
        expected = "kyc" if self.until[0] < time else "sanctions" if self.until[1] >= time else ""
        assert closed_by(self.chain, self.gate, stranger().address) == expected


def test_powers_equal_their_twins() -> None:
    run_machine(PowersMachine, machine_settings(6, 30))


PLANTED = {
    "an act twice": ("Council", "        nextAct = number + 1;", "        nextAct = number + 0;"),
    "a signer twice": ("Council", "if (signer <= previous) revert", "if (signer < previous) revert"),
    "old seats kept": ("Council", "            isSeated[_seats[i]] = false;", "            isSeated[_seats[i]] = true;"),
    "a revoked device back": ("DeviceRegistry", "if (device.status == Status.Revoked) revert", "if (false) revert"),
    "a dismissed issuer": ("DeviceRegistry", "            && isMeterOperator[device.issuer];", "            ;"),
    "a second too long": ("DeviceRegistry", "time <= device.validUntil", "time <= device.validUntil + 1"),
    "a signature by a name alone": ("DeviceRegistry", "return keyHashOf[id] == keccak256(abi.encode(x, y)) && ", "return "),
    "a lost device signs": ("DeviceRegistry", " && isValid(id, time) && P256", " && P256"),
    "no point of the curve": ("DeviceRegistry", "if (!P256.isValidPublicKey(x, y)) revert NotAKey(x, y);", ""),
    "a list for anyone": ("ListGate", "|| msg.sender != lists[list].keeper", "|| msg.sender == address(0)"),
    "one list forgotten": ("ListGate", "            bool listed", "            if (i == 1) continue;\n            bool listed"),
}  # fmt: skip
EVERY_TIME: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("contract", "correct", "wrong"),
    [pytest.param(*bug, id=name, marks=() if name in EVERY_TIME else pytest.mark.nightly) for name, bug in PLANTED.items()],
)
def test_a_planted_bug_is_found(contract: str, correct: str, wrong: str) -> None:
    hunt = hunting(120, 30)
    with planted(contract, correct, wrong), pytest.raises((AssertionError, BaseExceptionGroup)):
        run_machine(PowersMachine, hunt)
