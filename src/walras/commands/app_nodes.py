"""The command line of the metering nodes: gateway, oracle, balance oracle, and device with its exchange. Parses and calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from walras.commands.options import AsFile

group = App()


@group.command
def gateway(
    community: Path,
    *,
    oracles: str,
    store: Path = Path("gateway.sqlite"),
    listen: str = "127.0.0.1:7400",
    key: str | None = None,
    secret: Path | None = None,
    per_second: int = 10_000,
    clock: Path | None = None,
    roll: Path | None = None,
    passphrase: Path | None = None,
    status: bool = False,
    offer_again: bool = False,
    keep_days: int = 90,
) -> None:
    """Take signed readings from meters, keep them encrypted, hand them to every oracle in signed batches. A process of its own.

    Parameters
    ----------
    community
        The community file (TOML): its meters.
    oracles
        HOST:PORT of every oracle, by number, with commas between.
    store
        The gateway's own file.
    listen
        HOST:PORT to serve meters on; port 0 takes a free one.
    key
        Place of the P-256 key to sign batches with, instead of the one that follows from the seed: a file (PEM), or
        `tpm:TCTI` for one in a TPM.
    secret
        File with 64 hex digits that members' keys in the store are wrapped under, instead of the seed.
    per_second
        Readings taken a second on average; ten seconds' worth at once.
    clock
        File with the time, for a replay, that requests of the log are judged by; default: the machine's clock.
    roll
        Who is appointed and which devices are vouched for (TOML), where keys do not follow from the seed.
    passphrase
        File whose first line decrypts the key's file.
    status
        Say what waits for each oracle in --store, and what it refused for good and why; then end.
    offer_again
        First give every batch that was set aside a new number, under which the oracle that refused it is offered it once more.
    keep_days
        Readings older than so many days are erased, by this node's clock, when it starts and every day.
    """
    from walras.commands.nodes import GatewayKeys, Waiting, gateway_command

    keys = GatewayKeys(key, passphrase, secret, roll)
    gateway_command(community, store, listen, oracles, keys, per_second, clock, Waiting(status, offer_again), keep_days)


@group.command
def oracle(
    community: Path,
    number: int,
    *,
    store: Path | None = None,
    listen: str = "127.0.0.1:0",
    gateway: str | None = None,
    clock: Path | None = None,
    key: Path | None = None,
    secret: Path | None = None,
    roll: Path | None = None,
    manifest: Path | None = None,
    chain: str | None = None,
    per_second: int = 1_000,
    keep_days: int = 90,
) -> None:
    """One oracle: admits every reading for itself, and votes on each slot once. A process of its own.

    Parameters
    ----------
    community
        The community file (TOML): its meters, its network, its contract.
    number
        Which of the community's oracles, from 0.
    store
        The oracle's own file; default: oracle-NUMBER.sqlite.
    listen
        HOST:PORT to serve on; port 0 takes a free one.
    gateway
        DID of the gateway whose batches are taken, instead of the one that follows from the seed.
    clock
        File with the time, for a replay; default: the machine's clock.
    key
        File with 64 hex digits: the oracle's signing key, instead of the one that follows from the seed.
    secret
        File with 64 hex digits that members' keys in the store are wrapped under, instead of the seed.
    roll
        Who is appointed and which devices are vouched for (TOML), where keys do not follow from the seed.
    manifest
        Sign for the contracts of this manifest of `walras deploy`, instead of those that a run makes on the chain in its process.
    chain
        JSON-RPC address of a node, where the roll has identifiers of devices: it is asked whose key still speaks.
    per_second
        Requests and batches that each host is answered a second on average; ten seconds' worth at once.
    keep_days
        Readings older than so many days are erased, by this node's clock, when it starts and every day.
    """
    from walras.commands.nodes import OracleKeys, oracle_command

    keys = OracleKeys(key, secret, roll, manifest, chain, per_second, keep_days)
    oracle_command(community, number, store or Path(f"oracle-{number}.sqlite"), listen, gateway, clock, keys)


@group.command
def balance(
    community: Path,
    *,
    store: Path = Path("balance.sqlite"),
    listen: str = "127.0.0.1:0",
    clock: Path | None = None,
    key: Path | None = None,
    roll: Path | None = None,
    manifest: Path | None = None,
    chain: str | None = None,
    per_second: int = 1_000,
    keep_days: int = 90,
) -> None:
    """The balance oracle: learns what a feeder's homes took and gave together, and no home's reading. A process of its own.

    Parameters
    ----------
    community
        The community file (TOML), with `aggregation = "masked"` under [metering].
    store
        The oracle's own file.
    listen
        HOST:PORT to serve on; port 0 takes a free one.
    clock
        File with the time, for a replay; default: the machine's clock.
    key
        File with 64 hex digits: the oracle's signing key, instead of the one that follows from the seed.
    roll
        Who is appointed and which devices are vouched for (TOML), where keys do not follow from the seed.
    manifest
        Sign for the contracts of this manifest of `walras deploy`, instead of those that a run makes on the chain in its process.
    chain
        URL of a node, asked whose key still speaks, where the roll has identifiers of devices.
    per_second
        Requests of a host that are answered a second on average; ten seconds' worth at once.
    keep_days
        Readings older than so many days are erased, by this node's clock, when it starts and every day.
    """
    from walras.commands.nodes import OracleKeys, balance_command

    keys = OracleKeys(key, None, roll, manifest, chain, per_second=per_second, keep_days=keep_days)
    balance_command(community, store, listen, clock, keys)


@group.command
def meter(
    readings: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    *,
    key: str,
    gateway: str,
    passphrase: Path | None = None,
    registers: int | None = None,
    sign: Literal["each", "hour", "day"] = "each",
    community: Path | None = None,
) -> None:
    """A device: sign readings with its key, in a file or a TPM, and hand them to a gateway; its counter goes up with each.

    Parameters
    ----------
    readings
        A line a slot: SLOT IMPORT_WH EXPORT_WH; `-` reads standard input.
    key
        Place of the device's key: a file (PEM), or `tpm:TCTI`.
    gateway
        HOST:PORT of a `walras gateway`.
    passphrase
        File whose first line decrypts the key's file.
    registers
        The lines show registers (Wh) of so many digits, at the end of each slot; what is sent is the difference to the line before.
    sign
        `each` reading by itself; or an `hour`'s or a `day`'s under one signature, each reading sent with its proof.
    community
        The community file (TOML), whose clocks say when an hour or a day is over; needed for those.
    """
    from walras.commands.meter import Signing, meter_command

    meter_command(readings, key, gateway, passphrase, registers, Signing(sign, community))


@group.command
def exchange_meter(
    run: Path,
    member: str,
    slot: str,
    *,
    old_import: str,
    old_export: str,
    new_import: int = 0,
    new_export: int = 0,
    digits: int = 9,
    key: str | None = None,
    operator: str | None = None,
    passphrase: Path | None = None,
    roll: Path | None = None,
    opener: AsFile = None,
) -> None:
    """A member's meter is exchanged while the run goes on: the new key counts from that slot, the old one is refused.

    Parameters
    ----------
    run
        Folder of the run.
    member
        The member's id, such as home-17.
    slot
        The slot in which it happens, by its number or when it begins, by the community's clocks: 2016-06-21T10:15. Not metered yet.
    old_import
        The old meter's register of energy taken, in Wh: BEGAN:FINAL, as the slot began and when it was taken down.
    old_export
        The same of energy given.
    new_import
        The new meter's register of energy taken when it was hung, in Wh.
    new_export
        The same of energy given.
    digits
        How many digits the old meter's registers have (in Wh): after nines they turn to zero.
    key
        Place of the new meter's key: a file (PEM), or `tpm:TCTI`; without it and --operator, both follow from the seed.
    operator
        Place of the meter operator's key, which vouches for the new meter.
    passphrase
        File whose first line decrypts keys in files.
    roll
        Who is appointed (TOML), where keys do not follow from the seed.
    """
    from walras.commands.exchange_meter import ExchangeKeys, ReadOff, exchange_meter_command

    read = ReadOff(old_import, old_export, new_import, new_export, digits)
    exchange_meter_command(run, member, slot, read, ExchangeKeys(key, operator, passphrase, roll), opener)
