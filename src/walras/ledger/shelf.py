"""The contracts that a community may add to its ledger, as a table: what each is for, what it stands on, and how it is joined.

Two circles. The inner is what every ledger has (`deployment`): currency, registry, settlement, and council and timelock where the
community names one. The outer is this table. An entry says which other entries it needs, what its constructor is given, what
must be done so that the others know it (its joins, all by the admin), and what can be read off it afterwards; whoever deploys,
confirms or documents the set reads the same table.

A name is a contract's, or a contract's with a variant after a colon where there can be several: `ProofVerifier:day_sum`,
`EnergyPool:35040` (the vintage).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Any

from walras.errors import Fault, InputError
from walras.ledger._keccak import keccak256
from walras.ledger.credentials import GateList
from walras.ledger.deployment import LedgerAddresses
from walras.ledger.proof_verifier import key_bytes
from walras.metering.proofs.keys import key_from_json

ALL = "all"
DAY_S = 86_400
CIRCUITS = ("below_limit", "day_sum", "net_position", "reduction")


@dataclass(frozen=True, slots=True)
class AdditionTerms:
    """On what terms contracts are added. Times in seconds, money in units of the token (micro-units of a test currency).

    first_slot            of the first batch
    fraud_window_s        a posted batch can be proved wrong so long; `exit_timeout_s` without a batch, and members exit
    operator_bond         an operator's stake behind its batches; `penalty_account` receives the half of it that no prover does
    oracle_stake          an oracle's; a reporter gets `reporter_share_bp` basis points of it, `unbonding_delay_s` holds it
    auction_bond          what a sealed bid deposits; `k` is the convention on the price between marginal bid and ask
    claim_life_slots      for so many slots a claim on energy lives; longer than the correction window
    dispute_answer_s, dispute_penalty   an operator's time to answer a dispute, and what silence costs it
    recovery_delay_s      before recovery keys take over a DID
    pool_fee_ppm          of an energy pool, parts per million
    gate                  lists of the checker that is asked who may come in; empty: no `ListGate`
    meter_operators       addresses appointed with the register of devices
    zone                  text in the tokens' URI
    """

    first_slot: int = 0
    fraud_window_s: int = DAY_S
    exit_timeout_s: int = 7 * DAY_S
    operator_bond: int = 1_000_000_000
    penalty_account: int = 0
    oracle_stake: int = 1_000_000_000
    reporter_share_bp: int = 1_000
    unbonding_delay_s: int = 45 * DAY_S
    auction_bond: int = 1_000_000
    k: Fraction = Fraction(1, 2)
    claim_life_slots: int = 5_760
    dispute_answer_s: int = 3 * DAY_S
    dispute_penalty: int = 100_000_000
    recovery_delay_s: int = 7 * DAY_S
    pool_fee_ppm: int = 3_000
    gate: tuple[GateList, ...] = ()
    meter_operators: tuple[str, ...] = ()
    zone: str = "walras"


@dataclass(frozen=True, slots=True)
class Site:
    """What a contract is placed among: the ledger, who governs it, the contracts added so far (by name), the terms."""

    ledger: LedgerAddresses
    admin: str
    operator: str
    added: Mapping[str, str]
    terms: AdditionTerms


@dataclass(frozen=True, slots=True)
class Join:
    """A call by the admin that makes `on` (an entry, or "Registry") know a new contract, and how it reads afterwards."""

    on: str
    function: str
    arguments: tuple[Any, ...]
    view: str
    view_arguments: tuple[Any, ...]
    expected: Any


Value = Callable[[Site, str], Any]
"""Where an argument comes from, given the site and the variant."""


@dataclass(frozen=True, slots=True)
class Given:
    """An argument of a constructor: the view that shows it afterwards (several for a struct, none where nothing does), where it
    comes from, and how the view shows it."""

    view: str | tuple[str, ...]
    value: Value
    shown: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True, slots=True)
class Addition:
    """An entry. `given` are the constructor's arguments in order; `owned` contracts go to the council's timelock."""

    purpose: str
    given: tuple[Given, ...]
    needs: tuple[str, ...] = ()
    joins: Callable[[Site, str, str], tuple[Join, ...]] = lambda site, variant, address: ()
    variants: tuple[str, ...] = ()
    owned: bool = False

    def arguments(self, site: Site, variant: str) -> tuple[Any, ...]:
        """What the constructor is given."""
        return tuple(one.value(site, variant) for one in self.given)

    def views(self, site: Site, variant: str) -> dict[str, Any]:
        """What the contract then shows, by view."""
        found: dict[str, Any] = {}
        for one in self.given:
            value = one.shown(one.value(site, variant))
            if isinstance(one.view, tuple):
                found |= dict(zip(one.view, value, strict=True))
            elif one.view:
                found[one.view] = value
        return found


def _ledger(name: str) -> Given:
    """A contract of the inner circle, shown by a view of its name."""
    return Given(name, lambda site, _: getattr(site.ledger, name))


def _added(view: str, name: str) -> Given:
    """A contract of the shelf."""
    return Given(view, lambda site, _: site.added[name])


def _term(view: str, name: str) -> Given:
    """A field of the terms."""
    return Given(view, lambda site, _: getattr(site.terms, name))


def _unseen(value: Value) -> Given:
    """An argument that no view shows."""
    return Given("", value)


def _uri(kind: str) -> Given:
    return _unseen(lambda site, _: f"urn:{site.terms.zone}:{kind}:{{id}}")


CURRENCY, REGISTRY, SETTLEMENT = _ledger("currency"), _ledger("registry"), _ledger("settlement")
METERS, ISSUANCE = _added("meters", "MeterRegister"), _added("issuance", "Issuance")
ADMIN, TREASURY = _unseen(lambda site, _: site.admin), Given("treasury", lambda site, _: site.operator)


def _issuer(site: Site, variant: str, address: str) -> tuple[Join, ...]:
    settlement = site.ledger.settlement
    return (Join("Issuance", "appoint", (address, settlement), "settlementOf", (address,), settlement),)


@cache
def _verifying_key(variant: str) -> bytes:
    text = files("walras.metering.proofs").joinpath(f"artifacts/{variant}.verifying.json").read_text(encoding="utf-8")
    return key_bytes(key_from_json(text))


SHELF: Mapping[str, Addition] = {
    "MeterRegister": Addition(
        "which account a meter's key stands behind: for tokens, and so that forged readings can be proved",
        (ADMIN,),
        joins=lambda site, _, address: (
            Join("MeterRegister", "admit", (site.ledger.registry,), "admitted", (site.ledger.registry,), True),
        ),
        owned=True,
    ),
    "DeviceRegistry": Addition(
        "which devices a meter operator vouches for, and whether that still holds",
        (REGISTRY,),
        joins=lambda site, _, address: tuple(
            Join("DeviceRegistry", "setMeterOperator", (who, True), "isMeterOperator", (who,), True)
            for who in site.terms.meter_operators
        ),
    ),
    "DidRegistry": Addition(
        "keys of members and devices by DID, rotated and recovered by themselves", (_term("recoveryDelay", "recovery_delay_s"),)
    ),
    "ListGate": Addition(
        "who may become a member or pay in, by lists (know your customer, sanctions, licence)",
        (_unseen(lambda site, _: [one.as_arguments() for one in site.terms.gate]),),
        joins=lambda site, _, address: (Join("Registry", "setGate", (address,), "gate", (), address),),
    ),
    "OracleBond": Addition(
        "oracles' stakes: two roots or two batches for one slot, or a false root, cost the oracle all of it",
        (
            SETTLEMENT,
            METERS,
            TREASURY,
            _term("minimumStake", "oracle_stake"),
            _term("unbondingDelay", "unbonding_delay_s"),
            _term("reporterShare", "reporter_share_bp"),
        ),
        needs=("MeterRegister",),
        joins=lambda site, _, address: (Join("Registry", "setOracleBond", (address,), "oracleBond", (), address),),
    ),
    "Disputes": Addition(
        "a member's objection to a settled slot, with proof; silence costs the operator",
        (
            SETTLEMENT,
            _added("devices", "DeviceRegistry"),
            _term("answerTime", "dispute_answer_s"),
            _term("penalty", "dispute_penalty"),
        ),
        needs=("DeviceRegistry",),
    ),
    "BatchSettlement": Addition(
        "many slots under one root, open to anybody's proof that one is wrong; escrow and forced exit",
        (
            CURRENCY,
            REGISTRY,
            Given(("fraudWindow", "exitTimeout"), lambda site, _: (site.terms.fraud_window_s, site.terms.exit_timeout_s)),
            _term("minimumBond", "operator_bond"),
            _term("penaltyAccount", "penalty_account"),
            _term("", "first_slot"),
        ),
    ),
    "PaymentChannels": Addition(
        "signed running balances between two parties for energy below a slot's length",
        (CURRENCY,),
    ),
    "SealedAuction": Addition(
        "sealed bids with deposits, and a clearing that the contract checks from its certificate",
        (
            CURRENCY,
            REGISTRY,
            TREASURY,
            _term("bond", "auction_bond"),
            Given("kNumerator", lambda site, _: site.terms.k.numerator),
            Given("kDenominator", lambda site, _: site.terms.k.denominator),
        ),
    ),
    "FlexibilityBond": Addition("stakes for promised reductions, paid and slashed by attested readings", (SETTLEMENT,)),
    "Issuance": Addition(
        "that energy becomes a token once only, whichever contract issues it",
        (ADMIN, METERS),
        needs=("MeterRegister",),
        owned=True,
    ),
    "EnergyClaims": Addition(
        "ERC-1155 claims on energy fed in, by slot, that expire",
        (SETTLEMENT, ISSUANCE, _term("lifeSlots", "claim_life_slots"), _uri("claim")),
        needs=("Issuance",),
        joins=_issuer,
    ),
    "EnergyCertificates": Addition(
        "ERC-1155 certificates (ERC-1888) of energy given to neighbours, retired with a receipt",
        (SETTLEMENT, ISSUANCE, _uri("certificate")),
        needs=("Issuance",),
        joins=_issuer,
    ),
    "EnergyPool": Addition(
        "a liquidity pool between money and the certificates of one vintage (`EnergyPool:SLOT`)",
        (
            CURRENCY,
            _added("certificates", "EnergyCertificates"),
            Given("vintage", lambda _, variant: int(variant)),
            _term("feePpm", "pool_fee_ppm"),
        ),
        needs=("EnergyCertificates",),
    ),
    "DeliveryLots": Addition("ERC-721 rights to take energy at a node, within its capacity", (SETTLEMENT,)),
    "RightsMarket": Addition("claims, certificates and lots against money at a posted price, both or neither", (CURRENCY,)),
    "SignedQuotes": Addition("the same by EIP-712 quotes signed off the chain", (CURRENCY,)),
    "ProofVerifier": Addition(
        "zero-knowledge statements about a day of readings (one contract a circuit)",
        (Given("keyHash", lambda _, variant: _verifying_key(variant), shown=keccak256),),
        variants=CIRCUITS,
    ),
}
"""In an order in which each entry comes after what it needs."""


def contract_of(name: str) -> tuple[str, str]:
    """(contract, variant) of a name.

    >>> contract_of("EnergyPool:35040"), contract_of("Issuance")
    (('EnergyPool', '35040'), ('Issuance', ''))
    """
    contract, _, variant = name.partition(":")
    return contract, variant


def chosen(names: Iterable[str], terms: AdditionTerms) -> tuple[str, ...]:
    """`names` with all that they need, in the shelf's order. `all` is everything that needs no choice of its own: every entry
    without pools, and without the gate where no list is given. InputError names every name that is not on the shelf.

    >>> chosen(["EnergyClaims"], AdditionTerms())
    ('MeterRegister', 'Issuance', 'EnergyClaims')
    """
    wanted: set[str] = set()
    faults = []
    for name in names:
        if name == ALL:
            wanted |= {one for contract in SHELF for one in _ordinary(contract, terms)}
        elif (fault := _fault(name, terms)) is not None:
            faults.append(fault)
        elif SHELF[name.partition(":")[0]].variants and ":" not in name:
            wanted |= {f"{name}:{variant}" for variant in SHELF[name].variants}
        else:
            wanted.add(name)
    if faults:
        raise InputError("contracts", faults)
    waiting = list(wanted)
    while waiting:
        for need in SHELF[contract_of(waiting.pop())[0]].needs:
            if need not in wanted:
                wanted.add(need)
                waiting.append(need)
    order = {contract: row for row, contract in enumerate(SHELF)}
    return tuple(sorted(wanted, key=lambda name: (order[contract_of(name)[0]], name)))


def _ordinary(contract: str, terms: AdditionTerms) -> tuple[str, ...]:
    if contract == "EnergyPool" or (contract == "ListGate" and not terms.gate):
        return ()
    variants = SHELF[contract].variants
    return tuple(f"{contract}:{variant}" for variant in variants) if variants else (contract,)


def _fault(name: str, terms: AdditionTerms) -> Fault | None:
    contract, variant = contract_of(name)
    expected = f"{ALL}, or of {', '.join(SHELF)}"
    if contract == "EnergyPool" and not (variant.isascii() and variant.isdigit()):
        expected = "EnergyPool:SLOT, the slot of its vintage"
    elif contract == "ListGate" and not terms.gate:
        expected = "the lists of the gate with it"
    elif contract in SHELF and SHELF[contract].variants and variant and variant not in SHELF[contract].variants:
        expected = f"a variant out of {', '.join(SHELF[contract].variants)}"
    elif contract in SHELF and (not variant or contract in ("EnergyPool", "ProofVerifier")):
        return None
    return Fault("contracts", "name", name, expected)
