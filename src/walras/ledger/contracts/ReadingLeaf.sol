// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What a leaf under a readings root says
/// @notice Reads the one canonical encoding of a meter reading and climbs from a leaf to the root: the twin of
/// `walras.metering.reading` (deterministic CBOR in COSE_Sign1) and of `walras.metering.merkle` (RFC 6962: leaf =
/// SHA-256(0x00 || data), node = SHA-256(0x01 || left || right)). Energy in Wh.
///
///     signed    d2 84 55 a2 01 26 04 50 kid(16) a0 bstr(payload) 58 40 signature(64)
///     unsigned  82 50 kid(16) payload          a parcel's reading, or a substitute
///     edited    84 50 kid(16) payload reason text(name)      a value that a named person answers for: quality 32
///     payload   a5 01 slot 02 import 03 export 04 counter 05 quality
///
/// A leaf is 16 bytes of salt and one of these, so that a path tells nothing about the neighbours; whoever shows it shows the salt.
/// @dev There is no bare leaf: the reading always begins behind the salt, so a leaf is read in one way only.
/// `parse` never reverts and takes exactly the byte strings that the twin takes, so that a proof of fraud can rest on it.
/// A path alone does not prove at which place a leaf stands (the count of leaves is not under the root), only that it is there.
library ReadingLeaf {
    /// @notice A leaf, salt first, and its way up: siblings from the lowest; bit i of `lefts` set where sibling i is on the left.
    struct Shown {
        bytes leaf;
        bytes32[] siblings;
        uint256 lefts;
    }

    struct Reading {
        bool canonical; // false: everything else is zero
        bool isSigned;
        bytes16 keyId;
        uint64 slot;
        uint64 importWh;
        uint64 exportWh;
        uint64 quality;
    }

    /// @notice Codes below it are a device's own measurement, the others were put in by the exchange.
    uint256 internal constant FIRST_SUBSTITUTE_QUALITY = 16;

    /// @notice The quality of a value that a named person put in the place of another.
    uint256 internal constant EDITED_QUALITY = 32;

    uint256 private constant MAX_NUMBER = uint256(uint64(type(int64).max));
    uint256 private constant SALT_BYTES = 16;
    uint256 private constant MAX_BYTES = 144; // of a reading without its salt
    uint256 private constant MAX_EDITED_BYTES = 327; // of an edited value: 18, at most 51 of payload, a reason, 257 of name
    uint256 private constant KEY_AT = 8;
    uint256 private constant PAYLOAD_AT = 25;
    uint256 private constant TAIL = 66;
    bytes8 private constant HEAD = 0xd28455a201260450;
    bytes32 private constant HALF_ORDER = 0x7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8;

    /// @notice The root under which its siblings put the leaf.
    function rootOf(Shown calldata shown) internal pure returns (bytes32 root) {
        root = sha256(abi.encodePacked(bytes1(0x00), shown.leaf));
        for (uint256 i = 0; i < shown.siblings.length; ++i) {
            root = shown.lefts >> i & 1 == 1
                ? sha256(abi.encodePacked(bytes1(0x01), shown.siblings[i], root))
                : sha256(abi.encodePacked(bytes1(0x01), root, shown.siblings[i]));
        }
    }

    /// @notice The reading in a salted leaf; `canonical` false where it is anything else. No signature is checked here, nor whether
    /// the name of who answers for an edited value is well-formed text.
    function parse(bytes calldata salted) internal pure returns (Reading memory reading) {
        if (salted.length > SALT_BYTES + MAX_EDITED_BYTES || salted.length < SALT_BYTES + 2) return reading;
        bytes calldata leaf = salted[SALT_BYTES:];
        if (bytes2(leaf) == 0x8450) return _edited(leaf);
        if (leaf.length > MAX_BYTES) return reading;
        if (bytes2(leaf) == 0x8250) {
            if (leaf.length < 18) return reading;
            return _payload(leaf, 18, leaf.length, bytes16(leaf[2:18]), false);
        }
        if (leaf.length < PAYLOAD_AT + 12 + TAIL || bytes8(leaf) != HEAD || leaf[24] != 0xa0) return reading;
        uint256 end = leaf.length - TAIL;
        if (bytes2(leaf[end:end + 2]) != 0x5840 || bytes32(leaf[end + 34:]) > HALF_ORDER) return reading;
        uint256 offset = PAYLOAD_AT + 1;
        uint256 size = uint8(leaf[PAYLOAD_AT]);
        if (size < 0x40) return reading;
        size -= 0x40;
        if (size == 24) {
            size = uint8(leaf[offset++]);
            if (size < 24) return reading;
        } else if (size > 23) {
            return reading;
        }
        if (offset + size != end) return reading;
        return _payload(leaf, offset, end, bytes16(leaf[KEY_AT:24]), true);
    }

    /// @notice SHA-256 of what the signature of a canonical signed leaf is over: its Sig_structure (RFC 9052 section 4.4).
    function signedHash(bytes calldata salted) internal pure returns (bytes32) {
        bytes calldata leaf = salted[SALT_BYTES:];
        return sha256(
            abi.encodePacked(
                hex"846a", "Signature1", leaf[2:24], bytes1(0x50), "walras reading 1", leaf[PAYLOAD_AT:leaf.length - TAIL]
            )
        );
    }

    /// @notice r and s of a canonical signed leaf.
    function signatureOf(bytes calldata leaf) internal pure returns (bytes32 r, bytes32 s) {
        uint256 offset = leaf.length - 64;
        return (bytes32(leaf[offset:offset + 32]), bytes32(leaf[offset + 32:]));
    }

    /// @dev [key id, payload, reason, name]: a reason below 24 in one byte, 1 to 255 bytes of name under the shortest head.
    function _edited(bytes calldata leaf) private pure returns (Reading memory reading) {
        if (leaf.length < 18) return reading;
        (uint256[5] memory numbers, uint256 offset) = _numbers(leaf, 18, leaf.length);
        if (offset + 2 > leaf.length || offset == 0 || numbers[4] != EDITED_QUALITY) return reading;
        if (uint8(leaf[offset]) > 23) return reading;
        uint256 size = uint8(leaf[offset + 1]);
        offset += 2;
        if (size == 0x78) {
            if (offset == leaf.length) return reading;
            size = uint8(leaf[offset++]);
            if (size < 24) return reading;
        } else if (size < 0x61 || size > 0x77) {
            return reading;
        } else {
            size -= 0x60;
        }
        if (offset + size != leaf.length) return reading;
        return _reading(numbers, bytes16(leaf[2:18]), false);
    }

    function _payload(bytes calldata leaf, uint256 offset, uint256 end, bytes16 keyId, bool isSigned)
        private
        pure
        returns (Reading memory reading)
    {
        uint256[5] memory numbers;
        (numbers, offset) = _numbers(leaf, offset, end);
        if (offset != end) return reading;
        return _reading(numbers, keyId, isSigned);
    }

    /// @dev The five numbers of the payload at `offset`, and the position behind it; position 0 where there is none.
    function _numbers(bytes calldata leaf, uint256 offset, uint256 end)
        private
        pure
        returns (uint256[5] memory numbers, uint256)
    {
        if (offset >= end || leaf[offset] != 0xa5) return (numbers, 0);
        ++offset;
        for (uint256 name = 0; name < 5; ++name) {
            if (offset + 1 >= end || uint8(leaf[offset]) != name + 1) return (numbers, 0);
            uint256 value = uint8(leaf[offset + 1]);
            offset += 2;
            if (value > 23) {
                if (value > 27) return (numbers, 0);
                uint256 width = 1 << (value - 24);
                if (offset + width > end) return (numbers, 0);
                value = uint256(bytes32(leaf[offset:offset + width])) >> (256 - 8 * width);
                offset += width;
                if (value < (width == 1 ? 24 : 1 << (4 * width)) || value > MAX_NUMBER) return (numbers, 0);
            }
            numbers[name] = value;
        }
        return (numbers, offset);
    }

    function _reading(uint256[5] memory numbers, bytes16 keyId, bool isSigned) private pure returns (Reading memory) {
        return Reading(
            true,
            isSigned,
            keyId,
            uint64(numbers[0]),
            uint64(numbers[1]),
            uint64(numbers[2]),
            uint64(numbers[4])
        );
    }
}
