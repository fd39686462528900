// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";

/// @title What a settled slot does to everybody's running account, and what it should have done
/// @notice The state is one word for each account: running energy (int128, Wh) in the high half, running payment (int128, nano,
/// positive: the member paid more than it received) in the low. Its root is the Merkle tree that OpenZeppelin's `MerkleProof`
/// verifies: leaf = keccak(keccak(account, word)), node = keccak of the sorted pair, an odd node moves up.
/// Positions are packed as in `Settlement`: account uint16 | payment int64 (nano) | energy int48 (Wh), big endian, 16 bytes.
library SlotSteps {
    /// @notice Why a step is wrong, in the order in which it is looked for.
    enum Fault {
        None,
        MalformedPositions,
        AccountsNotSorted,
        NoSuchAccount,
        PaymentsNotBalanced,
        EnergyNotBalanced,
        WrongState
    }

    /// @notice What is attested of one account in one slot: energies in Wh, prices in micro-units per kWh, all included.
    /// `otherNano` is what no price explains: what supplier, grid operator and state receive (negative), a fixed fee.
    struct Fact {
        uint64 slot;
        uint256 account;
        uint64 importWh;
        uint64 exportWh;
        uint64 boughtWh; // from neighbours, at most the import
        uint64 soldWh; // to neighbours, at most the export
        int64 buyMicro;
        int64 sellMicro;
        int64 retailMicro;
        int64 feedInMicro;
        int64 otherNano;
    }

    uint256 internal constant POSITION_BYTES = 16;

    /// @notice The leaf of one account.
    function accountLeaf(uint256 account, uint256 word) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(account, word))));
    }

    /// @notice The leaf of what is attested.
    function factLeaf(Fact calldata fact) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(fact))));
    }

    /// @notice What `fact` says that its account pays [nano] and takes from the grid [Wh].
    /// @dev Wh times micro-units per kWh is nano-units exactly: nothing is rounded.
    function dueOf(Fact calldata fact) internal pure returns (int256 paymentNano, int256 energyWh) {
        int256 bought = int256(uint256(fact.boughtWh));
        int256 sold = int256(uint256(fact.soldWh));
        int256 imported = int256(uint256(fact.importWh));
        int256 exported = int256(uint256(fact.exportWh));
        paymentNano = bought * fact.buyMicro - sold * fact.sellMicro + (imported - bought) * fact.retailMicro
            - (exported - sold) * fact.feedInMicro + fact.otherNano;
        energyWh = imported - exported;
    }

    /// @notice The root over `words`, the first of them account 0's; of none, keccak of nothing.
    function stateRoot(uint256[] memory words) internal pure returns (bytes32) {
        bytes32[] memory level = new bytes32[](words.length);
        for (uint256 account = 0; account < words.length; ++account) {
            level[account] = accountLeaf(account, words[account]);
        }
        return fold(level);
    }

    /// @notice The root over leaves, which are used up.
    function fold(bytes32[] memory level) internal pure returns (bytes32) {
        uint256 count = level.length;
        if (count == 0) return keccak256("");
        while (count > 1) {
            uint256 half = count / 2;
            for (uint256 i = 0; i < half; ++i) {
                level[i] = Hashes.commutativeKeccak256(level[2 * i], level[2 * i + 1]);
            }
            if (count % 2 == 1) level[half] = level[count - 1];
            count = half + count % 2;
        }
        return level[0];
    }

    /// @notice Do a slot again: `words` before it, by its positions, for `members` accounts (new ones begin at zero).
    /// @return fault that the positions themselves have, `Fault.None` where they keep every rule.
    /// @return root of the state after them; zero where they have a fault.
    function redo(uint256[] calldata words, uint256 members, bytes calldata positions)
        internal
        pure
        returns (Fault fault, bytes32 root)
    {
        if (positions.length % POSITION_BYTES != 0) return (Fault.MalformedPositions, 0);
        uint256[] memory state = new uint256[](members > words.length ? members : words.length);
        for (uint256 account = 0; account < words.length; ++account) {
            state[account] = words[account];
        }
        int256 paymentSum = 0;
        int256 energySum = 0;
        uint256 lowestFree = 0;
        for (uint256 offset = 0; offset < positions.length; offset += POSITION_BYTES) {
            (uint256 account, int256 paymentNano, int256 energyWh) = positionAt(positions, offset);
            if (account < lowestFree) return (Fault.AccountsNotSorted, 0);
            if (account >= members) return (Fault.NoSuchAccount, 0);
            lowestFree = account + 1;
            paymentSum += paymentNano;
            energySum += energyWh;
            state[account] = moved(state[account], paymentNano, energyWh);
        }
        if (paymentSum != 0) return (Fault.PaymentsNotBalanced, 0);
        if (energySum != 0) return (Fault.EnergyNotBalanced, 0);
        return (Fault.None, stateRoot(state));
    }

    /// @notice The word of an account after a position.
    function moved(uint256 word, int256 paymentNano, int256 energyWh) internal pure returns (uint256) {
        unchecked {
            uint256 energy = uint256((int256(word) >> 128) + energyWh);
            return energy << 128 | uint128(uint256(paymentOf(word) + paymentNano));
        }
    }

    /// @notice The running payment in a word, nano.
    function paymentOf(uint256 word) internal pure returns (int256) {
        return int256(int128(uint128(word)));
    }

    /// @notice What `positions` have for `account`; zeros where they have nothing. By a look at each: they need not be sorted.
    function positionOf(bytes calldata positions, uint256 account)
        internal
        pure
        returns (int256 paymentNano, int256 energyWh)
    {
        for (uint256 offset = 0; offset + POSITION_BYTES <= positions.length; offset += POSITION_BYTES) {
            (uint256 found, int256 payment, int256 energy) = positionAt(positions, offset);
            if (found == account) return (payment, energy);
        }
    }

    function positionAt(bytes calldata positions, uint256 offset)
        internal
        pure
        returns (uint256 account, int256 paymentNano, int256 energyWh)
    {
        uint256 position;
        assembly ("memory-safe") {
            position := calldataload(add(positions.offset, offset))
        }
        account = position >> 240;
        paymentNano = int256(int64(uint64(position >> 176)));
        energyWh = int256(int48(uint48(position >> 128)));
    }
}
