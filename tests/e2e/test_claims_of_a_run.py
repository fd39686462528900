"""A leaf that a real run billed a member by is worth its energy on that run's own chain: one tree from the meter to the token."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from e2e.runs import EXAMPLES, rural1_day
from walras.community import load_community
from walras.errors import LedgerError
from walras.exchange.fold import ESCROW_PAID, LEDGER_DEPLOYED
from walras.exchange.journal import Entry
from walras.exchange.parts import leaves_tree, salted_leaf
from walras.exchange.phases import EventKind
from walras.exchange.public import column
from walras.ledger import (
    Chain,
    EmbeddedChain,
    Genesis,
    Header,
    LedgerAddresses,
    LedgerKeys,
    SlotSettlement,
    join_signatures,
    net_positions,
    next_slot,
    settle,
    sign_attestation,
)
from walras.ledger.calls import create
from walras.ledger.claims import SettledRoot, claim, claimable_wh, held_wh, settled_root
from walras.ledger.issuance import admit_community, appoint_issuer, found_issuing_body, register_meter
from walras.ledger.leaf_proofs import ShownLeaf, meter_key, read_leaf, shown_leaf
from walras.metering import key_id
from walras.study.meters import make_meters, run_seed
from walras.study.runner import ledger_keys, open_journal

WINDOW = 2_880  # settled slots after which nothing can correct a slot any more
SENDING = (LEDGER_DEPLOYED, ESCROW_PAID, EventKind.SETTLEMENT_SUBMITTED.value)
COMMUNITY = EXAMPLES / "rural1.toml"


@cache
def entries_of(run: Path) -> list[Entry]:
    journal = open_journal(run)
    entries = list(journal.entries())
    journal.close()
    return entries


def the(kind: EventKind, slot: int) -> Entry:
    """The run's entry of that kind and slot."""
    return next(entry for entry in entries_of(rural1_day()) if entry.kind == kind.value and entry.slot == slot)


def rebuilt(extra: str) -> tuple[Chain, LedgerAddresses, int]:
    """The run's chain from its record alone, with money for `extra` as well; its contracts and the last block's time."""
    deployed = next(entry.public for entry in entries_of(rural1_day()) if entry.kind == LEDGER_DEPLOYED)
    genesis = Genesis((*deployed["funded"], extra), timestamp=deployed["genesis_time"], chain_id=deployed["chain_id"])
    chain = EmbeddedChain(genesis)
    for entry in entries_of(rural1_day()):
        for sent in entry.public["transactions"] if entry.kind in SENDING else ():
            assert chain.send(bytes.fromhex(sent["raw"]), timestamp=sent["time"]).refusal is None
    names = ("chain_id", "currency", "registry", "settlement")
    return chain, LedgerAddresses(**{name: deployed[name] for name in names}), chain.head().timestamp


def settled_in(slot: int) -> SettledRoot:
    """What the run settled in `slot`, from its public entries."""
    public = the(EventKind.SETTLEMENT_SUBMITTED, slot).public
    root = bytes.fromhex(the(EventKind.ATTESTED, slot).public["root"])
    header = Header(root, bytes.fromhex(public["trades_root"]), bytes.fromhex(public["journal_head"]))
    cash, energy = column(public, "cash_nano"), column(public, "energy_wh")
    return settled_root(header, net_positions(np.arange(cash.size), cash, energy))


def shown_in(slot: int, account: int) -> ShownLeaf:
    """The leaf that the member was billed by, from what is kept of it, and its way up."""
    admitted = the(EventKind.READINGS_ADMITTED, slot)
    leaf = salted_leaf(admitted, account)
    assert leaf is not None
    return shown_leaf(leaf, leaves_tree(admitted).proof(account))


def pass_window(chain: Chain, addresses: LedgerAddresses, keys: LedgerKeys, now: int) -> None:
    """Oracles and operator settle an empty slot so far ahead that nothing of the run can be corrected any more."""
    slot, header = next_slot(chain, addresses) + WINDOW, Header(bytes(32), bytes(32), bytes(32))
    signed = [sign_attestation(keys.oracle(i), chain.chain_id, addresses.settlement, slot, bytes(32)) for i in range(3)]
    content = SlotSettlement(slot, header, net_positions([], [], []), join_signatures(signed))
    settle(chain, addresses, keys.operator, content, timestamp=now)


def noon() -> int:
    return sorted(entry.slot for entry in entries_of(rural1_day()) if entry.kind == "settled" and entry.slot is not None)[48]


def test_every_members_leaf_says_on_the_chain_what_the_member_was_billed() -> None:
    community = load_community(COMMUNITY)
    meters = make_meters(community, run_seed(community))
    for slot in (noon() - 48, noon()):
        public = the(EventKind.SETTLEMENT_SUBMITTED, slot).public
        imports, exports = column(public, "import_wh"), column(public, "export_wh")
        for account, key in enumerate(meters.keys):
            shown = shown_in(slot, account)
            assert shown.root() == settled_in(slot).header.readings_root
            reading = read_leaf(shown.leaf)
            assert reading is not None
            assert (reading.key_id, reading.slot) == (key_id(key.public_key()), slot)
            assert (reading.import_wh, reading.export_wh) == (imports[account], exports[account])


def test_what_a_plant_fed_in_at_noon_is_claimed_on_the_runs_chain() -> None:
    community = load_community(COMMUNITY)
    seed, slot = run_seed(community), noon()
    keys, meters = ledger_keys(seed), make_meters(community, seed)
    account = int(np.argmax(column(the(EventKind.SETTLEMENT_SUBMITTED, slot).public, "export_wh")))
    owner = keys.member(account)
    chain, addresses, now = rebuilt(owner.address)
    body = found_issuing_body(chain, keys.admin, timestamp=now)
    admit_community(chain, body, keys.admin, addresses, timestamp=now)
    meter = meter_key(meters.keys[account].public_key())
    register_meter(chain, body, keys.operator, addresses.registry, account, meter, timestamp=now)
    terms = (addresses.settlement, body.issuance.address, 2 * WINDOW, "")
    contract = create(chain, keys.admin, "EnergyClaims", *terms, timestamp=now)
    appoint_issuer(chain, body, keys.admin, contract, addresses, timestamp=now)
    shown, settled = shown_in(slot, account), settled_in(slot)
    worth = claimable_wh(slot, settled, shown)
    assert worth == column(the(EventKind.SETTLEMENT_SUBMITTED, slot).public, "export_wh")[account]
    assert isinstance(worth, int)
    with pytest.raises(LedgerError, match=r"NotFinal\("):
        claim(chain, contract, owner, slot, settled, shown, timestamp=now)
    pass_window(chain, addresses, keys, now)
    assert claim(chain, contract, owner, slot, settled, shown, timestamp=now) == worth
    assert held_wh(chain, contract, owner.address, slot) == worth
    with pytest.raises(LedgerError, match=r"AlreadyClaimed\("):
        claim(chain, contract, owner, slot, settled, shown, timestamp=now)
