// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {DeviceRegistry} from "./DeviceRegistry.sol";
import {ReadingLeaf} from "./ReadingLeaf.sol";
import {Registry} from "./Registry.sol";
import {SettledEnergy} from "./SettledEnergy.sol";
import {Settlement} from "./Settlement.sol";

/// @title A member shows that its slot was settled wrongly
/// @notice The proof is the readings of all the member's devices under the root that a quorum attested and the settlement committed
/// to, beside the positions that were settled: where the two energies differ, a dispute is open. Nobody judges. It ends when the
/// slot is corrected to the proved energy. A quorum can correct it here without the operator; where nobody has within
/// `answerTime`, the penalty is the member's, from the operator's bond.
/// Opening costs nothing but gas, since only what is true can be opened. Energies in Wh, amounts in token units.
/// A slot that was punished and still is wrong can be disputed again while it can be corrected.
/// @dev To correct, this contract holds the operator's role in the registry. It uses it for one thing only: differences that a
/// quorum signed, themselves and not only their readings. A member shows all its devices: one that a meter operator enters for it
/// and that never reads bars its disputes until the admin revokes it, so let nobody be both operator and meter operator.
contract Disputes is EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    struct Dispute {
        int64 provedWh;
        int64 settledWh;
        uint64 answerBy; // Unix seconds; 0 where there is none
    }

    /// @notice EIP-712 type of what an oracle signs to have exactly these differences settled.
    bytes32 public constant RESOLUTION_TYPEHASH =
        keccak256("Resolution(uint64 slot,uint64 revision,bytes32 differencesHash)");

    Settlement public immutable settlement;
    Registry public immutable registry;
    DeviceRegistry public immutable devices;
    IERC20 public immutable currency;
    /// @notice Seconds from opening to the penalty.
    uint64 public immutable answerTime;
    /// @notice Token units to the member of a dispute that nobody answered.
    uint256 public immutable penalty;

    mapping(uint64 slot => mapping(uint256 account => Dispute)) public disputeOf;
    uint256 public openDisputes;
    /// @notice Token units from which penalties are paid.
    uint256 public bond;
    /// @notice From when the operator may take out what is left, Unix seconds; 0 where it did not ask.
    uint64 public bondFreeAt;
    /// @notice The settlement's next slot when the operator asked. The notice is for the slots before it: settling on ends it.
    uint64 public slotAtNotice;
    /// @notice Token units that penalties left for a member.
    mapping(address member => uint256) public creditOf;

    event DisputeOpened(uint64 indexed slot, uint256 indexed account, int256 provedWh, int256 settledWh, uint64 answerBy);
    event DisputeClosed(uint64 indexed slot, uint256 indexed account);
    event PenaltyPaid(uint64 indexed slot, uint256 indexed account, address indexed to, uint256 tokenUnits);
    event BondChanged(uint256 tokenUnits);
    event WithdrawalAnnounced(uint64 freeAt, uint64 slotAtNotice);
    event Collected(address indexed member, uint256 tokenUnits);

    error DisputeFinal(uint64 slot, uint64 oldest);
    error AlreadyOpen(uint64 slot, uint256 account);
    error NotOpen(uint64 slot, uint256 account);
    error NotAttested(uint256 proof);
    error NotAReading(uint256 proof);
    error WrongReading(uint256 proof, bytes32 id, uint64 slot);
    error DevicesNotSorted(bytes32 id);
    error DevicesMissing(uint256 given, uint256 needed);
    error NothingWrong(int256 energyWh);
    error NotCorrected(int256 settledWh, int256 provedWh);
    error AnswerOpen(uint64 answerBy);
    error BondBusy(uint256 openDisputes, uint64 freeAt);
    error SettledSince(uint64 slotAtNotice, uint64 nextSlot);
    error NothingToCollect(address member);
    error ShortTransfer(uint256 expected, uint256 received);

    constructor(Settlement settlement_, DeviceRegistry devices_, uint64 answerTime_, uint256 penalty_)
        EIP712("Walras Disputes", "1")
    {
        settlement = settlement_;
        registry = settlement_.registry();
        devices = devices_;
        currency = settlement_.currency();
        answerTime = answerTime_;
        penalty = penalty_;
    }

    // --- a dispute -------------------------------------------------------------------------------------------------

    /// @notice Open a dispute of the caller's account over `slot`, inside the settlement's correction window.
    /// @param headers and `positions` of the settlement and, after it, of each correction in order.
    /// @param readings of all the account's devices under the newest readings root, by increasing key id.
    function open(
        uint64 slot,
        Settlement.Header[] calldata headers,
        bytes[] calldata positions,
        ReadingLeaf.Shown[] calldata readings
    ) external {
        uint256 account = registry.accountOf(msg.sender);
        if (disputeOf[slot][account].answerBy != 0) revert AlreadyOpen(slot, account);
        uint64 next = settlement.nextSlot();
        uint64 window = settlement.correctionWindow();
        if (slot + window < next) revert DisputeFinal(slot, next - window);
        int256 settledWh = SettledEnergy.settledWh(settlement, slot, account, headers, positions);
        int256 provedWh = _provedWh(slot, account, headers[headers.length - 1].readingsRoot, readings);
        if (settledWh == provedWh) revert NothingWrong(settledWh);
        uint64 answerBy = uint64(block.timestamp) + answerTime;
        disputeOf[slot][account] = Dispute(SafeCast.toInt64(provedWh), SafeCast.toInt64(settledWh), answerBy);
        ++openDisputes;
        emit DisputeOpened(slot, account, provedWh, settledWh, answerBy);
    }

    /// @notice Correct `slot` without the operator: a quorum signed the new readings root (as for `Settlement.correctSlot`) and, in
    /// `resolutionSignatures`, these very differences.
    function resolve(
        uint64 slot,
        Settlement.Header calldata header,
        bytes calldata differences,
        bytes calldata correctionSignatures,
        bytes calldata resolutionSignatures
    ) external nonReentrant {
        bytes32 digest = resolutionDigest(slot, settlement.revisionOf(slot) + 1, keccak256(differences));
        registry.checkQuorum(digest, resolutionSignatures);
        settlement.correctSlot(slot, header, differences, correctionSignatures);
    }

    /// @notice Close a dispute whose slot is now settled with the proved energy. Anyone may.
    function close(
        uint64 slot,
        uint256 account,
        Settlement.Header[] calldata headers,
        bytes[] calldata positions
    ) external {
        Dispute memory dispute = disputeOf[slot][account];
        if (dispute.answerBy == 0) revert NotOpen(slot, account);
        int256 settledWh = SettledEnergy.settledWh(settlement, slot, account, headers, positions);
        if (settledWh != dispute.provedWh) revert NotCorrected(settledWh, dispute.provedWh);
        _end(slot, account);
    }

    /// @notice Nobody answered in time: the penalty is the member's to collect, as far as the bond goes. Anyone may.
    function punish(uint64 slot, uint256 account) external nonReentrant {
        Dispute memory dispute = disputeOf[slot][account];
        if (dispute.answerBy == 0) revert NotOpen(slot, account);
        if (block.timestamp < dispute.answerBy) revert AnswerOpen(dispute.answerBy);
        _end(slot, account);
        uint256 amount = penalty < bond ? penalty : bond;
        bond -= amount;
        address owner = registry.ownerOf(account);
        creditOf[owner] += amount;
        emit PenaltyPaid(slot, account, owner, amount);
        emit BondChanged(bond);
    }

    /// @notice Fetch the caller's penalties. Apart from `punish`, so that a member whom the token refuses holds up nobody.
    function collect() external nonReentrant returns (uint256 tokenUnits) {
        tokenUnits = creditOf[msg.sender];
        if (tokenUnits == 0) revert NothingToCollect(msg.sender);
        delete creditOf[msg.sender];
        emit Collected(msg.sender, tokenUnits);
        currency.safeTransfer(msg.sender, tokenUnits);
    }

    // --- the operator's bond ---------------------------------------------------------------------------------------

    /// @notice Add `tokenUnits` to what penalties are paid from.
    function addBond(uint256 tokenUnits) external nonReentrant {
        bond += tokenUnits;
        emit BondChanged(bond);
        uint256 before = currency.balanceOf(address(this));
        currency.safeTransferFrom(msg.sender, address(this), tokenUnits);
        uint256 received = currency.balanceOf(address(this)) - before;
        if (received != tokenUnits) revert ShortTransfer(tokenUnits, received);
    }

    /// @notice The operator gives notice of `2 * answerTime`, time enough to open and to run out.
    function announceWithdrawal() external {
        registry.checkOperator(msg.sender);
        bondFreeAt = uint64(block.timestamp) + 2 * answerTime;
        slotAtNotice = settlement.nextSlot();
        emit WithdrawalAnnounced(bondFreeAt, slotAtNotice);
    }

    /// @notice After the notice, with no dispute open and no slot settled since, the operator takes out what is left.
    /// @dev A correction does not end the notice: for one a quorum has to attest the slot's readings anew.
    function withdrawBond() external nonReentrant returns (uint256 tokenUnits) {
        registry.checkOperator(msg.sender);
        if (openDisputes > 0 || bondFreeAt == 0 || block.timestamp < bondFreeAt) revert BondBusy(openDisputes, bondFreeAt);
        if (settlement.nextSlot() != slotAtNotice) revert SettledSince(slotAtNotice, settlement.nextSlot());
        tokenUnits = bond;
        bond = 0;
        bondFreeAt = 0;
        emit BondChanged(0);
        currency.safeTransfer(msg.sender, tokenUnits);
    }

    // --- to read ---------------------------------------------------------------------------------------------------

    /// @notice What an oracle signs (EIP-712) so that exactly these differences are settled as the `revision`-th correction.
    function resolutionDigest(uint64 slot, uint64 revision, bytes32 differencesHash) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(RESOLUTION_TYPEHASH, slot, revision, differencesHash)));
    }

    // --- inside ----------------------------------------------------------------------------------------------------

    function _end(uint64 slot, uint256 account) private {
        delete disputeOf[slot][account];
        --openDisputes;
        emit DisputeClosed(slot, account);
    }

    function _provedWh(uint64 slot, uint256 account, bytes32 root, ReadingLeaf.Shown[] calldata readings)
        private
        view
        returns (int256 energyWh)
    {
        if (readings.length != devices.devicesOf(account) || readings.length == 0) {
            revert DevicesMissing(readings.length, devices.devicesOf(account));
        }
        bytes32 previous = 0;
        for (uint256 i = 0; i < readings.length; ++i) {
            if (ReadingLeaf.rootOf(readings[i]) != root) revert NotAttested(i);
            ReadingLeaf.Reading memory reading = ReadingLeaf.parse(readings[i].leaf);
            if (!reading.canonical) revert NotAReading(i);
            bytes32 id = bytes32(reading.keyId);
            (, uint16 owner, DeviceRegistry.Status status,,,) = devices.deviceOf(id);
            bool counts = status != DeviceRegistry.Status.Unknown && status != DeviceRegistry.Status.Revoked;
            if (!counts || owner != account || reading.slot != slot) revert WrongReading(i, id, reading.slot);
            if (id <= previous) revert DevicesNotSorted(id);
            previous = id;
            energyWh += int256(uint256(reading.importWh)) - int256(uint256(reading.exportWh));
        }
    }
}
