"""`walras did`: identifiers of members and devices on a chain: made, resolved, rotated, revoked, handed on, recovered.

The name says which chain and which registry it is in, so every command but `new` needs the name alone. Who controls an identifier
signs with an account's key (secp256k1, 64 hex digits in a file); the key that speaks for the device is P-256.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from walras.commands.secrets import read_passphrase, read_secret
from walras.commands.terminal import say, screen
from walras.community import load_community
from walras.errors import Fault, InputError
from walras.ledger import JsonRpcChain
from walras.ledger.calls import Contract
from walras.ledger.identifiers import NAME, create_identifier, identifier_of, point_of, registry_in, resolve
from walras.ledger.keys import SigningKey, key_of
from walras.ledger.manifest import contracts_of
from walras.metering import did_of, public_key_of
from walras.metering.identity import PublicKey
from walras.service.keys import open_key
from walras.study.meters import make_meters, run_seed

WHERE = "walras did"
SEED = "seed:"


def new_command(chain: str, manifest: Path, controller: Path, key: str, recovery: str | None, passphrase: Path | None) -> None:
    """Make an identifier with its first key, and print its name."""
    node, signer = JsonRpcChain(chain), _signer(controller)
    registry = contracts_of(manifest).get(NAME)
    if registry is None:
        expected = f"a {NAME}: `walras deploy COMMUNITY --manifest {manifest} --contracts {NAME}` adds it"
        raise InputError(WHERE, [Fault(str(manifest), "contracts", "missing", expected)])
    speaking = _public(key, passphrase)
    contract = Contract(NAME, node.chain_id, registry)
    print(create_identifier(node, contract, signer, speaking, recovery, timestamp=_now(), fees=node.suggested_fees()))


def show_command(did: str, chain: str) -> None:
    """Print what the chain says: the document, who controls it, and every key with its times."""
    node = _node(did, chain)
    found = resolve(node, registry_in(did), did)
    said: dict[str, Any] = {
        "document": found.document(),
        "controller": found.controller,
        "recovery": found.recovery,
        "deactivated": found.deactivated,
        "keys": [
            {
                "key": did_of(period.key),
                "since": _time(period.since),
                "until": None if period.until is None else _time(period.until),
            }
            for period in found.keys
        ],
    }
    print(json.dumps(said, indent=1))


def act_command(did: str, chain: str, signer: Path, function: str, *arguments: Any) -> None:
    """Sign one act on an identifier and say what the chain then says of it; LedgerError with the contract's refusal."""
    node, contract = _node(did, chain), registry_in(did)
    identifier = identifier_of(contract, did)
    fees = node.suggested_fees()
    receipt = contract.act(node, _signer(signer), function, identifier, *arguments, timestamp=_now(), fees=fees)
    found = resolve(node, contract, did)
    current = next((did_of(period.key) for period in found.keys if period.until is None), "nobody")
    state = "deactivated" if found.deactivated else f"{current} speaks for it, {found.controller} controls it"
    say(screen(), f"{function}: in block {receipt.block_number}; {state}")


def rotate_command(did: str, chain: str, controller: Path, key: str, passphrase: Path | None) -> None:
    """From now on another key speaks."""
    act_command(did, chain, controller, "rotate", *point_of(_public(key, passphrase)))


def _node(did: str, chain: str) -> JsonRpcChain:
    """The node, if it is of the chain that the name is on; LedgerError else."""
    return JsonRpcChain(chain, expected_chain_id=registry_in(did).chain_id)


def _signer(path: Path) -> SigningKey:
    return key_of(read_secret(path, WHERE))


def _public(place: str, passphrase: Path | None) -> PublicKey:
    """The key at a place; of a device that is elsewhere, by its did:key; of a simulated meter, as `seed:COMMUNITY#MEMBER`."""
    if place.startswith("did:key:"):
        return public_key_of(place)
    if place.startswith(SEED):
        file, _, name = place.removeprefix(SEED).rpartition("#")
        community = load_community(Path(file))
        keys = {member.id: row for row, member in enumerate(community.members)}
        if name not in keys:
            raise InputError(WHERE, [Fault("command line", "--key", place, f"{SEED}COMMUNITY#MEMBER, one of {', '.join(keys)}")])
        return make_meters(community, run_seed(community)).registry.keys[keys[name]]
    return open_key(place, read_passphrase(passphrase, WHERE)).public_key()


def _now() -> int:
    return int(datetime.now(UTC).timestamp())


def _time(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds")
