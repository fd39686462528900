// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {EnergyPool} from "EnergyPool.sol";
import {Caller, StubToken} from "Stubs.sol";

/// @title Certificates that always obey
contract StubRights {
    mapping(address holder => uint256) public held;

    function safeTransferFrom(address from, address to, uint256, uint256 amount, bytes calldata) external {
        unchecked {
            held[from] -= amount;
            held[to] += amount;
        }
    }
}

/// @title For all swaps and shares on one pool
contract EnergyPoolSymbolicTest {
    EnergyPool private pool;
    StubRights private rights;
    Caller private stranger;

    function setUp() public {
        rights = new StubRights();
        pool = new EnergyPool(IERC20Metadata(address(new StubToken(9))), IERC1155(address(rights)), 7, 3_000);
        pool.payIn(5_000_000_000);
        pool.open(1 << 14, 1 << 30); // a share is a power of two: the solver divides by shifting
        stranger = new Caller();
    }

    function money() private view returns (uint256) {
        return pool.moneyNano() + pool.freeNanoOf(address(this));
    }

    function energy() private view returns (uint256) {
        unchecked {
            return pool.energyWh() + rights.held(address(this));
        }
    }

    function act(bytes memory call_) private returns (bool done) {
        (uint256 nano, uint256 wh) = (money(), energy());
        (done,) = address(pool).call(call_);
        assert(money() == nano && energy() == wh);
    }

    /// @notice Money and energy are conserved by a purchase, and the limit is kept.
    function check_buyConserves(uint64 wh, uint128 limit) public {
        uint256 before = pool.freeNanoOf(address(this));
        if (act(abi.encodeCall(pool.buy, (wh, limit)))) assert(before - pool.freeNanoOf(address(this)) <= limit);
    }

    /// @notice So are they by a sale.
    function check_sellConserves(uint64 wh, uint128 limit) public {
        uint256 before = pool.freeNanoOf(address(this));
        if (act(abi.encodeCall(pool.sell, (wh, limit)))) assert(pool.freeNanoOf(address(this)) - before >= limit);
    }

    /// @notice And by shares given back, none of which is given back twice.
    function check_burnConserves(uint128 wanted) public {
        uint256 held = pool.sharesOf(address(this));
        bool done = act(abi.encodeCall(pool.burn, (wanted)));
        assert(done == (wanted > 0 && wanted <= held));
        if (done) assert(pool.sharesOf(address(this)) == held - wanted && pool.shares() == held - wanted);
    }

    /// @notice Who has nothing here takes nothing out.
    function check_aStrangerTakesNothing(uint128 wanted, uint64 wh) public {
        assert(!stranger.tries(address(pool), abi.encodeCall(pool.burn, (wanted))));
        assert(!stranger.tries(address(pool), abi.encodeCall(pool.burnForMoney, (wanted, 0))));
        assert(!stranger.tries(address(pool), abi.encodeCall(pool.payOut, ())));
        if (wh > 0) assert(!stranger.tries(address(pool), abi.encodeCall(pool.buy, (wh, type(uint128).max))));
    }
}
