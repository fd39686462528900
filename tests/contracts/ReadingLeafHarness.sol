// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReadingLeaf} from "ReadingLeaf.sol";

/// @title The library, callable from a test
contract ReadingLeafHarness {
    function parse(bytes calldata leaf) external pure returns (bool, bool, bytes16, uint64, uint64, uint64, uint64) {
        ReadingLeaf.Reading memory r = ReadingLeaf.parse(leaf);
        return (r.canonical, r.isSigned, r.keyId, r.slot, r.importWh, r.exportWh, r.quality);
    }

    function rootOf(ReadingLeaf.Shown calldata shown) external pure returns (bytes32) {
        return ReadingLeaf.rootOf(shown);
    }

    function signedHash(bytes calldata leaf) external pure returns (bytes32) {
        return ReadingLeaf.signedHash(leaf);
    }
}
