"""A meter is exchanged: which key speaks for a metering point from which slot on, and what the old meter had still counted.

The meter operator signs a statement: account and slot, the old meter's DID, what its registers showed as the slot began and when it
was taken down, what those of the new one showed when it was hung, and the new one's credential. Whoever holds the operator's key
can check it, so it does not matter who brings it.

    Generations.at(slot) -> Registry          until the slot of an exchange the old key, from it on the new one, never both

In the slot of the exchange the new meter measures from its hanging to the end of the slot; what the old one counted of the slot
(`old_energy`: register differences, a turn of the register allowed) is added to it, in a value that is marked as edited because of
a meter exchange (`with_old_energy`). Where the new meter's reading is missing a substitute stands for the whole slot, as for any
other, until it comes late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from walras.errors import Fault, InputError, MeteringError
from walras.metering.admission import Registry, registry_of
from walras.metering.correction import Correction, Reason, corrected
from walras.metering.credential import MeterCredential, read_credential
from walras.metering.identity import Key, PublicKey, did_of, public_key_of
from walras.metering.jose import CredentialRefusal, open_jwt, sign_jwt
from walras.metering.reading import MAX_DEVICE_QUALITY
from walras.metering.slot_readings import SlotReadings
from walras.metering.validation import deltas_of_registers
from walras.slots import SlotGrid
from walras.units import INT64_MAX, Int64

STATEMENT_TYPE = "walras-meter-exchange+jwt"
MAX_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Registers:
    """Of one direction, in Wh: the old meter's as the slot began and at the end, and the new one's at its beginning."""

    began: int
    final: int
    start: int


@dataclass(frozen=True, slots=True)
class MeterExchange:
    """What the operator states; `old` and the credential's device are did:key, `digits` those of the old meter's registers."""

    account: int
    slot: int
    old: str
    import_wh: Registers
    export_wh: Registers
    digits: int
    credential: str

    def old_energy(self, registry: Registry) -> tuple[int, int]:
        """Import and export that the old meter counted of the slot; InputError where a register ran backwards or too far."""
        limits = int(registry.max_import_wh[self.account]), int(registry.max_export_wh[self.account])
        named = (("import", self.import_wh, limits[0]), ("export", self.export_wh, limits[1]))
        energies, faults = [], []
        for name, registers, most in named:
            moved, backwards = deltas_of_registers(np.array([registers.began, registers.final]), self.digits, most)
            if backwards or int(moved[0]) > most:
                shown = f"{registers.began} to {registers.final}"
                faults.append(Fault("meter exchange", f"old {name} register", shown, f"forward by at most {most} Wh in the slot"))
            energies.append(int(moved[0]))
        if faults:
            raise InputError("meter exchange", faults)
        return energies[0], energies[1]


def sign_exchange(operator: Key, exchange: MeterExchange) -> str:
    """The operator's statement, as a compact JWT."""
    return sign_jwt(operator, STATEMENT_TYPE, _claims(exchange))


def read_exchange(token: str, operator: PublicKey) -> MeterExchange:
    """The statement that `operator` signed; MeteringError saying why it is none."""
    claims = open_jwt(token, operator, STATEMENT_TYPE)
    if isinstance(claims, CredentialRefusal):
        raise MeteringError(f"not a meter exchange stated by the operator: {claims.value}", thing="meter exchange")
    try:
        imports, exports = (Registers(*claims[name]) for name in ("import_wh", "export_wh"))  # type: ignore[misc]
        names = ("account", "slot", "old", "digits", "credential")
        account, slot, old, digits, credential = (claims[name] for name in names)
        exchange = MeterExchange(account, slot, old, imports, exports, digits, credential)  # type: ignore[arg-type]
        whole = (account, slot, *vars_of(imports), *vars_of(exports))
        sound = all(type(number) is int and 0 <= number <= INT64_MAX for number in whole) and type(digits) is int
        if not sound or not 1 <= digits <= MAX_DIGITS or _claims(exchange) != claims:  # type: ignore[operator]
            raise ValueError("its numbers are not whole, or there is more in it")
    except (KeyError, TypeError, ValueError) as cause:
        raise MeteringError(f"not a meter exchange: {cause}", thing="meter exchange") from cause
    return exchange


def vars_of(registers: Registers) -> tuple[int, int, int]:
    """The three numbers in their order."""
    return registers.began, registers.final, registers.start


def _claims(exchange: MeterExchange) -> dict[str, object]:
    return {
        "account": exchange.account,
        "credential": exchange.credential,
        "digits": exchange.digits,
        "export_wh": list(vars_of(exchange.export_wh)),
        "import_wh": list(vars_of(exchange.import_wh)),
        "old": exchange.old,
        "slot": exchange.slot,
    }


