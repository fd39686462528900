"""`walras exchange-meter`: a member's meter is exchanged while the run goes on: what the registers showed, and the new meter's key.

The operator vouches for the new meter and signs what was read off both (`metering.meter_exchange`); that is recorded as an act. The
run takes it from there before it meters the slot, tells gateway and oracles, and from that slot on the old key is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from walras.commands.edit import slot_named
from walras.commands.rights import community_of, opened_run
from walras.commands.secrets import read_passphrase
from walras.commands.terminal import say, screen
from walras.errors import Fault, InputError, JournalError, MeteringError
from walras.exchange.acts import Act, ActKind
from walras.exchange.fold import RUN_CLOSED
from walras.exchange.journal import Entry
from walras.exchange.parts import exchange_private, exchange_statement
from walras.exchange.phases import EventKind
from walras.exchange.statement import opened_terms
from walras.exchange.terms import Terms
from walras.metering import did_of, issue
from walras.metering.identity import Key
from walras.metering.meter_exchange import Generations, MeterExchange, Registers, sign_exchange
from walras.service.appointment import Appointment, appointment
from walras.service.data_protection import account_of, record
from walras.service.keys import open_keys
from walras.service.status_bits import bits_in_folder, status_bits, unused_bit
from walras.study.hanging import exchanged_keys
from walras.study.meters import meter_credential, meter_operator


@dataclass(frozen=True, slots=True)
class ReadOff:
    """Registers as they were read off: `BEGAN:FINAL` of the old meter (Wh, as the slot began and when it was taken down), the
    new one's start, by direction; and how many digits the old one's have."""

    old_import: str
    old_export: str
    new_import: int
    new_export: int
    digits: int


@dataclass(frozen=True, slots=True)
class ExchangeKeys:
    """Places of the new meter's and the operator's key, both None where keys follow from the seed; passphrase file; roll."""

    key: str | None
    operator: str | None
    passphrase: Path | None
    roll: Path | None


def exchange_meter_command(run: Path, member: str, slot: str, read: ReadOff, keys: ExchangeKeys, secret: Path | None) -> None:
    """State, check and record the exchange; JournalError where it does not follow or comes too late."""
    faults = [
        Fault("command line", name, given, "two readings of the register in Wh: BEGAN:FINAL")
        for name, given in (("--old-import", read.old_import), ("--old-export", read.old_export))
        if [part.isdecimal() for part in given.split(":")] != [True, True]
    ]
    faults += [] if 1 <= read.digits <= 15 else [Fault("command line", "--digits", read.digits, "1 to 15")]
    if faults:
        raise InputError("walras exchange-meter", faults)
    at = datetime.now(UTC).replace(microsecond=0)
    with opened_run(run, secret, "walras exchange-meter") as opened:
        journal = opened.journal
        a = appointment(community_of(opened), keys.roll)
        entries = list(journal.entries())
        terms, _ids = opened_terms(entries)
        account, index = account_of(entries, member), slot_named(terms, slot, "walras exchange-meter")
        hung = _hung(a, entries)
        operator, key = _keys(a, keys, account, index)
        bit, folder = _bit(a, hung)
        credential = meter_credential(a.community, member, did_of(key.public_key()), bit)
        old = did_of(hung.registries[-1].keys[account])
        registers = _registers(read.old_import, read.new_import), _registers(read.old_export, read.new_export)
        exchange = MeterExchange(account, index, old, *registers, read.digits, issue(operator, credential))
        statement = sign_exchange(operator, exchange)
        taken, given = exchange.old_energy(hung.registries[-1])
        why = _refusal(terms, entries, index)
        try:
            hung.after(statement)
        except MeteringError as cause:
            why = why or cause.message
        if why:
            record(journal, run, Act(ActKind.DENIED, at, did_of(operator.public_key()), account, {"purpose": "meter", "why": why}))
            raise JournalError(f"the exchange is refused: {why}; the refusal is recorded", thing=exchange)
        detail = {"slot": index, "statement": sha256(statement.encode()).hexdigest()}
        act = Act(ActKind.METER_EXCHANGED, at, did_of(operator.public_key()), account, detail)
        if folder is not None:  # first: what is on record without it could not be revoked by name
            (folder / f"{member}@{index}.jwt").write_text(exchange.credential + "\n", encoding="ascii")
        record(journal, run, act, exchange_private(account, statement))
    say(
        screen(),
        f"{member}, from slot {index} ({terms.grid.shown(index)}): {credential.device} in place of {old}, "
        f"which had counted {taken:,} Wh taken and {given:,} Wh given of it; recorded",
    )


def _hung(a: Appointment, entries: list[Entry]) -> Generations:
    hung = a.meters.generations(a.community)
    for entry in entries:
        statement = exchange_statement(entry) if entry.kind == "act" else None
        if statement is not None:
            hung = hung.after(statement)
    return hung


def _bit(a: Appointment, hung: Generations) -> tuple[int | None, Path | None]:
    """The new credential's status bit, and the folder of the roll's credentials; None for keys that follow from the seed."""
    if a.roll is None:
        return None, None
    tokens = [*a.roll.tokens, a.roll.transformer, *(one.credential for one in hung.exchanges)]
    used = {*status_bits(tokens, a.operator).values(), *bits_in_folder(a.roll.folder, a.operator).values()}
    return unused_bit(used), a.roll.folder


def _keys(a: Appointment, keys: ExchangeKeys, account: int, slot: int) -> tuple[Key, Key]:
    """The operator's key and the new meter's."""
    given = [place for place in (keys.operator, keys.key) if place is not None]
    if a.roll is None and not given:
        return meter_operator(a.seed), exchanged_keys(a.community, a.seed)(account, slot)
    if len(given) < 2:
        named = {"--operator": keys.operator, "--key": keys.key}
        faults = [
            Fault("command line", name, None, "the place of a key, with the other") for name, at in named.items() if at is None
        ]
        raise InputError("walras exchange-meter", faults)
    operator, key = open_keys(given, read_passphrase(keys.passphrase, "walras exchange-meter"))
    return operator, key


def _registers(old: str, start: int) -> Registers:
    began, _, final = old.partition(":")
    return Registers(int(began), int(final), start)


def _refusal(terms: Terms, entries: list[Entry], slot: int) -> str:
    if any(entry.kind == RUN_CLOSED for entry in entries):
        return "the run is over"
    metered = [entry.slot for entry in entries if entry.kind == EventKind.READINGS_ADMITTED.value and entry.slot is not None]
    if metered and slot <= max(metered):
        return f"slot {slot} is metered already: the next is {max(metered) + 1}; what the old meter counted of it is an edit's"
    return ""
