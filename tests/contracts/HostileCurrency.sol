// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title A currency that calls back, keeps a fee, or does not pay at all
contract HostileCurrency {
    enum Manner {
        HONEST,
        KEEPS_ONE, // of each transfer
        SAYS_NO, // returns false and moves nothing
        CALLS_BACK // makes the call that was set while it moves money
    }

    uint8 public constant decimals = 6;
    mapping(address owner => uint256) public balanceOf;
    Manner public manner;
    address public target;
    bytes public data;
    bool public gotThrough;
    uint256 public callbacks;

    function behave(Manner manner_, address target_, bytes calldata data_) external {
        (manner, target, data, gotThrough, callbacks) = (manner_, target_, data_, false, 0);
    }

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function approve(address, uint256) external pure returns (bool) {
        return true;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        return _move(from, to, amount);
    }

    function _move(address from, address to, uint256 amount) private returns (bool) {
        if (manner == Manner.SAYS_NO) return false;
        if (manner == Manner.CALLS_BACK) {
            ++callbacks;
            (bool done,) = target.call(data);
            gotThrough = gotThrough || done;
        }
        balanceOf[from] -= amount;
        balanceOf[to] += manner == Manner.KEEPS_ONE ? amount - 1 : amount;
        return true;
    }
}
