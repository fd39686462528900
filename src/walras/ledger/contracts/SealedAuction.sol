// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Registry} from "./Registry.sol";
import {UniformPrice} from "./UniformPrice.sol";

/// @title Sealed bids on chain
/// @notice Members commit to orders under a bond, reveal them, and whoever likes submits the clearing, which is checked here
/// (`UniformPrice`): for the revealed orders exactly one clearing passes, so the first valid one is the best there can be.
/// No operator stands between a member and the auction: what is committed cannot be left out, nor read, nor copied, since a
/// commitment names its member. A bid that is not revealed forfeits its bond.
/// Units: Wh, micro-units of currency per kWh; bonds in the token's smallest unit.
/// @dev An order is one word from commitment to clearing. Bit 255 set: the commitment, 255 bits of a hash. Bit 128 set (and 255
/// not): revealed, `account uint16 << 112 | quantity int48 << 64 | price int64`. Zero: forfeited.
contract SealedAuction is ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using UniformPrice for UniformPrice.Pass;

    struct Auction {
        uint64 commitsEnd; // Unix seconds
        uint64 revealsEnd;
        uint32 orders;
        bool cleared;
    }

    struct Result {
        int64 price; // micro-units per kWh
        uint64 volumeWh;
        address solver;
    }

    /// @notice Bounds the gas of a check; about 2.7k an order. Who would fill an auction with its own orders locks up this many
    /// bonds, and loses those it does not reveal.
    uint256 public constant MAX_ORDERS = 4_096;
    int256 public constant MAX_QUANTITY_WH = 10 ** 12;
    int256 public constant MAX_PRICE = 10 ** 9;

    uint256 private constant SEALED = 1 << 255;
    uint256 private constant REVEALED = 1 << 128;
    uint256 private constant FILL_BYTES = 8;

    IERC20 public immutable currency;
    Registry public immutable registry;
    address public immutable treasury;
    uint256 public immutable bond;
    uint64 public immutable kNumerator;
    uint64 public immutable kDenominator;

    mapping(uint64 slot => Auction) public auctionOf;
    mapping(uint64 slot => Result) public resultOf;
    /// @notice keccak256 of the accepted fills of a slot.
    mapping(uint64 slot => bytes32) public fillsOf;
    /// @notice Token units free to bond or to withdraw.
    mapping(address owner => uint256) public freeOf;
    mapping(uint64 slot => mapping(uint256 order => uint256)) private _words;

    event PaidIn(address indexed owner, uint256 tokenUnits);
    event PaidOut(address indexed owner, uint256 tokenUnits);
    event Opened(uint64 indexed slot, uint64 commitsEnd, uint64 revealsEnd);
    event Committed(uint64 indexed slot, uint256 indexed order, uint256 indexed account);
    event RevealedOrder(uint64 indexed slot, uint256 indexed order, uint256 account, int256 quantityWh, int256 price);
    event Forfeited(uint64 indexed slot, uint256 indexed order);
    /// @notice The fills are in the `fills` argument of the transaction that emitted this.
    event Cleared(uint64 indexed slot, address indexed solver, int256 price, uint256 volumeWh, uint256 orders);

    error NoAddress();
    error BadShare(uint64 kNumerator, uint64 kDenominator);
    error BadTimes(uint64 commitsEnd, uint64 revealsEnd);
    error AlreadyOpen(uint64 slot);
    error NotCommitting(uint64 slot, uint256 time);
    error NotRevealing(uint64 slot, uint256 time);
    error StillRevealing(uint64 slot, uint64 revealsEnd);
    error TooManyOrders(uint256 maximum);
    error BondNotFree(address owner, uint256 free, uint256 bond);
    error NotSealed(uint64 slot, uint256 order);
    error WrongOpening(uint64 slot, uint256 order);
    error OutOfRange(int256 quantityWh, int256 price);
    error AlreadyCleared(uint64 slot);
    error WrongFillCount(uint256 given, uint256 orders);
    error FilledUnrevealed(uint256 order);
    error ShortTransfer(uint256 expected, uint256 received);

    constructor(
        IERC20 currency_,
        Registry registry_,
        address treasury_,
        uint256 bond_,
        uint64 kNumerator_,
        uint64 kDenominator_
    ) {
        if (treasury_ == address(0)) revert NoAddress();
        if (kDenominator_ == 0 || kNumerator_ > kDenominator_) revert BadShare(kNumerator_, kDenominator_);
        currency = currency_;
        registry = registry_;
        treasury = treasury_;
        bond = bond_;
        kNumerator = kNumerator_;
        kDenominator = kDenominator_;
    }

    // --- bonds -----------------------------------------------------------------------------------------------------

    /// @notice Pay in token units, free to bond commitments with.
    function payIn(uint256 amount) external nonReentrant {
        freeOf[msg.sender] += amount;
        emit PaidIn(msg.sender, amount);
        uint256 before = currency.balanceOf(address(this));
        currency.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = currency.balanceOf(address(this)) - before;
        if (received != amount) revert ShortTransfer(amount, received);
    }

    /// @notice Take out all that is free.
    function payOut() external nonReentrant returns (uint256 amount) {
        amount = freeOf[msg.sender];
        delete freeOf[msg.sender];
        emit PaidOut(msg.sender, amount);
        currency.safeTransfer(msg.sender, amount);
    }

    // --- the life of an auction ------------------------------------------------------------------------------------

    /// @notice Open the auction of `slot`: commitments before `commitsEnd`, reveals from then until before `revealsEnd`.
    function open(uint64 slot, uint64 commitsEnd, uint64 revealsEnd) external {
        registry.checkOperator(msg.sender);
        if (commitsEnd <= block.timestamp || revealsEnd <= commitsEnd) revert BadTimes(commitsEnd, revealsEnd);
        if (auctionOf[slot].commitsEnd != 0) revert AlreadyOpen(slot);
        auctionOf[slot] = Auction(commitsEnd, revealsEnd, 0, false);
        emit Opened(slot, commitsEnd, revealsEnd);
    }

    /// @notice Bind an order without showing it; the order's number is its time priority.
    /// @param commitment `commitmentFor(slot, account, quantityWh, price, salt)`.
    function commit(uint64 slot, bytes32 commitment) external returns (uint256 order) {
        uint256 account = registry.accountOf(msg.sender);
        Auction storage auction = auctionOf[slot];
        if (block.timestamp >= auction.commitsEnd) revert NotCommitting(slot, block.timestamp);
        if (auction.orders == MAX_ORDERS) revert TooManyOrders(MAX_ORDERS);
        uint256 free = freeOf[msg.sender];
        if (free < bond) revert BondNotFree(msg.sender, free, bond);
        freeOf[msg.sender] = free - bond;
        order = auction.orders++;
        _words[slot][order] = uint256(commitment) | SEALED;
        emit Committed(slot, order, account);
    }

    /// @notice Show a committed order; its bond is free again.
    function reveal(uint64 slot, uint256 order, int48 quantityWh, int64 price, bytes32 salt) external {
        uint256 account = registry.accountOf(msg.sender);
        Auction storage auction = auctionOf[slot];
        if (block.timestamp < auction.commitsEnd || block.timestamp >= auction.revealsEnd) {
            revert NotRevealing(slot, block.timestamp);
        }
        uint256 word = _words[slot][order];
        if (word & SEALED == 0) revert NotSealed(slot, order);
        uint256 expected = uint256(commitmentFor(slot, account, quantityWh, price, salt)) | SEALED;
        if (word != expected) revert WrongOpening(slot, order);
        if (
            quantityWh == 0 || quantityWh > MAX_QUANTITY_WH || quantityWh < -MAX_QUANTITY_WH || price > MAX_PRICE
                || price < -MAX_PRICE
        ) revert OutOfRange(quantityWh, price);
        _words[slot][order] =
            REVEALED | account << 112 | uint256(uint48(quantityWh)) << 64 | uint256(uint64(price));
        freeOf[msg.sender] += bond;
        emit RevealedOrder(slot, order, account, quantityWh, price);
    }

    /// @notice After the reveals: give the bonds of unrevealed `orders` to the treasury. Anyone may; each counts once.
    function forfeit(uint64 slot, uint256[] calldata orders) external {
        _checkRevealed(slot);
        for (uint256 i = 0; i < orders.length; ++i) {
            if (_words[slot][orders[i]] & SEALED == 0) revert NotSealed(slot, orders[i]);
            delete _words[slot][orders[i]];
            emit Forfeited(slot, orders[i]);
        }
        freeOf[treasury] += bond * orders.length;
    }

    /// @notice Submit the clearing of `slot`: accepted only if it is the one that the rule gives.
    /// @param price micro-units per kWh; 0 where nothing trades.
    /// @param fills uint64 Wh for each order in its number's place, big endian; 0 for what was not revealed.
    function submitClearing(uint64 slot, int64 price, bytes calldata fills) external {
        _checkRevealed(slot);
        Auction storage auction = auctionOf[slot];
        if (auction.cleared) revert AlreadyCleared(slot);
        uint256 orders = auction.orders;
        if (fills.length != orders * FILL_BYTES) revert WrongFillCount(fills.length / FILL_BYTES, orders);
        auction.cleared = true;
        uint256 volumeWh = _check(slot, price, fills, orders);
        resultOf[slot] = Result(price, uint64(volumeWh), msg.sender);
        fillsOf[slot] = keccak256(fills);
        emit Cleared(slot, msg.sender, price, volumeWh, orders);
    }

    // --- to read ---------------------------------------------------------------------------------------------------

    /// @notice What a member commits to: bound to this contract and chain, the slot and the member.
    function commitmentFor(uint64 slot, uint256 account, int48 quantityWh, int64 price, bytes32 salt)
        public
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(block.chainid, address(this), slot, account, quantityWh, price, salt));
    }

    /// @notice The words of all orders of `slot`, as laid out above.
    function wordsOf(uint64 slot) external view returns (uint256[] memory words) {
        words = new uint256[](auctionOf[slot].orders);
        for (uint256 order = 0; order < words.length; ++order) {
            words[order] = _words[slot][order];
        }
    }

    // --- inside ----------------------------------------------------------------------------------------------------

    function _check(uint64 slot, int64 price, bytes calldata fills, uint256 orders) private view returns (uint256) {
        UniformPrice.Pass memory pass = UniformPrice.start(price);
        mapping(uint256 => uint256) storage words = _words[slot];
        for (uint256 order = 0; order < orders; ++order) {
            uint256 word = words[order];
            uint256 filledWh;
            assembly ("memory-safe") {
                filledWh := shr(192, calldataload(add(fills.offset, mul(order, 8))))
            }
            if (word & SEALED == 0 && word & REVEALED != 0) {
                pass.add(order, int48(uint48(word >> 64)), int64(uint64(word)), int256(filledWh));
            } else if (filledWh != 0) {
                revert FilledUnrevealed(order);
            }
        }
        return uint256(pass.finish(int256(uint256(kNumerator)), int256(uint256(kDenominator))));
    }

    function _checkRevealed(uint64 slot) private view {
        uint64 revealsEnd = auctionOf[slot].revealsEnd;
        if (revealsEnd == 0 || block.timestamp < revealsEnd) revert StillRevealing(slot, revealsEnd);
    }
}
