"""The command line of the watchtower. Parses and calls."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from walras.errors import Fault, InputError

group = App()


@group.command
def watchtower(
    record: Path,
    *,
    chain: str,
    key: Path,
    manifest: Path | None = None,
    channels: str | None = None,
    bond: str | None = None,
    balances: Path | None = None,
    copies: str = "",
    statement: Path | None = None,
    once: bool = False,
    every: str = "30",
) -> None:
    """Watch a run with public data alone, and prove what is wrong: batches, closes of channels, oracles that sign two things.

    Parameters
    ----------
    record
        A run's public record (public.jsonl), or the folder that it is in.
    chain
        JSON-RPC address of a node of the chain it settles on.
    key
        File with 64 hex digits, an Ethereum key that pays gas and receives rewards.
    manifest
        Of `walras deploy`: where the contracts of channels and oracles' stakes are looked up.
    channels
        Address of PaymentChannels, instead of the manifest's.
    bond
        Address of OracleBond, instead of the manifest's.
    balances
        Signed balances of channels, one a line.
    copies
        Other copies of the record, with commas between: an oracle may have signed something else there.
    statement
        Your own statement (`walras bill --json`): a reading of another slot under a root convicts who signed it.
    once
        Look once and end; exit code 1 where something is wrong that nobody can prove on the chain.
    every
        Seconds between two looks.
    """
    from walras.commands.watchtower import Watched, watchtower_command
    from walras.ledger.manifest import contracts_of

    try:
        seconds = float(every)
    except ValueError as cause:
        raise InputError("walras watchtower", [Fault("command line", "--every", every, "seconds")]) from cause
    if not 0 < seconds < 86_400:
        raise InputError("walras watchtower", [Fault("command line", "--every", every, "seconds, less than a day")])
    known = {} if manifest is None else contracts_of(manifest)
    others = tuple(Path(name.strip()) for name in copies.split(",") if name.strip())
    watched = Watched(channels or known.get("PaymentChannels"), bond or known.get("OracleBond"), balances, others, statement)
    watchtower_command(record, chain, key, watched, once=once, every_s=seconds)
