// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {BatchEscrow} from "./BatchEscrow.sol";
import {BatchWord} from "./BatchWord.sol";
import {Registry} from "./Registry.sol";
import {SlotSteps} from "./SlotSteps.sol";

/// @title Many slots under one root, open to anybody's proof that one is wrong
/// @notice The bonded operator posts the positions of many slots as calldata, with the root of everybody's running account after
/// each. The contract computes the commitment from the calldata itself, so what is committed is what was published, and anyone
/// can rebuild the state from the transactions alone. It does not do the slots: within `fraudWindow` anyone can have it do one
/// again, and where that comes out otherwise the batch and all after it are taken back and the operator loses its bond, half to
/// whoever proved it and half to `penaltyAccount`, the community's. Instead of the calldata a quorum of oracles can answer for the
/// data (`postRoots`): then whoever wants it asks them, and has to trust a majority of them to hand it out. Three proofs:
/// - `proveWrongStep`: positions that break a rule (order, accounts, sums of zero), or a state that does not follow from them;
/// - `proveOverdraft`: a member who pays beyond its collateral;
/// - `proveWrongPosition`: a position that is not what the facts come to which a quorum of oracles attested for it: a wrong
///   price, a wrong energy, a member left out.
contract BatchSettlement is BatchEscrow, EIP712 {
    using SafeERC20 for IERC20;

    struct Slot {
        bytes32 stateRoot; // after the slot
        bytes positions;
    }

    struct Batch {
        bytes32 stepsRoot; // Merkle root of the steps
        bytes32 stateRoot; // after the last slot
        bytes32 factsRoot; // of what the oracles attested
        uint64 firstSlot;
        uint32 slots;
        uint32 members;
        uint48 era;
        uint64 postedAt; // Unix seconds
        address operator;
    }

    /// @notice What a committee answers for instead of the calldata.
    struct Roots {
        bytes32 stepsRoot;
        bytes32 stateRoot;
        bytes32 factsRoot;
    }

    /// @notice One slot of a batch as its leaf commits to it.
    struct Step {
        uint256 index; // in the batch
        uint64 slot;
        bytes32 before;
        bytes32 afterwards;
        bytes positions;
    }

    /// @notice EIP-712 types of what an oracle signs. Two words of one oracle that contradict each other cost it its stake: `BatchWord`.
    bytes32 public constant FACTS_TYPEHASH = BatchWord.FACTS_TYPEHASH;
    bytes32 public constant DATA_TYPEHASH = BatchWord.DATA_TYPEHASH;

    /// @notice Bounds the gas of a post.
    uint256 public constant MAX_SLOTS = 672; // a week of quarter hours

    /// @notice Seconds in which a posted batch can be proved wrong.
    uint64 public immutable fraudWindow;
    uint64 private immutable _madeAt;
    /// @notice Token units that an operator has at stake while it posts.
    uint256 public immutable minimumBond;
    /// @notice Receives what a convicted operator loses and no prover gets.
    uint256 public immutable penaltyAccount;

    uint256 public batchCount;
    uint64 public nextSlot;
    mapping(uint256 index => Batch) public batchOf;
    /// @notice Token units.
    mapping(address operator => uint256) public bondOf;
    mapping(address operator => uint64) public lastPostOf;

    event BatchPosted(
        uint256 indexed index, uint64 firstSlot, uint32 slots, bytes32 stateRoot, bytes32 factsRoot, bytes32 journalHead
    );
    event FraudProved(uint256 indexed index, uint64 indexed slot, address indexed prover, string reason);
    event BondChanged(address indexed operator, uint256 tokenUnits);

    error SlotNotNext(uint64 slot, uint64 nextSlot);
    error BadSlotCount(uint256 slots, uint256 maximum);
    error BondTooSmall(uint256 bond, uint256 minimum);
    error BondBusy(uint64 until);
    error NoSuchBatch(uint256 index);
    error BatchFinal(uint256 index);
    error NotFinal(uint256 index, uint64 finalFrom);
    error NotAStep(uint256 index, uint64 slot);
    error NotTheState(bytes32 given, bytes32 expected);
    error NotAttested(uint64 slot, uint256 account);
    error NoFraud();

    modifier onlyOperator() {
        registry.checkOperator(msg.sender);
        _;
    }

    /// @param times [fraud window, exit timeout] in seconds; the time-out is the longer, so that at a halt every batch is final.
    constructor(
        IERC20Metadata currency_,
        Registry registry_,
        uint64[2] memory times,
        uint256 minimumBond_,
        uint256 penaltyAccount_,
        uint64 firstSlot
    ) BatchEscrow(currency_, registry_, times[1]) EIP712("Walras Batch Settlement", "1") {
        if (times[0] == 0 || times[1] <= times[0]) revert BadTimes(times[0], times[1]);
        fraudWindow = times[0];
        _madeAt = uint64(block.timestamp);
        registry_.ownerOf(penaltyAccount_); // reverts where there is no such account
        minimumBond = minimumBond_;
        penaltyAccount = penaltyAccount_;
        nextSlot = firstSlot;
    }

    // --- posting ---------------------------------------------------------------------------------------------------

    /// @notice Post the next `slots`, one after the other from `firstSlot`.
    /// @param factsRoot Merkle root of the facts of these slots; `signatures` of a quorum over `factsDigest` of it.
    /// @param journalHead hash of the operator's journal, for the record.
    function post(
        uint64 firstSlot,
        Slot[] calldata slots,
        bytes32 factsRoot,
        bytes32 journalHead,
        bytes calldata signatures
    ) external onlyOperator whenNotPaused {
        _checkPost(firstSlot, slots.length);
        registry.checkQuorum(factsDigest(firstSlot, uint32(slots.length), factsRoot), signatures);
        Roots memory roots = Roots(_stepsRoot(firstSlot, slots), slots[slots.length - 1].stateRoot, factsRoot);
        _record(firstSlot, uint32(slots.length), roots, journalHead);
    }

    /// @notice Post the next `slots` without their data, for which a quorum answers by its `signatures` over `dataDigest`.
    function postRoots(
        uint64 firstSlot,
        uint32 slots,
        Roots calldata roots,
        bytes32 journalHead,
        bytes calldata signatures
    ) external onlyOperator whenNotPaused {
        _checkPost(firstSlot, slots);
        registry.checkQuorum(dataDigest(firstSlot, slots, stateRoot(), roots), signatures);
        _record(firstSlot, slots, roots, journalHead);
    }

    /// @notice Put `tokenUnits` of the caller at stake.
    function addBond(uint256 tokenUnits) external nonReentrant {
        bondOf[msg.sender] += tokenUnits;
        emit BondChanged(msg.sender, bondOf[msg.sender]);
        _take(tokenUnits);
    }

    /// @notice Take the caller's bond out, once nothing it posted can be proved wrong any more.
    function withdrawBond() external nonReentrant returns (uint256 tokenUnits) {
        uint64 until = lastPostOf[msg.sender] + fraudWindow;
        if (block.timestamp < until) revert BondBusy(until);
        tokenUnits = bondOf[msg.sender];
        if (tokenUnits == 0) revert BondTooSmall(0, 1);
        bondOf[msg.sender] = 0;
        emit BondChanged(msg.sender, 0);
        currency.safeTransfer(msg.sender, tokenUnits);
    }

    /// @notice Stop deposits and batches. Withdrawals, proofs, the halt and exits go on, and the time-out runs.
    function pause() external onlyOperator {
        _pause();
    }

    function unpause() external onlyOperator {
        _unpause();
    }

    // --- proofs of fraud -------------------------------------------------------------------------------------------

    /// @notice The positions break a rule, or the state after them is not what they make of the state before.
    /// @param words the whole state before the step, account 0 first.
    function proveWrongStep(uint256 index, Step calldata step, bytes32[] calldata proof, uint256[] calldata words)
        external
        nonReentrant
    {
        Batch storage batch = _open(index, step, proof);
        bytes32 given = SlotSteps.stateRoot(words);
        if (given != step.before) revert NotTheState(given, step.before);
        (SlotSteps.Fault fault, bytes32 root) = SlotSteps.redo(words, batch.members, step.positions);
        if (fault == SlotSteps.Fault.None && root != step.afterwards) fault = SlotSteps.Fault.WrongState;
        if (fault == SlotSteps.Fault.None) revert NoFraud();
        _takeBack(index, step.slot, "wrong step");
    }

    /// @notice In this step `account` pays, and its running payment is then above its collateral for the batch.
    /// @param word of the account after the step, with its `wordProof`.
    function proveOverdraft(
        uint256 index,
        Step calldata step,
        bytes32[] calldata proof,
        uint256 account,
        uint256 word,
        bytes32[] calldata wordProof
    ) external nonReentrant {
        Batch storage batch = _open(index, step, proof);
        if (!MerkleProof.verifyCalldata(wordProof, step.afterwards, SlotSteps.accountLeaf(account, word))) {
            revert NotInState(account, word);
        }
        (int256 paymentNano,) = SlotSteps.positionOf(step.positions, account);
        if (paymentNano <= 0 || SlotSteps.paymentOf(word) <= collateralAt(account, batch.era)) revert NoFraud();
        _takeBack(index, step.slot, "overdraft");
    }

    /// @notice The step has another position for an account than what was attested comes to.
    function proveWrongPosition(
        uint256 index,
        Step calldata step,
        bytes32[] calldata proof,
        SlotSteps.Fact calldata fact,
        bytes32[] calldata factProof
    ) external nonReentrant {
        Batch storage batch = _open(index, step, proof);
        bool attested = MerkleProof.verifyCalldata(factProof, batch.factsRoot, SlotSteps.factLeaf(fact));
        if (!attested || fact.slot != step.slot) revert NotAttested(fact.slot, fact.account);
        (int256 dueNano, int256 dueWh) = SlotSteps.dueOf(fact);
        (int256 paymentNano, int256 energyWh) = SlotSteps.positionOf(step.positions, fact.account);
        if (dueNano == paymentNano && dueWh == energyWh) revert NoFraud();
        _takeBack(index, step.slot, "wrong position");
    }

    // --- to read ---------------------------------------------------------------------------------------------------

    /// @notice What an oracle signs (EIP-712) to attest `factsRoot` for these slots on this contract and chain.
    function factsDigest(uint64 firstSlot, uint32 slots, bytes32 factsRoot) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(FACTS_TYPEHASH, firstSlot, slots, factsRoot)));
    }

    /// @notice What an oracle signs (EIP-712) that answers for the data of a batch on top of the state `before`.
    function dataDigest(uint64 firstSlot, uint32 slots, bytes32 before, Roots calldata roots) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(DATA_TYPEHASH, firstSlot, slots, before, roots.stepsRoot, roots.stateRoot, roots.factsRoot)
            )
        );
    }

    /// @notice Whether batch `index` stands and can no longer be proved wrong.
    function isFinal(uint256 index) public view returns (bool) {
        return index < batchCount && block.timestamp >= batchOf[index].postedAt + fraudWindow;
    }

    /// @notice The state after the last batch; of none, keccak of nothing.
    function stateRoot() public view returns (bytes32) {
        return batchCount == 0 ? keccak256("") : batchOf[batchCount - 1].stateRoot;
    }

    // --- inside ----------------------------------------------------------------------------------------------------

    function _checkPost(uint64 firstSlot, uint256 slots) private view {
        if (halted) revert AlreadyHalted();
        if (firstSlot != nextSlot) revert SlotNotNext(firstSlot, nextSlot);
        if (slots == 0 || slots > MAX_SLOTS) revert BadSlotCount(slots, MAX_SLOTS);
        if (bondOf[msg.sender] < minimumBond || minimumBond == 0) revert BondTooSmall(bondOf[msg.sender], minimumBond);
    }

    function _record(uint64 firstSlot, uint32 slots, Roots memory roots, bytes32 journalHead) private {
        Batch storage batch = batchOf[batchCount];
        batch.stepsRoot = roots.stepsRoot;
        batch.stateRoot = roots.stateRoot;
        batch.factsRoot = roots.factsRoot;
        batch.firstSlot = firstSlot;
        batch.slots = slots;
        batch.members = uint32(registry.memberCount());
        batch.era = era;
        batch.postedAt = uint64(block.timestamp);
        batch.operator = msg.sender;
        emit BatchPosted(batchCount, firstSlot, slots, roots.stateRoot, roots.factsRoot, journalHead);
        nextSlot = firstSlot + slots;
        ++batchCount;
        ++era;
        lastAct = uint64(block.timestamp);
        lastPostOf[msg.sender] = uint64(block.timestamp);
    }

    function _stepsRoot(uint64 firstSlot, Slot[] calldata slots) private view returns (bytes32) {
        bytes32[] memory leaves = new bytes32[](slots.length);
        bytes32 before = stateRoot();
        for (uint256 i = 0; i < slots.length; ++i) {
            bytes32 afterwards = slots[i].stateRoot;
            leaves[i] = _stepLeaf(i, firstSlot + uint64(i), before, afterwards, slots[i].positions);
            before = afterwards;
        }
        return SlotSteps.fold(leaves);
    }

    function _stepLeaf(uint256 i, uint64 slot, bytes32 before, bytes32 afterwards, bytes calldata positions)
        private
        pure
        returns (bytes32)
    {
        return keccak256(bytes.concat(keccak256(abi.encode(i, slot, before, afterwards, keccak256(positions)))));
    }

    /// @dev The batch, if it can still be proved wrong and `step` is one of its steps.
    function _open(uint256 index, Step calldata step, bytes32[] calldata proof) private view returns (Batch storage batch) {
        if (index >= batchCount) revert NoSuchBatch(index);
        if (isFinal(index)) revert BatchFinal(index);
        batch = batchOf[index];
        bytes32 leaf = _stepLeaf(step.index, step.slot, step.before, step.afterwards, step.positions);
        if (!MerkleProof.verifyCalldata(proof, batch.stepsRoot, leaf)) revert NotAStep(step.index, step.slot);
    }

    function _takeBack(uint256 index, uint64 slot, string memory reason) private {
        Batch storage batch = batchOf[index];
        address operator = batch.operator;
        batchCount = index;
        nextSlot = batch.firstSlot;
        lastAct = index == 0 ? _madeAt : batchOf[index - 1].postedAt;
        uint256 bond = bondOf[operator];
        bondOf[operator] = 0;
        uint256 reward = bond / 2;
        emit FraudProved(index, slot, msg.sender, reason);
        emit BondChanged(operator, 0);
        _credit(penaltyAccount, (bond - reward) * nanoPerTokenUnit);
        currency.safeTransfer(msg.sender, reward);
    }

    function _finalState(uint256 index) internal view override returns (bytes32, uint256, uint64) {
        if (index >= batchCount) revert NoSuchBatch(index);
        Batch storage batch = batchOf[index];
        if (!isFinal(index)) revert NotFinal(index, batch.postedAt + fraudWindow);
        return (batch.stateRoot, batch.members, batch.era);
    }

    function _standing() internal view override returns (bytes32, uint256, uint32, uint48) {
        if (batchCount == 0) return (keccak256(""), 0, 0, 0);
        Batch storage batch = batchOf[batchCount - 1];
        return (batch.stateRoot, batch.members, uint32(batchCount), batch.era);
    }

    function _stands(uint32 batches, uint48 lastEra) internal view override returns (bool) {
        return batches == 0 || (batches <= batchCount && batchOf[batches - 1].era == lastEra);
    }
}
