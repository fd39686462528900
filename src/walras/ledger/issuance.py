"""One watt-hour, one token: the meters' register and the issuers' common memory, in Python.

An issuing body owns both contracts. It admits communities, whose operators enter their members' meters; it appoints issuers
(certificates, claims), each for one settlement contract. What was issued of an account's slot, whole or by readings, is
remembered there and refused to every other issuer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from walras.errors import LedgerError
from walras.ledger.calls import Contract, create
from walras.ledger.chain import Chain, Receipt
from walras.ledger.deployment import LedgerAddresses
from walras.ledger.keys import SigningKey
from walras.ledger.leaf_proofs import MeterKey


@dataclass(frozen=True, slots=True)
class IssuingBody:
    """The two contracts of an issuing body on one chain."""

    meters: Contract
    issuance: Contract


def found_issuing_body(chain: Chain, owner: SigningKey, *, timestamp: int) -> IssuingBody:
    """Create both contracts, owned by `owner`."""
    meters = create(chain, owner, "MeterRegister", owner.address, timestamp=timestamp)
    return IssuingBody(meters, create(chain, owner, "Issuance", owner.address, meters.address, timestamp=timestamp))


def admit_community(chain: Chain, body: IssuingBody, owner: SigningKey, addresses: LedgerAddresses, *, timestamp: int) -> None:
    """Let the community's operator enter meters."""
    body.meters.act(chain, owner, "admit", addresses.registry, timestamp=timestamp)


def appoint_issuer(
    chain: Chain, body: IssuingBody, owner: SigningKey, issuer: Contract, addresses: LedgerAddresses, *, timestamp: int
) -> None:
    """Let a contract of certificates or claims issue from the community's settlement, for good."""
    body.issuance.act(chain, owner, "appoint", issuer.address, addresses.settlement, timestamp=timestamp)


def register_meter(
    chain: Chain, body: IssuingBody, operator: SigningKey, registry: str, account: int, key: MeterKey, *, timestamp: int
) -> Receipt:
    """Enter a meter for `account`, once for ever and in one community only."""
    return body.meters.act(chain, operator, "register", registry, account, key.x, key.y, timestamp=timestamp)


def enter_meters(
    chain: Chain, meters: Contract, operator: SigningKey, registry: str, keys: Sequence[MeterKey], *, timestamp: int
) -> int:
    """Enter the meter `keys[i]` for account i, each that is not there yet; how many were entered.

    Raises LedgerError where a meter stands for somebody else, or the community is not admitted.
    """
    entered = 0
    for account, key in enumerate(keys):
        found, holder, _ = meters.view(chain, "meterOf", key.key_id)
        if int(found, 16) == 0:
            meters.act(chain, operator, "register", registry, account, key.x, key.y, timestamp=timestamp)
            entered += 1
        elif (found.lower(), holder) != (registry.lower(), account):
            raise LedgerError(
                f"the meter {key.key_id.hex()} stands for account {holder} of the registry at {found} already",
                thing=key,
                way_out="a meter is in one community: give this one a key of its own",
            )
    return entered


def is_taken(chain: Chain, body: IssuingBody, settlement: str, slot: int, account: int) -> bool:
    """Whether anything of the account's slot is issued."""
    return bool(body.issuance.view(chain, "isTaken", settlement, slot, account)[0])
