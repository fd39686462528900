"""Keys in files: fit for use or refused with the way out; a counter that is on disk before it is given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from walras import cli
from walras.errors import InputError, MeteringError
from walras.metering.identity import derive_key, did_of, sign, verify
from walras.service.key_file import FileKey, make_key
from walras.service.keys import open_key, open_keys, open_tpm_key

RURAL1 = Path(__file__).parents[2] / "examples" / "rural1.toml"


def pem(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, mode: int = 0o600) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(mode)
    return path


def test_a_key_in_a_file_signs_as_the_same_key_in_memory(tmp_path: Path) -> None:
    key = derive_key(b"a seed of sixteen bytes", "device")
    stored = FileKey(pem(tmp_path / "key.pem", key))
    assert sign(stored, b"message") == sign(key, b"message")
    assert verify(stored.public_key(), sign(stored, b"message"), b"message")


def test_a_new_key_is_its_owners_alone_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = make_key(path, b"open sesame")
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in path.read_bytes()
    assert did_of(open_key(str(path), b"open sesame").public_key()) == did_of(made.public_key())
    with pytest.raises(InputError, match="not written over"):
        make_key(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_can_read_is_not_read(tmp_path: Path, mode: int) -> None:
    path = pem(tmp_path / "key.pem", derive_key(b"a seed of sixteen bytes", "device"), mode)
    with pytest.raises(InputError, match=f"chmod 600 {path}"):
        FileKey(path)


def test_every_other_way_not_to_be_a_key_has_its_message(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    with pytest.raises(InputError, match="No such file"):
        FileKey(path)
    make_key(path, b"right")
    with pytest.raises(InputError, match="give the passphrase's file"):
        FileKey(path)
    with pytest.raises(InputError, match="and its passphrase"):
        FileKey(path, b"wrong")
    with pytest.raises(InputError, match="not encrypted"):
        FileKey(pem(path, derive_key(b"a seed of sixteen bytes", "device")), b"needless")
    for other in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        with pytest.raises(InputError, match="P-256"):
            FileKey(pem(path, other))
    path.write_text("-----BEGIN nothing")
    with pytest.raises(InputError, match="not readable"):
        FileKey(path)


@pytest.mark.parametrize("place", ["tpm:", "tpm:#1", "tpm:device:/dev/tpmrm0#one"])
def test_a_place_in_a_tpm_names_the_tpm_and_a_number(place: str) -> None:
    with pytest.raises(InputError, match="tpm:TCTI"):
        open_keys([place])
    with pytest.raises(InputError, match="tpm:TCTI"):
        open_tpm_key("key.pem")


def test_the_counter_goes_on_after_a_restart_and_a_damaged_one_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    first = make_key(path)
    assert [first.next_counter() for _ in range(3)] == [1, 2, 3]
    again = FileKey(path)
    assert [again.next_counter(), first.next_counter(), again.next_counter()] == [4, 5, 6]
    counter = tmp_path / "key.pem.counter"
    whole = counter.read_bytes()
    for damaged in (b"", whole[:-3], whole.replace(b"6", b"5", 1), b"x y"):
        counter.write_bytes(damaged)
        with pytest.raises(MeteringError, match="damaged"):
            FileKey(path).next_counter()


COUNTING = """
import sys
from pathlib import Path
from walras.service.key_file import FileKey
key = FileKey(Path(sys.argv[1]))
while True:
    print(key.next_counter(), flush=True)
"""


def test_killed_at_any_moment_the_counter_never_gives_a_number_twice(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    make_key(path)
    last = 0
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    for lines in (1, 7, 23):
        child = subprocess.Popen([sys.executable, "-c", COUNTING, str(path)], stdout=subprocess.PIPE, env=environment, text=True)
        assert child.stdout is not None
        given = [int(child.stdout.readline()) for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        given += [int(line) for line in child.communicate()[0].split()]
        assert given == list(range(given[0], given[0] + len(given)))
        assert given[0] > last
        last = given[-1]
    assert FileKey(path).next_counter() > last


def exit_code(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of `walras WORDS`."""
    real = cli.app
    monkeypatch.setattr(cli, "app", lambda: real(words))
    with pytest.raises(SystemExit) as end:
        cli.main()
    monkeypatch.setattr(cli, "app", real)
    return int(end.value.code or 0)


def test_key_and_enrol_say_what_they_made_and_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    operator, device, out = tmp_path / "operator.pem", tmp_path / "home-1.pem", tmp_path / "home-1.jwt"
    for path in (operator, device):
        assert exit_code(monkeypatch, "key", str(path), "--new") == 0
    dids = capsys.readouterr().out.split()
    enrol = ("enrol", str(RURAL1), "home-1", "--operator", str(operator), "--key", str(device), "--out", str(out))
    assert exit_code(monkeypatch, *enrol) == 2
    assert "--trust, --unattested" in capsys.readouterr().err
    assert exit_code(monkeypatch, *enrol, "--trust", str(tmp_path / "none.toml")) == 2
    assert "a key in a TPM" in capsys.readouterr().err
    assert exit_code(monkeypatch, *enrol, "--unattested") == 0
    assert capsys.readouterr().out == f"home-1: {dids[1]}\nvouched for by {dids[0]}: {out}\n"
    unknown = [word.replace("home-1", "home-99") if word == "home-1" else word for word in enrol]
    assert exit_code(monkeypatch, *unknown, "--unattested") == 2
    assert "transformer, or one of" in capsys.readouterr().err


def test_a_secret_is_drawn_once_and_shows_its_addresses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "secret"
    assert exit_code(monkeypatch, "key", f"secret:{secret}", "--new") == 0
    shown = capsys.readouterr().out
    assert shown.count("0x") == 3
    assert secret.stat().st_mode & 0o777 == 0o600
    assert exit_code(monkeypatch, "key", f"secret:{secret}") == 0
    assert capsys.readouterr().out == shown
    assert exit_code(monkeypatch, "key", f"secret:{secret}", "--new") == 2
    assert exit_code(monkeypatch, "key", "tpm:device:/dev/null#x") == 2


def test_a_status_list_keeps_what_was_revoked_and_knows_its_operator(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    operator, other, status = (tmp_path / name for name in ("operator.pem", "other.pem", "status.jwt"))
    make_key(operator)
    make_key(other)
    for name in ("home-1", "home-2", "home-3"):
        made = tmp_path / "credentials" / f"{name}.jwt"
        enrol = ("enrol", str(RURAL1), name, "--key", str(other), "--operator", str(operator), "--unattested", "--out", str(made))
        assert exit_code(monkeypatch, *enrol) == 0
    revoke = ("revoke", str(RURAL1))
    mine = ("--operator", str(operator), "--status", str(status))
    assert exit_code(monkeypatch, *revoke, "home-1", *mine, "--at", "2016-01-01T00:00:00Z", "--days", "1") == 0
    assert exit_code(monkeypatch, *revoke, "home-2", *mine) == 0  # the list had ended: its bits count all the same
    assert "2 revoked: home-1, home-2;" in capsys.readouterr().out
    assert exit_code(monkeypatch, *revoke, "home-9x", *mine) == 2
    assert exit_code(monkeypatch, *revoke, "farm-1,farm-2", *mine) == 2
    assert "farm-1.jwt" in (listed := capsys.readouterr().err)
    assert "farm-2.jwt" in listed
    assert exit_code(monkeypatch, *revoke, "home-3", "--operator", str(other), "--status", str(status)) == 2
    assert "a list of this operator" in capsys.readouterr().err
    assert exit_code(monkeypatch, *revoke, "home-3", *mine, "--at", "yesterday") == 2
