// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

/// @title What the council decides happens after a delay that everybody can see
/// @notice OpenZeppelin's TimelockController with one proposer, who can also cancel; once the delay has passed anyone executes.
/// It has no admin but itself. Hand it the admin's role of the registry: then operators, oracles and gates change only by the
/// council and not at once, and whoever does not like it has time to leave.
contract Timelock is TimelockController {
    constructor(uint256 minDelay, address proposer)
        TimelockController(minDelay, _only(proposer), _only(address(0)), address(0))
    {}

    function _only(address who) private pure returns (address[] memory list) {
        list = new address[](1);
        list[0] = who;
    }
}
