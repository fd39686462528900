// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {AtomicDelivery} from "./AtomicDelivery.sol";

/// @title Quotes signed off the chain, filled on it
/// @notice A maker signs what it would sell or buy, at what price, until when; whoever holds the quote (or the one taker it names)
/// fills it, whole or in parts, and right and money change hands in one transaction. Signing costs nothing and locks nothing up;
/// the maker's approvals bound what it can lose, and it can cancel at any time.
/// Amounts in units of the right (Wh; a lot is 1), prices in nano-units of currency for one unit, expiry in Unix seconds.
/// Token units are rounded in the maker's favour, by less than one unit over the whole quote.
/// @dev A quote holds for one contract on one chain (EIP-712 domain). A nonce belongs to the first quote that is filled under it:
/// two quotes with one nonce are alternatives. Makers may be contracts (ERC-1271).
contract SignedQuotes is AtomicDelivery, EIP712 {
    struct Quote {
        address maker;
        address taker; // zero: anybody
        bool makerSells;
        Right right;
        uint128 amount; // at most, over all fills
        uint128 priceNano; // for one unit
        uint64 nonce;
        uint64 expiry; // the first second in which it holds no more
    }

    bytes32 public constant QUOTE_TYPEHASH = keccak256(
        "Quote(address maker,address taker,bool makerSells,Right right,uint128 amount,uint128 priceNano,uint64 nonce,uint64 expiry)"
        "Right(address token,uint256 id,bool isLot)"
    );
    bytes32 public constant RIGHT_TYPEHASH = keccak256("Right(address token,uint256 id,bool isLot)");

    /// @notice What a nonce was used for. Both in one word, so that a first fill writes one.
    struct Use {
        bytes16 quote; // head of its digest; 1: cancelled; 0: free
        uint128 filled;
    }

    bytes16 private constant CANCELLED = bytes16(uint128(1));

    /// @dev Half a digest is enough here: two quotes with one head are found with 2^64 work by their maker alone, who then shares
    /// one amount between them; every fill needs the maker's signature over the whole digest.
    mapping(address maker => mapping(uint64 nonce => Use)) public useOf;
    /// @notice Nonces below it are cancelled.
    mapping(address maker => uint64) public nonceFloorOf;

    event Filled(
        bytes32 indexed digest, address indexed maker, address indexed taker, uint128 amount, uint256 tokenUnits, uint64 nonce
    );
    event Cancelled(address indexed maker, uint64 nonce);
    event FloorRaised(address indexed maker, uint64 nonceFloor);

    error QuoteExpired(uint64 expiry, uint256 time);
    error NotForYou(address taker, address caller);
    error WithYourself();
    error WrongSignature(address maker);
    error NonceUsed(address maker, uint64 nonce);
    error Overfilled(uint128 filled, uint128 wanted, uint128 amount);
    error NotRaised(uint64 nonceFloor, uint64 wanted);

    constructor(IERC20Metadata currency_) AtomicDelivery(currency_) EIP712("Walras Signed Quotes", "1") {}

    /// @notice Fill `amount` of `quote` with the caller as the other side.
    /// @return tokenUnits that changed hands.
    function fill(Quote calldata quote, bytes calldata signature, uint128 amount)
        external
        nonReentrant
        returns (uint256 tokenUnits)
    {
        _checkAmount(quote.right.isLot, amount);
        _checkAmount(quote.right.isLot, quote.amount);
        if (block.timestamp >= quote.expiry) revert QuoteExpired(quote.expiry, block.timestamp);
        if (quote.taker != address(0) && quote.taker != msg.sender) revert NotForYou(quote.taker, msg.sender);
        if (quote.maker == msg.sender) revert WithYourself();
        bytes32 digest = digestOf(quote);
        Use memory known = useOf[quote.maker][quote.nonce];
        if (quote.nonce < nonceFloorOf[quote.maker] || (known.quote != 0 && known.quote != bytes16(digest))) {
            revert NonceUsed(quote.maker, quote.nonce);
        }
        uint128 filled = known.filled;
        if (amount > quote.amount - filled) revert Overfilled(filled, amount, quote.amount);
        if (!SignatureChecker.isValidSignatureNowCalldata(quote.maker, digest, signature)) revert WrongSignature(quote.maker);
        useOf[quote.maker][quote.nonce] = Use(bytes16(digest), filled + amount);
        tokenUnits = _price(filled, amount, quote.priceNano, quote.makerSells);
        emit Filled(digest, quote.maker, msg.sender, amount, tokenUnits, quote.nonce);
        (address seller, address buyer) = quote.makerSells ? (quote.maker, msg.sender) : (msg.sender, quote.maker);
        _pay(buyer, seller, tokenUnits);
        _deliver(quote.right, seller, buyer, amount);
    }

    /// @notice Take back whatever the caller signed under `nonce`, also what is left of a part-filled quote.
    function cancel(uint64 nonce) external {
        useOf[msg.sender][nonce].quote = CANCELLED;
        emit Cancelled(msg.sender, nonce);
    }

    /// @notice Take back everything the caller signed under nonces below `nonceFloor`.
    function raiseFloor(uint64 nonceFloor) external {
        uint64 present = nonceFloorOf[msg.sender];
        if (nonceFloor <= present) revert NotRaised(present, nonceFloor);
        nonceFloorOf[msg.sender] = nonceFloor;
        emit FloorRaised(msg.sender, nonceFloor);
    }

    /// @notice How much of `quote` was filled; 0 too where its nonce was cancelled or used for another.
    function filledOf(Quote calldata quote) external view returns (uint128) {
        Use memory known = useOf[quote.maker][quote.nonce];
        return known.quote == bytes16(digestOf(quote)) ? known.filled : 0;
    }

    /// @notice What the maker signs (EIP-712).
    function digestOf(Quote calldata quote) public view returns (bytes32) {
        Right calldata right = quote.right;
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    QUOTE_TYPEHASH,
                    quote.maker,
                    quote.taker,
                    quote.makerSells,
                    keccak256(abi.encode(RIGHT_TYPEHASH, right.token, right.id, right.isLot)),
                    quote.amount,
                    quote.priceNano,
                    quote.nonce,
                    quote.expiry
                )
            )
        );
    }
}
