"""A chain that is not there, is another one, is none, goes away, or is not paid: every command says so, with the way out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import pytest

from e2e.test_run_on_a_manifest import Deployed, by_the_hour, deploy, fund
from ledger_world import anvil, anvil_binary
from walras import cli
from walras.community import load_community
from walras.errors import LedgerError
from walras.ledger import JsonRpcChain, NodeSettings
from walras.study.meters import run_seed
from walras.study.runner import Options, Run, ledger_keys

NOBODY = "http://127.0.0.1:1"


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and what stands on standard error, of `walras WORDS`."""
    real = cli.app
    with monkeypatch.context() as patch:
        patch.setattr(cli, "app", lambda: real(words))
        with pytest.raises(SystemExit) as end:
            cli.main()
    return int(end.value.code or 0), capsys.readouterr().err


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A run of two slots on a node; its folder is `run` beside the manifest."""
    folder = tmp_path_factory.mktemp("troubles")
    with anvil() as url:
        deployed = deploy(folder, url)
        deployed.run(folder / "run")
        (folder / "key").write_text("11" * 32)
        yield deployed


def commands(d: Deployed) -> dict[str, list[str]]:
    """Every command that takes a chain, as far as `--chain`."""
    file, folder, manifest = str(d.file), d.manifest.parent, str(d.manifest)
    return {
        "run": ["run", file, "--out", str(folder / "new")],
        "run on a manifest": ["run", file, "--out", str(folder / "new"), "--manifest", manifest],
        "deploy": ["deploy", file, "--manifest", str(folder / "other.json")],
        "deploy again": ["deploy", file, "--manifest", manifest],
        "audit": ["audit", str(folder / "run")],
        "watchtower": ["watchtower", str(folder / "run"), "--key", str(folder / "key"), "--once"],
    }


COMMANDS = ("run", "run on a manifest", "deploy", "deploy again", "audit", "watchtower")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_node_that_is_not_there_is_one_named_error(
    settled: Deployed, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = said(monkeypatch, capsys, *commands(settled)[name], "--chain", NOBODY)
    assert code == 1
    assert f"the node at {NOBODY} cannot be reached: nobody listens there (connection refused)\n  way out: start the node" in error
    assert not (settled.manifest.parent / "new").exists()
    assert not re.search(r"HTTPConnection|urllib3|Traceback|Errno", error)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_address_that_is_none_is_wrong_input(
    settled: Deployed, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = said(monkeypatch, capsys, *commands(settled)[name], "--chain", "localhost:8545")
    assert code == 2
    assert "--chain = 'localhost:8545': expected http://HOST:PORT" in error


@pytest.mark.parametrize("name", ["run on a manifest", "deploy again", "audit", "watchtower"])
def test_a_node_of_another_chain_is_refused_with_both_numbers(
    settled: Deployed, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with anvil(options=("--chain-id", "5")) as other:
        code, error = said(monkeypatch, capsys, *commands(settled)[name], "--chain", other)
    assert code == 1
    assert re.search(r"31337\D+\b5\b|\b5\b\D+31337", error), error


@pytest.mark.parametrize("name", ["run on a manifest", "audit", "watchtower"])
def test_a_chain_of_the_same_number_without_the_contracts_is_refused_and_sent_nothing(
    settled: Deployed, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with anvil() as empty:
        fund(empty, settled.keys.admin.address, settled.keys.operator.address)
        code, error = said(monkeypatch, capsys, *commands(settled)[name], "--chain", empty)
        assert JsonRpcChain(empty).nonce(settled.keys.admin.address) == 0
    assert code == 1
    assert re.search(r"does not have the run's contracts|there is no contract at", error), error


@pytest.mark.parametrize("name", ["run", "deploy"])
def test_an_account_without_money_is_named_with_what_it_has(
    settled: Deployed, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with anvil() as poor:
        code, error = said(monkeypatch, capsys, *commands(settled)[name], "--chain", poor)
        assert code == 1
        who = settled.keys.admin.address
        assert f"{who} cannot pay for gas: it has 0 of the chain's coin" in error
        assert f"way out: fund {who}" in error
    shutil.rmtree(settled.manifest.parent / "new", ignore_errors=True)


class Answers(BaseHTTPRequestHandler):
    """Somebody who listens, but is no EVM node."""

    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def somebody(status: int, body: bytes) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), type("Somebody", (Answers,), {"status": status, "body": body}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (404, b"<html>", "HTTP 404 Not Found"),
        (200, b"<html>hello</html>", "what it says is no JSON-RPC"),
        (200, b"[1, 2]", "what it says is no JSON-RPC"),
        (200, json.dumps({"jsonrpc": "2.0", "id": 0, "result": {"a": 1}}).encode(), "its chain id is"),
        (200, json.dumps({"jsonrpc": "2.0", "id": 0, "error": {"code": -32601, "message": "x"}}).encode(), "has no method"),
    ],
)
def test_who_answers_otherwise_is_no_evm_node(status: int, body: bytes, why: str) -> None:
    with somebody(status, body) as url, pytest.raises(LedgerError, match=f"{url} answers, but not as an EVM node: .*{why}"):
        JsonRpcChain(url)


def test_a_node_that_takes_its_time_and_a_host_that_is_none() -> None:
    with pytest.raises(LedgerError, match="cannot be reached: no such host"):
        JsonRpcChain("http://no-such-host.invalid:8545")
    server = HTTPServer(("127.0.0.1", 0), Answers)  # listens, and never answers
    with pytest.raises(LedgerError, match="cannot be reached: no answer in time"):
        JsonRpcChain(f"http://127.0.0.1:{server.server_port}", settings=NodeSettings(request_timeout_s=0.05))
    server.server_close()


def test_a_node_that_goes_away_and_comes_back_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    """Its state is kept in a file, as a real node keeps its own; the run is given again as before."""
    file, state = by_the_hour(tmp_path), tmp_path / "state.json"
    keys = ledger_keys(run_seed(load_community(file)))
    with node(state) as url:
        port = url.rsplit(":", 1)[1]
        fund(url, keys.admin.address, keys.operator.address)
        going = iter(Run(file, tmp_path / "run", Options(chain_url=url)))
        done = list(islice(going, 2))
    with pytest.raises(LedgerError, match=r"cannot be reached: nobody listens there(.|\n)*give the same command again"):
        next(going)
    with node(state, port) as url:
        again = list(islice(Run(file, tmp_path / "run", Options(chain_url=url)), 4))
        assert again[:2] == done
        assert JsonRpcChain(url).nonce(keys.operator.address) > 0


@contextmanager
def node(state: Path, port: str = "0") -> Iterator[str]:
    """A node that keeps its state in a file when it is stopped."""
    command = [str(anvil_binary()), "--port", port, "--accounts", "0", "--gas-limit", "60000000", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            line = next(line for line in process.stdout if line.startswith("Listening on"))
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield f"http://{line.split()[-1]}"
        finally:
            process.terminate()
            process.wait(20)
