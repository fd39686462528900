// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title A meter's reading as it stands in the attested tree
/// @notice Reads the two forms of a leaf: COSE_Sign1 as the meter signed it (RFC 9052), and the unsigned form of a substitute. Both
/// carry the CBOR map {1: slot, 2: import, 3: export, 4: counter, 5: quality}, energies in Wh. The tree is that of Certificate
/// Transparency over SHA-256 (RFC 9162 section 2.1), so a proof has a position.
/// A leaf may have a salt before it, so that its neighbours in the tree tell nothing; whoever shows it shows the salt too.
/// @dev The signature is not checked here: the oracles checked it before they attested the root that holds the leaf.
library PlacedLeaf {
    struct Proof {
        bytes leaf;
        uint256 index;
        uint256 count;
        bytes32[] siblings;
    }

    struct Reading {
        bytes16 keyId;
        uint64 slot;
        uint64 importWh;
        uint64 exportWh;
    }

    bytes8 private constant SIGNED_HEAD = 0xd28455a201260450; // tag 18, array of 4, protected header up to the key id
    bytes2 private constant UNSIGNED_HEAD = 0x8250; // array of 2, key id of 16 bytes

    uint256 private constant SALT_BYTES = 16;

    error NotAReading();

    /// @notice The root under which `proof` puts its leaf; zero for a proof that is malformed.
    function rootOf(Proof calldata proof) internal pure returns (bytes32 digest) {
        if (proof.index >= proof.count) return 0;
        digest = sha256(bytes.concat(hex"00", proof.leaf));
        uint256 place = proof.index;
        uint256 last = proof.count - 1;
        uint256 used = 0;
        while (last > 0) {
            if (place ^ 1 <= last) {
                if (used == proof.siblings.length) return 0;
                bytes32 sibling = proof.siblings[used++];
                digest = place & 1 == 1
                    ? sha256(bytes.concat(hex"01", sibling, digest))
                    : sha256(bytes.concat(hex"01", digest, sibling));
            }
            place >>= 1;
            last >>= 1;
        }
        if (used != proof.siblings.length) return 0;
    }

    /// @notice What the leaf says, with 16 bytes of salt before it or without.
    function read(bytes calldata leaf) internal pure returns (Reading memory reading) {
        uint256 start = _beginsAt(leaf, 0) ? 0 : SALT_BYTES;
        if (!_beginsAt(leaf, start)) revert NotAReading();
        uint256 place;
        if (_signedAt(leaf, start)) {
            reading.keyId = bytes16(leaf[start + 8:start + 24]);
            place = start + (leaf[start + 25] == 0x58 ? 27 : 26); // behind the head of the payload's byte string
        } else {
            reading.keyId = bytes16(leaf[start + 2:start + 18]);
            place = start + 18;
        }
        if (leaf.length <= place || leaf[place] != 0xa5) revert NotAReading();
        ++place;
        (reading.slot, place) = _entry(leaf, place, 1);
        (reading.importWh, place) = _entry(leaf, place, 2);
        (reading.exportWh, place) = _entry(leaf, place, 3);
    }

    function _beginsAt(bytes calldata leaf, uint256 start) private pure returns (bool) {
        if (_signedAt(leaf, start)) return true;
        return leaf.length > start + 18 && bytes2(leaf[start:start + 2]) == UNSIGNED_HEAD && leaf[start + 18] == 0xa5;
    }

    function _signedAt(bytes calldata leaf, uint256 start) private pure returns (bool) {
        return leaf.length > start + 26 && bytes8(leaf[start:start + 8]) == SIGNED_HEAD && leaf[start + 24] == 0xa0;
    }

    /// @dev One key and its whole number, and where the next begins.
    function _entry(bytes calldata leaf, uint256 place, uint8 key) private pure returns (uint64 value, uint256 next) {
        if (leaf.length < place + 2 || uint8(leaf[place]) != key) revert NotAReading();
        uint8 head = uint8(leaf[place + 1]);
        next = place + 2;
        if (head < 24) return (head, next);
        if (head > 27) revert NotAReading();
        uint256 width = uint256(1) << (head - 24);
        if (leaf.length < next + width) revert NotAReading();
        value = uint64(uint256(bytes32(leaf[next:next + width])) >> (256 - 8 * width));
        next += width;
    }
}
