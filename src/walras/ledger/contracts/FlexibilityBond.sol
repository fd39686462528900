// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {BitMaps} from "@openzeppelin/contracts/utils/structs/BitMaps.sol";
import {Registry} from "./Registry.sol";
import {SettledEnergy} from "./SettledEnergy.sol";
import {Settlement} from "./Settlement.sol";

/// @title A stake on delivered flexibility
/// @notice A buyer (the grid operator, the community) offers a reward for taking so many Wh less than an agreed baseline in each of
/// some slots; a member accepts before the first of them begins and puts in a stake. When a slot is settled and final, anyone shows what
/// the member's meters took, and what was delivered is paid pro rata: of the promised Wh the delivered earn the reward and free
/// their stake; the missing return the reward to the buyer, and their stake goes to the buyer too.
///
///     delivered = min(max(baseline - metered, 0), promised)              Wh
///     provider: delivered * (reward + stake), buyer: (promised - delivered) * (reward + stake)     micro/kWh * Wh = nano
///
/// Nothing is rounded, and the two sums are all that was put in. More than promised earns nothing more. Feeding in counts as
/// taking less. Energies in Wh, prices in micro-units per kWh, credits in nano-units, deposits in token units.
contract FlexibilityBond is ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using BitMaps for BitMaps.BitMap;

    struct Terms {
        address provider;
        uint64 firstSlot;
        uint32 slots;
        uint48 promisedWh; // in each slot
        uint64 rewardMicro; // per kWh delivered
        uint64 stakeMicro; // per kWh promised
        uint64 acceptBy; // Unix seconds, not included: before the first slot begins, or the provider knows what it metered
        uint64 expiresAt; // Unix seconds: what nobody has shown by then goes back to where it came from
        bytes32 baselineRoot; // Merkle root of (slot, baseline Wh), one for each slot: accept only what you can build again
    }

    struct Agreement {
        Terms terms;
        address buyer;
        uint256 account;
        uint32 openSlots; // not shown yet
        bool accepted;
    }

    uint256 public constant MAX_SLOTS = 35_040; // a year of quarter hours

    Settlement public immutable settlement;
    Registry public immutable registry;
    IERC20 public immutable currency;
    uint256 public immutable nanoPerTokenUnit;

    uint256 public agreements;
    mapping(uint256 number => Agreement) private _agreementOf;
    mapping(uint256 number => BitMaps.BitMap) private _shown;
    /// @notice Nano-units that anybody can collect in whole token units.
    mapping(address owner => uint256) public creditOf;

    event Offered(uint256 indexed number, address indexed buyer, address indexed provider, Terms terms);
    event Accepted(uint256 indexed number, uint256 indexed account);
    event Withdrawn(uint256 indexed number);
    event Shown(uint256 indexed number, uint64 indexed slot, uint256 deliveredWh, uint256 missingWh);
    event Expired(uint256 indexed number, uint32 openSlots);
    event Collected(address indexed owner, uint256 tokenUnits);

    error BadTerms();
    error NotOffered(uint256 number);
    error NotParty(uint256 number, address caller);
    error AlreadyAccepted(uint256 number);
    error NotAccepted(uint256 number);
    error TooLate(uint64 firstSlot, uint64 nextSlot);
    error NotInAgreement(uint64 slot);
    error AlreadyShown(uint64 slot);
    error NotFinal(uint64 slot, uint64 finalBelow);
    error NotTheBaseline(uint64 slot, int256 baselineWh);
    error NotExpired(uint64 expiresAt);
    error OfferOver(uint64 acceptBy);
    error NothingToCollect(address owner);
    error ShortTransfer(uint256 expected, uint256 received);

    constructor(Settlement settlement_) {
        settlement = settlement_;
        registry = settlement_.registry();
        currency = settlement_.currency();
        nanoPerTokenUnit = settlement_.nanoPerTokenUnit();
    }

    // --- an agreement ----------------------------------------------------------------------------------------------

    /// @notice Offer `terms` and put in the whole reward, rounded up to token units; what is over is the buyer's credit.
    function offer(Terms calldata terms) external nonReentrant returns (uint256 number) {
        bool bad = terms.provider == address(0) || terms.slots == 0 || terms.slots > MAX_SLOTS || terms.promisedWh == 0
            || terms.acceptBy <= block.timestamp || terms.expiresAt < terms.acceptBy
            || terms.firstSlot > type(uint64).max - terms.slots;
        if (bad) revert BadTerms();
        number = ++agreements;
        Agreement storage agreement = _agreementOf[number];
        agreement.terms = terms;
        agreement.buyer = msg.sender;
        agreement.openSlots = terms.slots;
        emit Offered(number, msg.sender, terms.provider, terms);
        _payIn(_whole(terms, terms.rewardMicro));
    }

    /// @notice Take back an offer that nobody accepted.
    function withdrawOffer(uint256 number) external {
        Agreement storage agreement = _offered(number);
        if (msg.sender != agreement.buyer) revert NotParty(number, msg.sender);
        if (agreement.accepted) revert AlreadyAccepted(number);
        creditOf[msg.sender] += _whole(agreement.terms, agreement.terms.rewardMicro);
        delete _agreementOf[number];
        emit Withdrawn(number);
    }

    /// @notice The provider accepts before `acceptBy` and before the first slot is settled, and puts in the whole stake. A slot is
    /// settled hours or days after it is over: that alone would let a provider wait and see.
    function accept(uint256 number) external nonReentrant {
        Agreement storage agreement = _offered(number);
        if (msg.sender != agreement.terms.provider) revert NotParty(number, msg.sender);
        if (agreement.accepted) revert AlreadyAccepted(number);
        if (block.timestamp >= agreement.terms.acceptBy) revert OfferOver(agreement.terms.acceptBy);
        uint64 next = settlement.nextSlot();
        if (agreement.terms.firstSlot < next) revert TooLate(agreement.terms.firstSlot, next);
        agreement.account = registry.accountOf(msg.sender);
        agreement.accepted = true;
        emit Accepted(number, agreement.account);
        _payIn(_whole(agreement.terms, agreement.terms.stakeMicro));
    }

    /// @notice Show what was delivered in a settled and final `slot`: its baseline with proof, and what was settled. Anyone may.
    function show(
        uint256 number,
        uint64 slot,
        int256 baselineWh,
        bytes32[] calldata baselineProof,
        Settlement.Header[] calldata headers,
        bytes[] calldata positions
    ) external returns (uint256 deliveredWh) {
        Agreement storage agreement = _offered(number);
        Terms memory terms = agreement.terms;
        if (!agreement.accepted) revert NotAccepted(number);
        if (slot < terms.firstSlot || slot >= terms.firstSlot + terms.slots) revert NotInAgreement(slot);
        if (_shown[number].get(slot)) revert AlreadyShown(slot);
        _checkFinal(slot);
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(slot, baselineWh))));
        if (!MerkleProof.verifyCalldata(baselineProof, terms.baselineRoot, leaf)) revert NotTheBaseline(slot, baselineWh);
        int256 less = baselineWh - SettledEnergy.settledWh(settlement, slot, agreement.account, headers, positions);
        deliveredWh = less <= 0 ? 0 : uint256(less) < terms.promisedWh ? uint256(less) : terms.promisedWh;
        uint256 missingWh = terms.promisedWh - deliveredWh;
        uint256 perKwh = uint256(terms.rewardMicro) + terms.stakeMicro;
        _shown[number].set(slot);
        --agreement.openSlots;
        creditOf[terms.provider] += deliveredWh * perKwh;
        creditOf[agreement.buyer] += missingWh * perKwh;
        emit Shown(number, slot, deliveredWh, missingWh);
    }

    /// @notice After the expiry: for slots that nobody showed, the reward returns to the buyer and the stake to the provider.
    function expire(uint256 number) external {
        Agreement storage agreement = _offered(number);
        Terms memory terms = agreement.terms;
        if (!agreement.accepted) revert NotAccepted(number);
        if (block.timestamp < terms.expiresAt) revert NotExpired(terms.expiresAt);
        uint256 openWh = uint256(agreement.openSlots) * terms.promisedWh;
        creditOf[agreement.buyer] += openWh * terms.rewardMicro;
        creditOf[terms.provider] += openWh * terms.stakeMicro;
        emit Expired(number, agreement.openSlots);
        delete _agreementOf[number];
    }

    /// @notice Fetch the caller's credit in whole token units; the rest stays.
    function collect() external nonReentrant returns (uint256 tokenUnits) {
        uint256 credit = creditOf[msg.sender];
        tokenUnits = credit / nanoPerTokenUnit;
        if (tokenUnits == 0) revert NothingToCollect(msg.sender);
        creditOf[msg.sender] = credit - tokenUnits * nanoPerTokenUnit;
        emit Collected(msg.sender, tokenUnits);
        currency.safeTransfer(msg.sender, tokenUnits);
    }

    // --- to read ---------------------------------------------------------------------------------------------------

    /// @notice An agreement; empty where there is none, or none any more.
    function agreementOf(uint256 number) external view returns (Agreement memory) {
        return _agreementOf[number];
    }

    /// @notice Whether the delivery in `slot` was shown.
    function shown(uint256 number, uint64 slot) external view returns (bool) {
        return _shown[number].get(slot);
    }

    // --- inside ----------------------------------------------------------------------------------------------------

    function _offered(uint256 number) private view returns (Agreement storage agreement) {
        agreement = _agreementOf[number];
        if (agreement.buyer == address(0)) revert NotOffered(number);
    }

    function _whole(Terms memory terms, uint256 micro) private pure returns (uint256 nano) {
        return uint256(terms.slots) * terms.promisedWh * micro;
    }

    function _checkFinal(uint64 slot) private view {
        uint64 next = settlement.nextSlot();
        uint64 window = settlement.correctionWindow();
        uint64 finalBelow = next > window ? next - window : 0;
        if (slot >= finalBelow || settlement.commitmentOf(slot) == bytes32(0)) revert NotFinal(slot, finalBelow);
    }

    /// @dev Take `nano` in from the caller, credit before anything is called.
    function _payIn(uint256 nano) private {
        uint256 tokenUnits = (nano + nanoPerTokenUnit - 1) / nanoPerTokenUnit;
        creditOf[msg.sender] += tokenUnits * nanoPerTokenUnit - nano;
        if (tokenUnits == 0) return;
        uint256 before = currency.balanceOf(address(this));
        currency.safeTransferFrom(msg.sender, address(this), tokenUnits);
        uint256 received = currency.balanceOf(address(this)) - before;
        if (received != tokenUnits) revert ShortTransfer(tokenUnits, received);
    }
}
