"""Every function of every contract against who calls it: a stranger, a currency that calls back, dust. A new one fails here first.

The table says of each function what kind it is, and what follows from the kind is tried on it:

    guarded   refuses to be entered again while money moves in its contract
    role      only who holds a role, a list, a seat, a key: a stranger is told so by name
    proof     anyone may bring it, but only with signatures, a proof or a state that fits: without, a named refusal
    own       writes the caller's own record alone, and nothing of anybody else's moves
    standard  OpenZeppelin's own (ERC-20, ERC-721, ERC-1155, Ownable, AccessControl, TimelockController), used as it is

`OPEN` holds what a stranger can get through with nothing, each with the reason why it harms nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from e2e.test_ledger_adversaries import Siege, hostile_code
from ledger_world import ROOT, chain_of, stranger
from walras.ledger import LedgerAddresses, Transaction, artifact, next_sender, sign_transaction
from walras.ledger.abi import CONTRACTS, Revert, read_revert
from walras.ledger.additions import Powers, plan_additions
from walras.ledger.calls import Contract, create
from walras.ledger.credentials import GateList
from walras.ledger.keys import SigningKey
from walras.ledger.lots import Lot, grant
from walras.ledger.offers import put_up
from walras.ledger.quotes import Quote, Right, sign_quote
from walras.ledger.shelf import SHELF, AdditionTerms, Site, chosen

ERC1155 = "safeBatchTransferFrom safeTransferFrom setApprovalForAll"
OWNABLE = "acceptOwnership renounceOwnership transferOwnership"
RECEIVER = "onERC1155BatchReceived onERC1155Received"
KINDS: dict[str, dict[str, str]] = {
    "BatchSettlement": {
        "guarded": "addBond deposit depositMany exit proveOverdraft proveWrongPosition proveWrongStep withdraw withdrawBond",
        "role": "pause post postRoots unpause requestWithdrawal",
        "proof": "dropUnfounded halt",
    },
    "Council": {"role": "setSeats", "proof": "act"},
    "DeliveryLots": {
        "role": "setCapacity grant",
        "proof": "giveBack split sweep",
        "standard": "approve safeTransferFrom setApprovalForAll transferFrom",
    },
    "DeviceRegistry": {"role": "enter setMeterOperator", "proof": "enterKey setStatus"},
    "DidRegistry": {
        "own": "create",
        "proof": "acceptControl deactivate finishRecovery offerControl revokeKey rotate setRecovery startRecovery stopRecovery",
    },
    "Disputes": {"guarded": "addBond collect punish resolve withdrawBond", "role": "announceWithdrawal open", "proof": "close"},
    "EnergyCertificates": {"role": "issue", "own": "retire", "proof": "safeTransferAndClaimFrom", "standard": ERC1155},
    "EnergyClaims": {"proof": "claim sweep", "own": "use", "standard": ERC1155},
    "EnergyPool": {"guarded": "burn burnForMoney buy mint open payIn payOut sell", "standard": RECEIVER},
    "FlexibilityBond": {"guarded": "accept collect offer", "proof": "expire show withdrawOffer"},
    "Issuance": {"role": "appoint takeAccount takeReading", "standard": OWNABLE},
    "ListGate": {"role": "set"},
    "MeterRegister": {"role": "admit", "proof": "register", "standard": OWNABLE},
    "OracleBond": {
        "guarded": "bond payTreasury slash slashBatch slashCorrection slashForged slashMeterTwice slashWrongSlot withdrawStake",
        "proof": "requestLeave",
    },
    "PaymentChannels": {
        "guarded": "collect fund",
        "own": "open",
        "proof": "challenge closeAlone closeTogether closeUnused finish",
    },
    "ProofVerifier": {"proof": "prove"},
    "Registry": {
        "role": "ejectOracle registerMany setGate setOracleBond setOracles transferAccount",
        "standard": "acceptDefaultAdminTransfer beginDefaultAdminTransfer cancelDefaultAdminTransfer changeDefaultAdminDelay "
        "grantRole renounceRole revokeRole rollbackDefaultAdminDelay",
    },
    "RightsMarket": {"guarded": "buy offer takeBack", "standard": RECEIVER},
    "SealedAuction": {"guarded": "payIn payOut", "role": "open", "own": "commit", "proof": "forfeit reveal submitClearing"},
    "Settlement": {"guarded": "depositMany withdraw", "role": "correctSlot pause settleSlot unpause requestWithdrawal"},
    "SignedQuotes": {"guarded": "fill", "own": "cancel raiseFloor"},
    "TestCurrency": {"role": "mint", "standard": "approve renounceOwnership transfer transferFrom transferOwnership"},
    "Timelock": {
        "standard": "cancel execute executeBatch grantRole onERC1155BatchReceived onERC1155Received onERC721Received renounceRole "
        "revokeRole schedule scheduleBatch updateDelay"
    },
}
OPEN = {
    "BatchSettlement.addBond": "nothing, into the caller's own stake",
    "Disputes.addBond": "nothing, into the operator's stake",
    "EnergyPool.payIn": "nothing, for the caller itself",
    "OracleBond.bond": "nothing, into an oracle's stake",
    "PaymentChannels.collect": "the caller's own credit, which is nothing",
    "SealedAuction.payIn": "nothing, for the caller itself",
    "SealedAuction.payOut": "the caller's own money, which is nothing",
    "DidRegistry.create": "an identifier of the caller's own",
    "EnergyCertificates.retire": "nothing of nothing: a receipt over zero",
    "EnergyClaims.use": "nothing of nothing",
    "SignedQuotes.cancel": "the caller's own quotes",
    "SignedQuotes.raiseFloor": "the caller's own quotes",
}
NAMELESS = {
    "DeviceRegistry.setStatus": "a status that there is not is no call of this function",
    "RightsMarket.offer": "the right's address has no contract",
}
ROLES = {
    "NotOperator", "NotAdmin", "AccessControlUnauthorizedAccount", "OwnableUnauthorizedAccount", "NotKeeper", "NotMeterOperator",
    "NotIssuer", "NotOracleBond", "NotMember", "NotCouncil", "OnlyCouncil",
}  # fmt: skip
MODIFIERS = re.compile(r"function\s+(\w+)\s*\(([^)]*)\)([^{;]*)[{;]", re.S)


@cache
def sources() -> dict[str, str]:
    """Every contract's own text with that of the abstract contracts of ours that it is."""
    texts = {path.stem: path.read_text() for path in (ROOT / "src/walras/ledger/contracts").glob("*.sol")}

    def whole(name: str) -> str:
        head = re.search(rf"contract {name} is ([^{{]*){{", texts[name])
        parents = re.findall(r"\w+", head.group(1)) if head else []
        return texts[name] + "".join(whole(parent) for parent in parents if parent in texts)

    return {name: whole(name) for name in CONTRACTS}


