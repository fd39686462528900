"""A ledger from nothing: currency, registry, settlement, oracles, members and their first deposits, as one fixed plan.

The plan is pure: contract addresses follow from the deployer and its nonces, so every transaction of the deployment is signed
before the first is sent. Journal the plan, then carry it out; broken off anywhere and carried out again, what is already on the
chain is recognised and nothing happens twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from walras.errors import Fault, InputError
from walras.ledger.abi import Artifact, artifact
from walras.ledger.chain import Chain, Receipt, TimedTransaction, require_accepted
from walras.ledger.keys import LedgerKeys, SigningKey
from walras.ledger.transactions import DEFAULT_FEES, Fees, Transaction, contract_address, sign_transaction

NANO_PER_TOKEN_UNIT = 1_000
"""The test currency has six decimals; money has nine."""

REGISTRATIONS_PER_TRANSACTION = 200
DEPOSITS_PER_TRANSACTION = 400


@dataclass(frozen=True, slots=True)
class LedgerAddresses:
    """Where the contracts of one ledger stand."""

    chain_id: int
    currency: str
    registry: str
    settlement: str
    council: str | None = None
    timelock: str | None = None


@dataclass(frozen=True, slots=True)
class LedgerTerms:
    """Who takes part and on what terms.

    `members[i]` owns account i; by convention account 0 is the community's own (grid fees, the operator's surplus).
    `oracles` with `threshold`: a majority of them attests a slot. `deposits_nano[i]` [nano-units] is minted in the test
    currency and put into escrow for account i: whole token units of 1,000. Delays are in seconds. A settled
    slot can be corrected until `correction_window_slots` further slots are past (2,880: thirty days of quarter hours).
    `currency` is the address of a real ERC-20 token of at most nine decimals; members then pay in by themselves.
    With a `council` (addresses; a majority, `council_threshold`, acts) the admin's role is offered to a timelock of
    `timelock_s` seconds that the council alone proposes to; the council accepts it (`governance.accept_admin`).
    """

    members: tuple[str, ...]
    oracles: tuple[str, ...]
    threshold: int
    deposits_nano: tuple[int, ...]
    withdrawal_delay_s: int = 3_600
    correction_window_slots: int = 2_880
    currency: str | None = None
    admin_delay_s: int = 0
    council: tuple[str, ...] = ()
    council_threshold: int = 0
    timelock_s: int = 0

    def __post_init__(self) -> None:
        faults = []
        if len(self.deposits_nano) != len(self.members):
            expected = f"one for each of {len(self.members)} members"
            faults.append(Fault("ledger terms", "deposits_nano", len(self.deposits_nano), expected))
        for account, amount in enumerate(self.deposits_nano):
            if amount < 0 or amount % NANO_PER_TOKEN_UNIT:
                expected = f"a multiple of {NANO_PER_TOKEN_UNIT}, not negative"
                faults.append(Fault(f"account {account}", "deposit_nano", amount, expected))
        if self.currency is not None and any(self.deposits_nano):
            faults.append(Fault("ledger terms", "deposits_nano", "not zero", "zero: a real currency cannot be minted"))
        if not len(self.oracles) / 2 < self.threshold <= len(self.oracles):
            faults.append(Fault("ledger terms", "threshold", self.threshold, f"a majority of {len(self.oracles)} oracles"))
        if self.council and not len(self.council) / 2 < self.council_threshold <= len(self.council):
            expected = f"a majority of {len(self.council)} seats"
            faults.append(Fault("ledger terms", "council_threshold", self.council_threshold, expected))
        if not self.council and (self.council_threshold or self.timelock_s):
            faults.append(Fault("ledger terms", "council", "nobody", "the addresses of its members"))
        for field in ("members", "oracles", "council"):
            if len(set(getattr(self, field))) != len(getattr(self, field)):
                faults.append(Fault("ledger terms", field, "an address twice", "every address once"))
        if faults:
            raise InputError("ledger terms", faults)


@dataclass(frozen=True, slots=True)
class PlannedTransaction:
    """A signed step of the deployment."""

    label: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """Addresses that will be, and the signed transactions that make them so, in order."""

    addresses: LedgerAddresses
    transactions: tuple[PlannedTransaction, ...]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A ledger on a chain, with what to journal: the transactions as they were included."""

    addresses: LedgerAddresses
    transactions: tuple[TimedTransaction, ...]
    receipts: tuple[Receipt, ...]


class _Sender:
    """Signs one key's transactions with consecutive nonces."""

    def __init__(self, key: SigningKey, chain_id: int, nonce: int, fees: Fees) -> None:
        self.key, self.chain_id, self.nonce, self.fees = key, chain_id, nonce, fees

    def create(self, contract: Artifact, *arguments: object) -> tuple[str, PlannedTransaction]:
        data = contract.creation(*arguments)
        address = contract_address(self.key.address, self.nonce)
        return address, self.sign(f"create {contract.name}", None, data, 500_000 + 350 * len(data))

    def sign(self, label: str, to: str | None, data: bytes, gas_limit: int) -> PlannedTransaction:
        raw = sign_transaction(self.key, Transaction(self.chain_id, self.nonce, to, data, gas_limit, self.fees))
        self.nonce += 1
        return PlannedTransaction(label, raw)


