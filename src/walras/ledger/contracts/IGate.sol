// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Who may come in
/// @notice What the registry asks the checker that the community chose, before somebody becomes a member or pays money in:
/// know-your-customer, sanctions, a supply licence. Nothing asks it when money goes out.
interface IGate {
    /// @return reason why `who` may not come in, as short text; zero where it may.
    function closedBy(address who) external view returns (bytes32 reason);
}
