// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {ERC1155Holder} from "@openzeppelin/contracts/token/ERC1155/utils/ERC1155Holder.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title A liquidity pool between certificates of one vintage and money
/// @notice Constant product, the fee taken from what comes in, every rounding in the pool's favour: what a buyer pays is rounded
/// up, what a seller gets down, deposits up, payouts down. So the product never falls and no round trip earns. The arithmetic is
/// `walras.market.constant_product` to the last unit.
/// Units: energy in Wh (one certificate unit), money in nano-units of currency, the fee in parts per million. Money is paid in
/// and out in whole token units and kept here in nano-units, so that a swap needs no rounding beyond the curve's.
/// @dev Reserves are counted, never read from balances: what is sent here unasked belongs to nobody and moves no price.
contract EnergyPool is ERC1155Holder, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    uint256 private constant PPM = 1_000_000;
    uint256 public constant MAX_POOL_WH = 10 ** 12;
    uint256 public constant MAX_POOL_NANO = 1 << 62;

    IERC20 public immutable currency;
    IERC1155 public immutable certificates;
    /// @notice Token id of the certificates traded here.
    uint256 public immutable vintage;
    uint256 public immutable feePpm;
    uint256 public immutable nanoPerTokenUnit;

    uint256 public energyWh;
    uint256 public moneyNano;
    uint256 public shares;
    mapping(address provider => uint256) public sharesOf;
    /// @notice Money of a trader or provider outside the reserves.
    mapping(address owner => uint256) public freeNanoOf;

    event PaidIn(address indexed owner, uint256 tokenUnits);
    event PaidOut(address indexed owner, uint256 tokenUnits);
    event Minted(address indexed provider, uint256 shares, uint256 energyWh, uint256 moneyNano);
    event Burned(address indexed provider, uint256 shares, uint256 energyWh, uint256 moneyNano);
    event Bought(address indexed buyer, uint256 energyWh, uint256 moneyNano);
    event Sold(address indexed seller, uint256 energyWh, uint256 moneyNano);

    error TooManyDecimals(uint8 decimals);
    error BadFee(uint256 feePpm);
    error BadReserves(uint256 energyWh, uint256 moneyNano);
    error AlreadyOpen(uint256 shares);
    error BadShares(uint256 wanted, uint256 outstanding);
    error SharesNotHeld(address provider, uint256 held, uint256 wanted);
    error NotEnoughMoney(address owner, uint256 freeNano, uint256 neededNano);
    error NothingToPay(address owner);
    error PoolCannot(uint256 energyWh);
    error BeyondSlippage(uint256 quoteNano, uint256 limitNano);
    error TooMuchEnergy(uint256 energyWh, uint256 limitWh);
    error ShortTransfer(uint256 expected, uint256 received);

    constructor(IERC20Metadata currency_, IERC1155 certificates_, uint256 vintage_, uint256 feePpm_) {
        uint8 decimals = currency_.decimals();
        if (decimals > 9) revert TooManyDecimals(decimals);
        if (feePpm_ >= PPM) revert BadFee(feePpm_);
        currency = currency_;
        certificates = certificates_;
        vintage = vintage_;
        feePpm = feePpm_;
        nanoPerTokenUnit = 10 ** (9 - decimals);
    }

    // --- money in and out ------------------------------------------------------------------------------------------

    /// @notice Pay in token units, free to swap with or to provide.
    function payIn(uint256 tokenUnits) external nonReentrant {
        freeNanoOf[msg.sender] += tokenUnits * nanoPerTokenUnit;
        emit PaidIn(msg.sender, tokenUnits);
        uint256 before = currency.balanceOf(address(this));
        currency.safeTransferFrom(msg.sender, address(this), tokenUnits);
        uint256 received = currency.balanceOf(address(this)) - before;
        if (received != tokenUnits) revert ShortTransfer(tokenUnits, received);
    }

    /// @notice Take out what is free, in whole token units; the rest stays.
    function payOut() external nonReentrant returns (uint256 tokenUnits) {
        uint256 free = freeNanoOf[msg.sender];
        tokenUnits = free / nanoPerTokenUnit;
        if (tokenUnits == 0) revert NothingToPay(msg.sender);
        freeNanoOf[msg.sender] = free - tokenUnits * nanoPerTokenUnit;
        emit PaidOut(msg.sender, tokenUnits);
        currency.safeTransfer(msg.sender, tokenUnits);
    }

    // --- liquidity -------------------------------------------------------------------------------------------------

    /// @notice First deposit of an empty pool; mints isqrt(energy * money) shares to the caller.
    function open(uint256 energyWh_, uint256 moneyNano_) external nonReentrant {
        if (shares != 0) revert AlreadyOpen(shares);
        if (energyWh_ == 0 || energyWh_ > MAX_POOL_WH || moneyNano_ == 0 || moneyNano_ > MAX_POOL_NANO) {
            revert BadReserves(energyWh_, moneyNano_);
        }
        _deposit(Math.sqrt(energyWh_ * moneyNano_), energyWh_, moneyNano_);
    }

    /// @notice Provide for `wanted` new shares, in proportion, rounded up; or nothing if that takes more than `atMostWh` or
    /// `atMostNano`: who swaps just before moves the proportion.
    function mint(uint256 wanted, uint256 atMostWh, uint256 atMostNano) external nonReentrant {
        if (wanted == 0 || shares == 0 || wanted > MAX_POOL_NANO) revert BadShares(wanted, shares);
        uint256 wh = Math.ceilDiv(energyWh * wanted, shares);
        uint256 nano = Math.ceilDiv(moneyNano * wanted, shares);
        if (nano > atMostNano) revert BeyondSlippage(nano, atMostNano);
        if (wh > atMostWh) revert TooMuchEnergy(wh, atMostWh);
        if (energyWh + wh > MAX_POOL_WH || moneyNano + nano > MAX_POOL_NANO) {
            revert BadReserves(energyWh + wh, moneyNano + nano);
        }
        _deposit(wanted, wh, nano);
    }

    /// @notice Give back `wanted` shares for their part of the reserves, rounded down.
    function burn(uint256 wanted) external nonReentrant {
        uint256 held = sharesOf[msg.sender];
        if (wanted == 0) revert BadShares(wanted, shares);
        if (held < wanted) revert SharesNotHeld(msg.sender, held, wanted);
        uint256 wh = energyWh * wanted / shares;
        uint256 nano = moneyNano * wanted / shares;
        sharesOf[msg.sender] = held - wanted;
        shares -= wanted;
        energyWh -= wh;
        moneyNano -= nano;
        freeNanoOf[msg.sender] += nano;
        emit Burned(msg.sender, wanted, wh, nano);
        if (wh > 0) certificates.safeTransferFrom(address(this), msg.sender, vintage, wh, "");
    }

    /// @notice Give back `wanted` shares for money alone and leave their energy to the other providers: the way out where the
    /// rights here have expired and move no more. Nothing if it brings less than `atLeastNano`.
    function burnForMoney(uint256 wanted, uint256 atLeastNano) external nonReentrant {
        uint256 held = sharesOf[msg.sender];
        if (wanted == 0) revert BadShares(wanted, shares);
        if (held < wanted) revert SharesNotHeld(msg.sender, held, wanted);
        uint256 nano = moneyNano * wanted / shares;
        if (nano < atLeastNano) revert BeyondSlippage(nano, atLeastNano);
        sharesOf[msg.sender] = held - wanted;
        shares -= wanted;
        moneyNano -= nano;
        if (shares == 0) energyWh = 0; // what is left belongs to nobody, like what is sent here unasked
        freeNanoOf[msg.sender] += nano;
        emit Burned(msg.sender, wanted, 0, nano);
    }

    // --- swaps -----------------------------------------------------------------------------------------------------

    /// @notice Buy exactly `wh`, or nothing if it costs more than `atMostNano`.
    function buy(uint256 wh, uint256 atMostNano) external nonReentrant returns (uint256 costNano) {
        costNano = quoteBuy(wh);
        if (costNano > atMostNano) revert BeyondSlippage(costNano, atMostNano);
        _spend(costNano);
        energyWh -= wh;
        moneyNano += costNano;
        emit Bought(msg.sender, wh, costNano);
        certificates.safeTransferFrom(address(this), msg.sender, vintage, wh, "");
    }

    /// @notice Sell exactly `wh`, or nothing if it brings less than `atLeastNano`.
    function sell(uint256 wh, uint256 atLeastNano) external nonReentrant returns (uint256 proceedsNano) {
        proceedsNano = quoteSell(wh);
        if (proceedsNano < atLeastNano) revert BeyondSlippage(proceedsNano, atLeastNano);
        energyWh += wh;
        moneyNano -= proceedsNano;
        freeNanoOf[msg.sender] += proceedsNano;
        emit Sold(msg.sender, wh, proceedsNano);
        certificates.safeTransferFrom(msg.sender, address(this), vintage, wh, "");
    }

    /// @notice Nano-units to pay for exactly `wh`, fee included, rounded up.
    function quoteBuy(uint256 wh) public view returns (uint256 costNano) {
        if (wh == 0 || wh >= energyWh) revert PoolCannot(wh);
        costNano = Math.ceilDiv(moneyNano * wh * PPM, (energyWh - wh) * (PPM - feePpm));
        if (moneyNano + costNano > MAX_POOL_NANO) revert PoolCannot(wh);
    }

    /// @notice Nano-units paid out for exactly `wh`, fee deducted, rounded down.
    function quoteSell(uint256 wh) public view returns (uint256 proceedsNano) {
        if (wh == 0 || wh > MAX_POOL_WH || energyWh + wh > MAX_POOL_WH || moneyNano == 0) revert PoolCannot(wh);
        uint256 net = wh * (PPM - feePpm);
        return net * moneyNano / (energyWh * PPM + net);
    }

    function _deposit(uint256 minted, uint256 wh, uint256 nano) private {
        _spend(nano);
        energyWh += wh;
        moneyNano += nano;
        shares += minted;
        sharesOf[msg.sender] += minted;
        emit Minted(msg.sender, minted, wh, nano);
        certificates.safeTransferFrom(msg.sender, address(this), vintage, wh, "");
    }

    function _spend(uint256 nano) private {
        uint256 free = freeNanoOf[msg.sender];
        if (free < nano) revert NotEnoughMoney(msg.sender, free, nano);
        freeNanoOf[msg.sender] = free - nano;
    }
}
