// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {Registry} from "./Registry.sol";
import {SlotSteps} from "./SlotSteps.sol";

/// @title Members' money behind batches of slots
/// @notice The chain knows what each member paid in and took out; the state of the batches says what it paid and received by
/// trading. So money in and out never touches the state, and whoever has the batches has everything.
///
/// Collateral of an account for a batch = paid in before the batch was posted - asked back before the batch before it. So the
/// operator can always post the batch that is under way when a member asks, and must have heard of it for the next: while a
/// batch is under way nobody's collateral for it can fall. Nobody asks for more than is its own: paid in - asked back - what
/// its trades came to by the last batch that stands.
/// Asked-back money is paid once a batch is final that knew of it; no pause and no operator can stop that. Where the operator
/// posts nothing for `exitTimeout`, anyone halts the contract for good, and every member takes out all it has, by a
/// Merkle proof against the last state.
/// Units: accounts in nano-units of currency, token amounts in the token's smallest unit.
abstract contract BatchEscrow is Pausable, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using Checkpoints for Checkpoints.Trace208;

    struct Leaving {
        uint128 amountNano;
        uint48 era; // a final batch of this era or a later one pays it
        uint32 batches; // that stood when it was asked; by the state after the last of them it was bounded
        uint48 lastEra; // of that last one
    }

    /// @dev Bound on all money in the contract, in nano-units: every sum of it fits in int128.
    uint256 private constant MAX_ESCROW_NANO = 1 << 120;

    IERC20 public immutable currency;
    Registry public immutable registry;
    uint256 public immutable nanoPerTokenUnit;
    /// @notice Seconds without a batch after which anyone may halt.
    uint64 public immutable exitTimeout;

    /// @notice Batches ever posted, those taken back included: the clock by which collateral is counted.
    uint48 public era;
    /// @notice When the last batch that stands was posted, Unix seconds; of none, when this contract was made. A batch that was
    /// proved wrong is no sign of life: who posts wrong ones holds nobody's money up.
    uint64 public lastAct;
    /// @notice No batch comes any more: members exit.
    bool public halted;

    mapping(uint256 account => Leaving) public leavingOf;
    mapping(uint256 account => bool) public exited;
    mapping(uint256 account => Checkpoints.Trace208) private _paidIn;
    mapping(uint256 account => Checkpoints.Trace208) private _takenOut;

    event Deposited(uint256 indexed account, address indexed payer, uint256 amountNano);
    event WithdrawalRequested(uint256 indexed account, uint256 amountNano, uint64 era);
    event Withdrawn(uint256 indexed account, address indexed to, uint256 tokenUnits);
    event Halted(uint64 lastAct);
    event Exited(uint256 indexed account, address indexed to, uint256 tokenUnits);

    error TooManyDecimals(uint8 decimals);
    error BadTimes(uint64 fraudWindow, uint64 exitTimeout);
    error NothingToDeposit();
    error LengthMismatch(uint256 accounts, uint256 amounts);
    error DepositTooLarge(uint256 escrowNano, uint256 maximum);
    error ShortTransfer(uint256 expected, uint256 received);
    error AmountTooLarge(uint256 amountNano);
    error MoreThanOwn(uint256 account, uint256 amountNano, int256 ownNano);
    error RequestFounded(uint256 account);
    error NothingToWithdraw(uint256 account);
    error BatchTooOld(uint64 era, uint64 needed);
    error NotInState(uint256 account, uint256 word);
    error AlreadyHalted();
    error NotHalted();
    error OperatorActive(uint64 until);
    error AlreadyExited(uint256 account);

    constructor(IERC20Metadata currency_, Registry registry_, uint64 exitTimeout_) {
        uint8 decimals = currency_.decimals();
        if (decimals > 9) revert TooManyDecimals(decimals);
        currency = currency_;
        registry = registry_;
        nanoPerTokenUnit = 10 ** (9 - decimals);
        exitTimeout = exitTimeout_;
        lastAct = uint64(block.timestamp);
    }

    // --- money in --------------------------------------------------------------------------------------------------

    /// @notice Pay `tokenUnits` into `account`; anyone may pay for anyone. It counts from the next batch.
    function deposit(uint256 account, uint256 tokenUnits) external nonReentrant whenNotPaused {
        _pay(account, tokenUnits);
        _takeIn(tokenUnits);
    }

    /// @notice Pay `tokenUnits[i]` into `accounts[i]`, in one transfer.
    function depositMany(uint256[] calldata accounts, uint256[] calldata tokenUnits) external nonReentrant whenNotPaused {
        if (accounts.length != tokenUnits.length) revert LengthMismatch(accounts.length, tokenUnits.length);
        uint256 total = 0;
        for (uint256 i = 0; i < accounts.length; ++i) {
            _pay(accounts[i], tokenUnits[i]);
            total += tokenUnits[i];
        }
        _takeIn(total);
    }

    // --- money out -------------------------------------------------------------------------------------------------

    /// @notice Ask for `amountNano` back; it replaces what was asked before, zero cancels and needs no proof. From the batch after
    /// next on it backs no trade any more; what is asked for no longer backs trades again at once.
    /// @param word of the caller's account in the state after the last batch that stands, final or not, with its Merkle `proof`;
    /// of no use where the account came after that batch, or there is none.
    /// @dev Who asks while a batch is posted is refused, `NotInState`, and asks again by the new state. An older state is of no
    /// use: what was paid since would be asked for as well. An operator cannot go on like that, since a post takes slots that
    /// oracles attested. A batch that is taken back may have credited its member with anything, and a request that it bounded
    /// can be dropped by anybody (`dropUnfounded`).
    function requestWithdrawal(uint256 amountNano, uint256 word, bytes32[] calldata proof) external {
        uint256 account = _member();
        if (amountNano > MAX_ESCROW_NANO) revert AmountTooLarge(amountNano);
        Leaving memory before = leavingOf[account];
        (bytes32 root, uint256 members, uint32 batches, uint48 lastEra) = _standing();
        if (amountNano != 0) {
            int256 ownNano = collateralOf(account) + int256(uint256(before.amountNano))
                - _runningPayment(root, members, account, word, proof);
            if (int256(amountNano) > ownNano) revert MoreThanOwn(account, amountNano, ownNano);
        }
        _release(account, before, before.amountNano);
        leavingOf[account] = Leaving(uint128(amountNano), era, batches, lastEra);
        _setTakenOut(account, _takenOut[account].latest() + amountNano);
        emit WithdrawalRequested(account, amountNano, era);
    }

    /// @notice Anyone may drop a request that was bounded by a state which was taken back since: its member may not own so much.
    /// The member can ask again.
    function dropUnfounded(uint256 account) external {
        Leaving memory leaving = leavingOf[account];
        if (leaving.amountNano == 0 || _stands(leaving.batches, leaving.lastEra)) revert RequestFounded(account);
        delete leavingOf[account];
        _release(account, leaving, leaving.amountNano);
        emit WithdrawalRequested(account, 0, era);
    }

    /// @notice Pay the caller what it asked for, less what its collateral lacks for its trades; the rest of it, and what makes
    /// no whole token unit, goes back to its collateral. What anybody paid in for it after the batch that was under way when it
    /// asked makes up for nothing here: it is there for the trades since.
    /// @param index of a final batch whose era is that of the request or a later one.
    /// @param word of the caller's account in the state after that batch, with its Merkle `proof`.
    function withdraw(uint256 index, uint256 word, bytes32[] calldata proof)
        external
        nonReentrant
        returns (uint256 tokenUnits)
    {
        uint256 account = _member();
        Leaving memory leaving = leavingOf[account];
        (bytes32 root, uint256 members, uint64 batchEra) = _finalState(index);
        if (batchEra < leaving.era) revert BatchTooOld(batchEra, leaving.era);
        int256 backing = int256(uint256(_paidIn[account].upperLookupRecent(leaving.era)))
            - int256(uint256(_takenOut[account].latest()));
        int256 lacking = _runningPayment(root, members, account, word, proof) - backing;
        uint256 amountNano = leaving.amountNano;
        if (lacking > 0) amountNano -= uint256(lacking) < amountNano ? uint256(lacking) : amountNano;
        tokenUnits = amountNano / nanoPerTokenUnit;
        if (tokenUnits == 0) revert NothingToWithdraw(account);
        delete leavingOf[account];
        _release(account, leaving, leaving.amountNano - tokenUnits * nanoPerTokenUnit);
        emit Withdrawn(account, msg.sender, tokenUnits);
        currency.safeTransfer(msg.sender, tokenUnits);
    }

    /// @notice Anyone may end it where the operator has posted nothing for `exitTimeout` seconds, paused or not.
    function halt() external {
        if (halted) revert AlreadyHalted();
        if (block.timestamp < lastAct + exitTimeout) revert OperatorActive(lastAct + exitTimeout);
        halted = true;
        emit Halted(lastAct);
    }

    /// @notice After a halt: pay the caller all that is its own, once: paid in - taken out - what its trades came to.
    /// @param word and `proof` as in `withdraw`, against the last batch; of no use where no batch was ever posted.
    function exit(uint256 word, bytes32[] calldata proof) external nonReentrant returns (uint256 tokenUnits) {
        if (!halted) revert NotHalted();
        uint256 account = _member();
        (bytes32 root, uint256 members,,) = _standing(); // final: the time-out is longer than the fraud window
        int256 own = collateralOf(account) + int256(uint256(leavingOf[account].amountNano))
            - _runningPayment(root, members, account, word, proof);
        tokenUnits = own > 0 ? uint256(own) / nanoPerTokenUnit : 0;
        if (tokenUnits == 0) revert NothingToWithdraw(account);
        exited[account] = true;
        delete leavingOf[account];
        emit Exited(account, msg.sender, tokenUnits);
        currency.safeTransfer(msg.sender, tokenUnits);
    }

    // --- to read ---------------------------------------------------------------------------------------------------

    /// @notice What backs the account's trades from the next batch on, nano: paid in less asked back. Negative where what it earned
    /// was asked back too.
    function collateralOf(uint256 account) public view returns (int256) {
        return int256(uint256(_paidIn[account].latest())) - int256(uint256(_takenOut[account].latest()));
    }

    /// @notice What backed the account's trades in a batch of `batchEra`, nano.
    function collateralAt(uint256 account, uint48 batchEra) public view returns (int256) {
        uint256 paidIn = _paidIn[account].upperLookupRecent(batchEra);
        return int256(paidIn) - int256(uint256(_takenOut[account].upperLookupRecent(batchEra)));
    }

    // --- inside ----------------------------------------------------------------------------------------------------

    /// @dev Root, member count and era of batch `index`; reverts where it is not final.
    function _finalState(uint256 index) internal view virtual returns (bytes32 root, uint256 members, uint64 batchEra);

    /// @dev Root and member count after the last batch that stands, final or not, how many stand, and the era of the last; of
    /// none, the empty state.
    function _standing() internal view virtual returns (bytes32 root, uint256 members, uint32 batches, uint48 lastEra);

    /// @dev Whether the first `batches` still stand, the last of them of `lastEra`.
    function _stands(uint32 batches, uint48 lastEra) internal view virtual returns (bool);

    function _pay(uint256 account, uint256 tokenUnits) private {
        registry.checkGate(registry.ownerOf(account));
        if (tokenUnits == 0) revert NothingToDeposit();
        _credit(account, tokenUnits * nanoPerTokenUnit);
    }

    function _takeIn(uint256 tokenUnits) private {
        if (halted) revert AlreadyHalted();
        if (tokenUnits == 0) revert NothingToDeposit();
        uint256 escrowNano = (currency.balanceOf(address(this)) + tokenUnits) * nanoPerTokenUnit;
        if (escrowNano > MAX_ESCROW_NANO) revert DepositTooLarge(escrowNano, MAX_ESCROW_NANO);
        _take(tokenUnits);
    }

    function _credit(uint256 account, uint256 amountNano) internal {
        _paidIn[account].push(era, SafeCast.toUint208(_paidIn[account].latest() + amountNano));
        emit Deposited(account, msg.sender, amountNano);
    }

    function _take(uint256 tokenUnits) internal {
        uint256 before = currency.balanceOf(address(this));
        currency.safeTransferFrom(msg.sender, address(this), tokenUnits);
        uint256 received = currency.balanceOf(address(this)) - before;
        if (received != tokenUnits) revert ShortTransfer(tokenUnits, received);
    }

    /// @dev Effective one batch later than it is said: the batch under way may still use the money.
    function _setTakenOut(uint256 account, uint256 amountNano) private {
        _takenOut[account].push(era + 1, SafeCast.toUint208(amountNano));
    }

    /// @dev So much of `leaving` is not asked for any more and backs trades again at once: where it was missing already, as if it
    /// were paid in now, else by not going out.
    function _release(uint256 account, Leaving memory leaving, uint256 amountNano) private {
        if (amountNano == 0) return;
        if (leaving.era == era) _setTakenOut(account, _takenOut[account].latest() - amountNano);
        else _paidIn[account].push(era, SafeCast.toUint208(_paidIn[account].latest() + amountNano));
    }

    function _member() private view returns (uint256 account) {
        account = registry.accountOf(msg.sender);
        if (exited[account]) revert AlreadyExited(account);
    }

    /// @dev An account that came after the state has traded nothing.
    function _runningPayment(bytes32 root, uint256 members, uint256 account, uint256 word, bytes32[] calldata proof)
        private
        pure
        returns (int256)
    {
        if (account >= members) return 0;
        if (!MerkleProof.verifyCalldata(proof, root, SlotSteps.accountLeaf(account, word))) {
            revert NotInState(account, word);
        }
        return SlotSteps.paymentOf(word);
    }
}
