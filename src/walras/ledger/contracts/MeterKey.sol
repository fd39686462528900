// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The name of a meter's key
/// @notice The twin of `walras.metering.identity.key_id`.
library MeterKey {
    /// @dev Multicodec p256-pub (0x1200 as a varint), the head of what a key id is the hash of.
    bytes2 private constant MULTICODEC = 0x8024;

    /// @notice The 16 bytes by which a reading names its meter: the head of SHA-256 over the multicodec key.
    function idOf(bytes32 x, bytes32 y) internal pure returns (bytes16) {
        bytes1 parity = uint256(y) & 1 == 1 ? bytes1(0x03) : bytes1(0x02);
        return bytes16(sha256(abi.encodePacked(MULTICODEC, parity, x)));
    }
}
