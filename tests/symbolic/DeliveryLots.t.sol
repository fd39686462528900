// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DeliveryLots} from "DeliveryLots.sol";
import {Settlement} from "Settlement.sol";
import {StubRegistry, StubSettlement} from "Stubs.sol";

/// @title For all amounts, capacities and slots
contract DeliveryLotsSymbolicTest {
    DeliveryLots private lots;

    function setUp() public {
        StubRegistry registry = new StubRegistry(address(this));
        lots = new DeliveryLots(Settlement(address(new StubSettlement(address(registry)))));
    }

    /// @notice In no slot do two grants exceed the node's capacity.
    function check_neverBeyondCapacity(uint64 capacity, uint64 first, uint64 one, uint64 second, uint64 other) public {
        lots.setCapacity(7, capacity);
        bool done = granted(first, one);
        assert(done == (one > 0 && one <= capacity && first < type(uint64).max));
        granted(second, other);
        assert(lots.grantedOf(7, first) <= capacity && lots.grantedOf(7, second) <= capacity);
    }

    /// @notice A split changes nothing in the sum.
    function check_splitConserves(uint64 wh, uint64 part) public {
        lots.setCapacity(7, type(uint64).max);
        if (!granted(3, wh)) return;
        (bool done,) = address(lots).call(abi.encodeCall(lots.split, (1, part)));
        (,,, uint64 whole) = lots.lotOf(1);
        (,,, uint64 kept) = lots.lotOf(2);
        (,,, uint64 cut) = lots.lotOf(3);
        assert(done == (part > 0 && part < wh));
        assert(whole == (done ? 0 : wh) && cut == (done ? part : 0));
        assert(uint256(whole) + kept + cut == wh && lots.grantedOf(7, 3) == wh);
    }

    function granted(uint64 slot, uint64 wh) private returns (bool done) {
        (done,) = address(lots).call(abi.encodeCall(lots.grant, (address(this), 7, slot, 1, wh)));
    }
}
