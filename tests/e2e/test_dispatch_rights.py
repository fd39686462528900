"""Who may order what a member's devices do: a credential and the owner's consent; every order is on record, refused ones too."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from e2e.runs import EXAMPLES, copy_of, rural1_day
from walras.commands.dispatch import dispatch_command
from walras.commands.rights import consent_command
from walras.community import load_community
from walras.errors import InputError, JournalError
from walras.exchange.acts import ActKind, acts_of
from walras.exchange.audit import Audit
from walras.exchange.journal import read_public_record
from walras.metering import derive_key, did_of
from walras.metering.access import Right, issue_access
from walras.metering.dispatch import DispatchOrder, sign_order
from walras.service.appointment import access_issuer
from walras.study.meters import make_meters, run_seed
from walras.study.runner import PUBLIC

COMMUNITY = load_community(EXAMPLES / "rural1.toml")
SEED = run_seed(COMMUNITY)
SLOT = COMMUNITY.slots.start
NOW = COMMUNITY.grid.start(SLOT) - timedelta(minutes=30)
AGGREGATOR, THIEF = derive_key(SEED, "aggregator"), derive_key(SEED, "thief")
METERS = list(make_meters(COMMUNITY, SEED).registry.index)
MEMBER, ACCOUNT = "home-1", 1


def credential(rights: list[Right], issuer: object = None, until: datetime = NOW + timedelta(days=1)) -> str:
    key = access_issuer(SEED) if issuer is None else issuer
    return issue_access(key, did_of(AGGREGATOR.public_key()), rights, NOW - timedelta(days=1), until)  # type: ignore[arg-type]


def order(folder: Path, **changes: Any) -> Path:
    values = {"holder": AGGREGATOR, "credential": credential([Right.DISPATCH]), "now": NOW}
    slots = {"meter": METERS[ACCOUNT], "first_slot": SLOT, "last_slot": SLOT + 3, "low_w": -2_000, "high_w": None}
    given = DispatchOrder(**{name: changes.get(name, value) for name, value in slots.items()})  # type: ignore[arg-type]
    who = {name: changes.get(name, value) for name, value in values.items()}
    path = folder / "order.bin"
    path.write_bytes(sign_order(who["holder"], who["credential"], given, who["now"]))  # type: ignore[arg-type]
    return path


def test_an_order_with_credential_and_consent_is_allowed_and_on_record(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    consent_command(run, MEMBER, "dispatch", False, None)
    done = dispatch_command(run, order(tmp_path), None, NOW)
    assert (done.account, done.holder) == (ACCOUNT, did_of(AGGREGATOR.public_key()))
    act = acts_of(read_public_record(run / PUBLIC))[-1]
    assert (act.kind, act.account, act.by) == (ActKind.DISPATCHED, ACCOUNT, did_of(AGGREGATOR.public_key()))
    said = {name: (act.detail or {})[name] for name in ("right", "first_slot", "last_slot", "low_w", "high_w")}
    assert said == {"right": "DISPATCH", "first_slot": SLOT, "last_slot": SLOT + 3, "low_w": -2_000, "high_w": None}
    assert Audit(run / PUBLIC).run().checked["acts with the record"] == 2


REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "another right": (lambda: {"credential": credential([Right.READ])}, "does not give this right"),
    "another issuer": (lambda: {"credential": credential([Right.DISPATCH], THIEF)}, "credential does not hold"),
    "expired": (lambda: {"credential": credential([Right.DISPATCH], until=NOW)}, "credential does not hold"),
    "stolen credential": (lambda: {"holder": THIEF}, "not signed by the credential's holder"),
    "an old request": (lambda: {"now": NOW - timedelta(minutes=6)}, "another time"),
    "no such device": (lambda: {"meter": bytes(16)}, "no metering point"),
    "a neighbour who has not consented": (lambda: {"meter": METERS[2]}, "not consented"),
    "a slot under way": (lambda: {"first_slot": SLOT - 3}, "has begun"),
    "backwards": (lambda: {"last_slot": SLOT - 1}, "has begun, or that ends"),
    "no power in the world": (lambda: {"low_w": -(10**12)}, "not an order"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_anything_less_is_refused_by_name_and_on_record(tmp_path: Path, name: str) -> None:
    make, said = REFUSED[name]
    run = copy_of(rural1_day(), tmp_path / "run")
    consent_command(run, MEMBER, "dispatch", False, None)
    with pytest.raises(JournalError, match=said):
        dispatch_command(run, order(tmp_path, **make()), None, NOW)
    act = acts_of(read_public_record(run / PUBLIC))[-1]
    assert act.kind is ActKind.DENIED
    assert said.split(",", maxsplit=1)[0] in (act.detail or {})["why"]


def test_a_refusal_names_who_asked_where_the_signature_says_it(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    with pytest.raises(JournalError, match="not consented"):
        dispatch_command(run, order(tmp_path), None, NOW)
    act = acts_of(read_public_record(run / PUBLIC))[-1]
    assert (act.kind, act.account) == (ActKind.DENIED, 1)
    assert act.by == did_of(AGGREGATOR.public_key())


def test_consent_withdrawn_ends_it_and_an_order_for_one_point_is_none_for_another(tmp_path: Path) -> None:
    run = copy_of(rural1_day(), tmp_path / "run")
    consent_command(run, MEMBER, "dispatch", False, None)
    path = order(tmp_path)
    consent_command(run, MEMBER, "dispatch", True, None)
    with pytest.raises(JournalError, match="not consented"):
        dispatch_command(run, path, None, NOW)
    consent_command(run, "home-2", "dispatch", False, None)
    moved = path.read_bytes().replace(METERS[ACCOUNT], METERS[3], 1)
    path.write_bytes(moved)
    with pytest.raises(JournalError, match="another node"):
        dispatch_command(run, path, None, NOW)
    path.write_bytes(b"nonsense")
    with pytest.raises(JournalError, match="not an order"):
        dispatch_command(run, path, None, NOW)
    with pytest.raises(InputError, match="a signed order"):
        dispatch_command(run, tmp_path / "nothing", None, NOW)
