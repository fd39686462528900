"""`walras certificate`: energy given to neighbours becomes a certificate, is retired with a receipt, and the receipt is checked."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path

from walras.commands.on_chain import OnChain, member_key, on_chain
from walras.commands.terminal import say, screen
from walras.errors import Fault, InputError, LedgerError
from walras.exchange.certified import given_wh, settled_records
from walras.exchange.leaving import account_of
from walras.exchange.statement import opened_terms
from walras.ledger.calls import Contract
from walras.ledger.certificates import RetirementReceipt, check_receipt, citation, held_wh, issue, retire
from walras.ledger.manifest import contracts_of
from walras.units import format_energy

NAME = "EnergyCertificates"


def issue_command(run: Path, chain: str, manifest: Path, day: date, member: str | None, key: Path | None) -> None:
    """Issue every slot of the day in which the member gave something, that is final and not issued yet."""
    console = screen()
    signer = member_key(run, member, key, "walras certificate")
    at, contract = _contract(run, chain, manifest)
    account = account_of(at.chain, at.addresses.registry, signer.address)
    terms, _ = opened_terms(at.record)
    records, slots = settled_records(at.record), terms.grid.local_day(day)
    window = int(Contract("Settlement", at.chain.chain_id, at.addresses.settlement).view(at.chain, "correctionWindow")[0])
    following = int(Contract("Settlement", at.chain.chain_id, at.addresses.settlement).view(at.chain, "nextSlot")[0])
    gave = {slot: wh for slot in slots if slot in records and (wh := given_wh(records[slot], account))}
    done = [slot for slot in gave if contract.view(at.chain, "issued", slot, account)[0]]
    early = [slot for slot in gave if slot >= following - window]
    issued = {
        slot: issue(at.chain, contract, signer, slot, records[slot], timestamp=int(time.time()))
        for slot in gave
        if slot not in done and slot not in early
    }
    say(console, f"issued {format_energy(sum(issued.values()), 1)} of {len(issued)} slots of {day} to {signer.address}")
    if done:
        say(console, f"{len(done)} slots were issued before")
    if early:
        last = terms.grid.local(early[-1])
        say(
            console,
            f"{len(early)} slots are not final yet: {window} further slots must be settled after each, {last:%H:%M} is the last",
        )
    if not gave:
        say(console, f"account {account} gave nothing to others on that day")


def retire_command(
    run: Path, chain: str, manifest: Path, day: date, beneficiary: str, out: Path | None, member: str | None, key: Path | None
) -> None:
    """Retire all that the member holds of the day's slots, and write the receipts."""
    console = screen()
    if not beneficiary.strip():
        raise InputError("walras certificate", [Fault("command line", "--beneficiary", beneficiary, "a name")])
    signer = member_key(run, member, key, "walras certificate")
    at, contract = _contract(run, chain, manifest)
    terms, _ = opened_terms(at.record)
    held = {slot: wh for slot in terms.grid.local_day(day) if (wh := held_wh(at.chain, contract, signer.address, slot))}
    receipts = [retire(at.chain, contract, signer, slot, wh, beneficiary, timestamp=int(time.time())) for slot, wh in held.items()]
    say(console, f"retired {format_energy(sum(held.values()), 1)} of {len(held)} slots for {beneficiary}")
    for receipt in receipts:
        say(console, citation(contract, receipt))
    if out is not None:
        content = {"chain_id": contract.chain_id, "contract": contract.address, "receipts": [asdict(one) for one in receipts]}
        out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        say(console, f"receipts: {out}; anybody checks them with `walras certificate check {out} --chain URL`")


def check_command(receipts: Path, chain: str) -> None:
    """Hold every receipt of the file against the contract; LedgerError for the first that it does not have."""
    from walras.ledger import JsonRpcChain

    console = screen()
    contract, found = _read(receipts)
    node = JsonRpcChain(chain, expected_chain_id=contract.chain_id)
    if not node.code(contract.address):
        raise LedgerError(f"there is no contract at {contract.address} on this chain", way_out="give the node of that chain")
    for receipt in found:
        check_receipt(node, contract, receipt)
        say(console, f"ok  {citation(contract, receipt)}")
    say(console, f"{len(found)} receipts hold, {format_energy(sum(one.energy_wh for one in found), 1)}")


def _contract(run: Path, url: str, manifest: Path) -> tuple[OnChain, Contract]:
    """The run on its chain, and its contract of certificates out of the manifest; LedgerError where they do not belong together."""
    at = on_chain(run, url)
    if "batches" in at.deployed:
        raise LedgerError(
            "certificates are issued against slots that are settled each by itself, this run settles in batches",
            thing=run,
            way_out='settle = "direct" under [ledger]',
        )
    known = contracts_of(manifest)
    if NAME not in known:
        raise LedgerError(f"{manifest} has no {NAME}", thing=manifest, way_out=f"walras deploy --contracts {NAME} adds it")
    contract = Contract(NAME, at.chain.chain_id, known[NAME])
    of = str(contract.view(at.chain, "settlement")[0]).lower()
    if of != at.addresses.settlement.lower():
        raise LedgerError(
            f"{NAME} at {contract.address} is of the settlement at {of}, the run's is at {at.addresses.settlement}",
            thing=manifest,
            way_out="give the manifest that the run settles on",
        )
    return at, contract


def _read(path: Path) -> tuple[Contract, list[RetirementReceipt]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        receipts = [RetirementReceipt(**one) for one in content["receipts"]]
        return Contract(NAME, int(content["chain_id"]), str(content["contract"])), receipts
    except (ValueError, KeyError, TypeError) as cause:
        expected = "receipts that `walras certificate retire --out` wrote"
        raise InputError("walras certificate", [Fault(str(path), "content", type(cause).__name__, expected)]) from cause
