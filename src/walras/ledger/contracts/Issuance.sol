// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {BitMaps} from "@openzeppelin/contracts/utils/structs/BitMaps.sol";
import {MeterRegister} from "./MeterRegister.sol";
import {Registry} from "./Registry.sol";
import {Settlement} from "./Settlement.sol";

/// @title One watt-hour, one token
/// @notice What was generated is issued once and only once, whichever contract issues it. An account's slot is issued either
/// whole (a certificate of what it gave to the others) or by its meters' readings (claims), never both; a reading once for
/// ever, in whatever community; and issuers that share this contract share its memory. An account's slot is one also where
/// its community has two settlement contracts: what was issued from the one is not issued again from the other.
/// @dev The owner (the issuing body) appoints issuers, each for one settlement contract. An issuer cannot be dismissed: its
/// tokens are out.
contract Issuance is Ownable2Step {
    using BitMaps for BitMaps.BitMap;

    MeterRegister public immutable meters;

    /// @notice The settlement contract that an issuer issues from; zero: not an issuer.
    mapping(address issuer => Settlement) public settlementOf;
    mapping(Registry registry => mapping(uint256 account => BitMaps.BitMap)) private _whole;
    mapping(Registry registry => mapping(uint256 account => BitMaps.BitMap)) private _inParts;
    mapping(bytes16 keyId => BitMaps.BitMap) private _readings;

    event IssuerAppointed(address indexed issuer, Settlement indexed settlement);
    event AccountTaken(Settlement indexed settlement, uint64 indexed slot, uint256 indexed account, address issuer);
    event ReadingTaken(bytes16 indexed keyId, uint64 indexed slot, uint256 indexed account, address issuer);

    error NotIssuer(address caller);
    error AlreadyIssuer(address issuer);
    error NoMeter(Registry registry, uint256 account);
    error NotOurMeter(bytes16 keyId);
    error AlreadyIssued(uint64 slot, uint256 account);
    error AlreadyClaimed(uint64 slot, bytes16 keyId);

    constructor(address owner_, MeterRegister meters_) Ownable(owner_) {
        meters = meters_;
    }

    /// @notice Let `issuer` issue from `settlement`, for good.
    function appoint(address issuer, Settlement settlement) external onlyOwner {
        if (address(settlementOf[issuer]) != address(0)) revert AlreadyIssuer(issuer);
        settlementOf[issuer] = settlement;
        emit IssuerAppointed(issuer, settlement);
    }

    /// @notice Called by an issuer that is about to issue all of `account`'s `slot`.
    function takeAccount(uint64 slot, uint256 account) external {
        Settlement settlement = _settlement();
        Registry registry = settlement.registry();
        if (_isTaken(registry, slot, account)) revert AlreadyIssued(slot, account);
        if (meters.metersOf(registry, account) == 0) revert NoMeter(registry, account);
        _whole[registry][account].set(slot);
        emit AccountTaken(settlement, slot, account, msg.sender);
    }

    /// @notice Called by an issuer that is about to issue what meter `keyId` read in `slot`.
    /// @return account behind the meter.
    function takeReading(uint64 slot, bytes16 keyId) external returns (uint256 account) {
        Settlement settlement = _settlement();
        (Registry registry, uint16 found,) = meters.meterOf(keyId);
        if (address(registry) == address(0) || address(registry) != address(settlement.registry())) {
            revert NotOurMeter(keyId);
        }
        account = found;
        if (_whole[registry][account].get(slot)) revert AlreadyIssued(slot, account);
        if (_readings[keyId].get(slot)) revert AlreadyClaimed(slot, keyId);
        _readings[keyId].set(slot);
        _inParts[registry][account].set(slot);
        emit ReadingTaken(keyId, slot, account, msg.sender);
    }

    /// @notice Whether anything of `account`'s `slot` is issued, in the community of `settlement`.
    function isTaken(Settlement settlement, uint64 slot, uint256 account) external view returns (bool) {
        return _isTaken(settlement.registry(), slot, account);
    }

    function _isTaken(Registry registry, uint64 slot, uint256 account) private view returns (bool) {
        return _whole[registry][account].get(slot) || _inParts[registry][account].get(slot);
    }

    function _settlement() private view returns (Settlement settlement) {
        settlement = settlementOf[msg.sender];
        if (address(settlement) == address(0)) revert NotIssuer(msg.sender);
    }
}
