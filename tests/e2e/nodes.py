"""Gateway, oracles and exchange as real processes on loopback ports, each of which can die by SIGKILL at a chosen instruction.

A supervisor thread a node waits for its death and starts it again on the same port and store, as an init system would.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from e2e.runs import EXAMPLES
from walras.study.runner import JOURNAL

COMMUNITY = EXAMPLES / "rural1.toml"
ORACLES = 4

CHILD = """
import importlib, os, signal, sys

deadly, slots, *command = sys.argv[1:]
if deadly:
    where, when, count = deadly.split("|")
    module, name, method = where.rsplit(".", 2)
    owner = getattr(importlib.import_module(module), name)
    function, left = getattr(owner, method), int(count)

    def wrapped(*arguments, **named):
        global left
        left -= 1
        if left == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **named)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, method, wrapped)
if int(slots):
    from walras.study.session import Session

    run = Session.run

    def shortened(self):
        for number, slot in enumerate(run(self), 1):
            yield slot
            if number == int(slots):
                os._exit(0)

    Session.run = shortened
if command[0] == "run":  # a killed node must be waited for however busy the machine is: a quorum alone is another record
    from walras.service.remote_metering import Nodes

    Nodes.__init__.__defaults__ = (1_800.0,)
sys.argv = ["walras", *command]
from walras.cli import main

main()
"""


def child(deadly: str, slots: int, command: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, deadly, str(slots), *command], stdout=subprocess.PIPE, env=environment, text=True
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Supervised:
    """A node that is started again when it was killed; `deaths` counts."""

    command: list[str]
    deadly: str
    deaths: int = 0
    stopping: bool = False
    process: subprocess.Popen[str] = field(init=False)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.process = child(self.deadly, 0, self.command)
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while True:
            output = self.process.communicate()[0]
            if self.stopping:
                return
            assert self.process.returncode == -signal.SIGKILL, output
            self.deaths += 1
            self.process = child("", 0, self.command)

    def stop(self) -> None:
        self.stopping = True
        self.process.kill()
        self.thread.join()


class Village:
    """Gateway and oracles under supervision; `run` runs the exchange against them, again until it is not killed."""

    def __init__(self, folder: Path, deadly: dict[str, str], community: Path = COMMUNITY, masked: bool = False) -> None:
        self.folder, self.out, self.clock = folder, folder / "run", folder / "clock"
        ports = [free_port() for _ in range(ORACLES + 1)]
        self.oracles = ",".join(f"127.0.0.1:{port}" for port in ports[1:])
        self.gateway = f"127.0.0.1:{ports[0]}"
        self.exchange_deadly = deadly.get("exchange", "")
        self.exchange_deaths = 0
        self.nodes: dict[str, Supervised] = {}
        self.community = community
        place = str(community)
        for number, port in enumerate(ports[1:]):
            name = f"oracle-{number}"
            command = ["oracle", place, str(number), "--listen", f"127.0.0.1:{port}", "--clock", str(self.clock)]
            self.nodes[name] = Supervised([*command, "--store", str(folder / f"{name}.sqlite")], deadly.get(name, ""))
        command = ["gateway", place, "--listen", self.gateway, "--oracles", self.oracles, "--clock", str(self.clock)]
        self.nodes["gateway"] = Supervised([*command, "--store", str(folder / "gateway.sqlite")], deadly.get("gateway", ""))

        self.balance: list[str] = []
        if masked:
            self.balance = ["--balance", f"127.0.0.1:{free_port()}"]
            command = ["balance", place, "--listen", self.balance[1], "--clock", f"{self.clock}.balance"]
            self.nodes["balance"] = Supervised([*command, "--store", str(folder / "balance.sqlite")], deadly.get("balance", ""))

    def run(self, slots: int) -> None:
        """So many slots; 0: all."""
        deadly = self.exchange_deadly
        command = ["run", str(self.community), "--out", str(self.out), "--gateway", self.gateway, "--oracles", self.oracles]
        while True:
            exchange = child(deadly, slots, [*command, "--clock", str(self.clock), *self.balance])
            output = exchange.communicate(timeout=2_400)[0]
            if exchange.returncode == 0:
                return
            assert exchange.returncode == -signal.SIGKILL, output
            self.exchange_deaths += 1
            deadly = ""

    def stop(self) -> None:
        for node in self.nodes.values():
            node.stop()

    @property
    def journal(self) -> Path:
        return self.out / JOURNAL