@cache
def functions(contract: str) -> dict[str, str]:
    """The state-changing functions of a contract in the ABI, with the text between their arguments and their body."""
    abi = json.loads((ROOT / f"src/walras/ledger/artifacts/{contract}.json").read_text())["abi"]
    names = {e["name"] for e in abi if e["type"] == "function" and e["stateMutability"] not in ("view", "pure")}
    own = {name: head for name, _, head in MODIFIERS.findall(sources()[contract])}
    return {name: own.get(name, "") for name in names}


def kind_of(contract: str, function: str) -> str:
    return next(kind for kind, names in KINDS[contract].items() if function in names.split())


def sample(kind: str, level: int) -> Any:
    """A value of an ABI type: nothing, one, or as much as fits."""
    if kind.endswith("[]"):
        return [sample(kind[:-2], level)] if level else []
    if kind.startswith("("):
        parts, depth, part = [], 0, ""
        for letter in kind[1:-1] + ",":
            depth += (letter == "(") - (letter == ")")
            if letter == "," and not depth:
                parts.append(part)
                part = ""
            else:
                part += letter
        return tuple(sample(one, level) for one in parts)
    if kind in ("bytes", "string"):
        return ("" if kind == "string" else b"") if level == 0 else ("x" if kind == "string" else b"\1")
    if kind.startswith("bytes"):
        return bytes([(0, 1, 255)[level]]) * int(kind[5:])
    if kind == "address":
        return "0x" + ("00", "11", "ff")[level] * 20
    if kind == "bool":
        return bool(level)
    bits = int(re.sub(r"\D", "", kind))
    return (0, 1, 2**bits - 1 if kind.startswith("u") else 2 ** (bits - 1) - 1)[level]


