// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {BatchWord} from "./BatchWord.sol";
import {FalseRoot} from "./FalseRoot.sol";
import {ReadingLeaf} from "./ReadingLeaf.sol";
import {MeterRegister} from "./MeterRegister.sol";
import {IOracleBond, Registry} from "./Registry.sol";
import {Settlement} from "./Settlement.sol";

/// @title What an oracle loses by saying two things, or what is provably false
/// @notice Oracles put in a stake before they are appointed. Two signatures of one oracle under different roots for the same
/// slot (or the same correction of a slot) convict it, and so do two words on batches of slots that contradict each other
/// (`BatchWord`), and its signature under a root that no honest readings have (`FalseRoot`), of a slot's settlement or of a
/// correction, whoever shows them and whenever: the whole stake goes, a share of it to whoever showed them, the rest to the
/// treasury, and the oracle is out of the set in the same transaction.
/// Amounts are in the token's smallest unit.
/// @dev Leaving takes `unbondingDelay` seconds after the oracle was rotated out, and the stake can be slashed all that time:
/// choose it longer than the correction window. With threshold m of n, two conflicting attested roots need 2m - n oracles that
/// signed both; a bribe must pay each of them more than its stake.
contract OracleBond is IOracleBond, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    struct Bond {
        uint128 amount;
        uint64 leavesAt; // Unix seconds from which the stake may be fetched; 0 while it is not leaving
        bool convicted; // for ever
    }

    uint256 private constant BASIS_POINTS = 10_000;

    IERC20 public immutable currency;
    Registry public immutable registry;
    Settlement public immutable settlement;
    /// @notice Whose keys judge whether a meter signed; zero: forgeries cannot be proved here.
    MeterRegister public immutable meters;
    address public immutable treasury;
    uint128 public immutable minimumStake;
    uint64 public immutable unbondingDelay;
    /// @notice Share of a slashed stake for whoever proved it, in basis points, at most half: convicting oneself never pays.
    uint16 public immutable reporterShare;

    mapping(address oracle => Bond) public bondOf;
    /// @notice Token units of slashed stakes that the treasury has not got yet.
    uint256 public treasuryDue;

    event Bonded(address indexed oracle, address indexed payer, uint256 amount);
    event LeaveRequested(address indexed oracle, uint64 leavesAt);
    event Left(address indexed oracle, uint256 amount);
    event TreasuryPaid(uint256 amount);
    event Slashed(address indexed oracle, address indexed reporter, uint64 indexed slot, uint256 stake, uint256 reward);

    error NoAddress();
    error ShareTooLarge(uint256 basisPoints);
    error Convicted(address oracle);
    error IsLeaving(address oracle);
    error StillAppointed(address oracle);
    error NothingBonded(address oracle);
    error NotYet(address oracle, uint64 leavesAt);
    error ShortTransfer(uint256 expected, uint256 received);
    error SameRoot(bytes32 root);
    error DifferentSigners(address first, address second);
    error NothingToSlash(address oracle);
    error NothingDue();

    constructor(
        Settlement settlement_,
        MeterRegister meters_,
        address treasury_,
        uint128 minimumStake_,
        uint64 unbondingDelay_,
        uint16 reporterShare_
    ) {
        if (treasury_ == address(0)) revert NoAddress();
        if (reporterShare_ > BASIS_POINTS / 2) revert ShareTooLarge(reporterShare_);
        settlement = settlement_;
        meters = meters_;
        registry = settlement_.registry();
        currency = settlement_.currency();
        treasury = treasury_;
        minimumStake = minimumStake_;
        unbondingDelay = unbondingDelay_;
        reporterShare = reporterShare_;
    }

    /// @notice Add `amount` to the stake of `oracle`, from the caller. Not for one that is convicted or leaving.
    function bond(address oracle, uint128 amount) external nonReentrant {
        Bond storage stake = bondOf[oracle];
        if (stake.convicted) revert Convicted(oracle);
        if (stake.leavesAt != 0) revert IsLeaving(oracle);
        stake.amount += amount;
        emit Bonded(oracle, msg.sender, amount);
        uint256 before = currency.balanceOf(address(this));
        currency.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = currency.balanceOf(address(this)) - before;
        if (received != amount) revert ShortTransfer(amount, received);
    }

    /// @notice Start to leave; only for an oracle that is not appointed now.
    function requestLeave() external {
        Bond storage stake = bondOf[msg.sender];
        if (registry.isOracle(msg.sender)) revert StillAppointed(msg.sender);
        if (stake.amount == 0) revert NothingBonded(msg.sender);
        if (stake.leavesAt != 0) revert IsLeaving(msg.sender);
        stake.leavesAt = uint64(block.timestamp) + unbondingDelay;
        emit LeaveRequested(msg.sender, stake.leavesAt);
    }

    /// @notice Fetch the stake once the delay has passed.
    function withdrawStake() external nonReentrant {
        Bond storage stake = bondOf[msg.sender];
        uint256 amount = stake.amount;
        uint64 leavesAt = stake.leavesAt;
        if (amount == 0) revert NothingBonded(msg.sender);
        if (leavesAt == 0 || block.timestamp < leavesAt) revert NotYet(msg.sender, leavesAt);
        stake.amount = 0;
        stake.leavesAt = 0;
        emit Left(msg.sender, amount);
        currency.safeTransfer(msg.sender, amount);
    }

    /// @notice Convict an oracle that attested two roots for one slot.
    /// @param firstSignature and `secondSignature`: 65 bytes each, over the two attestation digests.
    function slash(
        uint64 slot,
        bytes32 firstRoot,
        bytes calldata firstSignature,
        bytes32 secondRoot,
        bytes calldata secondSignature
    ) external nonReentrant {
        if (firstRoot == secondRoot) revert SameRoot(firstRoot);
        address first = ECDSA.recoverCalldata(settlement.attestationDigest(slot, firstRoot), firstSignature);
        address second = ECDSA.recoverCalldata(settlement.attestationDigest(slot, secondRoot), secondSignature);
        _convict(slot, first, second);
    }

    /// @notice Convict an oracle that attested two roots for one correction of a slot.
    function slashCorrection(
        uint64 slot,
        uint64 revision,
        bytes32 firstRoot,
        bytes calldata firstSignature,
        bytes32 secondRoot,
        bytes calldata secondSignature
    ) external nonReentrant {
        if (firstRoot == secondRoot) revert SameRoot(firstRoot);
        address first = ECDSA.recoverCalldata(settlement.correctionDigest(slot, revision, firstRoot), firstSignature);
        address second = ECDSA.recoverCalldata(settlement.correctionDigest(slot, revision, secondRoot), secondSignature);
        _convict(slot, first, second);
    }

    /// @notice Convict an oracle that gave the contract `batches` two words over a common slot that contradict each other. The
    /// contract may be gone, or another community's: an honest oracle gives no two such words to any.
    function slashBatch(
        address batches,
        BatchWord.Word calldata firstWord,
        bytes calldata firstSignature,
        BatchWord.Word calldata secondWord,
        bytes calldata secondSignature
    ) external nonReentrant {
        uint64 slot = BatchWord.checkContradict(firstWord, secondWord);
        address first = ECDSA.recoverCalldata(BatchWord.digest(batches, firstWord), firstSignature);
        address second = ECDSA.recoverCalldata(BatchWord.digest(batches, secondWord), secondSignature);
        _convict(slot, first, second);
    }

    /// @notice Convict an oracle that attested a root with a reading of another slot under it.
    /// @param revision 0 for the root of the settlement, n for that of the slot's n-th correction.
    function slashWrongSlot(
        uint64 slot,
        uint64 revision,
        bytes32 root,
        bytes calldata signature,
        ReadingLeaf.Shown calldata shown
    ) external nonReentrant {
        FalseRoot.checkWrongSlot(slot, root, shown);
        _convictAlone(slot, revision, root, signature);
    }

    /// @notice Convict an oracle that attested a root with a reading under it that its meter, of key (`x`, `y`), never signed.
    function slashForged(
        uint64 slot,
        uint64 revision,
        bytes32 root,
        bytes calldata signature,
        ReadingLeaf.Shown calldata shown,
        bytes32 x,
        bytes32 y
    ) external nonReentrant {
        FalseRoot.checkForged(root, shown, meters, x, y);
        _convictAlone(slot, revision, root, signature);
    }

    /// @notice Convict an oracle that attested a root with two different readings of one meter under it.
    function slashMeterTwice(
        uint64 slot,
        uint64 revision,
        bytes32 root,
        bytes calldata signature,
        ReadingLeaf.Shown calldata first,
        ReadingLeaf.Shown calldata second
    ) external nonReentrant {
        FalseRoot.checkMeterTwice(root, first, second);
        _convictAlone(slot, revision, root, signature);
    }

    /// @notice Send the treasury what is due to it. Anyone may. Apart from the conviction, so that a treasury whom the token
    /// refuses saves no oracle.
    function payTreasury() external nonReentrant returns (uint256 amount) {
        amount = treasuryDue;
        if (amount == 0) revert NothingDue();
        treasuryDue = 0;
        emit TreasuryPaid(amount);
        currency.safeTransfer(treasury, amount);
    }

    /// @inheritdoc IOracleBond
    function isBonded(address oracle) external view returns (bool) {
        Bond storage stake = bondOf[oracle];
        return stake.amount >= minimumStake && stake.leavesAt == 0 && !stake.convicted;
    }

    function _convictAlone(uint64 slot, uint64 revision, bytes32 root, bytes calldata signature) private {
        bytes32 digest = revision == 0
            ? settlement.attestationDigest(slot, root)
            : settlement.correctionDigest(slot, revision, root);
        address oracle = ECDSA.recoverCalldata(digest, signature);
        _convict(slot, oracle, oracle);
    }

    function _convict(uint64 slot, address first, address second) private {
        if (first != second) revert DifferentSigners(first, second);
        Bond storage stake = bondOf[first];
        uint256 amount = stake.amount;
        uint256 reward = amount * reporterShare / BASIS_POINTS;
        stake.amount = 0;
        stake.leavesAt = 0;
        stake.convicted = true;
        treasuryDue += amount - reward;
        bool ejected = false;
        // A registry that was turned to another bond must not save the stake that is here.
        try registry.ejectOracle(first) returns (bool out) {
            ejected = out;
        } catch {}
        if (amount == 0 && !ejected) revert NothingToSlash(first);
        emit Slashed(first, msg.sender, slot, amount, reward);
        if (reward > 0) currency.safeTransfer(msg.sender, reward);
    }
}
