// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {BatchEscrow} from "BatchEscrow.sol";
import {Registry} from "Registry.sol";
import {SlotSteps} from "SlotSteps.sol";
import {Caller, StubRegistry, StubToken, VM} from "Stubs.sol";

/// @title The escrow with a batch always final, of a state in which nobody has traded yet or, where one is set, account 0 alone
contract Escrow is BatchEscrow {
    uint256 private _word;
    uint256 private _members;
    bool public gone;

    constructor(IERC20Metadata currency_, Registry registry_) BatchEscrow(currency_, registry_, 1 hours) {}

    function step() external {
        ++era;
    }

    function trade(uint256 word) external {
        _word = word;
        _members = 1;
    }

    function takeBack() external {
        gone = true;
    }

    function _finalState(uint256) internal view override returns (bytes32, uint256, uint64) {
        return (0, 0, era);
    }

    function _standing() internal view override returns (bytes32, uint256, uint32, uint48) {
        return (_members == 0 ? bytes32(0) : SlotSteps.accountLeaf(0, _word), _members, 1, 0);
    }

    function _stands(uint32, uint48) internal view override returns (bool) {
        return !gone;
    }
}

/// @title For all deposits, requests and times
contract BatchEscrowSymbolicTest {
    Escrow private escrow;
    StubToken private token;
    Caller private other;

    function setUp() public {
        token = new StubToken(9);
        Registry registry = Registry(address(new StubRegistry(address(this))));
        VM.warp(1_000);
        escrow = new Escrow(IERC20Metadata(address(token)), registry);
        other = new Caller();
    }

    /// @return asked whether it was accepted, which is for no more than was paid in.
    function ask(uint96 amount) private returns (bool asked) {
        (asked,) = address(escrow).call(abi.encodeCall(escrow.requestWithdrawal, (amount, 0, new bytes32[](0))));
    }

    function out() private view returns (uint256) {
        return token.balanceOf(address(this));
    }

    /// @notice Nobody takes out more than was paid in for it, whatever it asked; what did not go out still backs it.
    function check_noMoreOutThanIn(uint64 units, uint96 asked) public {
        if (units == 0) return;
        escrow.deposit(0, units);
        if (!ask(asked)) return;
        (bool done,) = address(escrow).call(abi.encodeCall(escrow.withdraw, (0, 0, new bytes32[](0))));
        assert(out() <= units && out() <= asked);
        if (done) assert(escrow.collateralOf(0) == int256(uint256(units) - out()));
        else assert(out() == 0);
        (bool again,) = address(escrow).call(abi.encodeCall(escrow.withdraw, (0, 0, new bytes32[](0))));
        assert(!(done && again));
    }

    /// @notice Whatever the trades came to: asked is what is one's own by the state shown, and not a nano more.
    function check_nobodyAsksForMoreThanItsOwn(uint64 units, uint96 first, uint96 asked, uint256 word) public {
        if (units == 0) return;
        escrow.deposit(0, units);
        bool before = ask(first);
        escrow.trade(word);
        int256 own = int256(uint256(units)) - SlotSteps.paymentOf(word);
        bytes memory call_ = abi.encodeCall(escrow.requestWithdrawal, (asked, word, new bytes32[](0)));
        (bool done,) = address(escrow).call(call_);
        assert(done == (asked == 0 || int256(uint256(asked)) <= own));
        uint256 open = done ? asked : before ? first : 0;
        assert(escrow.collateralOf(0) == int256(uint256(units)) - int256(open));
    }

    /// @notice A request is dropped where its ground is gone, and then backs trades again at once; else it is not.
    function check_onlyAnUnfoundedRequestIsDropped(uint64 units, uint96 asked, bool gone, bool later) public {
        if (units == 0) return;
        escrow.deposit(0, units);
        bool open = ask(asked) && asked != 0;
        if (later) escrow.step();
        if (gone) escrow.takeBack();
        (bool done,) = address(escrow).call(abi.encodeCall(escrow.dropUnfounded, (0)));
        assert(done == (open && gone));
        if (done) assert(escrow.collateralAt(0, escrow.era()) == int256(uint256(units)));
    }

    /// @notice A request leaves the collateral of the batch under way alone, and takes from the next on.
    function check_aRequestBindsOneBatchLater(uint64 units, uint96 asked) public {
        if (units == 0) return;
        escrow.deposit(0, units);
        uint48 era = escrow.era();
        if (!ask(asked)) return;
        int256 whole = int256(uint256(units));
        assert(escrow.collateralAt(0, era) == whole);
        assert(escrow.collateralAt(0, era + 1) == whole - int256(uint256(asked)));
    }

    /// @notice One's money is nobody else's: another's requests and withdrawals change nothing of it.
    function check_anotherTakesNothing(uint64 units, uint96 asked) public {
        if (units == 0) return;
        escrow.deposit(0, units);
        other.tries(address(escrow), abi.encodeCall(escrow.requestWithdrawal, (asked, 0, new bytes32[](0))));
        other.tries(address(escrow), abi.encodeCall(escrow.withdraw, (0, 0, new bytes32[](0))));
        assert(token.balanceOf(address(other)) == 0);
        assert(escrow.collateralOf(0) == int256(uint256(units)));
    }

    /// @notice The halt comes with the time-out, not before; then all goes back, once.
    function check_afterTheHaltAllGoesBackOnce(uint64 units, uint96 asked, uint32 wait) public {
        if (units == 0) return;
        escrow.deposit(0, units);
        ask(asked);
        VM.warp(1_000 + uint256(wait));
        (bool halted,) = address(escrow).call(abi.encodeCall(escrow.halt, ()));
        assert(halted == (wait >= 1 hours));
        (bool done,) = address(escrow).call(abi.encodeCall(escrow.exit, (0, new bytes32[](0))));
        assert(done == halted && out() == (done ? units : 0));
        (bool again,) = address(escrow).call(abi.encodeCall(escrow.exit, (0, new bytes32[](0))));
        assert(!(done && again));
    }
}
