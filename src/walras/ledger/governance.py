"""Powers behind a council and a timelock: members sign an act, anyone hands it in, everybody sees it before it happens.

An act of the council is m EIP-712 signatures over (target, value, data, number). What needs the admin's role goes through the
timelock: `propose` schedules it by an act of the council, and after the delay anyone carries it out with `execute`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eth_abi.abi import encode

from walras.ledger._keccak import keccak256
from walras.ledger.abi import artifact
from walras.ledger.calls import Contract
from walras.ledger.chain import Chain, Receipt
from walras.ledger.encoding import join_signatures, typed_data_digest
from walras.ledger.keys import SigningKey

_ACT_TYPE = keccak256(b"Act(address target,uint256 value,bytes data,uint256 number)")
_NO_PREDECESSOR = bytes(32)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A call that the timelock makes: `salt` (32 bytes) tells apart two that are otherwise the same; value is in wei."""

    target: str
    data: bytes
    salt: bytes = bytes(32)
    value: int = 0

    def as_arguments(self) -> tuple[str, int, bytes, bytes, bytes]:
        """As the timelock takes it, without a predecessor."""
        return (self.target, self.value, self.data, _NO_PREDECESSOR, self.salt)


def act_digest(council: Contract, target: str, data: bytes, number: int, value: int = 0) -> bytes:
    """The 32 bytes a member of the council signs: good for one act of one council on one chain."""
    kinds = ["bytes32", "address", "uint256", "bytes32", "uint256"]
    content = keccak256(encode(kinds, [_ACT_TYPE, target, value, keccak256(data), number]))
    return typed_data_digest("Walras Council", council.chain_id, council.address, content)


def next_act(chain: Chain, council: Contract) -> int:
    """The number to sign."""
    return int(council.view(chain, "nextAct")[0])


def act(
    chain: Chain, council: Contract, signers: Sequence[SigningKey], target: str, data: bytes, sender: SigningKey, *, timestamp: int
) -> Receipt:
    """The next act of the council, signed by `signers` on one machine and handed in by `sender`."""
    digest = act_digest(council, target, data, next_act(chain, council))
    signatures = join_signatures([(key.address, key.sign_digest(digest)) for key in signers])
    return council.act(chain, sender, "act", target, 0, data, signatures, timestamp=timestamp)


def propose(
    chain: Chain,
    council: Contract,
    timelock: Contract,
    signers: Sequence[SigningKey],
    proposal: Proposal,
    sender: SigningKey,
    *,
    timestamp: int,
) -> Receipt:
    """Schedule `proposal` at the timelock's own delay."""
    delay = int(timelock.view(chain, "getMinDelay")[0])
    data = artifact("Timelock").call("schedule", *proposal.as_arguments(), delay)
    return act(chain, council, signers, timelock.address, data, sender, timestamp=timestamp)


def execute(chain: Chain, timelock: Contract, proposal: Proposal, sender: SigningKey, *, timestamp: int) -> Receipt:
    """Carry out a proposal whose delay has passed; anyone may."""
    return timelock.act(chain, sender, "execute", *proposal.as_arguments(), timestamp=timestamp, gas_limit=2_000_000)


def accept_admin(registry: str) -> Proposal:
    """By which the timelock takes the admin's role that the deployment offered it."""
    return Proposal(registry, artifact("Registry").call("acceptDefaultAdminTransfer"))
