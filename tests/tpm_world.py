"""Emulated TPMs for tests: made by swtpm_setup under a maker's authority of their own, run by swtpm on a free loopback port.

A test that needs one is skipped where swtpm or tpm2-pytss is missing, except where CI is set: there it fails.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import monotonic, sleep

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from walras.metering.tpm.enrolment import Firmware, Policy

PROGRAMS = ("swtpm", "swtpm_setup", "swtpm_localca")
FIRMWARE = Firmware("as started", tuple((register, bytes(32)) for register in (0, 4, 7)))
"""An emulated TPM that nobody measured into."""


def need_tpm() -> None:
    """Skip, or fail under CI, where no TPM can be emulated."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if importlib.util.find_spec("tpm2_pytss") is None:
        missing.append("tpm2-pytss")
    if missing and os.environ.get("CI"):
        pytest.fail(f"missing: {', '.join(missing)}")
    if missing:
        pytest.skip(f"missing: {', '.join(missing)} (apt-get install swtpm swtpm-tools libtss2-dev, pip install tpm2-pytss)")


@dataclass(frozen=True)
class Maker:
    """A maker of TPMs: its authority, and a TPM fresh from the works."""

    folder: Path

    @property
    def fresh(self) -> Path:
        return self.folder / "fresh"

    def policy(self, *firmware: Firmware) -> Policy:
        root, issuer = (self._der(name) for name in ("swtpm-localca-rootca-cert.pem", "issuercert.pem"))
        return Policy((root,), (issuer,), firmware or (FIRMWARE,))

    def _der(self, name: str) -> bytes:
        return load_pem_x509_certificate((self.folder / "ca" / name).read_bytes()).public_bytes(Encoding.DER)

    def make_another(self) -> Path:
        """The state of another TPM of this maker."""
        state = Path(tempfile.mkdtemp(dir=self.folder, prefix="tpm-"))
        settings = f"--config {self.folder}/setup.conf --overwrite --create-ek-cert --tpm2"
        made = subprocess.run(
            ["swtpm_setup", "--tpmstate", str(state), *settings.split()], capture_output=True, text=True, timeout=60
        )
        assert made.returncode == 0, made.stdout + made.stderr
        return state


@cache
def maker(name: str = "maker") -> Maker:
    """A maker with an authority of its own; made once in a test process."""
    need_tpm()
    folder = Path(tempfile.mkdtemp(prefix=f"walras-{name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "ca").mkdir()
    files = {"statedir": "ca", "signingkey": "ca/signkey.pem", "issuercert": "ca/issuercert.pem", "certserial": "ca/certserial"}
    (folder / "ca.conf").write_text("".join(f"{key} = {folder / value}\n" for key, value in files.items()))
    (folder / "ca.options").write_text("--platform-manufacturer Works\n--platform-version 1\n--platform-model meter\n")
    lines = [
        f"create_certs_tool = {shutil.which('swtpm_localca')}",
        f"create_certs_tool_config = {folder / 'ca.conf'}",
        f"create_certs_tool_options = {folder / 'ca.options'}",
        "active_pcr_banks = sha256",
    ]
    (folder / "setup.conf").write_text("\n".join(lines) + "\n")
    made = Maker(folder)
    made.make_another().rename(made.fresh)
    return made


class Emulated:
    """One TPM: its state in a folder, its process on a port. `kill` is a power cut; `start` again goes on from the state."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port = _free_pair()
        self.start()

    @property
    def place(self) -> str:
        return f"tpm:swtpm:host=127.0.0.1,port={self.port}"

    def start(self) -> None:
        where = f"type=tcp,bindaddr=127.0.0.1,port={self.port}"
        control = f"type=tcp,bindaddr=127.0.0.1,port={self.port + 1}"
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.state}", "--server", where, "--ctrl", control]
        self.process = subprocess.Popen([*command, "--flags", "not-need-init,startup-clear"], stderr=subprocess.PIPE, text=True)
        _wait_for(self.process, self.port)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def emulated(state: Path | None = None) -> Iterator[Emulated]:
    """A TPM in a copy of `state` (default: fresh from the default maker), ended with the block."""
    origin = maker().fresh if state is None else state
    with tempfile.TemporaryDirectory(prefix="walras-tpm-") as folder:
        copy = Path(folder) / "state"
        shutil.copytree(origin, copy)
        tpm = Emulated(copy)
        try:
            yield tpm
        finally:
            tpm.kill()


def _free_pair() -> int:
    """A port that is free, and the next one too."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def _wait_for(process: subprocess.Popen[str], port: int) -> None:
    """Until the process listens on both its ports. Nothing is sent: a probe would count as its one client."""
    wanted = {f"0100007F:{number:04X}" for number in (port, port + 1)}
    end = monotonic() + 10
    while monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"swtpm ended: {process.communicate()[1]}")
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        if wanted <= {fields[1] for fields in sockets if fields[3] == "0A"}:
            return
        sleep(0.01)
    pytest.fail("swtpm does not listen")
