"""`walras watchtower`: anyone's own eyes on a run: wrong batches, stale closes of channels, oracles that sign two roots or batches.

It needs what is public and a key that pays gas. Nothing it knows is lost when it stops: batches and signatures are read from the
chain and the record at every look, balances from their file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from walras.commands.secrets import read_secret
from walras.commands.terminal import say, screen
from walras.errors import Fault, InputError, LedgerError
from walras.exchange.fold import LEDGER_DEPLOYED
from walras.exchange.journal import Entry, read_public_record
from walras.exchange.opening import check_node
from walras.exchange.watch_batch_words import (
    SwornWord,
    contradicting_words,
    convict_words,
    said_twice,
    words_in_record,
    words_on_chain,
)
from walras.exchange.watch_batches import PROVED, RIGHT, BatchWatch
from walras.exchange.watch_oracles import (
    Sworn,
    check_bond,
    contradictions,
    convict,
    convict_foreign,
    sworn_in_record,
    sworn_on_chain,
)
from walras.ledger import JsonRpcChain, SigningKey
from walras.ledger.calls import Contract
from walras.ledger.keys import key_of
from walras.ledger.watchtower import Watchtower, read_balances


@dataclass(frozen=True, slots=True)
class Watched:
    """What else to watch beside the batches: addresses of the channels' and the oracles' contract, and files.

    balances    of channels, signed by both (`watchtower.write_balances`)
    copies      other copies of the record, in which an oracle may have signed something else
    statement   a member's own (`walras bill --json`)
    """

    channels: str | None = None
    bond: str | None = None
    balances: Path | None = None
    copies: tuple[Path, ...] = ()
    statement: Path | None = None


def record_in(path: Path) -> Path:
    """The public record itself, where its folder was given."""
    return path / "public.jsonl" if path.is_dir() else path


class Tower:
    """All of it on one chain. `look` returns lines for people, and how many of them nobody could do anything about."""

    def __init__(self, record: Path, chain: JsonRpcChain, key: SigningKey, watched: Watched) -> None:
        self._path = record_in(record)
        self._chain, self._key, self._watched = chain, key, watched
        self._seen: tuple[int, int] | None = None
        self._record: list[Entry] = []
        self._batches: BatchWatch | None = None

    def look(self) -> tuple[list[str], int]:
        """One look at everything; LedgerError where the chain cannot be asked."""
        self._read()
        now = self._chain.head().timestamp
        lines, left = self._look_at_batches(now)
        lines += self._look_at_channels(now)
        more, unpunished = self._look_at_oracles(now)
        return lines + more, left + unpunished

    def _read(self) -> None:
        """The record again where it has grown."""
        stat = self._path.stat() if self._path.exists() else None
        seen = None if stat is None else (stat.st_size, stat.st_mtime_ns)
        if seen != self._seen or not self._record:
            self._record, self._seen = read_public_record(self._path), seen
            check_node(self._chain, next(entry.public for entry in self._record if entry.kind == LEDGER_DEPLOYED))
            batched = any(entry.kind == LEDGER_DEPLOYED and "batches" in entry.public for entry in self._record)
            self._batches = BatchWatch(self._record, self._chain, self._key) if batched else None

    def _look_at_batches(self, now: int) -> tuple[list[str], int]:
        findings = [] if self._batches is None else self._batches.look(now)
        lines = [f"batch {f.batch}: {f.outcome}: {f.what}{_in(f.transaction)}" for f in findings]
        return lines, sum(f.outcome not in (RIGHT, PROVED) for f in findings)

    def _look_at_channels(self, now: int) -> list[str]:
        w = self._watched
        if w.channels is None or w.balances is None:
            return []
        tower = Watchtower(self._chain, Contract("PaymentChannels", self._chain.chain_id, w.channels), self._key)
        balances = read_balances(w.balances)
        heard = [tower.take(one).value for one in balances]
        answers = tower.look(now)
        return [f"channels: {len(balances)} balances, {heard.count('kept')} kept"] + [
            f"channel {a.balance.channel}: a stale close at {a.against} answered with {a.balance.sequence}"
            f"{_in(a.receipt.transaction_hash)}"
            for a in answers
        ]

    def _look_at_oracles(self, now: int) -> tuple[list[str], int]:
        deployed = _deployed(self._record)
        settlement, batches = str(deployed["settlement"]), deployed.get("batches")
        records = [self._record, *(self._copy(path, deployed) for path in self._watched.copies)]
        sworn = [one for record in records for one in sworn_in_record(record)] + sworn_on_chain(self._chain, settlement)
        words = [one for record in records for one in words_in_record(record)]
        words += words_on_chain(self._chain, str(batches)) if batches else []
        pairs, word_pairs = contradictions(sworn), contradicting_words(words)
        liars = {one.oracle for one, _ in pairs} | {one.oracle for one, _ in word_pairs}
        lines = [f"oracles: {len(sworn) + len(words)} signatures heard, {len(liars)} oracles contradict themselves"]
        if self._watched.bond is None:
            return [*lines, *_said(pairs, word_pairs)], len(liars)
        bond = Contract("OracleBond", self._chain.chain_id, self._watched.bond)
        check_bond(self._chain, bond, settlement)
        done = convict(self._chain, bond, self._key, pairs, now)
        done += convict_words(self._chain, bond, self._key, word_pairs, now)
        if self._watched.statement is not None:
            done += convict_foreign(self._chain, bond, self._key, _statement(self._watched.statement), sworn, now)
        lines += [f"oracle {c.oracle}: {c.what}{_in(c.transaction) or '; it has no stake'}" for c in done]
        return lines, sum(c.transaction is None for c in done)

    def _copy(self, path: Path, deployed: Mapping[str, Any]) -> list[Entry]:
        """Another copy of the record; LedgerError where it is of another ledger, whose signatures prove nothing here."""
        copy = read_public_record(path)
        names = ("chain_id", "settlement", "batches")
        other = _deployed(copy)
        if any(deployed.get(name) != other.get(name) for name in names):
            raise LedgerError(f"{path} is no copy of this record: it is of another ledger", thing=path, way_out="leave it out")
        return copy


def _deployed(record: Iterable[Entry]) -> Mapping[str, Any]:
    return next(entry.public for entry in record if entry.kind == LEDGER_DEPLOYED)


def _said(roots: Sequence[tuple[Sworn, Sworn]], words: Sequence[tuple[SwornWord, SwornWord]]) -> list[str]:
    said = [(one.oracle, f"signed two roots for slot {one.signed.slot}") for one, _ in roots]
    said += [(pair[0].oracle, said_twice(pair)) for pair in words]
    return [f"oracle {oracle}: {what}; no stake is watched" for oracle, what in said]


def watchtower_command(record: Path, chain: str, key: Path, watched: Watched, *, once: bool, every_s: float) -> None:
    """Look once, or for ever; LedgerError after a single look that found what nobody can prove."""
    console = screen()
    signer = key_of(read_secret(key, "walras watchtower", "--key"))
    if not record_in(record).is_file():
        raise InputError("walras watchtower", [Fault("command line", "RECORD", str(record), "a run's public.jsonl, or its folder")])
    tower = Tower(record, JsonRpcChain(chain), signer, watched)
    say(console, f"watching; proofs are paid by {signer.address}")
    said: Sequence[str] = ()
    while True:
        try:
            lines, left = tower.look()
        except LedgerError as failure:
            if once:
                raise
            lines, left = [f"this look failed: {failure}"], 0
        if lines != said:
            for line in lines:
                say(console, line)
            said = lines
        if once:
            if left:
                raise LedgerError(f"{left} findings above cannot be answered on the chain", way_out="show them to the members")
            return
        time.sleep(every_s)


def _statement(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {"proofs": content["proofs"]}
    except (OSError, ValueError, KeyError, TypeError) as cause:
        expected = "a statement of `walras bill RUN MEMBER --json FILE`"
        raise InputError("walras watchtower", [Fault(str(path), "--statement", type(cause).__name__, expected)]) from cause


def _in(transaction: bytes | None) -> str:
    return "" if transaction is None else f" (0x{transaction.hex()})"
