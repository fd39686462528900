// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {P256} from "@openzeppelin/contracts/utils/cryptography/P256.sol";
import {MeterRegister} from "./MeterRegister.sol";
import {ReadingLeaf} from "./ReadingLeaf.sol";

/// @title What no honest oracle attests
/// @notice Three things that a root over the readings of one slot cannot have under it, each shown by the leaves themselves: a
/// reading of another slot, one whose meter never signed it, and two readings of one meter. That a reading is missing, or that
/// a meter measures wrong, no leaf can show; there the quorum stands alone.
/// @dev Every function reverts unless the root is false. A forgery is judged by the key in the meter register, not by one that
/// merely has the same 16-byte name: names can be made to collide with about 2^64 work, and an honest oracle must never pay.
library FalseRoot {
    error NotUnderRoot(bytes32 given, bytes32 root);
    error NotAReading();
    error SlotIsRight(uint64 slot);
    error NotSigned();
    error NotItsKey(bytes16 keyId);
    error SignatureHolds(bytes16 keyId);
    error SameLeaf();
    error DifferentMeters(bytes16 first, bytes16 second);

    function checkWrongSlot(uint64 slot, bytes32 root, ReadingLeaf.Shown calldata shown) internal pure {
        if (_reading(root, shown).slot == slot) revert SlotIsRight(slot);
    }

    function checkForged(bytes32 root, ReadingLeaf.Shown calldata shown, MeterRegister meters, bytes32 x, bytes32 y) internal view {
        ReadingLeaf.Reading memory reading = _reading(root, shown);
        if (!reading.isSigned) revert NotSigned();
        if (!meters.isKeyOf(reading.keyId, x, y)) revert NotItsKey(reading.keyId);
        (bytes32 r, bytes32 s) = ReadingLeaf.signatureOf(shown.leaf);
        if (P256.verify(ReadingLeaf.signedHash(shown.leaf), r, s, x, y)) revert SignatureHolds(reading.keyId);
    }

    /// @dev Two leaves of different bytes: one leaf can be shown at several places of one tree.
    function checkMeterTwice(bytes32 root, ReadingLeaf.Shown calldata first, ReadingLeaf.Shown calldata second) internal pure {
        if (keccak256(first.leaf) == keccak256(second.leaf)) revert SameLeaf();
        bytes16 one = _reading(root, first).keyId;
        bytes16 other = _reading(root, second).keyId;
        if (one != other) revert DifferentMeters(one, other);
    }

    function _reading(bytes32 root, ReadingLeaf.Shown calldata shown) private pure returns (ReadingLeaf.Reading memory reading) {
        bytes32 given = ReadingLeaf.rootOf(shown);
        if (given != root) revert NotUnderRoot(given, root);
        reading = ReadingLeaf.parse(shown.leaf);
        if (!reading.canonical) revert NotAReading();
    }
}