def plan_deployment(
    keys: LedgerKeys,
    terms: LedgerTerms,
    chain_id: int,
    *,
    admin_nonce: int = 0,
    operator_nonce: int = 0,
    fees: Fees = DEFAULT_FEES,
) -> DeploymentPlan:
    """Every transaction of a new ledger. The nonces are those that admin and operator use next."""
    admin = _Sender(keys.admin, chain_id, admin_nonce, fees)
    operator = _Sender(keys.operator, chain_id, operator_nonce, fees)
    steps = []
    currency = terms.currency
    if currency is None:
        currency, create_currency = admin.create(artifact("TestCurrency"), keys.operator.address)
        steps.append(create_currency)
    registry, create_registry = admin.create(artifact("Registry"), keys.admin.address, terms.admin_delay_s, keys.operator.address)
    settlement, create_settlement = admin.create(
        artifact("Settlement"), currency, registry, terms.withdrawal_delay_s, terms.correction_window_slots
    )
    set_oracles = artifact("Registry").call("setOracles", list(terms.oracles), terms.threshold)
    oracle_step = admin.sign("set oracles", registry, set_oracles, 150_000 + 30_000 * len(terms.oracles))
    council, timelock, governance = _governance(admin, registry, terms)
    addresses = LedgerAddresses(chain_id, currency, registry, settlement, council, timelock)
    steps += [
        create_registry,
        create_settlement,
        oracle_step,
        *governance,
        *_registrations(operator, addresses, terms.members),
        *_first_deposits(operator, addresses, terms.deposits_nano),
    ]
    return DeploymentPlan(addresses, tuple(steps))


def _governance(admin: _Sender, registry: str, terms: LedgerTerms) -> tuple[str | None, str | None, list[PlannedTransaction]]:
    """Council and timelock, and the offer of the admin's role to the timelock; nothing where the terms name no council."""
    if not terms.council:
        return None, None, []
    council, create_council = admin.create(artifact("Council"), list(terms.council), terms.council_threshold)
    timelock, create_timelock = admin.create(artifact("Timelock"), terms.timelock_s, council)
    offer = artifact("Registry").call("beginDefaultAdminTransfer", timelock)
    return council, timelock, [create_council, create_timelock, admin.sign("offer the admin's role", registry, offer, 150_000)]


def planned_addresses(admin: str, chain_id: int) -> LedgerAddresses:
    """Where the contracts of a new ledger without a council will stand, if the admin has sent nothing before: no key is needed."""
    currency, registry, settlement = (contract_address(admin, nonce) for nonce in range(3))
    return LedgerAddresses(chain_id, currency, registry, settlement)


def carry_out(chain: Chain, plan: DeploymentPlan, *, timestamp: int) -> Deployment:
    """Send what is not on the chain yet, in order. LedgerError names the step that was refused."""
    receipts = [
        require_accepted(chain.send(step.raw, timestamp=timestamp), f"deployment, {step.label}") for step in plan.transactions
    ]
    timed = tuple(TimedTransaction(step.raw, receipt.timestamp) for step, receipt in zip(plan.transactions, receipts, strict=True))
    return Deployment(plan.addresses, timed, tuple(receipts))


def deploy_ledger(chain: Chain, keys: LedgerKeys, terms: LedgerTerms, *, timestamp: int, fees: Fees = DEFAULT_FEES) -> Deployment:
    """Plan from the chain's present nonces and carry out. Where a crash must not deploy twice, journal the plan in between."""
    plan = plan_deployment(
        keys,
        terms,
        chain.chain_id,
        admin_nonce=chain.nonce(keys.admin.address),
        operator_nonce=chain.nonce(keys.operator.address),
        fees=fees,
    )
    return carry_out(chain, plan, timestamp=timestamp)


def _registrations(operator: _Sender, addresses: LedgerAddresses, members: Sequence[str]) -> Iterator[PlannedTransaction]:
    for start in range(0, len(members), REGISTRATIONS_PER_TRANSACTION):
        part = list(members[start : start + REGISTRATIONS_PER_TRANSACTION])
        data = artifact("Registry").call("registerMany", part)
        yield operator.sign(f"register from {start}", addresses.registry, data, 150_000 + 60_000 * len(part))


def _first_deposits(operator: _Sender, addresses: LedgerAddresses, deposits_nano: Sequence[int]) -> Iterator[PlannedTransaction]:
    units = [(account, amount // NANO_PER_TOKEN_UNIT) for account, amount in enumerate(deposits_nano) if amount]
    if not units:
        return
    total = sum(amount for _, amount in units)
    token = artifact("TestCurrency")
    yield operator.sign("mint", addresses.currency, token.call("mint", operator.key.address, total), 150_000)
    yield operator.sign("approve", addresses.currency, token.call("approve", addresses.settlement, total), 100_000)
    for start in range(0, len(units), DEPOSITS_PER_TRANSACTION):
        part = units[start : start + DEPOSITS_PER_TRANSACTION]
        data = artifact("Settlement").call("depositMany", [a for a, _ in part], [u for _, u in part])
        yield operator.sign(f"deposit from {start}", addresses.settlement, data, 200_000 + 30_000 * len(part))
