"""A run in one process on a real chain whose meters have identifiers there: who rotates or revokes a key there silences it here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from e2e.runs import EXAMPLES
from e2e.test_edits import community_with_corrections
from ledger_world import anvil, rpc
from walras import cli
from walras.commands.deploy import deploy_command
from walras.commands.run import read_identifiers
from walras.community import load_community
from walras.errors import InputError
from walras.exchange.audit import Audit
from walras.exchange.fold import SLOT_CORRECTED
from walras.exchange.journal import Entry, read_public_record, write_public_record
from walras.exchange.phases import EventKind
from walras.ledger import JsonRpcChain
from walras.ledger.keys import key_of
from walras.metering import Registry, key_id
from walras.study.meters import run_seed
from walras.study.runner import PUBLIC, Options, Run, ledger_keys

COMMUNITY = EXAMPLES / "rural1.toml"
MEMBERS = ("home-1", "home-2")


@pytest.fixture
def url() -> Iterator[str]:
    with anvil() as address:
        yield address


def walras(*words: str) -> None:
    cli.app(list(words), exit_on_error=False, print_error=False, result_action="return_value")


def admitted(out: Path) -> list[tuple[int, dict[str, int]]]:
    entries = [entry for entry in read_public_record(out / PUBLIC) if entry.kind == EventKind.READINGS_ADMITTED.value]
    return [(entry.public["admitted"], dict(entry.public["refused"])) for entry in entries]


def test_a_key_that_no_longer_speaks_for_its_identifier_is_refused_from_the_next_slot_on(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, owner, file, out = (tmp_path / name for name in ("ledger.json", "owner", "identifiers.toml", "run"))
    owner.write_text(f"{7:064x}\n")
    keys = ledger_keys(run_seed(load_community(COMMUNITY)))
    for address in (keys.admin.address, keys.operator.address, key_of((7).to_bytes(32, "big")).address):
        rpc(url, "anvil_setBalance", address, hex(10**21))
    deploy_command(COMMUNITY, url, manifest, "permissioned", None, contracts=("DidRegistry",))
    names = {}
    for member in MEMBERS:
        capsys.readouterr()
        new = ("did", "new", "--chain", url, "--manifest", str(manifest), "--controller", str(owner))
        walras(*new, "--key", f"seed:{COMMUNITY}#{member}")
        names[member] = capsys.readouterr().out.strip()
    file.write_text("".join(f'{member} = "{did}"\n' for member, did in names.items()))
    options = Options(chain_url=url, manifest=manifest, identifiers=read_identifiers(file, COMMUNITY))

    run = Run(COMMUNITY, out, options)
    going = iter(run)
    for _ in range(2):
        next(going)
    of_owner = ("--chain", url, "--controller", str(owner))
    walras("did", "revoke", names["home-1"], *of_owner)
    walras("did", "rotate", names["home-2"], *of_owner, "--key", f"seed:{COMMUNITY}#farm-1")
    next(going)
    going.close()  # type: ignore[attr-defined]
    run._journal.close()
    run = Run(COMMUNITY, out, options)  # what was admitted before stays so, though its key speaks no more
    going = iter(run)
    for _ in range(4):
        next(going)
    walras("did", "rotate", names["home-2"], *of_owner, "--key", f"seed:{COMMUNITY}#home-2")
    next(going)
    going.close()  # type: ignore[attr-defined]
    write_public_record(run._journal, out / PUBLIC)
    run._journal.close()
    assert admitted(out) == [(13, {}), (13, {}), (11, {"revoked": 2}), (11, {"revoked": 2}), (12, {"revoked": 1})]
    assert Audit(out / PUBLIC, JsonRpcChain(url)).run().slots == 5


def test_what_is_no_identifier_of_a_member_is_named(tmp_path: Path) -> None:
    file = tmp_path / "identifiers.toml"
    file.write_text(json.dumps("x").join(("home-1 = ", "\nnobody = ")) + json.dumps("did:walras:1:a:b") + "\n")
    with pytest.raises(InputError, match="3 faults"):
        read_identifiers(file, COMMUNITY)
    for words in (("--chain", "http://127.0.0.1:1", "--gateway", "h:1", "--oracles", "h:2", "--clock", "c"), ()):
        with pytest.raises(InputError, match="--identifiers"):
            walras("run", str(COMMUNITY), "--out", str(tmp_path / "run"), "--identifiers", str(file), *words)


class Silent:
    """Identifiers on a chain of which `gone` rows' keys speak no more."""

    def __init__(self, gone: range) -> None:
        self.gone = gone

    def silent(self, registries: Sequence[Registry]) -> list[bytes]:
        return [key_id(one.keys[row]) for one in registries for row in self.gone]


@pytest.mark.parametrize("then", [range(0), range(6), range(13)])
def test_a_run_goes_on_behind_its_corrections_whoever_speaks_then(then: range, tmp_path: Path) -> None:
    community = community_with_corrections(tmp_path, "late_percent = 30\n")

    def entries_after(slots: int, gone: range) -> list[Entry]:
        run = Run(community, tmp_path / "run", Options())
        run._path._identifiers = Silent(gone)  # type: ignore[attr-defined]
        going = iter(run)
        for _ in range(slots):
            next(going)
        going.close()  # type: ignore[attr-defined]
        entries = list(run._journal.entries())
        run._journal.close()
        return entries

    before = entries_after(8, range(4, 8))
    corrected = [entry for entry in before if entry.kind == SLOT_CORRECTED]
    assert corrected
    assert any(entry.public["refused"].get("revoked") for entry in corrected)
    again = entries_after(10, then)
    assert again[: len(before)] == before
    assert len(again) > len(before)
