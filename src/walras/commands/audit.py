"""`walras audit`: what was checked, how often, and that it holds; or what broke."""

from __future__ import annotations

from pathlib import Path

from rich.progress import Progress

from walras.commands.terminal import progress, say, screen
from walras.exchange.audit import Audit
from walras.ledger import JsonRpcChain


def audit_command(run: Path, chain: str | None) -> None:
    """Audit the public record in `run`; AuditError or JournalError names what broke."""
    console = screen()
    record = run / "public.jsonl" if run.is_dir() or not run.suffix else run
    audit = Audit(record, None if chain is None else JsonRpcChain(chain))
    with progress(*Progress.get_default_columns()) as bar:
        task = bar.add_task("auditing", total=None)
        report = audit.run(lambda done, total: bar.update(task, completed=done, total=total))
    for check, times in report.checked.items():
        say(console, f"  ok  {times:>8,}  {check}")
    seen = "executed again" if chain is None else "found on the chain"
    say(console, f"{report.slots} slots hold, {report.transactions} transactions {seen}, {report.gas:,} gas")
    print(f"journal: {report.head}")
