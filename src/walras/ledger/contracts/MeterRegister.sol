// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {P256} from "@openzeppelin/contracts/utils/cryptography/P256.sol";
import {MeterKey} from "./MeterKey.sol";
import {Registry} from "./Registry.sol";

/// @title Which account a meter stands behind
/// @notice A meter's P-256 key is entered once, for one account of one community, whatever communities share this register: its
/// energy can be counted in one place only. The operator of an admitted community enters it; the owner (the issuing body)
/// admits communities. Needed by those alone who want tokens, or want forged readings to be provable.
/// @dev A meter is never moved or removed: a new meter has a new key, and an account changes hands in the registry.
contract MeterRegister is Ownable2Step {
    struct Meter {
        Registry registry; // zero: unknown
        uint16 account;
        bytes32 keyHash; // keccak256 of both coordinates
    }

    mapping(Registry registry => bool) public admitted;
    mapping(bytes16 keyId => Meter) public meterOf;
    /// @notice How many meters stand behind an account.
    mapping(Registry registry => mapping(uint256 account => uint256)) public metersOf;

    event Admitted(Registry indexed registry);
    event MeterRegistered(
        bytes16 indexed keyId, Registry indexed registry, uint256 indexed account, bytes32 x, bytes32 y
    );

    error NotAdmitted(Registry registry);
    error NotAKey(bytes32 x, bytes32 y);
    error AlreadyRegistered(bytes16 keyId, Registry registry, uint256 account);

    constructor(address owner_) Ownable(owner_) {}

    /// @notice Let the operator of `registry` enter its members' meters.
    function admit(Registry registry) external onlyOwner {
        admitted[registry] = true;
        emit Admitted(registry);
    }

    /// @notice Enter the meter with public key (`x`, `y`) for `account`.
    function register(Registry registry, uint16 account, bytes32 x, bytes32 y) external returns (bytes16 keyId) {
        if (!admitted[registry]) revert NotAdmitted(registry);
        registry.checkOperator(msg.sender);
        registry.ownerOf(account); // reverts where there is no such account
        if (!P256.isValidPublicKey(x, y)) revert NotAKey(x, y);
        keyId = keyIdOf(x, y);
        Meter storage meter = meterOf[keyId];
        if (address(meter.registry) != address(0)) revert AlreadyRegistered(keyId, meter.registry, meter.account);
        meterOf[keyId] = Meter(registry, account, keccak256(abi.encode(x, y)));
        ++metersOf[registry][account];
        emit MeterRegistered(keyId, registry, account, x, y);
    }

    /// @notice Whether (`x`, `y`) is the key that was entered under `keyId`.
    function isKeyOf(bytes16 keyId, bytes32 x, bytes32 y) external view returns (bool) {
        return address(meterOf[keyId].registry) != address(0) && meterOf[keyId].keyHash == keccak256(abi.encode(x, y));
    }

    /// @notice The 16 bytes by which a reading names its meter: the head of SHA-256 over the multicodec key.
    function keyIdOf(bytes32 x, bytes32 y) public pure returns (bytes16) {
        return MeterKey.idOf(x, y);
    }
}
