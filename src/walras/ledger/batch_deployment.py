"""Batch settlement from nothing beside a ledger: the contract, the operator's stake, the members' first deposits; and later ones.

Pure, like `deployment`: signed with consecutive nonces before the first is sent. On a test currency the money is minted; on a
real one members pay in by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from walras.ledger.additions import creation_of
from walras.ledger.calls import Contract, creation_transaction_of
from walras.ledger.chain import Chain
from walras.ledger.deployment import LedgerAddresses, PlannedTransaction
from walras.ledger.keys import LedgerKeys
from walras.ledger.shelf import AdditionTerms, Site
from walras.ledger.transactions import DEFAULT_FEES, Fees, Sender, contract_address

NAME = "BatchSettlement"
DEPOSITS_PER_TRANSACTION = 100
GAS_PER_DEPOSIT = 90_000
GAS_FIXED = 200_000
ADMIN_STEPS = 4
"""Of the admin before it: currency, registry, settlement, and who the oracles are (`deployment.plan_deployment`)."""


def plan_batches(
    keys: LedgerKeys,
    ledger: LedgerAddresses,
    terms: AdditionTerms,
    deposits: Sequence[int],
    *,
    admin_nonce: int,
    operator_nonce: int,
    fees: Fees = DEFAULT_FEES,
) -> tuple[Contract, tuple[PlannedTransaction, ...]]:
    """The contract that will be, and the steps that make it, stake `terms.operator_bond` and pay `deposits[i]` token units into
    account i. The nonces are those that admin and operator use next."""
    site = Site(ledger, keys.admin.address, keys.operator.address, {}, terms)
    admin = Sender(keys.admin, admin_nonce, fees)
    contract, created = creation_transaction_of(ledger.chain_id, admin, NAME, creation_of(site, NAME))
    operator = Sender(keys.operator, operator_nonce, fees)
    token = Contract("TestCurrency", ledger.chain_id, ledger.currency)
    steps = [
        PlannedTransaction(f"create {NAME}", created),
        PlannedTransaction("mint the bond", token.transaction(operator, "mint", operator.key.address, terms.operator_bond)),
        PlannedTransaction(
            "approve the bond", token.transaction(_later(operator, 1), "approve", contract.address, terms.operator_bond)
        ),
        PlannedTransaction("stake the bond", contract.transaction(_later(operator, 2), "addBond", terms.operator_bond)),
    ]
    paying = [account for account, units in enumerate(deposits) if units]
    raws = deposit_transactions(ledger, contract, _later(operator, 3), paying, [deposits[account] for account in paying])
    return contract, (*steps, *(PlannedTransaction("deposit", raw) for raw in raws))


def planned_batches(admin: str, chain_id: int) -> Contract:
    """Where the contract of a new ledger without a council will stand, if the admin has sent nothing before: no key is needed."""
    return Contract(NAME, chain_id, contract_address(admin, ADMIN_STEPS))


def missing_bond(chain: Chain, ledger: LedgerAddresses, contract: Contract, operator: Sender) -> tuple[bytes, ...]:
    """Signed bytes with the operator's next three nonces that stake what its bond lacks; none where it lacks nothing."""
    asked, held = (
        int(contract.view(chain, view, *of)[0]) for view, of in (("minimumBond", ()), ("bondOf", (operator.key.address,)))
    )
    if held >= asked:
        return ()
    token = Contract("TestCurrency", ledger.chain_id, ledger.currency)
    return (
        token.transaction(operator, "mint", operator.key.address, asked - held),
        token.transaction(_later(operator, 1), "approve", contract.address, asked - held),
        contract.transaction(_later(operator, 2), "addBond", asked - held),
    )


def deposit_transactions(
    ledger: LedgerAddresses, contract: Contract, operator: Sender, accounts: Sequence[int], units: Sequence[int]
) -> tuple[bytes, ...]:
    """Signed bytes with the operator's next nonces: `units[i]` of freshly minted test currency into `accounts[i]`."""
    if not accounts:
        return ()
    token = Contract("TestCurrency", ledger.chain_id, ledger.currency)
    raws = [
        token.transaction(operator, "mint", operator.key.address, sum(units)),
        token.transaction(_later(operator, 1), "approve", contract.address, sum(units)),
    ]
    for start in range(0, len(accounts), DEPOSITS_PER_TRANSACTION):
        part = slice(start, start + DEPOSITS_PER_TRANSACTION)
        gas = GAS_FIXED + GAS_PER_DEPOSIT * len(accounts[part])
        sender = _later(operator, len(raws))
        raws.append(contract.transaction(sender, "depositMany", list(accounts[part]), list(units[part]), gas_limit=gas))
    return tuple(raws)


def _later(sender: Sender, by: int) -> Sender:
    return replace(sender, nonce=sender.nonce + by)
