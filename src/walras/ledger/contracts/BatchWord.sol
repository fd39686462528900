// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

/// @title What an oracle says of a batch of slots, and when two such words cannot both be honest
/// @notice A word is about consecutive slots: the root of their facts (`Facts`), or that and the data of the batch on top of a
/// state (`Data`). What was metered and traded in a slot does not change once its batch may be signed, so an oracle puts every
/// slot into one word for ever. It needs no second one: where a conviction takes a batch back, its positions were wrong and not
/// its facts, and the word that was given holds for the right batch as well. No count of batches is in a word for that reason.
/// @dev Two words over a common slot contradict each other where they have other slots or other facts. An overlap needs no
/// leaf: what a root hides nobody but its maker can show, and an honest oracle never cuts the slots in two ways. Two words with
/// data may differ in the state before them: where an earlier batch was taken back, the same slots go on top of another. On top of
/// one state the same facts make one batch. A word with data and one without agree where slots and facts do.
library BatchWord {
    struct Word {
        uint64 firstSlot;
        uint32 slots;
        bytes32 factsRoot;
        bool withData; // signed as `Data`; else as `Facts`, and the three below are zero
        bytes32 before;
        bytes32 stepsRoot;
        bytes32 stateRoot;
    }

    /// @notice EIP-712 type of what an oracle signs: the root of one fact for every account of every slot in the batch.
    bytes32 internal constant FACTS_TYPEHASH = keccak256("Facts(uint64 firstSlot,uint32 slots,bytes32 factsRoot)");

    /// @notice EIP-712 type of what an oracle signs that holds the data of a batch: its steps lead from `before` to the state's
    /// root and are those under the steps' root, and the facts are those under theirs.
    bytes32 internal constant DATA_TYPEHASH = keccak256(
        "Data(uint64 firstSlot,uint32 slots,bytes32 before,bytes32 stepsRoot,bytes32 stateRoot,bytes32 factsRoot)"
    );

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME_HASH = keccak256("Walras Batch Settlement");
    bytes32 private constant VERSION_HASH = keccak256("1");

    error NoCommonSlot(uint256 from, uint256 until);
    error WordsAgree();

    /// @notice What an oracle signs (EIP-712) that gives this word to the contract `batches` on this chain. The contract is not
    /// asked: it could name digests of anything.
    function digest(address batches, Word calldata word) internal view returns (bytes32) {
        bytes32 domain = keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, batches));
        return MessageHashUtils.toTypedDataHash(domain, _structHash(word));
    }

    /// @notice Reverts unless no honest oracle gives both words, in either order.
    /// @return slot the first that both are about.
    function checkContradict(Word calldata first, Word calldata second) internal pure returns (uint64 slot) {
        slot = first.firstSlot > second.firstSlot ? first.firstSlot : second.firstSlot;
        uint256 until = _min(uint256(first.firstSlot) + first.slots, uint256(second.firstSlot) + second.slots);
        if (slot >= until) revert NoCommonSlot(slot, until);
        bool alike = first.firstSlot == second.firstSlot && first.slots == second.slots && first.factsRoot == second.factsRoot;
        if (alike && (first.withData != second.withData || !first.withData)) revert WordsAgree();
        if (alike && (first.before != second.before || _sameRoots(first, second))) revert WordsAgree();
    }

    function _structHash(Word calldata word) private pure returns (bytes32) {
        if (!word.withData) return keccak256(abi.encode(FACTS_TYPEHASH, word.firstSlot, word.slots, word.factsRoot));
        return keccak256(
            abi.encode(
                DATA_TYPEHASH, word.firstSlot, word.slots, word.before, word.stepsRoot, word.stateRoot, word.factsRoot
            )
        );
    }

    function _sameRoots(Word calldata first, Word calldata second) private pure returns (bool) {
        return first.stepsRoot == second.stepsRoot && first.stateRoot == second.stateRoot;
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
