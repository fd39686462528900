// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {Registry} from "Registry.sol";
import {Settlement} from "Settlement.sol";
import {StubRegistry, StubToken} from "Stubs.sol";

/// @title For all payments and energies of two members
contract SettlementSymbolicTest {
    Settlement private settlement;

    function setUp() public {
        StubToken token = new StubToken(6);
        Registry registry = Registry(address(new StubRegistry(address(this))));
        settlement = new Settlement(IERC20Metadata(address(token)), registry, 0, 4);
        uint256[] memory accounts = new uint256[](2);
        uint256[] memory units = new uint256[](2);
        (accounts[1], units[0], units[1]) = (1, 5_000_000, 7_000_000);
        settlement.depositMany(accounts, units);
    }

    function settle(int64 pay, int64 otherPay, int48 energy, int48 otherEnergy) private returns (bool done) {
        bytes memory positions = abi.encodePacked(uint16(0), pay, energy, uint16(1), otherPay, otherEnergy);
        Settlement.Header memory header = Settlement.Header(bytes32(0), bytes32(0), bytes32(0));
        (done,) = address(settlement).call(abi.encodeCall(settlement.settleSlot, (0, header, positions, "")));
    }

    /// @notice Money and energy are conserved, or nothing happened.
    function check_settlementConserves(int64 pay, int64 otherPay, int48 energy, int48 otherEnergy) public {
        (uint256 one,) = settlement.accountAt(0);
        (uint256 other,) = settlement.accountAt(1);
        bool done = settle(pay, otherPay, energy, otherEnergy);
        (uint256 oneAfter, int256 oneEnergy) = settlement.accountAt(0);
        (uint256 otherAfter, int256 otherHas) = settlement.accountAt(1);
        assert(oneAfter + otherAfter == one + other);
        assert(oneEnergy + otherHas == 0);
        if (done) {
            assert(int256(oneAfter) == int256(one) - pay && oneEnergy == energy);
            assert(int256(otherAfter) == int256(other) - otherPay && otherHas == otherEnergy);
        } else {
            assert(oneAfter == one && otherAfter == other && oneEnergy == 0);
        }
    }

    /// @notice What is within the balances and sums to zero goes through: the checks refuse nothing else.
    function check_whatBalancesIsAccepted(int64 pay, int48 energy) public {
        if (energy == type(int48).min) return;
        bool within = pay <= 5_000_000_000 && pay >= -7_000_000_000;
        if (pay == type(int64).min) return;
        assert(settle(pay, -pay, energy, -energy) == within);
    }
}
