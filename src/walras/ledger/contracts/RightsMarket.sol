// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {ERC1155Holder} from "@openzeppelin/contracts/token/ERC1155/utils/ERC1155Holder.sol";
import {AtomicDelivery} from "./AtomicDelivery.sol";

/// @title A market of rights in escrow
/// @notice A seller puts a right in escrow at a price; whoever pays gets it, whole or in parts, in the same transaction; what is
/// not sold the seller takes back at any time. What is on offer is there: no offer fails for want of the right.
/// Amounts in units of the right (Wh; a lot is 1), prices in nano-units of currency for one unit, rounded up over an offer's
/// whole life.
contract RightsMarket is AtomicDelivery, ERC1155Holder {
    struct Offer {
        address seller;
        bool open;
        Right right;
        uint128 amount; // put in escrow
        uint128 sold;
        uint128 priceNano; // for one unit
    }

    mapping(uint256 number => Offer) public offerOf;
    uint256 public offers;

    event Offered(uint256 indexed number, address indexed seller, Right right, uint128 amount, uint128 priceNano);
    event Sold(uint256 indexed number, address indexed buyer, uint128 amount, uint256 tokenUnits);
    event TakenBack(uint256 indexed number, uint128 amount);

    error NotOpen(uint256 number);
    error NotSeller(uint256 number, address caller);
    error WithYourself();
    error NotLeft(uint256 number, uint128 left, uint128 wanted);
    error TooDear(uint256 tokenUnits, uint256 limit);

    constructor(IERC20Metadata currency_) AtomicDelivery(currency_) {}

    /// @notice Put `amount` of `right` in escrow, from the caller, for sale at `priceNano` a unit.
    function offer(Right calldata right, uint128 amount, uint128 priceNano) external nonReentrant returns (uint256 number) {
        _checkAmount(right.isLot, amount);
        number = ++offers;
        offerOf[number] = Offer(msg.sender, true, right, amount, 0, priceNano);
        emit Offered(number, msg.sender, right, amount, priceNano);
        _deliver(right, msg.sender, address(this), amount);
    }

    /// @notice Buy `amount` of an offer, or nothing where it costs more than `limit` token units.
    function buy(uint256 number, uint128 amount, uint256 limit) external nonReentrant returns (uint256 tokenUnits) {
        Offer storage made = offerOf[number];
        if (!made.open) revert NotOpen(number);
        _checkAmount(made.right.isLot, amount);
        if (made.seller == msg.sender) revert WithYourself();
        uint128 sold = made.sold;
        uint128 left = made.amount - sold;
        if (amount > left) revert NotLeft(number, left, amount);
        tokenUnits = _price(sold, amount, made.priceNano, true);
        if (tokenUnits > limit) revert TooDear(tokenUnits, limit);
        made.sold = sold + amount;
        if (amount == left) made.open = false;
        emit Sold(number, msg.sender, amount, tokenUnits);
        _pay(msg.sender, made.seller, tokenUnits);
        _deliver(made.right, address(this), msg.sender, amount);
    }

    /// @notice The seller takes back what is not sold.
    function takeBack(uint256 number) external nonReentrant returns (uint128 amount) {
        Offer storage made = offerOf[number];
        if (!made.open) revert NotOpen(number);
        if (made.seller != msg.sender) revert NotSeller(number, msg.sender);
        amount = made.amount - made.sold;
        made.open = false;
        emit TakenBack(number, amount);
        _deliver(made.right, address(this), msg.sender, amount);
    }
}
