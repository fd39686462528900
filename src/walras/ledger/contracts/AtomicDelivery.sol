// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title Delivery versus payment in one transaction
/// @notice Moves a right and its price, or neither. Rights are amounts of an ERC-1155 token (claims, certificates: one unit is a
/// watt-hour) or one ERC-721 token (lots). Prices are whole nano-units of currency for one unit, which for a watt-hour is the
/// same number as micro-units per kWh; a lot's price is the whole lot's.
/// @dev Token units are rounded over the running total of a quote or offer, so that many small fills come to the same as one,
/// and splitting a fill earns nothing.
abstract contract AtomicDelivery is ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @notice What is delivered. `isLot`: an ERC-721 token, of which there is one.
    struct Right {
        address token;
        uint256 id;
        bool isLot;
    }

    IERC20 public immutable currency;
    /// @notice Nano-units in one smallest unit of the currency.
    uint256 public immutable nanoPerTokenUnit;

    error TooManyDecimals(uint8 decimals);
    error NothingAsked();
    error NotDivisible(uint256 amount);
    error ShortTransfer(uint256 expected, uint256 received);
    error NotDelivered(address token, uint256 id, uint256 amount);

    constructor(IERC20Metadata currency_) {
        uint8 decimals = currency_.decimals();
        if (decimals > 9) revert TooManyDecimals(decimals);
        currency = currency_;
        nanoPerTokenUnit = 10 ** (9 - decimals);
    }

    /// @dev Token units for `amount` after `before` at `priceNano`, rounded up or down over the running total.
    function _price(uint128 before, uint128 amount, uint128 priceNano, bool up) internal view returns (uint256) {
        return _units(uint256(before) + amount, priceNano, up) - _units(before, priceNano, up);
    }

    function _units(uint256 amount, uint256 priceNano, bool up) private view returns (uint256) {
        uint256 nano = amount * priceNano; // 129 and 128 bits: cannot overflow
        return (up ? nano + nanoPerTokenUnit - 1 : nano) / nanoPerTokenUnit;
    }

    function _checkAmount(bool isLot, uint256 amount) internal pure {
        if (amount == 0) revert NothingAsked();
        if (isLot && amount != 1) revert NotDivisible(amount);
    }

    function _pay(address from, address to, uint256 units) internal {
        if (units == 0) return;
        uint256 before = currency.balanceOf(to);
        currency.safeTransferFrom(from, to, units);
        uint256 received = currency.balanceOf(to) - before;
        if (received != units) revert ShortTransfer(units, received);
    }

    function _deliver(Right memory right, address from, address to, uint256 amount) internal {
        if (right.isLot) {
            IERC721(right.token).transferFrom(from, to, right.id);
            if (IERC721(right.token).ownerOf(right.id) != to) revert NotDelivered(right.token, right.id, 1);
        } else {
            uint256 before = IERC1155(right.token).balanceOf(to, right.id);
            IERC1155(right.token).safeTransferFrom(from, to, right.id, amount, "");
            uint256 held = IERC1155(right.token).balanceOf(to, right.id);
            if (held != before + amount) revert NotDelivered(right.token, right.id, amount);
        }
    }
}
