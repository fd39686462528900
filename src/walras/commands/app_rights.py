"""The command line of members' data: export, forget, consent, admit, statistics, validate, edit. Parses and calls."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from walras.commands.options import AsFile

group = App()


@group.command
def export(
    run: Path,
    member: str | None = None,
    *,
    out: Path | None = None,
    purpose: str | None = None,
    processing_record: bool = False,
    nodes: Path | None = None,
    opener: AsFile = None,
) -> None:
    """Everything about one member as JSON, with proofs; or what a purpose may see; or the record of processing.

    Parameters
    ----------
    run
        Folder of the run.
    member
        The member's id, such as home-17.
    out
        Write to this file instead of standard output.
    purpose
        Only what this purpose may see, at its resolution, if the member's consent allows it.
    processing_record
        The record of processing activities (GDPR Article 30) of what the folder really holds, instead of a member.
    nodes
        Folder with the stores of gateway, oracles and balance oracle, where they are not in that of the run.
    """
    from walras.commands.rights import export_command

    export_command(run, member, out, purpose, processing_record, opener, nodes)


@group.command
def forget(
    run: Path,
    member: str | None = None,
    *,
    older_than: int | None = None,
    due: bool = False,
    nodes: Path | None = None,
    gateway: str | None = None,
    oracles: str | None = None,
    balance: str | None = None,
    clock: Path | None = None,
    roll: Path | None = None,
    key: str | None = None,
    credential: Path | None = None,
    passphrase: Path | None = None,
    opener: AsFile = None,
) -> None:
    """Erase a member from every store of a finished run; the audit and everybody else's proofs still hold.

    Parameters
    ----------
    run
        Folder of the run.
    member
        The member's id, such as home-17.
    older_than
        Instead of a member: erase everybody's private parts of slots that began more than so many days ago.
    due
        Instead of a member: erase what is past the periods of the purposes that it is kept for, readings and then names.
    nodes
        Folder with the stores of gateway, oracles and balance oracle, where they are not in that of the run.
    gateway
        HOST:PORT of the gateway, told over the network. With neither member nor `older_than`: of everybody who was forgotten.
    oracles
        HOST:PORT of every oracle, by number, with commas between.
    balance
        HOST:PORT of the balance oracle, where the community's aggregation is masked.
    clock
        File with the time that the nodes read, for a replay; default: the machine's clock.
    roll
        Who issues credentials (TOML), where keys do not follow from the seed.
    key
        Place of the key that asks the nodes: a file (PEM), or `tpm:TCTI`. Without it, the operator's, which follows from the seed.
    credential
        The operator's word that the key's holder may erase, as `walras allow DID erase` writes it.
    passphrase
        File whose first line decrypts the key's file.
    """
    from walras.commands.remote_forget import RemoteNodes
    from walras.commands.rights import Places, forget_command

    named = (gateway, oracles, balance) != (None, None, None)
    remote = RemoteNodes(gateway, oracles, balance, clock, key, credential, passphrase, roll) if named else None
    forget_command(run, member, older_than, opener, Places(nodes, remote), due=due)


@group.command
def consent(run: Path, member: str, purpose: str, *, withdraw: bool = False, opener: AsFile = None) -> None:
    """Record that a member agrees to a use of their data, or no longer does.

    Parameters
    ----------
    run
        Folder of the run.
    member
        The member's id, such as home-17.
    purpose
        The use: one of those in docs/explain/data-protection.md.
    withdraw
        Withdraw the consent.
    """
    from walras.commands.rights import consent_command

    consent_command(run, member, purpose, withdraw, opener)


@group.command
def admit(
    run: Path,
    holder: str,
    right: str | None = None,
    *,
    member: str | None = None,
    days: int = 365,
    end: bool = False,
    opener: AsFile = None,
) -> None:
    """Let somebody else open a run's folder with a key of their own, for one right and a time; a member, what is their own.

    Parameters
    ----------
    run
        Folder of the run.
    holder
        DID of whose key it is (`walras key FILE`).
    right
        `own`: a member's own data, with `member`; `operate`: what running the market needs; `export`; `erase`; `edit`.
    member
        The member's id, such as home-17, with the right own.
    days
        How long it holds.
    end
        Take it back.
    """
    from walras.commands.admit import admit_command

    admit_command(run, holder, right, member, days, end, opener)


@group.command
def statistics(
    run: Path,
    name: str | None = None,
    *,
    period: str | None = None,
    by: str = "period",
    epsilon: str | None = None,
    out: Path | None = None,
    opener: AsFile = None,
) -> None:
    """Publish a statistic of a run with noise, under the community's privacy budget; without a name: the budget, what is published.

    Parameters
    ----------
    run
        Folder of the run; its community file has a [privacy] section.
    name
        consumption, feed_in, shared, feeding_in or net_producers.
    period
        A local day or month of the run, as [privacy] says; needed where the run has more than one.
    by
        One value for the period, one a `day`, or one an `hour` of the day over all its days.
    epsilon
        What to spend of the period's budget: the less, the more noise. Not needed for what is published already.
    out
        Also write the answer to this file as JSON.
    """
    from walras.commands.statistics import Asked, statistics_command

    statistics_command(run, Asked(name, period, by, epsilon, out), opener)


@group.command
def validate(run: Path, *, opener: AsFile = None) -> None:
    """What the run's readings show when days of them are looked at together: gaps, skipped counters, stuck meters, spikes, clocks.

    Parameters
    ----------
    run
        Folder of the run.
    """
    from walras.commands.validate import validate_command

    validate_command(run, opener)


@group.command
def edit(
    run: Path,
    member: str,
    slot: str,
    *,
    import_wh: int,
    export_wh: int,
    reason: str,
    key: str | None = None,
    credential: Path | None = None,
    passphrase: Path | None = None,
    roll: Path | None = None,
    opener: AsFile = None,
) -> None:
    """Say that a value of a settled slot is wrong, and what it should be: signed, recorded, and settled as a correction.

    Parameters
    ----------
    run
        Folder of the run; slots can be edited until their dispute window closes.
    member
        The member's id, such as home-17.
    slot
        The slot's number, or when it begins, by the community's clocks (2016-06-21T10:15) or with its offset.
    import_wh
        What was taken, in whole Wh.
    export_wh
        What was given, in whole Wh.
    reason
        meter_fault, meter_exchange, wrong_substitute, clock_fault or register_total.
    key
        Place of the editor's key: a file (PEM), or `tpm:TCTI`. Without it, that of the metering desk, which follows from the seed.
    credential
        The operator's word that the key's holder may edit, as `walras allow DID edit` writes it.
    passphrase
        File whose first line decrypts the key's file.
    roll
        Who issues credentials (TOML), where keys do not follow from the seed.
    """
    from walras.commands.edit import Editor, edit_command

    edit_command(run, member, slot, (import_wh, export_wh), reason, Editor(key, credential, passphrase, roll), opener)