@dataclass(frozen=True, slots=True)
class Generations:
    """The registry as it changes: `registries[i]` holds from slot `since[i]` on (the first from the beginning).

    `exchanges` led from each to the next; `operator` states them, `grid` turns powers into energies of a slot.
    """

    operator: PublicKey
    grid: SlotGrid
    since: tuple[int, ...]
    registries: tuple[Registry, ...]
    exchanges: tuple[MeterExchange, ...] = ()

    def number(self, slot: int) -> int:
        """Which of the registries holds in a slot."""
        return sum(since <= slot for since in self.since[1:])

    def at(self, slot: int) -> Registry:
        """The registry of a slot."""
        return self.registries[self.number(slot)]

    def in_slot(self, slot: int) -> list[MeterExchange]:
        """The exchanges in a slot."""
        return [exchange for exchange in self.exchanges if exchange.slot == slot]

    def after(self, token: str) -> Generations:
        """With one more exchange; one that is known already changes nothing. MeteringError where it does not follow."""
        exchange = read_exchange(token, self.operator)
        if exchange in self.exchanges:
            return self
        new = read_credential(exchange.credential, self.operator)
        now = self.registries[-1]
        why = ""
        if not isinstance(new, MeterCredential):
            why = f"the new meter's credential does not hold: {new.value}"
        elif exchange.account >= len(now.keys) or new.member != exchange.account:
            why = f"there is no account {exchange.account}, or the credential is for another"
        elif did_of(now.keys[exchange.account]) != exchange.old:
            why = f"account {exchange.account} is measured by another meter than {exchange.old}"
        elif new.device in {did_of(key) for registry in self.registries for key in registry.keys}:
            why = f"{new.device} has measured here before"
        elif exchange.slot < self.since[-1]:
            why = f"slot {exchange.slot} is before the last exchange, in slot {self.since[-1]}"
        elif exchange.slot in [done.slot for done in self.exchanges if done.account == exchange.account]:
            why = f"account {exchange.account} has an exchange in slot {exchange.slot} already"
        if why or not isinstance(new, MeterCredential):
            raise MeteringError(f"the meter exchange does not follow: {why}", thing=exchange)
        exchange.old_energy(now)
        registry = with_row(now, exchange.account, new, self.grid)
        return replace(
            self,
            since=(*self.since, exchange.slot),
            registries=(*self.registries, registry),
            exchanges=(*self.exchanges, exchange),
        )


def one_generation(registry: Registry, operator: PublicKey, grid: SlotGrid) -> Generations:
    """No meter exchanged yet."""
    return Generations(operator, grid, (0,), (registry,))


def with_old_energy(generations: Generations, readings: SlotReadings) -> SlotReadings:
    """The slot with what the old meters counted of it added where the new one's reading stands; marked as edited.

    The operator, by DID, answers for it.
    """
    for exchange in generations.in_slot(readings.slot):
        row, registry = exchange.account, generations.at(readings.slot)
        if int(readings.quality[row]) > MAX_DEVICE_QUALITY:
            continue
        taken, given = exchange.old_energy(generations.at(exchange.slot - 1))
        was = int(readings.import_wh[row]), int(readings.export_wh[row])
        now = was[0] + taken, was[1] + given
        change = Correction(row, was, now, Reason.METER_EXCHANGE, did_of(generations.operator))
        readings = corrected(registry, readings, [change])
    return readings


def changed_rows(before: Registry, after: Registry) -> Sequence[int]:
    """The devices whose key is another."""
    pairs = zip(before.keys, after.keys, strict=True)
    return [row for row, (old, new) in enumerate(pairs) if did_of(old) != did_of(new)]


def with_row(registry: Registry, row: int, new: MeterCredential, grid: SlotGrid) -> Registry:
    """The registry with another meter in one row."""

    def put(column: Int64, value: int) -> Int64:
        changed = column.copy()
        changed[row] = value
        return changed

    keys = [*registry.keys[:row], public_key_of(new.device), *registry.keys[row + 1 :]]
    return registry_of(
        keys,
        registry.member,
        put(registry.valid_from_s, int(new.valid_from.timestamp())),
        put(registry.valid_until_s, int(min(new.valid_until, new.calibrated_until).timestamp())),
        put(registry.max_import_wh, new.max_import_w * grid.minutes // 60),
        put(registry.max_export_wh, new.max_export_w * grid.minutes // 60),
    )
