// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title A token that always has enough and always obeys
contract StubToken {
    uint8 public constant decimals = 6;
    mapping(address owner => uint256) public balanceOf;

    function transfer(address to, uint256 amount) external returns (bool) {
        balanceOf[to] += amount;
        return true;
    }

    function transferFrom(address, address to, uint256 amount) external returns (bool) {
        balanceOf[to] += amount;
        return true;
    }
}

/// @title Two members, one operator, a quorum for everything
contract StubRegistry {
    address public immutable operator;

    constructor(address operator_) {
        operator = operator_;
    }

    function memberCount() external pure returns (uint256) {
        return 2;
    }

    function gate() external pure returns (address) {
        return address(0);
    }

    function checkOperator(address caller) external view {
        require(caller == operator);
    }

    function checkQuorum(bytes32, bytes calldata) external pure {}
}

/// @title A settlement that has come as far as it is told
contract StubSettlement {
    address public immutable registry;
    uint64 public nextSlot;

    constructor(address registry_) {
        registry = registry_;
    }

    function comeTo(uint64 slot) external {
        nextSlot = slot;
    }
}

/// @title A meter register in which every meter is account 1's
contract StubMeters {
    address public immutable registry;

    constructor(address registry_) {
        registry = registry_;
    }

    function meterOf(bytes16) external view returns (address, uint16, bytes32) {
        return (registry, 1, bytes32(0));
    }

    function metersOf(address, uint256) external pure returns (uint256) {
        return 1;
    }
}
