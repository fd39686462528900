// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {Registry} from "./Registry.sol";
import {Settlement} from "./Settlement.sol";

/// @title Lots: rights to deliver at a node
/// @notice One token is one lot: the right to feed in up to `energyWh` in each of `count` slots from `first` at one node. The
/// operator grants lots within what the node can take: in no slot do the living lots of a node exceed its capacity. A lot is sold,
/// split, and given back; once its last slot is settled it is history and anybody may sweep it away. What a number stands for
/// never changes: whoever agreed on a price for it gets what was agreed on, or nothing.
/// @dev A capacity lowered below what is granted takes no lot from anybody: it only stops new ones.
contract DeliveryLots is ERC721 {
    struct Lot {
        uint32 node;
        uint64 first; // slot
        uint32 count; // slots
        uint64 energyWh; // in each slot
    }

    /// @notice Bounds the gas of one grant: a week of quarter hours.
    uint256 public constant MAX_SLOTS = 672;

    Settlement public immutable settlement;
    Registry public immutable registry;

    mapping(uint256 id => Lot) public lotOf;
    uint256 public lots;
    /// @notice Wh that a node can take in one slot.
    mapping(uint32 node => uint64) public capacityOf;
    /// @notice Wh granted at a node in a slot.
    mapping(uint32 node => mapping(uint64 slot => uint64)) public grantedOf;

    event CapacitySet(uint32 indexed node, uint64 energyWh);
    event Granted(uint256 indexed id, uint32 indexed node, uint64 first, uint32 count, uint64 energyWh);
    event Split(uint256 indexed id, uint256 indexed rest, uint256 indexed part, uint64 energyWh);
    event GivenBack(uint256 indexed id);
    event Swept(uint256 indexed id);

    error BadSlots(uint64 first, uint32 count, uint64 nextSlot);
    error NothingGranted();
    error BeyondCapacity(uint32 node, uint64 slot, uint256 wantedWh, uint64 capacityWh);
    error BadPart(uint64 partWh, uint64 energyWh);
    error NotOver(uint256 id);
    error IsOver(uint256 id);

    modifier onlyOperator() {
        registry.checkOperator(msg.sender);
        _;
    }

    constructor(Settlement settlement_) ERC721("Walras Delivery Lot", "WLOT") {
        settlement = settlement_;
        registry = settlement_.registry();
    }

    /// @notice What `node` can take in one slot from now on.
    function setCapacity(uint32 node, uint64 energyWh) external onlyOperator {
        capacityOf[node] = energyWh;
        emit CapacitySet(node, energyWh);
    }

    /// @notice Grant `to` the right to `energyWh` in each of `count` slots from `first`, none of them settled.
    function grant(address to, uint32 node, uint64 first, uint32 count, uint64 energyWh)
        external
        onlyOperator
        returns (uint256 id)
    {
        uint64 next = settlement.nextSlot();
        if (count == 0 || count > MAX_SLOTS || first < next || first > type(uint64).max - count) {
            revert BadSlots(first, count, next);
        }
        if (energyWh == 0) revert NothingGranted();
        uint64 capacity = capacityOf[node];
        mapping(uint64 => uint64) storage granted = grantedOf[node];
        for (uint64 slot = first; slot < first + count; ++slot) {
            uint256 wanted = uint256(granted[slot]) + energyWh;
            if (wanted > capacity) revert BeyondCapacity(node, slot, wanted, capacity);
            granted[slot] = uint64(wanted);
        }
        id = ++lots;
        lotOf[id] = Lot(node, first, count, energyWh);
        emit Granted(id, node, first, count, energyWh);
        _mint(to, id); // no call to the receiver: nobody can hold up a grant
    }

    /// @notice Cut a lot into one of `partWh` in each slot and one of the rest, both of the same owner. Its own number is gone, and
    /// with it what was offered or bid for it.
    function split(uint256 id, uint64 partWh) external returns (uint256 rest, uint256 part) {
        address owner = ownerOf(id);
        _checkAuthorized(owner, msg.sender, id);
        Lot memory lot = lotOf[id];
        if (partWh == 0 || partWh >= lot.energyWh) revert BadPart(partWh, lot.energyWh);
        rest = ++lots;
        part = ++lots;
        lotOf[rest] = Lot(lot.node, lot.first, lot.count, lot.energyWh - partWh);
        lotOf[part] = Lot(lot.node, lot.first, lot.count, partWh);
        delete lotOf[id];
        emit Split(id, rest, part, partWh);
        _burn(id);
        _mint(owner, rest);
        _mint(owner, part);
    }

    /// @notice Give a lot back before it is over; what it held of slots not yet settled is free again.
    function giveBack(uint256 id) external {
        _checkAuthorized(ownerOf(id), msg.sender, id);
        if (isOver(id)) revert IsOver(id);
        Lot memory lot = lotOf[id];
        uint64 next = settlement.nextSlot();
        mapping(uint64 => uint64) storage granted = grantedOf[lot.node];
        for (uint64 slot = lot.first > next ? lot.first : next; slot < lot.first + lot.count; ++slot) {
            granted[slot] -= lot.energyWh;
        }
        delete lotOf[id];
        emit GivenBack(id);
        _burn(id);
    }

    /// @notice Remove a lot whose last slot is settled. Anybody may.
    function sweep(uint256 id) external {
        _requireOwned(id);
        if (!isOver(id)) revert NotOver(id);
        delete lotOf[id];
        emit Swept(id);
        _burn(id);
    }

    /// @notice Whether the last slot of lot `id` is settled.
    function isOver(uint256 id) public view returns (bool) {
        Lot storage lot = lotOf[id];
        return settlement.nextSlot() >= lot.first + lot.count;
    }

    /// @dev Between holders a lot moves only until it is over.
    function _update(address to, uint256 id, address auth) internal override returns (address from) {
        from = super._update(to, id, auth);
        if (from != address(0) && to != address(0) && isOver(id)) revert IsOver(id);
    }
}
