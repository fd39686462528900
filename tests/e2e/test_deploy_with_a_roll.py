"""`walras deploy --roll`: the contracts know the roll's accounts and oracles, and no key that anybody could make from the seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.runs import EXAMPLES
from keys_world import Keyring, make_keyring
from ledger_world import anvil, rpc
from walras.commands.deploy import deploy_command
from walras.commands.secrets import read_secret
from walras.errors import InputError, LedgerError
from walras.exchange.terms import SYSTEM_ACCOUNTS
from walras.ledger import JsonRpcChain, LedgerKeys, artifact, read
from walras.ledger.manifest import contracts_of
from walras.service.roll import read_roll
from walras.study.meters import run_seed
from walras.study.runner import ledger_keys

COMMUNITY = EXAMPLES / "rural1.toml"


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return make_keyring(tmp_path_factory.mktemp("keys"), COMMUNITY)


@pytest.fixture
def url(ring: Keyring) -> Iterator[str]:
    """A node on which the secret's keys, and the seed's, have what gas costs."""
    with anvil() as node:
        for keys in (LedgerKeys(read_secret(ring.secret, "test")), ledger_keys(run_seed(ring.community))):
            for key in (keys.admin, keys.operator):
                rpc(node, "anvil_setBalance", key.address, hex(10**21))
        yield node


def test_accounts_oracles_and_admin_are_the_rolls_and_again_it_confirms(
    ring: Keyring, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, chain = tmp_path / "ledger.json", JsonRpcChain(url)
    deploy_command(COMMUNITY, url, manifest, "permissioned", ring.secret, roll=ring.roll)
    roll = read_roll(ring.roll, ring.community)
    registry = contracts_of(manifest)["registry"]

    def seen(function: str, *arguments: object) -> object:
        return read(chain, artifact("Registry"), registry, function, *arguments)[0]

    assert seen("memberCount") == len(ring.community.members) + len(SYSTEM_ACCOUNTS)
    assert [seen("ownerOf", account) for account in range(len(roll.accounts))] == [owner.lower() for owner in roll.accounts]
    assert seen("defaultAdmin") == roll.admin.lower()
    assert all(seen("isOracle", oracle) for oracle in roll.oracles)
    drawn = ledger_keys(run_seed(ring.community))
    assert not any(seen("isOracle", drawn.oracle(number).address) for number in range(ring.community.metering.oracles))
    head, written = chain.head(), manifest.read_bytes()
    assert "keys follow from the community's seed" not in capsys.readouterr().out
    deploy_command(COMMUNITY, url, manifest, "permissioned", ring.secret, roll=ring.roll)
    assert (chain.head(), manifest.read_bytes()) == (head, written)


def test_a_roll_of_another_admin_is_refused_before_anything_is_sent(ring: Keyring, url: str, tmp_path: Path) -> None:
    other = tmp_path / "roll.toml"
    stranger = LedgerKeys(bytes(range(32))).admin.address
    mine = read_roll(ring.roll, ring.community).admin
    credentials = f'credentials = "{ring.folder / "credentials"}"\n'
    other.write_text(credentials + ring.roll.read_text().replace(mine, stranger, 1))
    for secret, roll, held in ((ring.secret, other, stranger), (None, ring.roll, mine)):
        with pytest.raises(InputError, match="that of --secret") as caught:
            deploy_command(COMMUNITY, url, tmp_path / "ledger.json", "permissioned", secret, roll=roll)
        assert held in str(caught.value)
    assert not (tmp_path / "ledger.json").exists()
    assert JsonRpcChain(url).head().number == 0


def test_another_roll_on_a_ledger_that_stands_is_refused_and_changes_nothing(ring: Keyring, url: str, tmp_path: Path) -> None:
    manifest = tmp_path / "ledger.json"
    deploy_command(COMMUNITY, url, manifest, "permissioned", ring.secret, roll=ring.roll)
    head, written = JsonRpcChain(url).head(), manifest.read_bytes()
    roll = read_roll(ring.roll, ring.community)
    other = tmp_path / "roll.toml"
    text = ring.roll.read_text().replace(roll.accounts[0], LedgerKeys(bytes(range(32))).member(9).address)
    other.write_text(f'credentials = "{ring.folder / "credentials"}"\n{text}')
    with pytest.raises(LedgerError, match="made for other terms"):
        deploy_command(COMMUNITY, url, manifest, "permissioned", ring.secret, roll=other)
    assert (JsonRpcChain(url).head(), manifest.read_bytes()) == (head, written)


def test_every_fault_of_a_roll_is_named_at_once(ring: Keyring, url: str, tmp_path: Path) -> None:
    other = tmp_path / "roll.toml"
    other.write_text(ring.roll.read_text().replace("gateway", "gatway").replace("home-1 =", "hose-1 ="))
    with pytest.raises(InputError) as caught:
        deploy_command(COMMUNITY, url, tmp_path / "ledger.json", "permissioned", ring.secret, roll=other)
    found = str(caught.value)
    assert all(word in found for word in ("gatway", "gateway", "hose-1", "home-1", "jwt"))
    assert JsonRpcChain(url).head().number == 0
