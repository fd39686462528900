// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title Payments by the second between two parties
/// @notice Two parties put in deposits and then exchange signed running balances off the chain, as often as they like. The chain
/// sees the opening and the close. Both agree: paid at once. One alone: it shows a balance that both signed, and for the
/// challenge period anyone (a watchtower needs no permission) may replace it by a later one; then it is paid.
///
/// Units: payments in nano-units of currency, positive when the first party pays the second; energy in watt-seconds, positive
/// when the first party took it; token amounts in the token's smallest unit. A balance carries `remainder`, in 1/3,600 of a
/// nano-unit, so that prices per kWh and energies per second never lose anything. What is left below a token unit at the close
/// stays with the first party.
contract PaymentChannels is EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    struct Balance {
        uint256 channel;
        uint64 sequence; // later balances have larger ones; 0 is the opening
        int128 paymentNano;
        int128 energyWs;
        uint16 remainder;
    }

    struct Channel {
        address first;
        uint64 closesAt; // Unix seconds from which it may be paid; 0 while it is open
        address second;
        uint64 sequence; // of the balance shown
        uint128 firstDeposit;
        uint128 secondDeposit;
        int128 paymentNano;
        uint64 challengePeriod;
        bool paid;
    }

    /// @notice EIP-712 type of a running balance, good to close alone.
    bytes32 public constant BALANCE_TYPEHASH = keccak256(
        "Balance(uint256 channel,uint64 sequence,int128 paymentNano,int128 energyWs,uint16 remainder)"
    );
    /// @notice EIP-712 type of a last balance, good to be paid at once. Another type, so that no running balance can be.
    bytes32 public constant LAST_TYPEHASH =
        keccak256("Last(uint256 channel,uint64 sequence,int128 paymentNano,int128 energyWs,uint16 remainder)");

    uint64 public constant MAX_CHALLENGE_PERIOD = 30 days;

    IERC20 public immutable currency;
    int256 public immutable nanoPerTokenUnit;

    mapping(uint256 number => Channel) public channelOf;
    uint256 public channels;
    /// @notice Token units that closed channels left for a party.
    mapping(address party => uint256) public creditOf;

    event Opened(uint256 indexed channel, address indexed first, address indexed second, uint64 challengePeriod);
    event Funded(uint256 indexed channel, address indexed party, uint256 amount);
    event Shown(uint256 indexed channel, uint64 sequence, int128 paymentNano, int128 energyWs, uint64 closesAt);
    event Paid(uint256 indexed channel, uint64 sequence, uint256 toFirst, uint256 toSecond);
    event Collected(address indexed party, uint256 amount);

    error TooManyDecimals(uint8 decimals);
    error BadParties(address first, address second);
    error BadPeriod(uint64 challengePeriod, uint64 maximum);
    error NotParty(uint256 channel, address caller);
    error NotOpen(uint256 channel);
    error NotClosing(uint256 channel);
    error AlreadyPaid(uint256 channel);
    error WrongSigner(address expected, address signer);
    error NotLater(uint64 sequence, uint64 shown);
    error PaymentBeyondDeposit(int256 tokenUnits, uint256 firstDeposit, uint256 secondDeposit);
    error ChallengeOver(uint256 channel, uint64 closesAt);
    error ChallengeOpen(uint256 channel, uint64 closesAt);
    error ShortTransfer(uint256 expected, uint256 received);

    constructor(IERC20Metadata currency_) EIP712("Walras Payment Channels", "1") {
        uint8 decimals = currency_.decimals();
        if (decimals > 9) revert TooManyDecimals(decimals);
        currency = currency_;
        nanoPerTokenUnit = int256(10 ** (9 - decimals));
    }

    // --- opening ---------------------------------------------------------------------------------------------------

    /// @notice Open a channel from the caller to `second` and fund it with `amount`.
    /// @param challengePeriod seconds in which a balance shown by one party alone can be replaced by a later one.
    function open(address second, uint64 challengePeriod, uint128 amount) external returns (uint256 number) {
        if (second == address(0) || second == msg.sender) revert BadParties(msg.sender, second);
        if (challengePeriod == 0 || challengePeriod > MAX_CHALLENGE_PERIOD) {
            revert BadPeriod(challengePeriod, MAX_CHALLENGE_PERIOD);
        }
        number = ++channels;
        Channel storage channel = channelOf[number];
        channel.first = msg.sender;
        channel.second = second;
        channel.challengePeriod = challengePeriod;
        emit Opened(number, msg.sender, second, challengePeriod);
        fund(number, amount);
    }

    /// @notice Add to the caller's own deposit while the channel is open.
    function fund(uint256 number, uint128 amount) public nonReentrant {
        Channel storage channel = channelOf[number];
        _checkOpen(number, channel);
        if (msg.sender == channel.first) channel.firstDeposit += amount;
        else if (msg.sender == channel.second) channel.secondDeposit += amount;
        else revert NotParty(number, msg.sender);
        emit Funded(number, msg.sender, amount);
        uint256 before = currency.balanceOf(address(this));
        currency.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = currency.balanceOf(address(this)) - before;
        if (received != amount) revert ShortTransfer(amount, received);
    }

    // --- closing ---------------------------------------------------------------------------------------------------

    /// @notice Settle at once by a last balance that both signed as such. Works while open and during a challenge.
    function closeTogether(Balance calldata last, bytes calldata firstSignature, bytes calldata secondSignature)
        external
    {
        Channel storage channel = channelOf[last.channel];
        if (channel.first == address(0)) revert NotOpen(last.channel);
        if (channel.paid) revert AlreadyPaid(last.channel);
        _checkSigned(LAST_TYPEHASH, last, channel, firstSignature, secondSignature);
        _show(last, channel);
        _pay(last.channel, channel);
    }

    /// @notice Begin to close alone, by the latest balance that both signed.
    function closeAlone(Balance calldata balance, bytes calldata firstSignature, bytes calldata secondSignature) external {
        Channel storage channel = channelOf[balance.channel];
        _checkOpen(balance.channel, channel);
        _checkParty(balance.channel, channel);
        _checkSigned(BALANCE_TYPEHASH, balance, channel, firstSignature, secondSignature);
        channel.closesAt = uint64(block.timestamp) + channel.challengePeriod;
        _show(balance, channel);
    }

    /// @notice Begin to close alone where nothing was ever signed: everybody gets back what it put in.
    function closeUnused(uint256 number) external {
        Channel storage channel = channelOf[number];
        _checkOpen(number, channel);
        _checkParty(number, channel);
        channel.closesAt = uint64(block.timestamp) + channel.challengePeriod;
        emit Shown(number, 0, 0, 0, channel.closesAt);
    }

    /// @notice Replace the balance shown by a later one. Anyone may, until the challenge period is over.
    function challenge(Balance calldata balance, bytes calldata firstSignature, bytes calldata secondSignature) external {
        Channel storage channel = channelOf[balance.channel];
        uint64 closesAt = channel.closesAt;
        if (closesAt == 0) revert NotClosing(balance.channel);
        if (channel.paid) revert AlreadyPaid(balance.channel);
        if (block.timestamp >= closesAt) revert ChallengeOver(balance.channel, closesAt);
        if (balance.sequence <= channel.sequence) revert NotLater(balance.sequence, channel.sequence);
        _checkSigned(BALANCE_TYPEHASH, balance, channel, firstSignature, secondSignature);
        _show(balance, channel);
    }

    /// @notice Pay what is shown once the challenge period is over. Anyone may.
    function finish(uint256 number) external {
        Channel storage channel = channelOf[number];
        uint64 closesAt = channel.closesAt;
        if (closesAt == 0) revert NotClosing(number);
        if (channel.paid) revert AlreadyPaid(number);
        if (block.timestamp < closesAt) revert ChallengeOpen(number, closesAt);
        _pay(number, channel);
    }

    /// @notice Take out what closed channels left for the caller. Apart from the close, so that a party whom the token refuses
    /// holds up nobody else.
    function collect() external nonReentrant returns (uint256 amount) {
        amount = creditOf[msg.sender];
        delete creditOf[msg.sender];
        emit Collected(msg.sender, amount);
        currency.safeTransfer(msg.sender, amount);
    }

    // --- to read ---------------------------------------------------------------------------------------------------

    /// @notice What both sign (EIP-712): `last` false for a running balance, true for one to be paid at once.
    function digestOf(Balance calldata balance, bool last) external view returns (bytes32) {
        return _digest(last ? LAST_TYPEHASH : BALANCE_TYPEHASH, balance);
    }

    // --- inside ----------------------------------------------------------------------------------------------------

    function _show(Balance calldata balance, Channel storage channel) private {
        _checkCovered(balance.paymentNano, channel);
        channel.sequence = balance.sequence;
        channel.paymentNano = balance.paymentNano;
        emit Shown(balance.channel, balance.sequence, balance.paymentNano, balance.energyWs, channel.closesAt);
    }

    function _pay(uint256 number, Channel storage channel) private {
        channel.paid = true;
        int256 units = _units(channel.paymentNano);
        uint256 toFirst = uint256(int256(uint256(channel.firstDeposit)) - units);
        uint256 toSecond = uint256(int256(uint256(channel.secondDeposit)) + units);
        creditOf[channel.first] += toFirst;
        creditOf[channel.second] += toSecond;
        emit Paid(number, channel.sequence, toFirst, toSecond);
    }

    function _checkOpen(uint256 number, Channel storage channel) private view {
        if (channel.first == address(0) || channel.closesAt != 0 || channel.paid) revert NotOpen(number);
    }

    function _checkParty(uint256 number, Channel storage channel) private view {
        if (msg.sender != channel.first && msg.sender != channel.second) revert NotParty(number, msg.sender);
    }

    function _checkSigned(
        bytes32 typehash,
        Balance calldata balance,
        Channel storage channel,
        bytes calldata firstSignature,
        bytes calldata secondSignature
    ) private view {
        bytes32 digest = _digest(typehash, balance);
        address signer = ECDSA.recoverCalldata(digest, firstSignature);
        if (signer != channel.first) revert WrongSigner(channel.first, signer);
        signer = ECDSA.recoverCalldata(digest, secondSignature);
        if (signer != channel.second) revert WrongSigner(channel.second, signer);
    }

    function _checkCovered(int128 paymentNano, Channel storage channel) private view {
        int256 units = _units(paymentNano);
        if (units > int256(uint256(channel.firstDeposit)) || -units > int256(uint256(channel.secondDeposit))) {
            revert PaymentBeyondDeposit(units, channel.firstDeposit, channel.secondDeposit);
        }
    }

    /// @dev Whole token units, rounded down: towards the first party.
    function _units(int128 paymentNano) private view returns (int256 units) {
        units = int256(paymentNano) / nanoPerTokenUnit;
        if (units * nanoPerTokenUnit > paymentNano) --units;
    }

    function _digest(bytes32 typehash, Balance calldata balance) private view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    typehash,
                    balance.channel,
                    balance.sequence,
                    balance.paymentNano,
                    balance.energyWs,
                    balance.remainder
                )
            )
        );
    }
}
