// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControlDefaultAdminRules} from
    "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IGate} from "./IGate.sol";

/// @notice What the registry asks of the contract that holds the oracles' stakes.
interface IOracleBond {
    /// @return whether `oracle` has the full stake in and is not on its way out.
    function isBonded(address oracle) external view returns (bool);
}

/// @title Who is who: members, oracles, operator
/// @notice Gives every member a dense account index, keeps the current oracle set with its threshold, and holds the roles.
/// The admin (hand it to a multisig or a timelock: the transfer takes two steps and a delay) names operators and oracles.
/// @dev Other contracts ask here and keep no copy. Accounts are never reused or removed: an index means one history.
contract Registry is AccessControlDefaultAdminRules {
    /// @notice May register members and settle slots.
    bytes32 public constant OPERATOR_ROLE = keccak256("OPERATOR_ROLE");

    /// @notice An account index is 16 bits wide in a packed position.
    uint256 public constant MAX_MEMBERS = 65_536;

    /// @notice Bounds the gas of one quorum check.
    uint256 public constant MAX_ORACLES = 32;

    /// @dev 32 bytes r, 32 bytes s, 1 byte v.
    uint256 private constant SIGNATURE_BYTES = 65;

    struct OracleSet {
        uint64 epoch; // grows by one with every rotation; an address belongs to the set when its epoch is this one
        uint64 count; // n
        uint64 threshold; // m
    }

    /// @notice The oracles that count now: m of n.
    OracleSet public oracleSet;

    /// @notice Where oracles stake; zero where appointment needs no stake. It alone may eject.
    IOracleBond public oracleBond;

    /// @notice Asked before somebody becomes a member or pays money in; zero where everybody may.
    IGate public gate;

    mapping(address oracle => uint256 epoch) private _oracleEpoch;
    mapping(address owner => uint256 accountPlusOne) private _accountPlusOne;
    address[] private _owners;

    event MemberRegistered(uint256 indexed account, address indexed owner);
    event AccountTransferred(uint256 indexed account, address indexed from, address indexed to);
    event OraclesChanged(uint64 indexed epoch, address[] oracles, uint256 threshold);

    event OracleEjected(uint64 indexed epoch, address indexed oracle);
    event OracleBondChanged(IOracleBond indexed bond);
    event GateChanged(IGate indexed gate);

    error NoAddress();
    error GateClosed(address who, bytes32 reason);
    error NotBonded(address oracle);
    error NotOracleBond(address caller);
    error AlreadyMember(address owner, uint256 account);
    error NotMember(address owner);
    error NoSuchAccount(uint256 account);
    error TooManyMembers(uint256 wanted, uint256 maximum);
    error TooManyOracles(uint256 wanted, uint256 maximum);
    error ThresholdNotMajority(uint256 threshold, uint256 count);
    error OracleTwice(address oracle);
    error NotOperator(address caller);
    error MalformedSignatures(uint256 length);
    error QuorumNotReached(uint256 given, uint256 threshold);
    error SignersNotSorted(address signer);
    error NotOracle(address signer);

    /// @param admin names operators and oracles, and may hand over its role after `adminDelay` seconds.
    /// @param operator first holder of OPERATOR_ROLE.
    constructor(address admin, uint48 adminDelay, address operator) AccessControlDefaultAdminRules(adminDelay, admin) {
        if (operator == address(0)) revert NoAddress();
        _grantRole(OPERATOR_ROLE, operator);
    }

    // --- members ---------------------------------------------------------------------------------------------------

    /// @notice Give each of `owners` the next free account index, in the order given.
    /// @return first index of the first of them.
    function registerMany(address[] calldata owners) external onlyRole(OPERATOR_ROLE) returns (uint256 first) {
        first = _owners.length;
        if (first + owners.length > MAX_MEMBERS) revert TooManyMembers(first + owners.length, MAX_MEMBERS);
        for (uint256 i = 0; i < owners.length; ++i) {
            _claim(owners[i], first + i);
            _owners.push(owners[i]);
            emit MemberRegistered(first + i, owners[i]);
        }
    }

    /// @notice The caller hands its account, with all that is on it, to `to` (a new key of the same person, an heir). At once, for
    /// good, and without asking `to`: a wrong address is an account lost.
    function transferAccount(address to) external {
        uint256 account = accountOf(msg.sender);
        delete _accountPlusOne[msg.sender];
        _claim(to, account);
        _owners[account] = to;
        emit AccountTransferred(account, msg.sender, to);
    }

    /// @notice How many accounts there are; indices run from 0 to one below it.
    function memberCount() external view returns (uint256) {
        return _owners.length;
    }

    /// @notice The account of `owner`; reverts for a stranger.
    function accountOf(address owner) public view returns (uint256) {
        uint256 plusOne = _accountPlusOne[owner];
        if (plusOne == 0) revert NotMember(owner);
        return plusOne - 1;
    }

    /// @notice The owner of `account`.
    function ownerOf(uint256 account) public view returns (address) {
        if (account >= _owners.length) revert NoSuchAccount(account);
        return _owners[account];
    }

    /// @notice From now on ask `gate_` (zero: nobody) who may come in. Members stay members, and their money stays theirs.
    function setGate(IGate gate_) external onlyRole(DEFAULT_ADMIN_ROLE) {
        gate = gate_;
        emit GateChanged(gate_);
    }

    /// @notice Reverts where the gate keeps `who` out.
    function checkGate(address who) public view {
        if (address(gate) == address(0)) return;
        bytes32 reason = gate.closedBy(who);
        if (reason != 0) revert GateClosed(who, reason);
    }

    // --- operator and oracles --------------------------------------------------------------------------------------

    /// @notice Reverts unless `caller` may register and settle.
    function checkOperator(address caller) external view {
        if (!hasRole(OPERATOR_ROLE, caller)) revert NotOperator(caller);
    }

    /// @notice Replace the whole oracle set. The threshold must be a majority, so that two quorums share an oracle and
    /// two conflicting roots cannot both be attested without one that signed twice.
    function setOracles(address[] calldata oracles, uint256 threshold) external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (oracles.length > MAX_ORACLES) revert TooManyOracles(oracles.length, MAX_ORACLES);
        if (threshold > oracles.length || 2 * threshold <= oracles.length) {
            revert ThresholdNotMajority(threshold, oracles.length);
        }
        uint64 epoch = oracleSet.epoch + 1;
        for (uint256 i = 0; i < oracles.length; ++i) {
            if (oracles[i] == address(0)) revert NoAddress();
            if (_oracleEpoch[oracles[i]] == epoch) revert OracleTwice(oracles[i]);
            if (address(oracleBond) != address(0) && !oracleBond.isBonded(oracles[i])) revert NotBonded(oracles[i]);
            _oracleEpoch[oracles[i]] = epoch;
        }
        oracleSet = OracleSet(epoch, uint64(oracles.length), uint64(threshold));
        emit OraclesChanged(epoch, oracles, threshold);
    }

    /// @notice From now on appoint only oracles that are bonded at `bond`. The present set stays until it is replaced.
    function setOracleBond(IOracleBond bond) external onlyRole(DEFAULT_ADMIN_ROLE) {
        oracleBond = bond;
        emit OracleBondChanged(bond);
    }

    /// @notice Take a convicted oracle out of the set at once. The threshold stays: with fewer than m left nothing settles
    /// until the admin appoints a new set, and members can withdraw meanwhile. That is the fallback, and it is safe.
    /// @return ejected false where it does not belong to the current set.
    function ejectOracle(address oracle) external returns (bool ejected) {
        if (msg.sender != address(oracleBond)) revert NotOracleBond(msg.sender);
        if (!isOracle(oracle)) return false;
        delete _oracleEpoch[oracle];
        oracleSet.count -= 1;
        emit OracleEjected(oracleSet.epoch, oracle);
        return true;
    }

    /// @notice Whether `oracle` belongs to the current set.
    function isOracle(address oracle) public view returns (bool) {
        return _oracleEpoch[oracle] != 0 && _oracleEpoch[oracle] == oracleSet.epoch;
    }

    /// @notice Reverts unless at least m different oracles signed `digest`.
    /// @param signatures 65 bytes each (r, s, v), in strictly increasing order of the signers' addresses: one look at the
    /// predecessor rules out duplicates. Every signature given must be good, also those beyond the threshold.
    function checkQuorum(bytes32 digest, bytes calldata signatures) external view {
        uint256 given = signatures.length / SIGNATURE_BYTES;
        if (signatures.length != given * SIGNATURE_BYTES) revert MalformedSignatures(signatures.length);
        OracleSet memory set = oracleSet;
        if (given < set.threshold || set.epoch == 0) revert QuorumNotReached(given, set.threshold);
        address previous = address(0);
        for (uint256 offset = 0; offset < signatures.length; offset += SIGNATURE_BYTES) {
            address signer = ECDSA.recoverCalldata(digest, signatures[offset:offset + SIGNATURE_BYTES]);
            if (signer <= previous) revert SignersNotSorted(signer);
            if (_oracleEpoch[signer] != set.epoch) revert NotOracle(signer);
            previous = signer;
        }
    }

    function _claim(address owner, uint256 account) private {
        if (owner == address(0)) revert NoAddress();
        checkGate(owner);
        if (_accountPlusOne[owner] != 0) revert AlreadyMember(owner, _accountPlusOne[owner] - 1);
        _accountPlusOne[owner] = account + 1;
    }
}
