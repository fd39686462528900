"""The page on keys for devices, done by processes: gateway, oracles, run, audit and bill, nobody's key from a seed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.nodes import child, free_port
from e2e.runs import EXAMPLES
from keys_world import Keyring, make_keyring
from tpm_world import Emulated, emulated, need_tpm
from walras.commands.enrol import key_command, revoke_command, seal_command

COMMUNITY = EXAMPLES / "rural1.toml"


@pytest.fixture
def tpms() -> Iterator[tuple[Emulated, Emulated, Emulated]]:
    need_tpm()
    with emulated() as meter, emulated() as gateway, emulated() as oracle:
        yield meter, gateway, oracle


def start(folder: Path, ring: Keyring, gateway_place: str) -> tuple[list[subprocess.Popen[str]], list[str]]:
    """Gateway and oracles, listening; and what `walras run` must know of them."""
    clock = str(folder / "clock")
    ports = [free_port() for _ in range(ring.community.metering.oracles + 1)]
    peers = ",".join(f"127.0.0.1:{port}" for port in ports[1:])
    nodes = []
    for number, port in enumerate(ports[1:]):
        key_command(f"secret:{folder / f'store-{number}'}", True, None, None)
        own = ["--key", f"{ring.oracle_key(number)}{'.sealed' if number == 0 else ''}", "--secret", str(folder / f"store-{number}")]
        where = ["--listen", f"127.0.0.1:{port}", "--store", str(folder / f"oracle-{number}.sqlite"), "--clock", clock]
        nodes.append(child("", 0, ["oracle", str(COMMUNITY), str(number), "--roll", str(ring.roll), *own, *where]))
    key_command(f"secret:{folder / 'store-g'}", True, None, None)
    own = ["--key", gateway_place, "--secret", str(folder / "store-g"), "--store", str(folder / "gateway.sqlite"), "--clock", clock]
    where = ["--listen", f"127.0.0.1:{ports[0]}", "--oracles", peers]
    nodes.append(child("", 0, ["gateway", str(COMMUNITY), "--roll", str(ring.roll), *own, *where]))
    return nodes, ["--gateway", f"127.0.0.1:{ports[0]}", "--oracles", peers, "--clock", clock]


def done(*command: str, seconds: int = 900) -> str:
    process = child("", 0, list(command))
    output = process.communicate(timeout=seconds)[0]
    assert process.returncode == 0, output
    return output


@pytest.mark.nightly
def test_a_day_on_keys_of_their_own_is_traded_settled_audited_and_billed(
    tpms: tuple[Emulated, Emulated, Emulated], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meter, gateway, oracle = tpms
    ring = make_keyring(tmp_path, COMMUNITY, meter, gateway)
    seal_command(f"secret:{ring.oracle_key(0)}", oracle.place, "0,4,7", tmp_path / "oracle-0.sealed")
    ring.oracle_key(0).unlink()
    begin = f"{ring.community.grid.origin:%Y-%m-%dT%H:%M:%SZ}"
    revoke_command(COMMUNITY, "", str(tmp_path / "operator.pem"), tmp_path / "status.jwt", begin, 4_000, None)
    ring.roll.write_text('status = "status.jwt"\n' + ring.roll.read_text())
    nodes, where = start(tmp_path, ring, gateway.place)
    out = str(tmp_path / "run")
    keys = ["--roll", str(ring.roll), "--keys", str(ring.keys), "--secret", str(ring.secret)]
    try:
        shown = done("run", str(COMMUNITY), "--out", out, "--days", "1", *keys, *where)
    finally:
        for node in nodes:
            node.kill()
            node.communicate()
    assert done("audit", out).splitlines()[-1] == shown.splitlines()[-1]
    member = ring.community.members[0].id
    assert member in done("bill", out, member, "--secret", str(ring.secret))
    public = (tmp_path / "run" / "public.jsonl").read_bytes()
    members = len(ring.community.members)
    assert public.count(b'"admitted":%d,' % members) == 96
    capsys.readouterr()
