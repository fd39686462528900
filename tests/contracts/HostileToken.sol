// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A currency that fights back, for tests
/// @notice On every transfer it can call back, in the name of whoever it was told to be a proxy for, and it can keep a fee. It notes
/// whether its call got through. It can refuse to pay somebody.
contract HostileToken is ERC20 {
    address public target;
    bytes public data;
    uint256 public fee;
    bool public tried;
    bool public gotThrough;
    bytes public answer;
    mapping(address payee => bool) public refused;

    error Refused(address payee);

    constructor() ERC20("Hostile", "HST") {}

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function arm(address target_, bytes calldata data_, uint256 fee_) external {
        (target, data, fee, tried, gotThrough) = (target_, data_, fee_, false, false);
    }

    function refuse(address payee, bool yes) external {
        refused[payee] = yes;
    }

    /// @dev It can be a member itself, and act as one.
    function doCall(address to, bytes calldata what) external {
        (bool done, bytes memory said) = to.call(what);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(said, 32), mload(said))
            }
        }
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (refused[to]) revert Refused(to);
        super._update(from, to, amount);
        if (fee > 0 && from != address(0) && to != address(0)) super._update(to, address(this), fee);
        if (target != address(0) && !tried && from != address(0)) {
            tried = true;
            (gotThrough, answer) = target.call(data);
        }
    }
}
