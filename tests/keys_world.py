"""A community of which everybody has a key of their own: all in files, or one meter and the gateway in TPMs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tpm_world import FIRMWARE, Emulated, maker
from walras.commands.enrol import enrol_command, key_command
from walras.commands.secrets import read_secret
from walras.community import Community, load_community
from walras.exchange.terms import SYSTEM_ACCOUNTS
from walras.ledger import LedgerKeys
from walras.ledger.keys import key_of
from walras.metering import did_of
from walras.service.key_file import make_key
from walras.service.keys import open_key


@dataclass
class Keyring:
    """The folder with roll, keys, credentials and secrets of `community`."""

    folder: Path
    community_path: Path
    community: Community

    @property
    def roll(self) -> Path:
        return self.folder / "roll.toml"

    @property
    def keys(self) -> Path:
        return self.folder / "keys.toml"

    @property
    def secret(self) -> Path:
        return self.folder / "secret"

    def oracle_key(self, number: int) -> Path:
        return self.folder / f"oracle-{number}"

    @property
    def balance_key(self) -> Path:
        return self.folder / "balance"


def trust_file(folder: Path) -> Path:
    """What the operator trusts: the works that made the emulated TPMs, and their firmware."""
    works = maker().folder / "ca"
    registers = ", ".join(f'{number} = "{value.hex()}"' for number, value in FIRMWARE.registers)
    lines = [
        f'roots = ["{works / "swtpm-localca-rootca-cert.pem"}"]',
        f'between = ["{works / "issuercert.pem"}"]',
        "[[firmware]]",
        f'name = "{FIRMWARE.name}"',
        f"registers = {{{registers}}}",
    ]
    path = folder / "trust.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def make_keyring(folder: Path, community_path: Path, meter: Emulated | None = None, gateway: Emulated | None = None) -> Keyring:
    """As an operator would: every key made where it stays, the first meter's in a TPM attested, the roll written."""
    community = load_community(community_path)
    ring = Keyring(folder, community_path, community)
    trust = None if meter is None else trust_file(folder)
    places: dict[str, str] = {}
    operator = folder / "operator.pem"
    make_key(operator)
    names = [member.id for member in community.members]
    for name in [*names, "transformer", "exchange"]:
        attested = meter is not None and name == names[0]
        places[name] = meter.place if meter is not None and attested else f"{name}.pem"
        if not attested:
            make_key(folder / places[name])
        place = places[name] if attested else str(folder / places[name])
        out = folder / "credentials" / f"{name}.jwt"
        enrol_command(community_path, name, str(operator), out, place, trust if attested else None, not attested, None)
    ring.keys.write_text("".join(f'{name} = "{place}"\n' for name, place in places.items()))
    key_command(f"secret:{ring.secret}", True, None, None)
    oracles = []
    for number in range(community.metering.oracles):
        key_command(f"secret:{ring.oracle_key(number)}", True, None, None)
        oracles.append(key_of(read_secret(ring.oracle_key(number), "test")).address)
    balance = ""
    if community.metering.aggregation == "masked":
        key_command(f"secret:{ring.balance_key}", True, None, None)
        balance = f'balance = "{key_of(read_secret(ring.balance_key, "test")).address}"\n'
    owners = {name: key_of((1000 + row).to_bytes(32, "big")).address for row, name in enumerate([*names, *SYSTEM_ACCOUNTS])}
    gateway_place = str(folder / "gateway.pem") if gateway is None else gateway.place
    if gateway is None:
        make_key(Path(gateway_place))
    gateway_key = open_key(gateway_place)
    ring.roll.write_text(
        f'operator = "{did_of(open_key(str(operator)).public_key())}"\n'
        f'gateway = "{did_of(gateway_key.public_key())}"\n'
        f'admin = "{LedgerKeys(read_secret(ring.secret, "test")).admin.address}"\n'
        f"{balance}oracles = {oracles}\n[accounts]\n" + "".join(f'{name} = "{address}"\n' for name, address in owners.items())
    )
    if gateway is not None:
        gateway_key.close()  # type: ignore[attr-defined]
    return ring
