// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The uniform-price rule as a check
/// @notice A clearing is not computed here, it is checked, in one pass over the orders: the fills balance, the price is exactly
/// the one that the rule gives, the volume is the largest that any price balances, and among equals at the margin the earlier
/// is served first. For given orders exactly one clearing passes: whoever submits it has no say in it.
///
/// With `low` = max(last filled ask, best bid left) and `high` = min(last filled bid, best ask left):
/// low <= high, best bid left < best ask left, price = low + floor(k * (high - low)). As in Satterthwaite and Williams,
/// Journal of Economic Theory 48 (1989). Units: Wh, and micro-units of currency per kWh.
/// @dev Feed the orders one after the other to `add`, then call `finish`. Orders come in time priority.
library UniformPrice {
    struct Pass {
        int256 price; // the claimed one
        int256 bought; // Wh
        int256 sold; // Wh
        int256 lowestFilledBid;
        int256 highestFilledAsk;
        int256 bestOpenBid;
        int256 bestOpenAsk;
        bool bidsAtPriceShort; // a bid at the price went short: later ones at the price get nothing
        bool asksAtPriceShort;
    }

    int256 private constant NONE_LOW = type(int256).min;
    int256 private constant NONE_HIGH = type(int256).max;

    error Overfilled(uint256 order);
    error OutOfTurn(uint256 order);
    error NotBalanced(int256 boughtWh, int256 soldWh);
    error CrossingLeft(int256 openBid, int256 openAsk);
    error NotSupported(int256 low, int256 high);
    error WrongPrice(int256 price, int256 expected);

    /// @param price the claimed price; 0 where nothing trades.
    function start(int256 price) internal pure returns (Pass memory) {
        return Pass(price, 0, 0, NONE_HIGH, NONE_LOW, NONE_LOW, NONE_HIGH, false, false);
    }

    /// @param quantityWh positive for a bid, negative for an ask.
    /// @param limit the order's own price.
    /// @param filledWh claimed, never negative.
    function add(Pass memory pass, uint256 order, int256 quantityWh, int256 limit, int256 filledWh) internal pure {
        unchecked {
            if (quantityWh > 0) {
                if (filledWh > quantityWh) revert Overfilled(order);
                if (filledWh > 0) {
                    if (limit < pass.lowestFilledBid) pass.lowestFilledBid = limit;
                    if (limit == pass.price && pass.bidsAtPriceShort) revert OutOfTurn(order);
                    pass.bought += filledWh;
                }
                if (filledWh < quantityWh) {
                    if (limit > pass.bestOpenBid) pass.bestOpenBid = limit;
                    if (limit == pass.price) pass.bidsAtPriceShort = true;
                }
            } else {
                if (filledWh > -quantityWh) revert Overfilled(order);
                if (filledWh > 0) {
                    if (limit > pass.highestFilledAsk) pass.highestFilledAsk = limit;
                    if (limit == pass.price && pass.asksAtPriceShort) revert OutOfTurn(order);
                    pass.sold += filledWh;
                }
                if (filledWh < -quantityWh) {
                    if (limit < pass.bestOpenAsk) pass.bestOpenAsk = limit;
                    if (limit == pass.price) pass.asksAtPriceShort = true;
                }
            }
        }
    }

    /// @param kNumerator and `kDenominator`: where the price lies in the interval, 0 <= k <= 1.
    /// @return volumeWh bought, which is what is sold.
    function finish(Pass memory pass, int256 kNumerator, int256 kDenominator) internal pure returns (int256 volumeWh) {
        if (pass.bought != pass.sold) revert NotBalanced(pass.bought, pass.sold);
        if (pass.bestOpenBid >= pass.bestOpenAsk) revert CrossingLeft(pass.bestOpenBid, pass.bestOpenAsk);
        int256 expected = 0;
        if (pass.bought > 0) {
            int256 low = pass.highestFilledAsk > pass.bestOpenBid ? pass.highestFilledAsk : pass.bestOpenBid;
            int256 high = pass.lowestFilledBid < pass.bestOpenAsk ? pass.lowestFilledBid : pass.bestOpenAsk;
            if (low > high) revert NotSupported(low, high);
            expected = low + (high - low) * kNumerator / kDenominator;
        }
        if (pass.price != expected) revert WrongPrice(pass.price, expected);
        return pass.bought;
    }
}
