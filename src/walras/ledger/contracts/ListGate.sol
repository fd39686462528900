// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGate} from "./IGate.sol";

/// @title A checker made of named lists
/// @notice Each list has a keeper who alone writes it (the bank, the authority, a service for sanctions). A list that demands lets
/// in only who is on it and not past its date; a list that denies keeps out who is on it. All lists must let somebody pass.
contract ListGate is IGate {
    struct List {
        bytes32 name; // short text, the reason it gives
        address keeper;
        bool denies;
    }

    /// @notice Bounds the gas of a check.
    uint256 public constant MAX_LISTS = 8;

    List[] public lists;
    /// @notice Unix seconds until which `who` is on a list, the last of them included; 0 where it is not.
    mapping(uint256 list => mapping(address who => uint64)) public until;

    event Listed(bytes32 indexed name, address indexed who, uint64 until);

    error BadLists(uint256 count, uint256 maximum);
    error BadList(uint256 list);
    error NotKeeper(uint256 list, address caller);

    constructor(List[] memory lists_) {
        if (lists_.length == 0 || lists_.length > MAX_LISTS) revert BadLists(lists_.length, MAX_LISTS);
        for (uint256 i = 0; i < lists_.length; ++i) {
            if (lists_[i].name == 0 || lists_[i].keeper == address(0)) revert BadList(i);
            lists.push(lists_[i]);
        }
    }

    /// @notice Put everybody in `who` on `list` until a date; 0 takes them off.
    function set(uint256 list, address[] calldata who, uint64 until_) external {
        if (list >= lists.length || msg.sender != lists[list].keeper) revert NotKeeper(list, msg.sender);
        for (uint256 i = 0; i < who.length; ++i) {
            until[list][who[i]] = until_;
            emit Listed(lists[list].name, who[i], until_);
        }
    }

    /// @inheritdoc IGate
    function closedBy(address who) external view returns (bytes32) {
        for (uint256 i = 0; i < lists.length; ++i) {
            bool listed = until[i][who] >= block.timestamp;
            if (listed == lists[i].denies) return lists[i].name;
        }
        return 0;
    }
}
