// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title A holder of rights that calls back, or refuses, when it receives one
/// @dev Whoever owns it makes any call from it by `perform`.
contract HostileHolder {
    enum Manner {
        HONEST,
        REFUSES,
        CALLS_BACK
    }

    Manner public manner;
    address public target;
    bytes public data;
    bool public gotThrough;
    uint256 public callbacks;

    function behave(Manner manner_, address target_, bytes calldata data_) external {
        (manner, target, data, gotThrough, callbacks) = (manner_, target_, data_, false, 0);
    }

    function perform(address to, bytes calldata call_) external {
        (bool done, bytes memory answer) = to.call(call_);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
    }

    function onERC1155Received(address, address, uint256, uint256, bytes calldata) external returns (bytes4) {
        require(manner != Manner.REFUSES, "refuses");
        if (manner == Manner.CALLS_BACK) {
            ++callbacks;
            (bool done,) = target.call(data);
            gotThrough = gotThrough || done;
        }
        return this.onERC1155Received.selector;
    }

    /// @dev ERC-1271: everything is signed. A maker that is careless with its own money only.
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return this.isValidSignature.selector;
    }
}