class Bastion:
    """The whole set of contracts over the hostile currency, whose account 0 is the currency itself."""

    def __init__(self, siege: Siege) -> None:
        self.siege, self.chain, admin = siege, siege.chain, siege.keys.admin
        settlement = create(self.chain, admin, "Settlement", siege.token, siege.registry.address, 0, 4, timestamp=siege.now)
        ledger = LedgerAddresses(self.chain.chain_id, siege.token, siege.registry.address, settlement.address)
        terms = AdditionTerms(gate=(GateList("sanctions", admin.address, denies=True),), operator_bond=10)
        names = chosen([*(n for n in KINDS if n not in INNER | {"EnergyPool", "ProofVerifier"}), "EnergyPool:1"], terms)
        nonce = self.chain.nonce(admin.address)
        plan = plan_additions(siege.keys, terms, ledger, {}, names, Powers(True, frozenset()), admin_nonce=nonce)
        for step in plan.transactions:
            assert self.chain.send(step.raw, timestamp=siege.now).refusal is None, step.label
        self.site = Site(ledger, admin.address, admin.address, {}, terms)
        council = create(self.chain, admin, "Council", [siege.keys.member(i).address for i in range(3)], 2, timestamp=siege.now)
        self.contracts = {one.name.partition(":")[0]: self._at(one.name, one.address) for one in plan.contracts} | {
            "Settlement": settlement,
            "Registry": siege.registry,
            "Council": council,
            "Timelock": create(self.chain, admin, "Timelock", 60, council.address, timestamp=siege.now),
            "TestCurrency": create(self.chain, admin, "TestCurrency", admin.address, timestamp=siege.now),
        }

    def _at(self, name: str, address: str) -> Contract:
        return Contract(name.partition(":")[0], self.chain.chain_id, address)

    def lot_for_sale(self, market: str) -> Right:
        """A fresh lot of member 1, which `market` may move."""
        lots, siege = self.contracts["DeliveryLots"], self.siege
        seller = siege.keys.member(1)
        siege.do(lots, siege.keys.admin, "setCapacity", 1, 10**6)
        number = grant(self.chain, lots, siege.keys.admin, seller.address, Lot(1, 5, 1, 1), timestamp=siege.now)
        siege.do(lots, seller, "setApprovalForAll", self.contracts[market].address, True)
        return Right(lots.address, number, True)

    def tried(self, contract: str, function: str, key: SigningKey, level: int) -> Revert | None:
        """What becomes of a call with sample arguments; nothing is kept."""
        arguments = [sample(kind, level) for kind in artifact(contract).functions[function].inputs]
        if contract not in self.contracts:  # last and only where it is asked for: its creation takes seconds of pairings
            key_of_circuit = SHELF[contract].arguments(self.site, "below_limit")
            self.contracts[contract] = create(
                self.chain, self.siege.keys.admin, contract, *key_of_circuit, timestamp=self.siege.now
            )
        target = self.contracts[contract]
        raw = target.transaction(next_sender(self.chain, key), function, *arguments, gas_limit=10_000_000)
        return self.chain.rehearse(raw).refusal


