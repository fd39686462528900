// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title A token of rights that says yes and moves nothing, or calls back while it moves
contract HostileRight {
    mapping(address owner => mapping(uint256 id => uint256)) public balanceOf;
    mapping(uint256 id => address) public ownerOf;
    bool public moves;
    address public target;
    bytes public data;
    bool public gotThrough;
    uint256 public callbacks;
    bytes public answer;

    function behave(bool moves_, address target_, bytes calldata data_) external {
        (moves, target, data, gotThrough, callbacks) = (moves_, target_, data_, false, 0);
    }

    function give(address to, uint256 id, uint256 amount) external {
        balanceOf[to][id] += amount;
        ownerOf[id] = to;
    }

    function setApprovalForAll(address, bool) external {}

    function safeTransferFrom(address from, address to, uint256 id, uint256 amount, bytes calldata) external {
        _callBack();
        if (!moves) return;
        balanceOf[from][id] -= amount;
        balanceOf[to][id] += amount;
    }

    function transferFrom(address from, address to, uint256 id) external {
        _callBack();
        if (moves && ownerOf[id] == from) ownerOf[id] = to;
    }

    function _callBack() private {
        if (target == address(0)) return;
        ++callbacks;
        (bool done, bytes memory said) = target.call(data);
        (gotThrough, answer) = (gotThrough || done, said);
    }
}
