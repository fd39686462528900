"""Whatever a command is wrongly given, it says which thing, what is there, what it expected or the way out, and ends in 2."""

from __future__ import annotations

import pytest

from command_world import BOOK, walras, world


def said(template: str, bad: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that was given `bad`; it ends in 2 and prints nothing else."""
    folder = world()
    capsys.readouterr()
    places = {
        "here": str(folder),
        "book": str(BOOK),
        "bad": bad,
        "node": NODE,
        "claim": "day_sum capacity_wh=1",
        "c": str(folder / "community.toml"),
        "run": str(folder / "run"),
    }
    code = walras(*(word.format_map(places) for word in template.split()))
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, ""), printed
    assert printed.err.startswith("error: ")
    assert "expected" in printed.err or "way out" in printed.err
    return printed.err


NODES = "--gateway h:1 --oracles h:2 --clock {here}/clock"
NODE = "http://127.0.0.1:1"
HUGE = "1" + "0" * 30
FILES = {
    "run": "run {bad} --out {here}/new",
    "run-secret": "run {c} --out {here}/new --secret {bad}",
    "run-roll": "run {c} --out {here}/new --roll {bad} --keys {bad} --secret {here}/secret " + NODES,
    "run-manifest": "run {c} --out {here}/new --manifest {bad}",
    "audit": "audit {bad}",
    "bill": "bill {bad} home-1",
    "export": "export {bad} home-1",
    "forget": "forget {bad} home-1",
    "consent": "consent {bad} home-1 proof",
    "validate": "validate {bad}",
    "statistics": "statistics {bad}",
    "dispatch": "dispatch {bad} {here}/binary",
    "dispatch-order": "dispatch {run} {bad}",
    "report": "report {bad}",
    "limits": "limits {bad}",
    "clear": "clear {bad}",
    "game": "game {bad}",
    "compare": "compare {bad}",
    "gateway": "gateway {bad} --oracles h:1",
    "gateway-secret": "gateway {c} --oracles h:1 --secret {bad}",
    "gateway-key": "gateway {c} --oracles h:1 --key {bad} --store {here}/store",
    "oracle": "oracle {bad} 0",
    "balance": "balance {bad}",
    "oracle-key": "oracle {c} 0 --key {bad}",
    "key": "key {bad}",
    "key-secret": "key secret:{bad}",
    "key-passphrase": "key {here}/key.pem --passphrase {bad}",
    "enrol": "enrol {bad} home-1 --operator {here}/key.pem --key {here}/key.pem --unattested --out {here}/out",
    "enrol-operator": "enrol {c} home-1 --operator {bad} --key {here}/key.pem --unattested --out {here}/out",
    "revoke": "revoke {bad} home-1 --operator {here}/key.pem --status {here}/status",
    "meter": "meter {bad} --key {here}/key.pem --gateway h:1",
    "meter-key": "meter {here}/readings --key {bad} --gateway h:1",
    "network": "network {bad}",
    "prove": "prove {bad} --out {here}/proof",
    "check-proof": "check-proof {bad}",
    "deploy": "deploy {bad} --chain {node}",
    "deploy-secret": "deploy {c} --chain {node} --secret {bad}",
    "deploy-council": "deploy {c} --chain {node} --council {bad}",
    "deploy-roll": "deploy {c} --chain {node} --roll {bad}",
    "watchtower": "watchtower {bad} --chain {node} --key {here}/secret --once",
    "watchtower-key": "watchtower {run} --chain {node} --key {bad} --once",
    "watchtower-manifest": "watchtower {run} --chain {node} --key {here}/secret --manifest {bad} --once",
    "pandapower": "import pandapower {bad} --out {here}",
    "cgmes": "import cgmes {bad} --out {here}",
}


KINDS = ("missing", "empty", "binary", "folder")
USABLE = {
    ("watchtower", "empty"),
    ("watchtower", "binary"),
    ("dispatch-order", "empty"),
    ("dispatch-order", "binary"),
    ("key-passphrase", "binary"),
}
"""Any bytes may be an order (refused, and the refusal is recorded) and a passphrase; the watchtower first asks its chain."""


@pytest.mark.parametrize(("command", "kind"), [(c, k) for c in FILES for k in KINDS if (c, k) not in USABLE])
def test_a_file_that_cannot_be_used_is_named(command: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    bad = str(world() / kind)
    assert bad in said(FILES[command], bad, capsys)


VALUES = {
    "run --days": ("run {c} --out {here}/new --days {bad}", ("-1", "0", HUGE, "two")),
    "run --start": ("run {c} --out {here}/new --start {bad}", ("-1", "2016-02-30", HUGE, "tomorrow")),
    "run --mechanism": ("run {c} --out {here}/new --mechanism {bad}", ("unifrom", "-1")),
    "run --gateway": (
        "run {c} --out {here}/new --gateway {bad} --oracles h:1 --clock {here}/clock",
        ("h", "h:-1", "h:99999", "h:x"),
    ),
    "run --oracles": ("run {c} --out {here}/new --gateway h:1 --oracles {bad} --clock {here}/clock", ("h", "h:99999")),
    "run --until": ("run {c} --out {here}/new --until {bad}", ("x", "2016-06-21", "2016-03-27T02:30", "2016-10-30T02:30")),
    "run --balance": (
        "run {c} --out {here}/new --gateway h:1 --oracles h:2 --clock {here}/clock --balance {bad}",
        ("h", "h:99999"),
    ),
    "statistics NAME": ("statistics {run} {bad}", ("gossip",)),
    "statistics --period": ("statistics {run} consumption --period {bad}", ("1066-10-14", "x")),
    "statistics --by": ("statistics {run} consumption --by {bad}", ("year",)),
    "statistics --epsilon": ("statistics {run} consumption --epsilon {bad}", ("-1", "0", "two", "nan", "0.0001")),
    "bill MEMBER": ("bill {run} {bad}", ("nobody",)),
    "export MEMBER": ("export {run} {bad}", ("nobody",)),
    "export --purpose": ("export {run} home-1 --purpose {bad}", ("gossip",)),
    "forget MEMBER": ("forget {run} {bad}", ("nobody",)),
    "forget --older-than": ("forget {run} --older-than {bad}", ("-1", HUGE, "two")),
    "consent MEMBER": ("consent {run} {bad} proof", ("nobody",)),
    "consent PURPOSE": ("consent {run} home-1 {bad}", ("gossip",)),
    "report --gas-gwei": ("report {run} --gas-gwei {bad}", ("-1", HUGE, "two", "nan")),
    "report --coin-price": ("report {run} --coin-price {bad}", ("-1", HUGE, "two", "inf")),
    "report --batch-slots": ("report {run} --batch-slots {bad}", ("-1", "0", HUGE, "two")),
    "report --purpose": ("report {run} --purpose {bad}", ("gossip",)),
    "clear --mechanism": ("clear {book} --mechanism {bad}", ("unifrom",)),
    "game --mechanism": ("game {book} --mechanism {bad}", ("unifrom",)),
    "game --tries": ("game {book} --tries {bad}", ("-1", "two")),
    "compare --mechanisms": ("compare {c} --mechanisms {bad}", ("unifrom", "uniform,vgc")),
    "compare --days": ("compare {c} --days {bad}", ("-1", "0", HUGE)),
    "compare --start": ("compare {c} --start {bad}", ("2016-02-30",)),
    "compare --lies": ("compare {c} --lies {bad}", ("-1",)),
    "gateway --oracles": ("gateway {c} --store {here}/store --oracles {bad}", ("h", "h:99999")),
    "gateway --listen": ("gateway {c} --store {here}/store --oracles h:1 --listen {bad}", ("h", "h:99999", "h:-1")),
    "gateway --per-second": ("gateway {c} --store {here}/store --oracles h:1 --per-second {bad}", ("-1", "0", "two")),
    "oracle NUMBER": ("oracle {c} {bad} --store {here}/store", ("99", HUGE, "two")),
    "oracle --listen": ("oracle {c} 0 --store {here}/store --listen {bad}", ("h", "h:99999")),
    "oracle --gateway": ("oracle {c} 0 --store {here}/store --gateway {bad}", ("nobody", "did:key:z")),
    "key --registers": ("key secret:{here}/secret --seal tpm:x --out {here}/out --registers {bad}", ("24", "-1", "x", HUGE)),
    "key --seal": ("key secret:{here}/secret --seal {bad} --out {here}/out --registers 0", ("nowhere",)),
    "enrol DEVICE": ("enrol {c} {bad} --operator {here}/key.pem --key {here}/key.pem --unattested --out {here}/out", ("nobody",)),
    "revoke DEVICES": ("revoke {c} {bad} --operator {here}/key.pem --status {here}/status", ("nobody",)),
    "revoke --at": ("revoke {c} home-1 --operator {here}/key.pem --status {here}/status --at {bad}", ("2016-06-21", "x")),
    "revoke --days": ("revoke {c} home-1 --operator {here}/key.pem --status {here}/status --days {bad}", ("-1", "0", HUGE)),
    "meter --gateway": ("meter {here}/readings --key {here}/key.pem --gateway {bad}", ("h", "h:99999")),
    "network --envelopes": ("network {c} --envelopes {bad}", ("fair",)),
    "network --day": ("network {c} --envelopes equal --day {bad}", ("2016-02-30", "1066-10-14")),
    "prove CLAIM": ("prove {bad} --out {here}/proof --run {run} --member home-1 --day 2016-06-21", ("gossip", "day_sum")),
    "prove --member": ("prove {claim} --out {here}/proof --run {run} --member {bad} --day 2016-06-21", ("nobody",)),
    "prove --day": ("prove day_sum --out {here}/proof --run {run} --member home-1 --day {bad}", ("2016-02-30", "x")),
    "prove --engine": ("prove {here}/claim.json --out {here}/proof --engine {bad}", ("magic",)),
    "deploy --profile": ("deploy {c} --chain {node} --profile {bad}", ("moon",)),
    "deploy --contracts": ("deploy {c} --chain {node} --contracts {bad}", ("Nothing",)),
    "watchtower --every": ("watchtower {run} --chain {node} --key {here}/secret --every {bad}", ("-1", "0", "nan", "x")),
    "import simbench": ("import simbench {bad} --out {here}", ("1-LV-nowhere",)),
}


@pytest.mark.parametrize(("name", "bad"), [(name, bad) for name, (_, values) in VALUES.items() for bad in values])
def test_a_value_that_cannot_be_used_is_named(name: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bad in said(VALUES[name][0], bad, capsys)
