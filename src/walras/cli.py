"""The command line: parses, calls, prints.

Exit codes: 0 done, 1 something does not hold, 2 what was given is wrong, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from walras import __version__
from walras.commands import (
    app_did,
    app_disclose,
    app_dispatch,
    app_grids,
    app_keys,
    app_members,
    app_nodes,
    app_proofs,
    app_rights,
    app_watch,
)
from walras.commands.app_grids import imports
from walras.commands.options import AsFile, missing_beside, read_day
from walras.errors import Fault, InputError, RangeError, WalrasError

__all__ = ["app", "imports", "main"]

app = App(name="walras", help="An exchange for local electricity.", version=__version__, exit_on_error=False, print_error=False)
PARTS = (app_grids, app_proofs, app_rights, app_dispatch, app_nodes, app_keys, app_did, app_disclose, app_watch, app_members)
for part in PARTS:
    app.command(part.group, name="*")


@app.command
def run(
    community: Path,
    *,
    out: Path,
    days: int | None = None,
    start: str | None = None,
    mechanism: str | None = None,
    chain: str | None = None,
    manifest: Path | None = None,
    after: list[Path] | None = None,
    fresh: bool = False,
    secret: Path | None = None,
    gateway: str | None = None,
    oracles: str | None = None,
    balance: str | None = None,
    clock: Path | None = None,
    roll: Path | None = None,
    keys: Path | None = None,
    passphrase: Path | None = None,
    until: str | None = None,
    identifiers: Path | None = None,
) -> None:
    """Trade, meter, settle and bill a community; goes on where an interrupted run stopped.

    Parameters
    ----------
    community
        The community file (TOML).
    out
        Folder of the run: the operator's journal, and the public record.
    days
        Number of local days, instead of the file's.
    start
        First local day, YYYY-MM-DD, instead of the file's.
    mechanism
        Clear by this mechanism instead of the file's. `nodal`: the file's, and the limits of the wires hold.
    chain
        JSON-RPC address of an EVM node to settle on, instead of the EVM in the process.
    manifest
        Settle on the contracts of this manifest of `walras deploy` instead of having new ones made; without `chain`, rehearse it.
    after
        Folder or public record of a run that posted batches to these contracts before, where a committee published them; each one.
    fresh
        Begin anew: remove the run that is in the folder.
    secret
        File with 64 hex digits: members' keys are drawn at random instead of following from the seed, and it opens the folder.
    gateway
        HOST:PORT of a `walras gateway` to hand the readings to; with `oracles` and `clock`.
    oracles
        HOST:PORT of every `walras oracle`, by number, with commas between.
    balance
        HOST:PORT of the `walras balance`, where the community's aggregation is masked; with `gateway`.
    clock
        File with the time of the replay; the run writes it, the oracles and `walras dispatch` read it.
    roll
        Who is appointed and which devices are vouched for (TOML), where keys do not follow from the seed; with `keys`, `secret`
        and nodes of their own.
    keys
        Places of the keys of the exchange and of every meter (TOML), in files or TPMs.
    passphrase
        File whose first line decrypts keys in files.
    until
        Stop after the slot that ends at this time, by the community's clocks (2016-06-06T12:00) or with its offset
        (2016-06-06T12:00+02:00); the same command without it goes on.
    identifiers
        Names on the chain (did:walras) of members' devices, by member (TOML): a key is heard while it speaks for its name. With
        `chain`; nodes of their own have them in the `roll`.
    """
    from walras.commands.run import NodeOptions, RollOptions, read_identifiers, run_command
    from walras.commands.secrets import read_passphrase, read_secret
    from walras.service.clocks import FileClock
    from walras.study.runner import Options

    of_nodes = {"--gateway": gateway, "--oracles": oracles, "--clock": clock}
    of_roll = {"--roll": roll, "--keys": keys}
    faults = missing_beside(of_roll, {**of_roll, "--secret": secret, **of_nodes}) or missing_beside(
        {"--gateway": gateway, "--oracles": oracles, "--balance": balance}, of_nodes
    )
    if chain is not None and manifest is None and (gateway, oracles, balance) != (None, None, None):
        expected = "--manifest too beside --gateway, --oracles, --balance: oracles must know which contracts they sign for"
        faults.append(Fault("command line", "--chain", chain, expected))
    if identifiers is not None and (chain is None or gateway is not None):
        expected = "none over a gateway (a roll has them)" if gateway is not None else "--chain beside it: they are on a chain"
        faults.append(Fault("command line", "--identifiers", str(identifiers), expected))
    if faults:
        raise InputError("walras run", faults, way_out="`walras run --help` says which options go together")
    held = None if secret is None else read_secret(secret, "walras run")
    options = Options(
        start=read_day(start, "walras run", "--start"),
        days=days,
        chain_url=chain,
        fresh=fresh,
        mechanism=mechanism,
        secret=held,
        manifest=manifest,
        after=tuple(after or ()),
        identifiers={} if identifiers is None else read_identifiers(identifiers, community),
        clock=None if clock is None else FileClock(clock).move,
    )
    nodes = None if gateway is None or oracles is None or clock is None else NodeOptions(gateway, oracles, clock, balance)
    appointed = None
    if roll is not None and keys is not None and held is not None:
        appointed = RollOptions(roll, keys, held, read_passphrase(passphrase, "walras run"))
    run_command(community, out, options, nodes, appointed, until)


@app.command
def limits(run: Path, *, out: Path | None = None) -> None:
    """What each limit of the wires was worth over a run: hours it bound, and what one more kVA, kW or volt would have saved.

    Parameters
    ----------
    run
        The folder of a run whose limits hold (`--mechanism nodal`).
    out
        Write the figures to this file as JSON.
    """
    from walras.commands.limits import limits_command

    limits_command(run, out)


@app.command
def audit(run: Path, *, chain: str | None = None) -> None:
    """Re-check everything from the public record alone: clearings, bills, sums, roots, signatures, contract state.

    Parameters
    ----------
    run
        Folder of the run, or any folder with `public.jsonl` and `HEAD`.
    chain
        JSON-RPC address of the node the run settled on; without it, its transactions are executed again in memory.
    """
    from walras.commands.audit import audit_command

    audit_command(run, chain)


@app.command
def bill(run: Path, member: str, *, json: Annotated[Path | None, Parameter(name="--json")] = None, opener: AsFile = None) -> None:
    """One member's bill, itemised, with and without the market, its proofs of inclusion checked.

    Parameters
    ----------
    run
        Folder of the run.
    member
        The member's id, such as home-17.
    json
        Also write the whole statement, every slot and every proof, to this file.
    """
    from walras.commands.bill import bill_command

    bill_command(run, member, json, opener)


@app.command
def report(
    run: Path,
    *,
    out: Path | None = None,
    gas_gwei: str = "1",
    coin_price: str = "2500",
    batch_slots: int = 96,
    purpose: str = "operation",
    public: bool = False,
    opener: AsFile = None,
) -> None:
    """A self-contained HTML page with pictures: prices, trades, wires, bills.

    Parameters
    ----------
    run
        Folder of the run.
    out
        Where to write the page; default: beside the run's folder, `runs/learn.html` for `runs/learn`.
    gas_gwei
        What a unit of gas is taken to cost, in gwei.
    coin_price
        What the chain's coin is taken to cost, in the community's currency.
    batch_slots
        Slots in one batch, where settlement in batches is counted beside.
    purpose
        What the page is for; it names those members whose contract or consent allows that, the others by account.
    public
        Instead of the page, print what anybody may know, from the public record and without a key.
    """
    from walras.commands.report import Reader, public_command, report_command

    if public:
        public_command(run)
    else:
        report_command(run, out, gas_gwei, coin_price, batch_slots, Reader(purpose, opener))


@app.command
def clear(
    book: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    *,
    mechanism: str = "uniform",
    list: Annotated[bool, Parameter(name="--list")] = False,
) -> None:
    """Clear one book of orders: JSON in, JSON out.

    Parameters
    ----------
    book
        The book (JSON); `-` reads standard input.
    mechanism
        The rule to clear by.
    list
        Name the mechanisms and the conventions each heeds, instead of clearing.
    """
    from walras.commands.clear import clear_command, list_command

    if list:
        list_command()
    elif book is None:
        raise InputError(
            "walras clear",
            [Fault("command line", "BOOK", None, "a file with a book of orders (JSON), or - for standard input")],
            way_out="walras clear docs/learn/book.json --mechanism uniform; --list names the mechanisms",
        )
    else:
        clear_command(book, mechanism)


@app.command
def game(book: Annotated[Path, Parameter(allow_leading_hyphen=True)], *, mechanism: str = "uniform", tries: int = 400) -> None:
    """Incentive audit: the best unilateral lie of each participant (price, quantity, splitting, withholding), and its gain.

    Parameters
    ----------
    book
        The book (JSON); its orders are taken as the truth. `-` reads standard input.
    mechanism
        The rule to lie to.
    tries
        Misreports tried for each participant, at most.
    """
    from walras.commands.game import game_command

    game_command(book, mechanism, tries)


@app.command
def compare(
    community: Path,
    *,
    mechanisms: str = "all",
    days: int | None = None,
    start: str | None = None,
    lies: int = 2,
    out: Path | None = None,
) -> None:
    """The same days of a community under many mechanisms: welfare, volume, prices, gains, lies, time.

    Parameters
    ----------
    community
        The community file (TOML).
    mechanisms
        Comma list of names (`walras clear --list`), or `all`.
    days
        Number of local days, instead of the file's.
    start
        First local day, YYYY-MM-DD, instead of the file's.
    lies
        In how many of the books to search for profitable lies.
    out
        Also write a page with pictures here, and the figures as JSON beside it.
    """
    from walras.commands.compare import compare_command

    compare_command(community, mechanisms, days=days, start=read_day(start, "walras compare", "--start"), lies=lies, out=out)


@app.command
def deploy(
    community: Path,
    *,
    chain: str,
    manifest: Path | None = None,
    profile: str = "permissioned",
    secret: Path | None = None,
    council: Path | None = None,
    contracts: str = "",
    roll: Path | None = None,
) -> None:
    """Put a community's contracts on a chain: once, by manifest; again it finishes, confirms, or adds what is new.

    Parameters
    ----------
    community
        The community file (TOML): members and oracles.
    chain
        JSON-RPC address of an EVM node.
    manifest
        The deployment's own record, which makes the command safe to repeat [the file's, or ledger.json].
    profile
        Kind of chain: permissioned, l2 or mainnet (how long to wait for a block to be final, and what gas may cost).
    secret
        File with 64 hex digits from which the keys of admin, operator and oracles follow.
    council
        JSON file with members (addresses), threshold and delay_s: the admin's power goes behind a council and a timelock.
    contracts
        Contracts to have besides those that a run needs: a comma list of names, or all. Also a field of the file's [ledger].
    roll
        Whose the accounts and oracles are (TOML), where their keys do not follow from the secret either.
    """
    from walras.commands.deploy import deploy_command

    names = [name.strip() for name in contracts.split(",") if name.strip()]
    deploy_command(community, chain, manifest, profile, secret, council, names, roll)


def main() -> None:
    """Entry point of the command `walras`."""
    try:
        app()
    except CycloptsError as error:
        way_out = " ".join(["walras", *(error.command_chain or ()), "--help"])
        print(f"error: {error}\n  way out: `{way_out}` says what there is", file=sys.stderr)
        sys.exit(2)
    except (InputError, RangeError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except WalrasError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(0)
    except json.JSONDecodeError as error:
        print(f"error: not JSON: {error}", file=sys.stderr)
        sys.exit(2)
    except UnicodeDecodeError as error:
        print(f"error: not text in UTF-8: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}" if error.filename else f"error: {error}", file=sys.stderr)
        print("  way out: give a path that can be read, or written where something is to be written", file=sys.stderr)
        sys.exit(2)
