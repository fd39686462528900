// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

/// @title A currency to try the exchange with
/// @notice ERC-20 with 6 decimals: one token unit is a micro-unit of currency, so 1 token unit = 1,000 nano-units.
/// @dev Its owner mints at will; it is worth nothing. A live community passes the address of a real token instead.
contract TestCurrency is ERC20, Ownable {
    constructor(address owner_) ERC20("Walras Test Currency", "WTC") Ownable(owner_) {}

    /// @notice Six, like the common stable tokens.
    function decimals() public pure override returns (uint8) {
        return 6;
    }

    /// @notice Make `amount` token units (micro-units of currency) for `to`.
    function mint(address to, uint256 amount) external onlyOwner {
        _mint(to, amount);
    }
}
