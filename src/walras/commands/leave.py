"""`walras exit`: a member takes out what is its own, step by step, whether the operator helps or not."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from walras.commands.on_chain import member_key, on_chain
from walras.commands.terminal import say, screen
from walras.errors import Fault, InputError
from walras.exchange.leaving import leave_batches, leave_settlement
from walras.exchange.opening import opening_from_public
from walras.exchange.statement import opened_terms
from walras.exchange.watch_batches import stated_positions
from walras.ledger.batches import NAME
from walras.ledger.calls import Contract
from walras.ledger.deployment import NANO_PER_TOKEN_UNIT
from walras.units import format_money


def exit_command(run: Path, chain: str, member: str | None, key: Path | None, amount: str | None) -> None:
    """Take the next step, say what it was, and when the one after is possible."""
    console = screen()
    nano = None if amount is None else _nano(amount)
    signer = member_key(run, member, key, "walras exit")
    at = on_chain(run, chain)
    terms, _ = opened_terms(at.record)
    now = int(time.time())
    if "batches" in at.deployed:
        contract = Contract(NAME, at.chain.chain_id, at.deployed["batches"])
        opening = opening_from_public(at.deployed)
        step = leave_batches(at.chain, contract, signer, now, stated_positions(at.record), nano, opening)
    else:
        step = leave_settlement(at.chain, at.addresses, signer, now, nano)
    say(console, step.done)
    if step.paid:
        paid = format_money(step.paid * NANO_PER_TOKEN_UNIT, terms.currency, 6)
        say(console, f"paid {paid} to {signer.address}")
    if step.again_from is not None:
        again = datetime.fromtimestamp(step.again_from, UTC)
        say(console, f"give the same command again from {again:%Y-%m-%d %H:%M:%S} UTC, or sooner to see where it stands")


def _nano(amount: str) -> int:
    """Currency units as decimal text, in nano-units."""
    try:
        value = Decimal(amount) * 10**9
        whole = int(value) if value.is_finite() and value > 0 and value == value.to_integral_value() else None
    except InvalidOperation:
        whole = None
    if whole is None:
        fault = Fault("command line", "--amount", amount, "an amount above zero with at most nine decimals")
        raise InputError("walras exit", [fault])
    return whole
