// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title A token that always has enough and always obeys
/// @dev With nine decimals a token unit is a nano-unit, and no division stands between the solver and the sums.
contract StubToken {
    uint8 public immutable decimals;
    mapping(address owner => uint256) public balanceOf;

    constructor(uint8 decimals_) {
        decimals = decimals_;
    }

    function transfer(address to, uint256 amount) public returns (bool) {
        balanceOf[to] += amount;
        return true;
    }

    function transferFrom(address, address to, uint256 amount) external returns (bool) {
        return transfer(to, amount);
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

    function checkGate(address) external pure {}

    /// @notice The operator has account 0; everybody else is account 1.
    function accountOf(address owner) external view returns (uint256) {
        return owner == operator ? 0 : 1;
    }

    function ownerOf(uint256) external view returns (address) {
        return operator;
    }
}

/// @title Somebody else
contract Caller {
    function tries(address to, bytes calldata call_) external returns (bool done) {
        (done,) = to.call(call_);
    }
}

interface Vm {
    function warp(uint256 time) external;
}

/// @dev The address at which forge and halmos listen.
Vm constant VM = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);

/// @title A settlement that has come as far as it is told
contract StubSettlement {
    address public immutable registry;
    uint64 public nextSlot;

    address public currency;
    uint256 public constant nanoPerTokenUnit = 1;
    uint64 public constant correctionWindow = 4;

    constructor(address registry_) {
        registry = registry_;
    }

    function payIn(address currency_) external {
        currency = currency_;
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