INNER = {"TestCurrency", "Registry", "Settlement", "Council", "Timelock"}


@pytest.fixture(scope="module")
def bastion() -> Iterator[Bastion]:
    with chain_of("embedded") as chain:
        yield Bastion(Siege(chain))


@pytest.fixture(scope="module")
def stranger_key(bastion: Bastion) -> SigningKey:
    """Somebody with gas and without any right: an oracle that is no member, no seat, no operator."""
    return stranger()


def test_the_table_has_every_function_of_every_contract_once() -> None:
    assert set(KINDS) == set(CONTRACTS)
    for contract, kinds in KINDS.items():
        listed = [name for names in kinds.values() for name in names.split()]
        assert sorted(listed) == sorted(functions(contract)), f"{contract}: say of each function what kind it is"


@pytest.mark.parametrize("contract", KINDS)
def test_what_is_called_guarded_is_and_what_moves_money_in_is_guarded(contract: str) -> None:
    for function, head in functions(contract).items():
        assert ("nonReentrant" in head) == (kind_of(contract, function) == "guarded"), f"{contract}.{function}"


@pytest.mark.parametrize("contract", KINDS)
def test_what_is_called_standard_is_not_ours(contract: str) -> None:
    for function, head in functions(contract).items():
        assert (head == "") == (kind_of(contract, function) == "standard"), f"{contract}.{function}"


SLOW = pytest.param("ProofVerifier", marks=pytest.mark.nightly)


@pytest.mark.parametrize("contract", [*(name for name in KINDS if name not in ("Timelock", "ProofVerifier")), SLOW])
def test_a_stranger_is_refused_by_name_wherever_it_knocks(bastion: Bastion, stranger_key: SigningKey, contract: str) -> None:
    wrong = []
    for function in functions(contract):
        kind, name = kind_of(contract, function), f"{contract}.{function}"
        if kind == "standard":
            continue
        for level in range(3):
            refusal = bastion.tried(contract, function, stranger_key, level)
            if refusal is None and name not in OPEN:
                wrong.append(f"{name}: a stranger gets through with {('nothing', 'one', 'the most')[level]}")
            if refusal is not None and refusal.name == "UnknownRevert" and name not in NAMELESS:
                wrong.append(f"{name} refuses without saying why")
            if refusal is not None and kind == "role" and refusal.name not in ROLES:
                wrong.append(f"{name} is refused by {refusal}, not for want of a role")
    assert wrong == []


def quoted(bastion: Bastion, units: int) -> tuple[Any, ...]:
    """A lot for `units`, signed for by member 1, which whoever calls may fill."""
    contract, keys, now = bastion.contracts["SignedQuotes"], bastion.siege.keys, bastion.siege.now
    lot = bastion.lot_for_sale("SignedQuotes")
    quote = Quote(keys.member(1).address, True, lot, 1, units * NANO_PER_UNIT, lot.token_id, now + 10_000)
    return quote.as_arguments(), sign_quote(contract, quote, keys.member(1)), 1


def put_in_escrow(bastion: Bastion, units: int) -> tuple[Any, ...]:
    """A lot of member 1 for `units`, in the market's escrow."""
    contract, siege = bastion.contracts["RightsMarket"], bastion.siege
    lot = bastion.lot_for_sale("RightsMarket")
    number = put_up(siege.chain, contract, siege.keys.member(1), lot, 1, units * NANO_PER_UNIT, timestamp=siege.now)
    return number, 1, units


def promised(bastion: Bastion, units: int) -> tuple[Any, ...]:
    """One slot of 1 kWh by the currency, at a reward of `units`."""
    siege = bastion.siege
    return ((siege.token, 5, 1, NANO_PER_UNIT, units, 50, siege.now + 5_000, siege.now + 10_000, bytes(32)),)


