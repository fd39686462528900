"""What commands of members share: the run's public record, the chain it settled on, and the member's own key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from walras.commands.secrets import read_secret
from walras.errors import Fault, InputError
from walras.exchange.fold import LEDGER_DEPLOYED
from walras.exchange.journal import Entry, Public, read_public_record
from walras.exchange.opening import check_node
from walras.ledger import JsonRpcChain, LedgerAddresses, SigningKey
from walras.ledger.keys import key_of
from walras.study.meters import run_seed
from walras.study.runner import COMMUNITY, PUBLIC, ledger_keys, opened_by_operator


@dataclass(frozen=True, slots=True)
class OnChain:
    """A run's record, and the node of its chain, which has its contracts."""

    record: list[Entry]
    deployed: Public
    chain: JsonRpcChain

    @property
    def addresses(self) -> LedgerAddresses:
        """Where its contracts stand."""
        return LedgerAddresses(**{name: self.deployed[name] for name in ("chain_id", "currency", "registry", "settlement")})


def on_chain(run: Path, url: str) -> OnChain:
    """The record in `run` (a folder, or public.jsonl) and the node at `url`; LedgerError where that has not its contracts."""
    record = read_public_record(run / PUBLIC if run.is_dir() else run)
    deployed = next(entry.public for entry in record if entry.kind == LEDGER_DEPLOYED)
    chain = JsonRpcChain(url)
    check_node(chain, deployed)
    return OnChain(record, deployed, chain)


def member_key(run: Path, member: str | None, key: Path | None, command: str) -> SigningKey:
    """The key of a member: from its own file, or in a trial, where keys follow from the community's seed, by its id."""
    if (member is None) == (key is None):
        raise InputError(command, [], way_out="--key FILE, or in a trial --member ID: one of the two")
    if key is not None:
        return key_of(read_secret(key, command, "--key"))
    path = run / COMMUNITY
    if not path.is_file():
        fault = Fault(str(run), "--member", member, f"a run's folder with {COMMUNITY}; elsewhere --key FILE")
        raise InputError(command, [fault])
    opened = opened_by_operator(run)
    opened.journal.close()
    community = opened.community
    assert community is not None
    ids = [one.id for one in community.members]
    if member not in ids:
        raise InputError(command, [Fault("command line", "--member", member, f"one of {', '.join(ids[:5])}, ...")])
    return ledger_keys(run_seed(community)).member(ids.index(member))
