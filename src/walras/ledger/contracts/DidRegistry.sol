// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Decentralised identifiers of members and devices
/// @notice Who controls an identifier, and which P-256 key spoke for it when. In the manner of ERC-1056, with the keys that
/// meters have. A controller rotates and revokes keys and hands control on; a recovery address, named beforehand, takes control back
/// after a delay when the controller's key is lost, and the controller can stop it meanwhile. It is of the controller that named
/// it: who takes control over has none until it names its own. Deactivated is for good.
/// @dev Keys are kept with their times and never removed: a signature is judged by the key of its own time. An identifier is
/// bound to its first controller, so nobody can take one in advance by knowing a public key.
contract DidRegistry {
    struct Did {
        address controller;
        address recovery; // zero: no recovery
        address offered; // who may accept control
        address heir; // who will control after a recovery under way; zero: none
        uint64 recoverableAt; // Unix seconds
        bool deactivated;
    }

    struct Key {
        uint64 from; // Unix seconds, included
        uint64 until; // Unix seconds, not included; the maximum while it is the current key
        bytes32 x;
        bytes32 y;
    }

    uint64 private constant OPEN = type(uint64).max;

    /// @notice Seconds between the start of a recovery and its end.
    uint64 public immutable recoveryDelay;

    mapping(bytes32 id => Did) public didOf;
    mapping(bytes32 id => Key[]) private _keys;

    event Created(bytes32 indexed id, address indexed controller, address recovery);
    event KeyChanged(bytes32 indexed id, uint256 version, bytes32 x, bytes32 y);
    event KeyRevoked(bytes32 indexed id, uint256 version);
    event ControlOffered(bytes32 indexed id, address indexed to);
    event ControlChanged(bytes32 indexed id, address indexed to);
    event RecoveryStarted(bytes32 indexed id, address indexed heir, uint64 recoverableAt);
    event RecoveryStopped(bytes32 indexed id);
    event RecoveryAddressChanged(bytes32 indexed id, address recovery);
    event Deactivated(bytes32 indexed id);

    error AlreadyCreated(bytes32 id);
    error NoSuchDid(bytes32 id);
    error IsDeactivated(bytes32 id);
    error NotController(bytes32 id, address caller);
    error NotOffered(bytes32 id, address caller);
    error NotRecovery(bytes32 id, address caller);
    error NoRecoveryUnderWay(bytes32 id);
    error TooEarly(bytes32 id, uint64 recoverableAt);
    error NoAddress();
    error NoKey();

    constructor(uint64 recoveryDelay_) {
        recoveryDelay = recoveryDelay_;
    }

    modifier onlyController(bytes32 id) {
        Did storage did = didOf[id];
        if (did.controller == address(0)) revert NoSuchDid(id);
        if (did.deactivated) revert IsDeactivated(id);
        if (msg.sender != did.controller) revert NotController(id, msg.sender);
        _;
    }

    /// @notice The identifier that `controller` creates with the first key (x, y).
    function idOf(address controller, bytes32 x, bytes32 y) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), controller, x, y));
    }

    /// @notice Create the caller's identifier for a device or member with this first key.
    function create(bytes32 x, bytes32 y, address recovery) external returns (bytes32 id) {
        id = idOf(msg.sender, x, y);
        if (didOf[id].controller != address(0)) revert AlreadyCreated(id);
        didOf[id].controller = msg.sender;
        didOf[id].recovery = recovery;
        emit Created(id, msg.sender, recovery);
        _push(id, x, y);
    }

    /// @notice From now on another key speaks; what the old one signed before stays valid.
    function rotate(bytes32 id, bytes32 x, bytes32 y) external onlyController(id) {
        _close(id);
        _push(id, x, y);
    }

    /// @notice The current key no longer speaks from now on, and no other does yet: it was stolen or lost.
    function revokeKey(bytes32 id) external onlyController(id) {
        if (!_close(id)) revert NoKey();
        emit KeyRevoked(id, _keys[id].length - 1);
    }

    /// @notice Offer control; it changes when the other side accepts.
    function offerControl(bytes32 id, address to) external onlyController(id) {
        didOf[id].offered = to;
        emit ControlOffered(id, to);
    }

    /// @notice Accept control that was offered.
    function acceptControl(bytes32 id) external {
        Did storage did = didOf[id];
        if (did.deactivated) revert IsDeactivated(id);
        if (msg.sender != did.offered) revert NotOffered(id, msg.sender);
        _hand(id, msg.sender);
    }

    /// @notice Name another recovery address, or none.
    function setRecovery(bytes32 id, address recovery) external onlyController(id) {
        didOf[id].recovery = recovery;
        didOf[id].heir = address(0);
        emit RecoveryAddressChanged(id, recovery);
    }

    /// @notice The recovery address begins to give control to `heir`.
    function startRecovery(bytes32 id, address heir) external {
        Did storage did = didOf[id];
        if (did.deactivated) revert IsDeactivated(id);
        if (did.recovery == address(0) || msg.sender != did.recovery) revert NotRecovery(id, msg.sender);
        if (heir == address(0)) revert NoAddress();
        did.heir = heir;
        did.recoverableAt = uint64(block.timestamp) + recoveryDelay;
        emit RecoveryStarted(id, heir, did.recoverableAt);
    }

    /// @notice The controller is not lost after all.
    function stopRecovery(bytes32 id) external onlyController(id) {
        if (didOf[id].heir == address(0)) revert NoRecoveryUnderWay(id);
        didOf[id].heir = address(0);
        emit RecoveryStopped(id);
    }

    /// @notice After the delay the heir controls. Anybody may say so.
    function finishRecovery(bytes32 id) external {
        Did storage did = didOf[id];
        if (did.deactivated) revert IsDeactivated(id);
        if (did.heir == address(0)) revert NoRecoveryUnderWay(id);
        if (block.timestamp < did.recoverableAt) revert TooEarly(id, did.recoverableAt);
        _hand(id, did.heir);
    }

    /// @notice End the identifier for good; its key no longer speaks from now on.
    function deactivate(bytes32 id) external onlyController(id) {
        _close(id);
        didOf[id].deactivated = true;
        emit Deactivated(id);
    }

    /// @notice The key that spoke for `id` at `time`; zeros where none did.
    function keyAt(bytes32 id, uint64 time) external view returns (bytes32 x, bytes32 y) {
        Key[] storage keys = _keys[id];
        for (uint256 next = keys.length; next > 0; --next) {
            Key storage key = keys[next - 1];
            if (key.from <= time && time < key.until) return (key.x, key.y);
        }
    }

    /// @notice Every key there ever was, with its times.
    function keysOf(bytes32 id) external view returns (Key[] memory) {
        return _keys[id];
    }

    function _push(bytes32 id, bytes32 x, bytes32 y) private {
        if (x == 0 && y == 0) revert NoKey();
        emit KeyChanged(id, _keys[id].length, x, y);
        _keys[id].push(Key(uint64(block.timestamp), OPEN, x, y));
    }

    /// @return whether there was a current key to close.
    function _close(bytes32 id) private returns (bool) {
        Key storage last = _keys[id][_keys[id].length - 1];
        if (last.until != OPEN) return false;
        last.until = uint64(block.timestamp);
        return true;
    }

    /// @dev Nothing that the controller before named outlasts it: no recovery address, no offer, no recovery under way.
    function _hand(bytes32 id, address to) private {
        didOf[id].controller = to;
        didOf[id].offered = address(0);
        didOf[id].heir = address(0);
        if (didOf[id].recovery != address(0)) {
            didOf[id].recovery = address(0);
            emit RecoveryAddressChanged(id, address(0));
        }
        emit ControlChanged(id, to);
    }
}
