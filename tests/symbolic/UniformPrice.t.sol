// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {UniformPrice} from "UniformPrice.sol";

/// @title For all bids, asks, prices and fills of two orders: whatever passes the check keeps the laws of a clearing
contract UniformPriceSymbolicTest {
    using UniformPrice for UniformPrice.Pass;

    function pass(int64 price, int48[2] memory quantity, int64[2] memory limit, uint40[2] memory filled) public pure returns (int256) {
        UniformPrice.Pass memory one = UniformPrice.start(price);
        for (uint256 order = 0; order < 2; ++order) {
            one.add(order, quantity[order], limit[order], int256(uint256(filled[order])));
        }
        return one.finish(1, 2);
    }

    function check_lawsOfAClearing(
        int64 price,
        int48 bid,
        int48 ask,
        int64 bidLimit,
        int64 askLimit,
        uint40 bought,
        uint40 sold
    ) public view {
        if (bid <= 0 || ask >= 0) return; // the other cases have nothing to trade with
        int48[2] memory quantity = [bid, ask];
        int64[2] memory limit = [bidLimit, askLimit];
        uint40[2] memory filled = [bought, sold];
        (bool done,) = address(this).staticcall(abi.encodeCall(this.pass, (price, quantity, limit, filled)));
        if (!done) return;
        assert(bought == sold); // balance
        assert(int256(uint256(bought)) <= bid && int256(uint256(sold)) <= -int256(ask)); // nobody beyond its quantity
        if (bought > 0) assert(price <= bidLimit && price >= askLimit); // nobody at a worse price than its own
        else assert(bidLimit < askLimit && price == 0); // no crossing left
        if (bidLimit >= askLimit) assert(int256(uint256(bought)) == bid || int256(uint256(sold)) == -int256(ask)); // the most there is
    }
}
