"""What members do with their accounts while a run goes on: read from the chain before each payment, and never guessed.

A member may pay in, ask its money back and fetch it at any moment; nobody is asked. So before an account pays, what it has is taken
from the chain: less what its owner can fetch before the payment is there. What differs from the record becomes an event of the
record, so that balances follow from it as before. The chain in the process has nobody but the run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from walras.errors import LedgerError, RangeError
from walras.exchange.batching import MadeBatch, shortfall_nano
from walras.ledger import LedgerAddresses, ReadableChain, account_words, transaction_hash
from walras.ledger.calls import Contract
from walras.ledger.encoding import split_word
from walras.units import Int64, as_int64

NOTICE_S = 900
"""A withdrawal that can be fetched so soon is taken as fetched: no payment takes longer to get into a block."""


def held_nano(chain: ReadableChain, addresses: LedgerAddresses, batches: Contract | None, accounts: int) -> Int64:
    """[accounts] nano on the chain: balances of `Settlement`; of `BatchSettlement` what backs the batch under way: what is paid in,
    less what was asked back before the last batch. So of what is asked now the run hears one batch later, when it counts.

    LedgerError where more is asked back than any column holds: a batch that was proved wrong bounded the request.
    """
    if batches is None:
        return as_int64([split_word(word)[0] for word in account_words(chain, addresses, range(accounts))], "balance_nano")
    era = int(batches.view(chain, "era")[0])
    found = [int(batches.view(chain, "collateralAt", account, era)[0]) for account in range(accounts)]
    try:
        return as_int64(found, "collateral_nano")
    except RangeError as cause:
        lowest = min(range(accounts), key=found.__getitem__)
        raise LedgerError(
            f"account {lowest} has asked back more than there is: {-found[lowest]:,} nano beyond what it paid in",
            thing=lowest,
            way_out="anybody may drop a request that a wrong batch bounded (dropUnfounded), then the same command again",
        ) from cause


def fetchable_nano(chain: ReadableChain, addresses: LedgerAddresses, payers: Int64, accounts: int) -> Int64:
    """[accounts] nano that the owners of `payers` may fetch from `Settlement` within `NOTICE_S`; zero for everybody else."""
    contract, soon = Contract("Settlement", addresses.chain_id, addresses.settlement), chain.head().timestamp + NOTICE_S
    asked = np.zeros(accounts, dtype=np.int64)
    for account in payers.tolist():
        amount, available_at = contract.view(chain, "withdrawalOf", account)
        if amount and available_at <= soon:
            asked[account] = min(int(amount), np.iinfo(np.int64).max)
    return asked


def check_payable(chain: ReadableChain, raws: Sequence[bytes], what: str) -> None:
    """LedgerError where a transaction, recorded and not sent yet, would be refused for an account that lacks the money.

    Sent it would be refused for good, for its nonce would be used; not sent it can be given again once somebody has paid in.
    """
    for raw in raws:
        if chain.receipt(transaction_hash(raw)) is not None:
            continue
        refusal = chain.rehearse(raw).refusal
        if refusal is not None and refusal.name == "AccountBelowZero":
            account, lacking = refusal.arguments["account"], refusal.arguments["paymentNano"] - refusal.arguments["balanceNano"]
            raise LedgerError(
                f"{what}: not sent, it would be refused: {refusal}",
                thing=account,
                way_out=f"pay into account {account} at least {lacking:,} nano (anybody may), then give the same command again",
            )


def check_backed(chain: ReadableChain, raw: bytes, made: MadeBatch, held: Int64, what: str) -> None:
    """LedgerError where a batch, recorded and not sent yet, has an account pay beyond its collateral, `held` [accounts] nano.

    While it is under way nobody's collateral for it can fall. But one that another operator posted, and that was proved wrong
    since, has been under way meanwhile, and what was asked back then is missing now. Sent it would be taken back, the bond lost.
    """
    if chain.receipt(transaction_hash(raw)) is not None:
        return
    lacking = shortfall_nano(made, held)
    if lacking.any():
        account = int(np.flatnonzero(lacking)[0])
        raise LedgerError(
            f"{what}: not sent, account {account} would pay {int(lacking[account]):,} nano beyond its collateral",
            thing=account,
            way_out=f"pay into account {account} at least so much (anybody may), then give the same command again",
        )
