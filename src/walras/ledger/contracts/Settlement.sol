// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Registry} from "./Registry.sol";

/// @title Payment against delivery
/// @notice Members keep money in escrow here. Once per slot the operator hands in everybody's net position; the contract
/// moves money and energy in one transaction, and only if a quorum of oracles attested the readings of that very slot,
/// payments and energy each sum to exactly zero, and nobody is drawn below zero. It never trusts the operator's arithmetic.
///
/// Units: money on accounts in nano-units of currency, energy in watt-hours; token amounts in the token's own smallest unit.
/// Signs: a payment is positive when the member pays; energy is positive when the member takes it from the grid.
///
/// @dev An account is one storage word: `energy (int128, Wh) | balance (uint128, nano)`, energy in the high half. The words
/// sit in a fixed array, so that an account costs one cold read and one write a slot and no hash.
contract Settlement is EIP712, Pausable, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    struct Header {
        bytes32 readingsRoot; // what the oracles attested: Merkle root of the slot's readings
        bytes32 tradesRoot; // Merkle root of the single trades, for audit
        bytes32 journalHead; // hash of the operator's journal up to this settlement
    }

    struct Withdrawal {
        uint128 amountNano;
        uint64 availableAt; // Unix seconds
    }

    /// @notice EIP-712 type of what an oracle signs; chain and contract are in the domain.
    bytes32 public constant ATTESTATION_TYPEHASH = keccak256("Attestation(uint64 slot,bytes32 readingsRoot)");

    /// @notice EIP-712 type of what an oracle signs to attest other readings for a slot that is settled already.
    bytes32 public constant CORRECTION_TYPEHASH =
        keccak256("Correction(uint64 slot,uint64 revision,bytes32 readingsRoot)");

    /// @notice Longest time between asking for a withdrawal and getting it: 7 days in seconds.
    uint64 public constant MAX_WITHDRAWAL_DELAY = 7 days;

    /// @dev Packed position: account uint16 | payment int64 (nano) | energy int48 (Wh), big endian: 16 bytes.
    uint256 private constant POSITION_BYTES = 16;
    uint256 private constant BALANCE_MASK = type(uint128).max;
    uint256 private constant MAX_ESCROW_NANO = type(uint128).max >> 1;

    IERC20 public immutable currency;
    Registry public immutable registry;
    /// @notice Nano-units in one smallest unit of the token: 1,000 for a token with six decimals.
    uint256 public immutable nanoPerTokenUnit;
    /// @notice Seconds between asking for a withdrawal and getting it. Slots traded before it was asked settle within it.
    uint64 public immutable withdrawalDelay;

    /// @notice How many slots back a settled slot can be corrected; before that it is final. Counted in slots, so that a
    /// settlement need not store its time.
    uint64 public immutable correctionWindow;

    /// @notice The lowest slot index that may still be settled.
    uint64 public nextSlot;

    /// @notice keccak256(slot, readingsRoot, tradesRoot, journalHead, keccak256(positions)) of a settled slot, else 0:
    /// anything provable about a settled slot is proved against this word. A correction leaves it as it is.
    mapping(uint64 slot => bytes32) public commitmentOf;

    /// @notice The same over the corrected header and the differences, by revision 1, 2, ...; 0 where there is none.
    mapping(uint64 slot => mapping(uint64 revision => bytes32)) public correctionOf;

    /// @notice How often a slot was corrected.
    mapping(uint64 slot => uint64) public revisionOf;

    mapping(uint256 account => Withdrawal) public withdrawalOf;

    uint256[65_536] private _words;

    event Deposited(uint256 indexed account, address indexed payer, uint256 amountNano);
    event WithdrawalRequested(uint256 indexed account, uint256 amountNano, uint64 availableAt);
    event Withdrawn(uint256 indexed account, address indexed to, uint256 tokenUnits);
    /// @notice The positions themselves are the `positions` argument of the transaction that emitted this.
    event SlotSettled(
        uint64 indexed slot, bytes32 readingsRoot, bytes32 tradesRoot, bytes32 journalHead, uint256 participants
    );

    /// @notice The differences are the `differences` argument of the transaction that emitted this.
    event SlotCorrected(
        uint64 indexed slot,
        uint64 indexed revision,
        bytes32 readingsRoot,
        bytes32 tradesRoot,
        bytes32 journalHead,
        uint256 participants
    );

    error TooManyDecimals(uint8 decimals);
    error DelayTooLong(uint64 delay, uint64 maximum);
    error NoSuchAccount(uint256 account);
    error LengthMismatch(uint256 accounts, uint256 amounts);
    error NothingToDeposit();
    error DepositTooLarge(uint256 escrowNano, uint256 maximum);
    error ShortTransfer(uint256 expected, uint256 received);
    error SlotNotNext(uint64 slot, uint64 nextSlot);
    error SlotNotSettled(uint64 slot);
    error SlotFinal(uint64 slot, uint64 oldestCorrectable);
    error MalformedPositions(uint256 length);
    error AccountsNotSorted(uint256 account);
    error AccountBelowZero(uint256 account, uint256 balanceNano, int256 paymentNano);
    error PaymentsNotBalanced(int256 sumNano);
    error EnergyNotBalanced(int256 sumWh);
    error AmountTooLarge(uint256 amountNano);
    error NothingToWithdraw(uint256 account);
    error WithdrawalNotYet(uint256 account, uint64 availableAt);

    modifier onlyOperator() {
        registry.checkOperator(msg.sender);
        _;
    }

    /// @param currency_ an ERC-20 with at most nine decimals and no fee on transfers.
    /// @param withdrawalDelay_ seconds, at most MAX_WITHDRAWAL_DELAY.
    /// @param correctionWindow_ slots, see `correctionWindow`.
    constructor(IERC20Metadata currency_, Registry registry_, uint64 withdrawalDelay_, uint64 correctionWindow_)
        EIP712("Walras Settlement", "1")
    {
        uint8 decimals = currency_.decimals();
        if (decimals > 9) revert TooManyDecimals(decimals);
        if (withdrawalDelay_ > MAX_WITHDRAWAL_DELAY) revert DelayTooLong(withdrawalDelay_, MAX_WITHDRAWAL_DELAY);
        currency = currency_;
        registry = registry_;
        nanoPerTokenUnit = 10 ** (9 - decimals);
        withdrawalDelay = withdrawalDelay_;
        correctionWindow = correctionWindow_;
    }

    // --- escrow ----------------------------------------------------------------------------------------------------

    /// @notice Pay `tokenUnits[i]` into `accounts[i]`, all from the caller, in one transfer. Anyone may pay for anyone.
    function depositMany(uint256[] calldata accounts, uint256[] calldata tokenUnits) external nonReentrant whenNotPaused {
        if (accounts.length != tokenUnits.length) revert LengthMismatch(accounts.length, tokenUnits.length);
        uint256 members = registry.memberCount();
        bool gated = address(registry.gate()) != address(0);
        uint256 total = 0;
        for (uint256 i = 0; i < accounts.length; ++i) {
            if (accounts[i] >= members) revert NoSuchAccount(accounts[i]);
            if (gated) registry.checkGate(registry.ownerOf(accounts[i]));
            total += tokenUnits[i];
        }
        if (total == 0) revert NothingToDeposit();
        uint256 before = currency.balanceOf(address(this));
        // No account can hold more than the whole escrow: what fits here fits in every balance, now and later.
        uint256 escrowNano = (before + total) * nanoPerTokenUnit;
        if (escrowNano > MAX_ESCROW_NANO) revert DepositTooLarge(escrowNano, MAX_ESCROW_NANO);
        for (uint256 i = 0; i < accounts.length; ++i) {
            uint256 amountNano = tokenUnits[i] * nanoPerTokenUnit;
            _words[accounts[i]] += amountNano;
            emit Deposited(accounts[i], msg.sender, amountNano);
        }
        currency.safeTransferFrom(msg.sender, address(this), total);
        uint256 received = currency.balanceOf(address(this)) - before;
        if (received != total) revert ShortTransfer(total, received);
    }

    /// @notice Ask for `amountNano` of the caller's balance; it can be fetched after `withdrawalDelay` seconds. A new
    /// request replaces the one before and starts its delay anew; zero cancels. The money stays on the account meanwhile and
    /// still pays for slots already traded.
    function requestWithdrawal(uint256 amountNano) external {
        uint256 account = registry.accountOf(msg.sender);
        if (amountNano > BALANCE_MASK) revert AmountTooLarge(amountNano);
        uint64 availableAt = uint64(block.timestamp) + withdrawalDelay;
        withdrawalOf[account] = Withdrawal(uint128(amountNano), availableAt);
        emit WithdrawalRequested(account, amountNano, availableAt);
    }

    /// @notice Pay the caller what it asked for, at most its balance, in whole token units; what is left over of a token unit
    /// stays on the account. No pause and no operator can stop it.
    /// @return tokenUnits paid out.
    function withdraw() external nonReentrant returns (uint256 tokenUnits) {
        uint256 account = registry.accountOf(msg.sender);
        Withdrawal memory request = withdrawalOf[account];
        uint256 word = _words[account];
        uint256 balanceNano = word & BALANCE_MASK;
        uint256 amountNano = request.amountNano < balanceNano ? request.amountNano : balanceNano;
        tokenUnits = amountNano / nanoPerTokenUnit;
        if (tokenUnits == 0) revert NothingToWithdraw(account);
        if (block.timestamp < request.availableAt) revert WithdrawalNotYet(account, request.availableAt);
        delete withdrawalOf[account];
        _words[account] = word - tokenUnits * nanoPerTokenUnit;
        emit Withdrawn(account, msg.sender, tokenUnits);
        currency.safeTransfer(msg.sender, tokenUnits);
    }

    // --- settlement ------------------------------------------------------------------------------------------------

    /// @notice Settle `slot` with everybody's net position, or nothing at all.
    /// @param positions 16 bytes for each member taking part, by strictly increasing account:
    /// account uint16 | payment int64 (nano) | energy int48 (Wh), big endian, two's complement.
    /// @param signatures of the oracles over `attestationDigest(slot, readingsRoot)`, see `Registry.checkQuorum`.
    function settleSlot(uint64 slot, Header calldata header, bytes calldata positions, bytes calldata signatures)
        external
        onlyOperator
        whenNotPaused
    {
        if (slot < nextSlot || slot == type(uint64).max) revert SlotNotNext(slot, nextSlot);
        registry.checkQuorum(attestationDigest(slot, header.readingsRoot), signatures);
        nextSlot = slot + 1;
        commitmentOf[slot] = _commitment(slot, header, positions);
        _apply(positions);
        emit SlotSettled(
            slot, header.readingsRoot, header.tradesRoot, header.journalHead, positions.length / POSITION_BYTES
        );
    }

    /// @notice Correct a settled slot by differences, inside the window and only against a root that a quorum attested anew
    /// for this slot and revision. The differences keep the rules of positions: each sum is zero, nobody falls below zero.
    /// @param differences packed like positions: what each member pays and takes more (or less) than was settled.
    /// @param signatures over `correctionDigest(slot, revision, readingsRoot)` with the next revision.
    function correctSlot(uint64 slot, Header calldata header, bytes calldata differences, bytes calldata signatures)
        external
        onlyOperator
        whenNotPaused
    {
        if (commitmentOf[slot] == bytes32(0)) revert SlotNotSettled(slot);
        uint64 oldest = nextSlot > correctionWindow ? nextSlot - correctionWindow : 0;
        if (slot < oldest) revert SlotFinal(slot, oldest);
        uint64 revision = revisionOf[slot] + 1;
        registry.checkQuorum(correctionDigest(slot, revision, header.readingsRoot), signatures);
        revisionOf[slot] = revision;
        correctionOf[slot][revision] = _commitment(slot, header, differences);
        _apply(differences);
        emit SlotCorrected(
            slot,
            revision,
            header.readingsRoot,
            header.tradesRoot,
            header.journalHead,
            differences.length / POSITION_BYTES
        );
    }

    /// @notice Stop new deposits, settlements and corrections. Withdrawals go on.
    function pause() external onlyOperator {
        _pause();
    }

    function unpause() external onlyOperator {
        _unpause();
    }

    // --- to read ---------------------------------------------------------------------------------------------------

    /// @notice What an oracle signs (EIP-712) to attest `readingsRoot` for `slot` on this contract and chain.
    function attestationDigest(uint64 slot, bytes32 readingsRoot) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(ATTESTATION_TYPEHASH, slot, readingsRoot)));
    }

    /// @notice What an oracle signs (EIP-712) to attest `readingsRoot` as the `revision`-th correction of `slot`.
    function correctionDigest(uint64 slot, uint64 revision, bytes32 readingsRoot) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(CORRECTION_TYPEHASH, slot, revision, readingsRoot)));
    }

    /// @notice Balance in nano-units and running net energy in Wh (positive: taken from the grid) of `account`.
    function accountAt(uint256 account) external view returns (uint256 balanceNano, int256 energyWh) {
        return _split(_words[account]);
    }

    /// @notice The storage words of `accounts`: energy (int128, Wh) in the high half, balance (uint128, nano) in the low.
    function wordsOf(uint256[] calldata accounts) external view returns (uint256[] memory words) {
        words = new uint256[](accounts.length);
        for (uint256 i = 0; i < accounts.length; ++i) {
            words[i] = _words[accounts[i]];
        }
    }

    // --- inside ----------------------------------------------------------------------------------------------------

    /// @dev The hot loop. Unchecked is safe: at most 65,536 positions of 64 and 48 bits cannot overflow 256-bit sums; the
    /// balance stays within 128 bits because all balances together never exceed the escrow (`depositMany`) and payments sum
    /// to zero; energy would need 2^79 settlements to leave 128 bits. Accounts are below 2^16 by their width.
    function _apply(bytes calldata positions) private {
        if (positions.length % POSITION_BYTES != 0) revert MalformedPositions(positions.length);
        int256 paymentSum = 0;
        int256 energySum = 0;
        uint256 lowestFree = 0; // one above the account before: strictly increasing, so nobody comes twice
        unchecked {
            for (uint256 offset = 0; offset < positions.length; offset += POSITION_BYTES) {
                uint256 position;
                assembly ("memory-safe") {
                    position := calldataload(add(positions.offset, offset))
                }
                uint256 account = position >> 240;
                int256 paymentNano = int256(int64(uint64(position >> 176)));
                int256 energyWh = int256(int48(uint48(position >> 128)));
                if (account < lowestFree) revert AccountsNotSorted(account);
                lowestFree = account + 1;
                paymentSum += paymentNano;
                energySum += energyWh;
                (uint256 balance, int256 energy) = _split(_words[account]);
                if (int256(balance) < paymentNano) revert AccountBelowZero(account, balance, paymentNano);
                _words[account] = (uint256(energy + energyWh) << 128) | uint256(int256(balance) - paymentNano);
            }
        }
        if (paymentSum != 0) revert PaymentsNotBalanced(paymentSum);
        if (energySum != 0) revert EnergyNotBalanced(energySum);
        if (lowestFree > registry.memberCount()) revert NoSuchAccount(lowestFree - 1);
    }

    function _commitment(uint64 slot, Header calldata header, bytes calldata positions) private pure returns (bytes32) {
        return keccak256(
            abi.encode(slot, header.readingsRoot, header.tradesRoot, header.journalHead, keccak256(positions))
        );
    }

    function _split(uint256 word) private pure returns (uint256 balanceNano, int256 energyWh) {
        return (word & BALANCE_MASK, int256(word) >> 128);
    }
}
