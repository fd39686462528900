// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Settlement} from "./Settlement.sol";
import {SlotSteps} from "./SlotSteps.sol";

/// @title What was settled for an account in a slot, from the transactions themselves
/// @notice The positions are in the calldata of the settlement and of each correction; the settlement contract keeps their hashes.
/// Energies in Wh, positive when taken from the grid.
library SettledEnergy {
    error WrongRevisions(uint256 given, uint256 needed);
    error NotWhatWasSettled(uint64 slot, uint256 revision);

    /// @notice The energy of `account` over the settlement of `slot` and all its corrections in order, each checked.
    function settledWh(
        Settlement settlement,
        uint64 slot,
        uint256 account,
        Settlement.Header[] calldata headers,
        bytes[] calldata positions
    ) internal view returns (int256 energyWh) {
        uint256 needed = uint256(settlement.revisionOf(slot)) + 1;
        if (headers.length != needed || positions.length != needed) revert WrongRevisions(positions.length, needed);
        for (uint256 revision = 0; revision < needed; ++revision) {
            bytes32 known = revision == 0 ? settlement.commitmentOf(slot) : settlement.correctionOf(slot, uint64(revision));
            Settlement.Header calldata header = headers[revision];
            bytes32 given = keccak256(
                abi.encode(
                    slot, header.readingsRoot, header.tradesRoot, header.journalHead, keccak256(positions[revision])
                )
            );
            if (known != given) revert NotWhatWasSettled(slot, revision);
            (, int256 part) = SlotSteps.positionOf(positions[revision], account);
            energyWh += part;
        }
    }
}
