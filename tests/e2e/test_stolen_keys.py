"""A stolen key, before its revocation and after, on every way in; and the meter that is hung in its place."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cbor2
import numpy as np
import pytest

from e2e.test_edits import community_with_corrections
from keys_world import Keyring, make_keyring
from walras.commands.enrol import enrol_command, revoke_command
from walras.commands.secrets import read_secret
from walras.community import load_community
from walras.errors import InputError
from walras.ledger import EmbeddedChain, Genesis, ReadableChain
from walras.ledger.identifiers import create_identifier, deploy_registry, identifier_of, point_of
from walras.ledger.keys import key_of
from walras.metering import MeterCredential, Refusal, did_of, issue, read_credential, sign_reading
from walras.metering.gateway import seal_batch
from walras.metering.identity import Key
from walras.metering.masked import join_message
from walras.metering.meter_exchange import MeterExchange, Registers, sign_exchange
from walras.service.access_log import act_of_log, log_of
from walras.service.appointment import appointment, make_balance, make_oracle
from walras.service.balance_node import JOINS
from walras.service.clocks import FileClock
from walras.service.frames import EXCHANGE, MASKED, READINGS, TOLD
from walras.service.key_file import make_key, read_key
from walras.service.status_bits import bits_in_folder, unused_bit
from walras.study.meters import TRANSFORMER, meter_credential

ROW, MEMBER = 0, "farm-1"


class Street:
    """Keys in files, a status list, and one oracle in this process; slots can be corrected for an hour."""

    def __init__(self, folder: Path, more: str = "", chain: ReadableChain | None = None, fields: str = "") -> None:
        self.folder, self.path = folder, community_with_corrections(folder, fields)
        self.ring: Keyring = make_keyring(folder, self.path)
        self.community, self.status = load_community(self.path), folder / "status.jwt"
        self.ring.roll.write_text('status = "status.jwt"\n' + self.ring.roll.read_text() + more)
        self.revoke("")
        self.a = appointment(self.community, self.ring.roll)
        self.clock = FileClock(folder / "clock")
        self.chain = chain
        self.start()
        self.gateway, self.sent = read_key(folder / "gateway.pem"), 0
        self.operator = read_key(folder / "operator.pem")
        self.refused = Counter[int]()

    def start(self) -> None:
        own = key_of(read_secret(self.ring.oracle_key(0), "test"))
        self.node = make_oracle(self.a, 0, own, None, self.folder / "o.sqlite", bytes(32), self.clock, None, self.chain)

    def revoke(self, names: str) -> None:
        begin = f"{self.community.grid.origin:%Y-%m-%dT%H:%M:%SZ}"
        revoke_command(self.path, names, str(self.folder / "operator.pem"), self.status, begin, 400, None)

    def at(self, slot: int, minutes: int = 0) -> None:
        self.clock.move(self.community.grid.end(slot + minutes // self.community.grid.minutes))

    def send(self, key: Key, slot: int, counter: int) -> dict[int, int]:
        """What is refused of one reading, by reason."""
        self.node.receive(seal_batch(self.gateway, self.sent, [sign_reading(key, slot, 100, 0, counter)]))
        self.sent += 1
        now = Counter(self.node._store.refused_counts())
        new, self.refused = now - self.refused, now
        return dict(new)

    def hang(self, slot: int, old: Key) -> Key:
        """The meter of farm-1 is exchanged as `walras exchange-meter` does it."""
        make_key(self.folder / "new.pem")
        new = read_key(self.folder / "new.pem")
        bit = unused_bit(bits_in_folder(self.folder / "credentials", self.operator.public_key()).values())
        credential = issue(self.operator, meter_credential(self.community, MEMBER, did_of(new.public_key()), bit))
        registers = Registers(0, 5, 0), Registers(0, 0, 0)
        exchange = MeterExchange(ROW, slot, did_of(old.public_key()), *registers, 6, credential)
        self.node._reply(EXCHANGE, sign_exchange(self.operator, exchange).encode())
        return new


def test_a_revoked_key_is_not_heard_by_saying_that_its_readings_are_late(tmp_path: Path) -> None:
    street = Street(tmp_path)
    stolen = read_key(tmp_path / f"{MEMBER}.pem")
    street.at(4)
    assert street.send(stolen, 4, 1) == {}
    street.at(5, minutes=45)  # behind the deadlines of slots 5 and 6, and disputes of both are heard
    assert street.send(stolen, 5, 2) == {}  # as a late reading: nobody knows yet
    assert [one.slot for one in street.node._store.late(5)] == [5]
    street.revoke(MEMBER)
    assert street.send(stolen, 6, 3) == {Refusal.REVOKED: 1}
    assert street.node._store.late(6) == []


def test_a_late_reading_counts_while_its_meters_credential_holds_and_not_after(tmp_path: Path) -> None:
    street = Street(tmp_path)
    key = read_key(tmp_path / f"{MEMBER}.pem")
    whole, end = street.node._duty.registry, int(street.community.grid.end(5).timestamp())
    ends = replace(whole, valid_until_s=np.where(np.arange(len(whole.keys)) == ROW, end + 40 * 60, whole.valid_until_s))
    street.node._duty = replace(street.node._duty, registry=ends, book=None)
    street.at(4, minutes=45)
    assert street.send(key, 4, 1) == {}
    street.at(5, minutes=45)
    assert street.send(key, 5, 2) == {Refusal.CREDENTIAL_EXPIRED: 1}
    assert ([one.slot for one in street.node._store.late(4)], street.node._store.late(5)) == ([4], [])


def test_the_meter_hung_in_place_of_a_stolen_one_is_heard_though_the_old_key_stays_revoked(tmp_path: Path) -> None:
    street = Street(tmp_path)
    old = read_key(tmp_path / f"{MEMBER}.pem")
    street.at(4)
    assert street.send(old, 4, 1) == {}
    street.revoke(MEMBER)
    new = street.hang(5, old)
    street.at(5)
    assert street.send(new, 5, 1) == {}
    assert street.send(old, 5, 2) == {Refusal.UNKNOWN_DEVICE: 1}
    assert street.send(old, 4, 2) == {Refusal.REVOKED: 1}


def test_the_key_of_the_feeders_own_meter_is_revoked_like_any_other(tmp_path: Path) -> None:
    street = Street(tmp_path)
    through = read_key(tmp_path / f"{TRANSFORMER}.pem")
    street.at(4)
    street.send(through, 4, 1)
    street.revoke(TRANSFORMER)
    street.at(5)
    street.send(through, 5, 2)
    kept = street.node._store.readings("slot >= ?", (0,))
    assert [taken.slot for taken in kept] == [4]


def test_after_a_rotation_on_the_chain_the_exchanged_meter_is_heard_and_the_old_key_is_not(tmp_path: Path) -> None:
    owner = key_of(b"\x01" * 32)
    chain = EmbeddedChain(Genesis((owner.address,), timestamp=1_000_000))
    registry = deploy_registry(chain, owner, 86_400, timestamp=1_000_100)
    make_key(tmp_path / "first.pem")
    first = read_key(tmp_path / "first.pem")
    did = create_identifier(chain, registry, owner, first.public_key(), None, timestamp=1_000_200)
    street = Street(tmp_path, f'[identifiers]\n{MEMBER} = "{did}"\n', chain)
    old, identifier = read_key(tmp_path / f"{MEMBER}.pem"), identifier_of(registry, did)
    registry.act(chain, owner, "rotate", identifier, *point_of(old.public_key()), timestamp=1_000_300)
    street.at(4)
    assert street.send(old, 4, 1) == {}
    new = street.hang(5, old)
    street.at(5)
    assert street.send(new, 5, 1) == {Refusal.REVOKED: 1}  # hung, and not yet the identifier's
    registry.act(chain, owner, "rotate", identifier, *point_of(new.public_key()), timestamp=1_000_400)
    assert street.send(new, 5, 2) == {}
    assert street.send(old, 4, 2) == {Refusal.REVOKED: 1}
    registry.act(chain, owner, "revokeKey", identifier, timestamp=1_000_500)
    street.at(6)
    assert street.send(new, 6, 3) == {Refusal.REVOKED: 1}


def test_what_is_revoked_is_on_record_once_by_every_oracle_that_heeds_it(tmp_path: Path) -> None:
    street = Street(tmp_path)
    key = read_key(tmp_path / f"{MEMBER}.pem")
    moments = []
    for slot, names in ((4, ""), (5, MEMBER), (6, ""), (7, f"home-1,{TRANSFORMER}")):
        street.revoke(names)
        street.at(slot)
        moments.append(street.clock().isoformat(timespec="seconds"))
        street.send(key, slot, slot)
        if slot == 6:  # started again, an oracle does not say it anew
            street.start()
    expected = [(moments[1], "1 keys", "REVOKED"), (moments[3], "3 keys", "REVOKED")]
    assert [row[:3] for row in street.node._store.accesses()] == expected
    act = act_of_log("oracle 0", log_of(street.node._store), street.clock())
    assert act.detail is not None
    assert act.detail["requests"] == [["1 keys", "REVOKED", "answered", 1], ["3 keys", "REVOKED", "answered", 1]]


def test_a_revoked_key_takes_no_part_in_masked_sums(tmp_path: Path) -> None:
    street = Street(tmp_path, fields='aggregation = "masked"\n')
    own = key_of(read_secret(street.ring.balance_key, "test"))
    node = make_balance(street.a, own, tmp_path / "balance.sqlite", street.clock)
    stolen, home, through = (read_key(tmp_path / f"{name}.pem") for name in (MEMBER, "home-1", TRANSFORMER))
    street.at(4)

    def refused(kind: bytes, *messages: bytes) -> list[int]:
        return list(node.reply(kind, cbor2.dumps(list(messages))))

    said = join_message(stolen, bytes([1] * 32))
    assert refused(MASKED, said, said) == [0, 0]
    assert refused(READINGS, sign_reading(through, 4, 100, 0, 4)) == [0]
    street.revoke(f"{MEMBER},{TRANSFORMER}")
    street.at(5)
    assert refused(MASKED, said, join_message(home, bytes([2] * 32))) == [1, 0]
    assert refused(READINGS, sign_reading(through, 5, 100, 0, 5)) == [1]
    assert said in cbor2.loads(node.reply(TOLD, cbor2.dumps([JOINS, 0])))
    assert [row[1:3] for row in node._store.accesses()] == [("2 keys", "REVOKED")]


def test_a_status_bit_says_nothing_of_whose_it_is_and_is_never_given_twice(tmp_path: Path) -> None:
    ring = make_keyring(tmp_path, community_with_corrections(tmp_path))
    operator, folder = read_key(tmp_path / "operator.pem").public_key(), tmp_path / "credentials"
    bits = bits_in_folder(folder, operator)
    names = [*(member.id for member in ring.community.members), TRANSFORMER]
    assert sorted(bits) == sorted(names)
    assert len(set(bits.values())) == len(names)
    assert [bits[name] for name in names] != list(range(len(names)))
    enrol_command(ring.community_path, MEMBER, str(tmp_path / "operator.pem"), folder / f"{MEMBER}.jwt",
                  str(tmp_path / f"{MEMBER}.pem"), None, True, None)  # fmt: skip
    assert bits_in_folder(folder, operator)[MEMBER] not in bits.values()
    taken = read_credential((folder / "home-1.jwt").read_text().strip(), operator)
    assert isinstance(taken, MeterCredential)
    shared = meter_credential(ring.community, MEMBER, did_of(read_key(tmp_path / f"{MEMBER}.pem").public_key()), taken.status_index)
    (folder / f"{MEMBER}.jwt").write_text(issue(read_key(tmp_path / "operator.pem"), shared))
    with pytest.raises(InputError, match="would revoke both"):
        appointment(ring.community, ring.roll)
