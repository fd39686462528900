// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {P256} from "@openzeppelin/contracts/utils/cryptography/P256.sol";
import {MeterKey} from "./MeterKey.sol";
import {Registry} from "./Registry.sol";

/// @title Devices, who vouches for them, and whether that still holds
/// @notice The registry's admin appoints meter operators. A meter operator enters the devices it installed: the account they
/// measure for, the hash of the credential it issued, and from when to when it holds. It can suspend and resume a device; to
/// revoke one is for good. A device of a meter operator that is no longer appointed does not count. A device entered with its
/// P-256 key, as meters, secure elements and TPMs have, can be asked for on the chain: `isSigned`.
/// @dev The credential itself stays off the chain: here is what an oracle must know to admit a reading.
contract DeviceRegistry {
    enum Status {
        Unknown,
        Active,
        Suspended,
        Revoked
    }

    struct Device {
        address issuer; // the meter operator
        uint16 account;
        Status status;
        uint64 validFrom; // Unix seconds
        uint64 validUntil; // Unix seconds, the last of them included
        bytes32 credentialHash;
    }

    Registry public immutable registry;

    mapping(address meterOperator => bool) public isMeterOperator;
    /// @notice By the id of the device's key.
    mapping(bytes32 id => Device) public deviceOf;
    /// @notice keccak256 of both coordinates of a device's key; zero where it was entered by its id alone.
    /// @dev The id is 16 bytes long and can be made to collide with about 2^64 work: a signature is judged by this.
    mapping(bytes32 id => bytes32) public keyHashOf;
    /// @notice How many devices of an account were entered and not revoked.
    mapping(uint256 account => uint256) public devicesOf;

    event MeterOperatorChanged(address indexed meterOperator, bool appointed);
    event DeviceEntered(
        bytes32 indexed id, uint256 indexed account, address indexed issuer, bytes32 credentialHash, uint64 validUntil
    );
    /// @notice The P-256 key of a device, where it was entered with it.
    event KeyEntered(bytes32 indexed id, bytes32 x, bytes32 y);
    event StatusChanged(bytes32 indexed id, Status status);

    error NotAdmin(address caller);
    error NotMeterOperator(address caller);
    error NotIssuer(bytes32 id, address caller);
    error NoSuchAccount(uint256 account);
    error BadValidity(uint64 validFrom, uint64 validUntil);
    error AlreadyEntered(bytes32 id);
    error NotEntered(bytes32 id);
    error RevokedForGood(bytes32 id);
    error BadStatus(Status status);
    error NotAKey(bytes32 x, bytes32 y);

    constructor(Registry registry_) {
        registry = registry_;
    }

    /// @notice Appoint a meter operator or dismiss it, with all its devices.
    function setMeterOperator(address meterOperator, bool appointed) external {
        if (!registry.hasRole(registry.DEFAULT_ADMIN_ROLE(), msg.sender)) revert NotAdmin(msg.sender);
        isMeterOperator[meterOperator] = appointed;
        emit MeterOperatorChanged(meterOperator, appointed);
    }

    /// @notice Enter the device with key `id` for `account`, once. A new credential for it is a new key.
    function enter(bytes32 id, uint256 account, bytes32 credentialHash, uint64 validFrom, uint64 validUntil) external {
        _enter(id, account, credentialHash, validFrom, validUntil);
    }

    /// @notice Enter the device with the P-256 key (`x`, `y`): its id is the head of SHA-256 over the multicodec key.
    function enterKey(bytes32 x, bytes32 y, uint256 account, bytes32 credentialHash, uint64 validFrom, uint64 validUntil)
        external
        returns (bytes32 id)
    {
        if (!P256.isValidPublicKey(x, y)) revert NotAKey(x, y);
        id = bytes32(MeterKey.idOf(x, y));
        _enter(id, account, credentialHash, validFrom, validUntil);
        keyHashOf[id] = keccak256(abi.encode(x, y));
        emit KeyEntered(id, x, y);
    }

    /// @notice Whether the device with key (`x`, `y`) counts at `time` [Unix s] and signed `digest` (s in the lower half).
    function isSigned(bytes32 digest, bytes32 r, bytes32 s, bytes32 x, bytes32 y, uint64 time) external view returns (bool) {
        bytes32 id = bytes32(MeterKey.idOf(x, y));
        return keyHashOf[id] == keccak256(abi.encode(x, y)) && isValid(id, time) && P256.verify(digest, r, s, x, y);
    }

    function _enter(bytes32 id, uint256 account, bytes32 credentialHash, uint64 validFrom, uint64 validUntil) private {
        if (!isMeterOperator[msg.sender]) revert NotMeterOperator(msg.sender);
        if (account >= registry.memberCount()) revert NoSuchAccount(account);
        if (validUntil < validFrom || validUntil < block.timestamp) revert BadValidity(validFrom, validUntil);
        if (deviceOf[id].status != Status.Unknown) revert AlreadyEntered(id);
        deviceOf[id] = Device(msg.sender, uint16(account), Status.Active, validFrom, validUntil, credentialHash);
        ++devicesOf[account];
        emit DeviceEntered(id, account, msg.sender, credentialHash, validUntil);
    }

    /// @notice Suspend, resume (`Active`) or revoke a device. Its issuer does, or the admin where the issuer will not.
    function setStatus(bytes32 id, Status status) external {
        Device storage device = deviceOf[id];
        if (device.status == Status.Unknown) revert NotEntered(id);
        bool byIssuer = msg.sender == device.issuer && isMeterOperator[msg.sender];
        bool byAdmin = status != Status.Active && registry.hasRole(registry.DEFAULT_ADMIN_ROLE(), msg.sender);
        if (!byIssuer && !byAdmin) revert NotIssuer(id, msg.sender);
        if (device.status == Status.Revoked) revert RevokedForGood(id);
        if (status == Status.Unknown) revert BadStatus(status);
        device.status = status;
        if (status == Status.Revoked) --devicesOf[device.account];
        emit StatusChanged(id, status);
    }

    /// @notice Whether readings signed by `id` at `time` [Unix s] count: active now, inside its dates, issuer appointed.
    function isValid(bytes32 id, uint64 time) public view returns (bool) {
        Device storage device = deviceOf[id];
        return device.status == Status.Active && device.validFrom <= time && time <= device.validUntil
            && isMeterOperator[device.issuer];
    }
}
