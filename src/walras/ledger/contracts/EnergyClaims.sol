// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";
import {Issuance} from "./Issuance.sol";
import {ReadingLeaf} from "./ReadingLeaf.sol";
import {Registry} from "./Registry.sol";
import {Settlement} from "./Settlement.sol";

/// @title Claims on attested generation
/// @notice One unit is one watt-hour that a meter fed into the grid in one slot of one feeder: the id is the vintage (the slot) and
/// the zone (the settlement contract). A claim is minted only when somebody wants it, against the readings root that a quorum
/// attested and that was settled, once nothing can correct it any more; an ordinary slot costs nothing here. It is used (burned)
/// or it expires: `lifeSlots` after its own slot it moves no more, and anybody may sweep it away.
/// @dev Life and finality are counted in settled slots, like the settlement's correction window, so there is no clock.
contract EnergyClaims is ERC1155 {
    /// @notice A settlement as far as a proof needs it, of its newest revision.
    struct Settled {
        Settlement.Header header;
        bytes32 positionsHash; // keccak256 of its packed positions or differences
    }

    Settlement public immutable settlement;
    Registry public immutable registry;
    Issuance public immutable issuance;
    /// @notice Settled slots for which a claim lives, its own included; longer than the correction window.
    uint64 public immutable lifeSlots;

    /// @notice Watt-hours minted of an id, and of these used or swept away after expiry.
    mapping(uint256 id => uint256) public mintedOf;
    mapping(uint256 id => uint256) public usedOf;
    mapping(uint256 id => uint256) public expiredOf;

    event Claimed(uint64 indexed slot, uint256 indexed account, address indexed to, bytes16 keyId, uint256 energyWh);
    event Used(uint64 indexed slot, address indexed holder, uint256 energyWh, string purpose);
    event Expired(uint64 indexed slot, address indexed holder, uint256 energyWh);

    error LifeTooShort(uint64 lifeSlots, uint64 correctionWindow);
    error NotFinal(uint64 slot, uint64 finalFrom);
    error NotWhatWasSettled(uint64 slot, uint64 revision);
    error NotUnderRoot(bytes32 given, bytes32 root);
    error NotAReading();
    error WrongSlot(uint64 read, uint64 slot);
    error NotMeasured(uint64 quality);
    error NotOwner(uint256 account, address caller);
    error NothingGenerated(bytes16 keyId);
    error HasExpired(uint64 slot);
    error NotExpired(uint64 slot);
    error NothingToUse();

    constructor(Settlement settlement_, Issuance issuance_, uint64 lifeSlots_, string memory uri) ERC1155(uri) {
        uint64 window = settlement_.correctionWindow();
        if (lifeSlots_ <= window) revert LifeTooShort(lifeSlots_, window);
        settlement = settlement_;
        registry = settlement_.registry();
        issuance = issuance_;
        lifeSlots = lifeSlots_;
    }

    /// @notice Mint to the caller what its meter fed in during `slot`.
    /// @param settled the settlement, or its newest correction.
    /// @param shown the meter's reading, as it stands under the readings root.
    function claim(uint64 slot, Settled calldata settled, ReadingLeaf.Shown calldata shown) external returns (uint256 energyWh) {
        _checkSettled(slot, settled);
        bytes32 root = ReadingLeaf.rootOf(shown);
        if (root != settled.header.readingsRoot) revert NotUnderRoot(root, settled.header.readingsRoot);
        ReadingLeaf.Reading memory reading = ReadingLeaf.parse(shown.leaf);
        if (!reading.canonical) revert NotAReading();
        if (reading.slot != slot) revert WrongSlot(reading.slot, slot);
        if (reading.quality >= ReadingLeaf.FIRST_SUBSTITUTE_QUALITY) revert NotMeasured(reading.quality);
        energyWh = reading.exportWh;
        if (energyWh == 0) revert NothingGenerated(reading.keyId);
        uint256 account = issuance.takeReading(slot, reading.keyId);
        if (registry.ownerOf(account) != msg.sender) revert NotOwner(account, msg.sender);
        uint256 id = idOf(slot);
        mintedOf[id] += energyWh;
        emit Claimed(slot, account, msg.sender, reading.keyId, energyWh);
        _mint(msg.sender, id, energyWh, "");
    }

    /// @notice Burn `energyWh` of `slot` for good: it is used, for what `purpose` says.
    function use(uint64 slot, uint256 energyWh, string calldata purpose) external {
        if (energyWh == 0) revert NothingToUse();
        uint256 id = idOf(slot);
        if (hasExpired(slot)) revert HasExpired(slot);
        usedOf[id] += energyWh;
        emit Used(slot, msg.sender, energyWh, purpose);
        _burn(msg.sender, id, energyWh);
    }

    /// @notice Remove what `holder` still has of an expired slot. Anybody may.
    function sweep(uint64 slot, address holder) external returns (uint256 energyWh) {
        if (!hasExpired(slot)) revert NotExpired(slot);
        uint256 id = idOf(slot);
        energyWh = balanceOf(holder, id);
        if (energyWh == 0) revert NothingToUse();
        expiredOf[id] += energyWh;
        emit Expired(slot, holder, energyWh);
        _burn(holder, id, energyWh);
    }

    /// @notice The token id of `slot` here: zone (the settlement's address) in the high part, vintage in the low 64 bits.
    function idOf(uint64 slot) public view returns (uint256) {
        return uint256(uint160(address(settlement))) << 64 | slot;
    }

    /// @notice Whether claims of `slot` have outlived their interval.
    function hasExpired(uint64 slot) public view returns (bool) {
        return settlement.nextSlot() > uint256(slot) + lifeSlots;
    }

    /// @dev Between holders a claim moves only while it lives.
    function _update(address from, address to, uint256[] memory ids, uint256[] memory values) internal override {
        if (to != address(0)) {
            for (uint256 i = 0; i < ids.length; ++i) {
                if (hasExpired(uint64(ids[i]))) revert HasExpired(uint64(ids[i]));
            }
        }
        super._update(from, to, ids, values);
    }

    function _checkSettled(uint64 slot, Settled calldata settled) private view {
        uint64 next = settlement.nextSlot();
        uint64 window = settlement.correctionWindow();
        uint64 finalBelow = next > window ? next - window : 0;
        if (slot >= finalBelow) revert NotFinal(slot, finalBelow);
        uint64 revision = settlement.revisionOf(slot);
        bytes32 known = revision == 0 ? settlement.commitmentOf(slot) : settlement.correctionOf(slot, revision);
        Settlement.Header calldata header = settled.header;
        bytes32 given = keccak256(
            abi.encode(slot, header.readingsRoot, header.tradesRoot, header.journalHead, settled.positionsHash)
        );
        if (known != given) revert NotWhatWasSettled(slot, revision);
    }
}
