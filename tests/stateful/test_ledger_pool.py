"""The pool on chain equals the market's pool to the last unit, whatever is swapped, provided and taken out."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger_machines import hunting, machine_chain, machine_settings, prepared, run_machine
from ledger_planted import planted
from ledger_rights import LIFE, certificates_of, claims_of, deliver, issuing, move_on
from ledger_world import COIN, START, World, chain_of, funded, stranger
from walras.errors import LedgerError
from walras.ledger import Genesis, SigningKey, net_positions, next_sender, settle
from walras.ledger.calls import create
from walras.ledger.certificates import SettledRecord, held_wh, issue
from walras.ledger.claims import claim, claim_id
from walras.ledger.pool import PoolReserves, free_nano, reserves
from walras.market.constant_product import ConstantProduct, open_constant_product
from walras.market.pool import Swap, SwapRefused, buy_at_most, sell_at_least

SLOT = 0
ISSUED = 100_000
PAID_IN = 10 * COIN
TRADERS = (1, 2)


class Pools:
    """Two members with certificates and money beside an empty pool."""

    def __init__(self, world: World, fee_ppm: int) -> None:
        self.world, self.chain = world, world.chain
        keys = world.keys
        self.traders = [keys.member(account) for account in TRADERS]
        flow = net_positions([0, 1, 2], [0, 0, 0], [2 * ISSUED, -ISSUED, -ISSUED])
        content = world.settlement(SLOT, flow)
        settle(self.chain, world.addresses, keys.operator, content, timestamp=world.now)
        empty = world.settlement(SLOT + 4, net_positions([], [], []))
        settle(self.chain, world.addresses, keys.operator, empty, timestamp=world.now)
        self.certificates = certificates_of(world, issuing(world))
        terms = (world.addresses.currency, self.certificates.address, SLOT, fee_ppm)
        self.contract = create(self.chain, keys.admin, "EnergyPool", *terms, timestamp=world.now)
        for trader in self.traders:
            issue(self.chain, self.certificates, trader, SLOT, [SettledRecord(content.header, flow)], timestamp=world.now)
            approval = (self.contract.address, True)
            self.certificates.act(self.chain, trader, "setApprovalForAll", *approval, timestamp=world.now)
            assert world.send(keys.operator, "TestCurrency", "mint", trader.address, PAID_IN // 1_000).status == 1
            assert world.send(trader, "TestCurrency", "approve", self.contract.address, PAID_IN // 1_000).status == 1
            self.act(trader, "payIn", PAID_IN // 1_000)

    def act(self, key: SigningKey, function: str, *arguments: object) -> None:
        self.contract.act(self.chain, key, function, *arguments, timestamp=self.world.now)

    def attempt(self, key: SigningKey, function: str, *arguments: object) -> bool:
        raw = self.contract.transaction(next_sender(self.chain, key), function, *arguments)
        return self.chain.send(raw, timestamp=self.world.now).status == 1

    def held(self) -> list[tuple[int, int]]:
        """(certificates, free money) of each trader."""
        contract, chain = self.contract, self.chain
        return [(held_wh(chain, self.certificates, t.address, SLOT), free_nano(chain, contract, t.address)) for t in self.traders]


trader = st.integers(0, 1)
energy = st.one_of(st.integers(1, 200), st.integers(1, 60_000))


def pools_at(fee_ppm: int) -> Pools:
    """Two members beside an empty pool of this fee."""
    return Pools(World(machine_chain(Genesis(funded(3), timestamp=START - 900)), members=3), fee_ppm)


def without_fee() -> Pools:
    """Swaps cost nothing."""
    return pools_at(0)


def usual() -> Pools:
    """Three per mille."""
    return pools_at(3_000)


def nearly_all() -> Pools:
    """All but a millionth goes to the providers."""
    return pools_at(999_999)


FEES = {0: without_fee, 3_000: usual, 999_999: nearly_all}


class PoolMachine(RuleBasedStateMachine):
    """The same orders to the contract and to `market.constant_product`."""

    @initialize(wh=st.integers(1, 50_000), nano=st.integers(1, 5 * COIN), fee=st.sampled_from(list(FEES)))
    def begin(self, wh: int, nano: int, fee: int) -> None:
        self.pools = prepared(FEES[fee])
        self.pools.act(self.pools.traders[0], "open", wh, nano)
        self.twin: ConstantProduct = open_constant_product(wh, nano, fee)
        self.shares = [self.twin.shares, 0]
        self.held = [[ISSUED - wh, PAID_IN - nano], [ISSUED, PAID_IN]]
        self.product = wh * nano
        self.left_wh = 0  # with nobody when the last provider went for money alone

    def swap(self, by: int, made: Swap | SwapRefused, affordable: bool, function: str, *arguments: int) -> bool:
        done = self.pools.attempt(self.pools.traders[by], function, *arguments)
        assert done == (isinstance(made, Swap) and affordable), made
        return done

    @rule(by=trader, wh=energy, slack=st.sampled_from([-1, 0, 10**12]))
    def buy(self, by: int, wh: int, slack: int) -> None:
        limit = max((self.twin.quote_buy(wh) or 0) + slack, 0)
        made = buy_at_most(self.twin, wh, limit)
        affordable = isinstance(made, Swap) and made.money_nano <= self.held[by][1]
        if self.swap(by, made, affordable, "buy", wh, limit):
            self.settle(made, by, wh, -1)

    @rule(by=trader, wh=energy, slack=st.sampled_from([-(10**12), 0, 1]))
    def sell(self, by: int, wh: int, slack: int) -> None:
        limit = max((self.twin.quote_sell(wh) or 0) + slack, 0)
        made = sell_at_least(self.twin, wh, limit)
        if self.swap(by, made, wh <= self.held[by][0], "sell", wh, limit):
            self.settle(made, by, -wh, 1)

    def settle(self, made: object, by: int, wh: int, money_sign: int) -> None:
        assert isinstance(made, Swap)
        assert isinstance(made.pool, ConstantProduct)
        self.twin = made.pool
        self.held[by][0] += wh
        self.held[by][1] += money_sign * made.money_nano

    @rule(by=trader, wanted=st.integers(1, 10**7), slack=st.sampled_from([(0, 0), (0, 0), (9, 9), (-1, 0), (0, -1)]))
    def mint(self, by: int, wanted: int, slack: tuple[int, int]) -> None:
        if self.twin.shares == 0:
            return
        after, wh, nano = self.twin.mint(wanted)
        limits = max(wh + slack[0], 0), max(nano + slack[1], 0)
        done = self.pools.attempt(self.pools.traders[by], "mint", wanted, *limits)
        assert done == (wh <= min(self.held[by][0], limits[0]) and nano <= min(self.held[by][1], limits[1]))
        if done:
            self.twin, self.product = after, 0
            self.shares[by] += wanted
            self.held[by] = [self.held[by][0] - wh, self.held[by][1] - nano]

    @rule(by=trader, part=st.fractions(0, 1), beyond=st.booleans())
    def burn(self, by: int, part: object, beyond: bool) -> None:
        wanted = self.shares[by] + 1 if beyond else int(part * self.shares[by])  # type: ignore[operator]
        done = self.pools.attempt(self.pools.traders[by], "burn", wanted)
        assert done == (0 < wanted <= self.shares[by])
        if done:
            self.twin, wh, nano = self.twin.burn(wanted)
            self.product = 0
            self.shares[by] -= wanted
            self.held[by] = [self.held[by][0] + wh, self.held[by][1] + nano]

    @rule(by=trader, part=st.fractions(0, 1), beyond=st.booleans(), asked=st.sampled_from([-1, 0, 0, 1]))
    def burn_for_money(self, by: int, part: object, beyond: bool, asked: int) -> None:
        """Shares given back for money alone: the energy stays with those who stay."""
        wanted = self.shares[by] + 1 if beyond else int(part * self.shares[by])  # type: ignore[operator]
        brings = self.twin.burn(wanted)[2] if 0 < wanted <= self.shares[by] else 0
        done = self.pools.attempt(self.pools.traders[by], "burnForMoney", wanted, max(brings + asked, 0))
        assert done == (0 < wanted <= self.shares[by] and asked <= 0)
        if done:
            after, wh, nano = self.twin.burn(wanted)
            self.left_wh += self.twin.energy_wh if after.shares == 0 else 0
            self.twin = replace(after, energy_wh=after.energy_wh + wh if after.shares else 0)
            self.product = 0
            self.shares[by] -= wanted
            self.held[by][1] += nano

    @invariant()
    def equal_and_conserved(self) -> None:
        pools = self.pools
        found = reserves(pools.chain, pools.contract)
        assert found == PoolReserves(self.twin.energy_wh, self.twin.money_nano, self.twin.shares)
        assert pools.held() == [tuple(one) for one in self.held]
        assert [pools.contract.view(pools.chain, "sharesOf", key.address)[0] for key in pools.traders] == self.shares
        assert found.energy_wh + self.left_wh + sum(one[0] for one in self.held) == 2 * ISSUED
        assert found.money_nano + sum(one[1] for one in self.held) == 2 * PAID_IN
        assert found.energy_wh * found.money_nano >= self.product  # swaps alone never lower it
        self.product = found.energy_wh * found.money_nano


def test_the_pool_equals_the_markets_pool() -> None:
    run_machine(PoolMachine, machine_settings(12, 15))


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("correct", "wrong"),
    [
        ("costNano = Math.ceilDiv(moneyNano * wh * PPM, (energyWh - wh) * (PPM - feePpm));",
         "costNano = moneyNano * wh * PPM / ((energyWh - wh) * (PPM - feePpm));"),
        ("uint256 net = wh * (PPM - feePpm);", "uint256 net = wh * PPM;"),
        ("uint256 wh = Math.ceilDiv(energyWh * wanted, shares);", "uint256 wh = energyWh * wanted / shares;"),
        ("if (costNano > atMostNano) revert BeyondSlippage(costNano, atMostNano);", ""),
        ("if (nano > atMostNano) revert BeyondSlippage(nano, atMostNano);", ""),
        ("if (wh > atMostWh) revert TooMuchEnergy(wh, atMostWh);", ""),
        ("if (nano < atLeastNano) revert BeyondSlippage(nano, atLeastNano);", ""),
        ("        shares -= wanted;\n        energyWh -= wh;", "        energyWh -= wh;"),
        (
            "        sharesOf[msg.sender] = held - wanted;\n        shares -= wanted;\n        moneyNano -= nano;\n        if",
            "        shares -= wanted;\n        moneyNano -= nano;\n        if",
        ),
    ],
    ids=[
        "a buyer rounded down",
        "a sale without fee",
        "a deposit rounded down",
        "at any price",
        "a provider for any money",
        "a provider for any energy",
        "shares given back for anything",
        "shares given back and counted",
        "shares given back and kept",
    ],
)  # fmt: skip
def test_a_planted_bug_is_found(correct: str, wrong: str) -> None:
    with planted("EnergyPool", correct, wrong), pytest.raises((AssertionError, BaseExceptionGroup)):
        run_machine(PoolMachine, hunting(100, 15))


@pytest.mark.parametrize("kind", ["embedded", "anvil"])
def test_each_refusal_has_its_name_and_the_worked_number_holds(kind: str) -> None:
    with chain_of(kind) as chain:
        pools = Pools(World(chain, members=3), 3_000)
        one, two = pools.traders

        def refused(name: str, key: SigningKey, function: str, *arguments: object) -> None:
            with pytest.raises(LedgerError, match=rf"refused: {name}\("):
                pools.act(key, function, *arguments)

        refused("BadShares", one, "mint", 1, 2**100, 2**100)
        refused("BadReserves", one, "open", 0, 1)
        refused("BadReserves", one, "open", 1, 2**62 + 1)
        refused("NotEnoughMoney", one, "open", 1, PAID_IN + 1)
        refused("ERC1155InsufficientBalance", one, "open", ISSUED + 1, 1)
        pools.act(one, "open", 10_000, 3_000_000_000)
        assert pools.contract.view(chain, "quoteBuy", 1_000)[0] == 334_336_343  # as in `market.constant_product`
        refused("AlreadyOpen", two, "open", 1, 1)
        refused("PoolCannot", two, "buy", 10_000, 2**100)
        refused("PoolCannot", two, "buy", 0, 2**100)
        refused("PoolCannot", two, "sell", 0, 0)
        refused("PoolCannot", two, "sell", 10**12, 0)
        refused("BeyondSlippage", two, "buy", 1_000, 334_336_342)
        pools.act(two, "buy", 1_000, 334_336_343)
        refused("BeyondSlippage", two, "sell", 1_000, 334_336_343)
        refused("NotEnoughMoney", stranger(), "buy", 1, 2**100)
        refused("SharesNotHeld", two, "burn", 1)
        refused("NothingToPay", stranger(), "payOut")
        before = pools.world.tokens(two.address)
        pools.act(two, "payOut")
        assert pools.world.tokens(two.address) == before + (PAID_IN - 334_336_343) // 1_000
        assert free_nano(chain, pools.contract, two.address) == (PAID_IN - 334_336_343) % 1_000
        refused("SharesNotHeld", two, "burnForMoney", 1, 0)
        refused("BadShares", two, "burnForMoney", 0, 0)
        gift = (two.address, pools.contract.address, SLOT, 50, b"")
        price = pools.contract.view(chain, "quoteBuy", 100)
        pools.certificates.act(chain, two, "safeTransferFrom", *gift, timestamp=pools.world.now)
        assert pools.contract.view(chain, "quoteBuy", 100) == price  # unasked gifts move nothing


def test_providers_of_expired_claims_get_their_money_out() -> None:
    """The token moves no more, so shares cannot be given back for both; for money alone they can, by everybody."""
    with chain_of("embedded") as chain:
        world = World(chain, members=3)
        claims = claims_of(world, issuing(world))
        done = deliver(world, {1: 10_000})
        move_on(world, 4)
        one, now = world.keys.member(1), world.now
        claim(chain, claims, one, done.slot, done.settled, done.shown(1), timestamp=now)
        terms = (world.addresses.currency, claims.address, claim_id(world.addresses.settlement, done.slot), 3_000)
        pool = create(chain, world.keys.admin, "EnergyPool", *terms, timestamp=now)
        claims.act(chain, one, "setApprovalForAll", pool.address, True, timestamp=now)
        world.send(world.keys.operator, "TestCurrency", "mint", one.address, 10**6)
        world.send(one, "TestCurrency", "approve", pool.address, 10**6)
        pool.act(chain, one, "payIn", 10**6, timestamp=now)
        pool.act(chain, one, "open", 10_000, COIN, timestamp=now)
        shares = pool.view(chain, "shares")[0]
        move_on(world, LIFE)
        with pytest.raises(LedgerError, match="refused: HasExpired"):
            pool.act(chain, one, "burn", shares, timestamp=now)
        pool.act(chain, one, "burnForMoney", shares, COIN, timestamp=now)
        assert reserves(chain, pool) == PoolReserves(0, 0, 0)
        assert free_nano(chain, pool, one.address) == COIN


def test_who_swaps_just_before_a_provider_finds_that_it_provides_nothing() -> None:
    """Without a limit the provider would pay in at the price that the swap made, and the swap back would take it from it."""
    with chain_of("embedded") as chain:
        pools = Pools(World(chain, members=3), 3_000)
        one, two = pools.traders
        pools.act(one, "open", 10_000, 3_000_000_000)
        wanted = pools.contract.view(chain, "shares")[0] // 10
        fair = wanted, 1_000, 300_000_000
        pools.act(one, "buy", 5_000, 2**100)  # the first provider moves the price to four times what it was
        with pytest.raises(LedgerError, match=r"refused: BeyondSlippage\("):
            pools.act(two, "mint", *fair)
        pools.act(one, "sell", 9_000, 0)
        with pytest.raises(LedgerError, match=r"refused: TooMuchEnergy\("):
            pools.act(two, "mint", *fair)
        shares = pools.contract.view(chain, "sharesOf", one.address)[0]
        half = reserves(chain, pools.contract).money_nano * (shares // 2) // shares
        with pytest.raises(LedgerError, match=r"refused: BeyondSlippage\("):
            pools.act(one, "burnForMoney", shares // 2, half + 1)
        pools.act(one, "burnForMoney", shares // 2, half)
