// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Issuance} from "Issuance.sol";
import {MeterRegister} from "MeterRegister.sol";
import {Settlement} from "Settlement.sol";
import {Caller, StubMeters, StubRegistry, StubSettlement} from "Stubs.sol";

/// @title For all slots and meters
contract IssuanceSymbolicTest {
    Issuance private issuance;
    Caller private stranger;

    function setUp() public {
        StubRegistry registry = new StubRegistry(address(this));
        Settlement settlement = Settlement(address(new StubSettlement(address(registry))));
        issuance = new Issuance(address(this), MeterRegister(address(new StubMeters(address(registry)))));
        issuance.appoint(address(this), settlement);
        stranger = new Caller();
    }

    function takes(bytes memory call_) private returns (bool done) {
        (done,) = address(issuance).call(call_);
    }

    /// @notice A reading is taken once.
    function check_aReadingOnce(uint64 slot, bytes16 keyId, uint64 otherSlot, bytes16 otherKey) public {
        assert(takes(abi.encodeCall(issuance.takeReading, (slot, keyId))));
        bool same = slot == otherSlot && keyId == otherKey;
        assert(takes(abi.encodeCall(issuance.takeReading, (otherSlot, otherKey))) != same);
    }

    /// @notice A slot of an account goes whole or in parts, and whole once.
    function check_wholeOrInParts(uint64 slot, uint64 otherSlot, bytes16 keyId) public {
        assert(takes(abi.encodeCall(issuance.takeAccount, (slot, 1))));
        assert(takes(abi.encodeCall(issuance.takeReading, (otherSlot, keyId))) == (slot != otherSlot));
        assert(!takes(abi.encodeCall(issuance.takeAccount, (slot, 1))));
    }

    function check_partsThenNotWhole(uint64 slot, uint64 otherSlot, bytes16 keyId) public {
        assert(takes(abi.encodeCall(issuance.takeReading, (slot, keyId))));
        assert(takes(abi.encodeCall(issuance.takeAccount, (otherSlot, 1))) == (slot != otherSlot));
    }

    /// @notice Who is not appointed takes nothing, and appoints nobody.
    function check_onlyIssuers(uint64 slot, bytes16 keyId, uint256 account, address issuer, Settlement settlement) public {
        assert(!stranger.tries(address(issuance), abi.encodeCall(issuance.takeReading, (slot, keyId))));
        assert(!stranger.tries(address(issuance), abi.encodeCall(issuance.takeAccount, (slot, account))));
        assert(!stranger.tries(address(issuance), abi.encodeCall(issuance.appoint, (issuer, settlement))));
    }
}