NANO_PER_UNIT = 1_000  # the hostile currency has six decimals
Opening = Callable[[Bastion, int], tuple[Any, ...]]
OPENINGS: dict[str, tuple[str, Opening]] = {
    "Settlement": ("depositMany", lambda _, units: ([0], [units])),
    "BatchSettlement": ("deposit", lambda _, units: (0, units)),
    "OracleBond": ("bond", lambda _, units: ("0x" + "11" * 20, units)),
    "PaymentChannels": ("open", lambda _, units: ("0x" + "11" * 20, 3_600, units)),
    "SealedAuction": ("payIn", lambda _, units: (units,)),
    "EnergyPool": ("payIn", lambda _, units: (units,)),
    "Disputes": ("addBond", lambda _, units: (units,)),
    "FlexibilityBond": ("offer", promised),
    "RightsMarket": ("buy", put_in_escrow),
    "SignedQuotes": ("fill", quoted),
}
TO_THE_SELLER = {"RightsMarket", "SignedQuotes"}
"""Their money goes from buyer to seller and never stays."""
INSIDE = {
    "BatchSettlement.requestWithdrawal": "asks back nothing: a record of the caller's own",
    "Settlement.requestWithdrawal": "asks back nothing: a record of the caller's own",
    "SignedQuotes.cancel": "the caller's own quotes",
}


@pytest.mark.parametrize("contract", OPENINGS)
def test_a_currency_that_calls_back_gets_into_no_function_while_money_moves(bastion: Bastion, contract: str) -> None:
    siege, target = bastion.siege, bastion.contracts[contract]
    opening, arguments = OPENINGS[contract]
    payee = siege.keys.member(1).address if contract in TO_THE_SELLER else target.address
    guard = next(key for key, error in artifact("Settlement").errors.items() if error.name == "ReentrancyGuardReentrantCall")
    siege.hostile("mint", siege.token, 10**9)
    siege.hostile("doCall", siege.token, hostile_code().call("approve", target.address, 10**9))
    for function in sorted(functions(contract)):
        kind, name = kind_of(contract, function), f"{contract}.{function}"
        if kind == "standard":
            continue
        data = [sample(one, 0) for one in artifact(contract).functions[function].inputs]
        given = arguments(bastion, 400)
        siege.armed(target, function, *data)
        before = siege.look("balanceOf", payee)
        siege.as_token(target, opening, *given)
        assert siege.look("tried"), name
        through, answer = siege.look("gotThrough"), bytes(siege.look("answer"))  # type: ignore[call-overload]
        if kind == "guarded":
            assert answer[:4] == guard, f"{name} answered {read_revert(answer)}"
        assert not through or name in INSIDE, f"{name} lets the currency in while it moves money"
        assert siege.look("balanceOf", payee) == before + 400  # type: ignore[operator]


@pytest.mark.parametrize("contract", OPENINGS)
def test_of_dust_nothing_is_made_and_a_single_unit_counts_as_one(bastion: Bastion, contract: str) -> None:
    siege, target = bastion.siege, bastion.contracts[contract]
    opening, arguments = OPENINGS[contract]
    payee = siege.keys.member(1).address if contract in TO_THE_SELLER else target.address
    siege.hostile("mint", siege.token, 10**9)
    siege.hostile("doCall", siege.token, hostile_code().call("approve", target.address, 10**9))
    siege.hostile("arm", "0x" + "00" * 20, b"", 0)
    for units in (0, 1):
        dust = arguments(bastion, units)
        before = siege.look("balanceOf", payee)
        call = hostile_code().call("doCall", target.address, artifact(contract).call(opening, *dust))
        nonce = siege.chain.nonce(siege.keys.admin.address)
        signed = sign_transaction(siege.keys.admin, Transaction(siege.chain.chain_id, nonce, siege.token, call, 8_000_000))
        receipt = siege.chain.send(signed, timestamp=siege.now)
        assert units == 0 or receipt.refusal is None, receipt.refusal
        assert siege.look("balanceOf", payee) == before + units  # type: ignore[operator]
