"""`walras run`: progress while it trades, then what came of it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from walras.commands.secrets import read_secret
from walras.commands.summary import summary_table
from walras.study.runner import Options, Run


def run_command(
    community: Path,
    out: Path,
    *,
    days: int | None,
    start: date | None,
    mechanism: str | None,
    chain: str | None,
    fresh: bool,
    secret: Path | None = None,
) -> None:
    """Run, print a summary, and as last line `journal: HEADHASH`."""
    console = Console(soft_wrap=True, highlight=False)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        progress.add_task("setting up", total=None)
        held = None if secret is None else read_secret(secret, "walras run")
        options = Options(start=start, days=days, chain_url=chain, fresh=fresh, mechanism=mechanism, secret=held)
        session = Run(community, out, options)
        progress.remove_task(progress.task_ids[0])
        terms = session.terms
        console.print(
            f"{terms.name}: {terms.members} members, {session.slots} slots of {terms.grid.minutes} minutes from "
            f"{terms.grid.local(terms.first):%Y-%m-%d}, cleared by {terms.mechanism}, settled {terms.rule.replace('_', ' ')}"
        )
        task = progress.add_task("trading", total=session.slots)
        for slot in session:
            progress.update(task, advance=1, description=f"trading {terms.grid.local(slot):%d %b %H:%M}")
    if session.resumed:
        console.print(f"went on after {session.resumed} entries that were in the journal already")
    summary_table(console, out)
    console.print(f"public record: {out / 'public.jsonl'}; check it with `walras audit {out}`")
    console.print(f"journal: {session.head}")
