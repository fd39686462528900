// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";

/// @title A council that acts when m of its n members signed
/// @notice Members sign an act (EIP-712: target, value, data, number) off the chain, each with its own key; anyone hands the
/// signatures in. Numbers run from 0 without gaps, so an act happens once; chain and contract are in the domain. Who sits in the
/// council is changed by the council alone. Made to be the proposer of a `Timelock` that holds the admin's role.
contract Council is EIP712 {
    bytes32 public constant ACT_TYPEHASH = keccak256("Act(address target,uint256 value,bytes data,uint256 number)");
    uint256 public constant MAX_SEATS = 32;
    uint256 private constant SIGNATURE_BYTES = 65;

    uint256 public threshold;
    /// @notice Number of the next act.
    uint256 public nextAct;
    address[] private _seats;
    mapping(address member => bool) public isSeated;

    event Acted(uint256 indexed number, address indexed target, uint256 value, bytes data);
    event SeatsChanged(address[] members, uint256 threshold);

    error BadThreshold(uint256 threshold, uint256 seats);
    error BadSeat(address member);
    error NotCouncil(address caller);
    error MalformedSignatures(uint256 length);
    error NotEnoughSignatures(uint256 given, uint256 threshold);
    error SignersNotSorted(address signer);
    error NotSeated(address signer);

    constructor(address[] memory members, uint256 threshold_) EIP712("Walras Council", "1") {
        _setSeats(members, threshold_);
    }

    /// @notice Take money for acts that send some.
    receive() external payable {}

    /// @notice Do the next act.
    /// @param signatures 65 bytes each, by strictly increasing signer, over `actDigest` with number `nextAct`.
    /// @return what the target returned; its refusal is passed on.
    function act(address target, uint256 value, bytes calldata data, bytes calldata signatures)
        external
        returns (bytes memory)
    {
        uint256 number = nextAct;
        _check(actDigest(target, value, data, number), signatures);
        nextAct = number + 1;
        emit Acted(number, target, value, data);
        return Address.functionCallWithValue(target, data, value);
    }

    /// @notice Replace all seats; an act of the council on itself.
    function setSeats(address[] calldata members, uint256 threshold_) external {
        if (msg.sender != address(this)) revert NotCouncil(msg.sender);
        for (uint256 i = 0; i < _seats.length; ++i) {
            isSeated[_seats[i]] = false;
        }
        _setSeats(members, threshold_);
    }

    function seats() external view returns (address[] memory) {
        return _seats;
    }

    /// @notice What a member signs.
    function actDigest(address target, uint256 value, bytes calldata data, uint256 number) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(ACT_TYPEHASH, target, value, keccak256(data), number)));
    }

    function _check(bytes32 digest, bytes calldata signatures) private view {
        uint256 given = signatures.length / SIGNATURE_BYTES;
        if (signatures.length != given * SIGNATURE_BYTES) revert MalformedSignatures(signatures.length);
        if (given < threshold) revert NotEnoughSignatures(given, threshold);
        address previous = address(0);
        for (uint256 offset = 0; offset < signatures.length; offset += SIGNATURE_BYTES) {
            address signer = ECDSA.recoverCalldata(digest, signatures[offset:offset + SIGNATURE_BYTES]);
            if (signer <= previous) revert SignersNotSorted(signer);
            if (!isSeated[signer]) revert NotSeated(signer);
            previous = signer;
        }
    }

    /// @dev A majority, so that no two halves of a council can both act.
    function _setSeats(address[] memory members, uint256 threshold_) private {
        if (threshold_ > members.length || 2 * threshold_ <= members.length || members.length > MAX_SEATS) {
            revert BadThreshold(threshold_, members.length);
        }
        for (uint256 i = 0; i < members.length; ++i) {
            if (members[i] == address(0) || isSeated[members[i]]) revert BadSeat(members[i]);
            isSeated[members[i]] = true;
        }
        _seats = members;
        threshold = threshold_;
        emit SeatsChanged(members, threshold_);
    }
}
