// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {PaymentChannels} from "PaymentChannels.sol";
import {Caller, StubToken, VM} from "Stubs.sol";

/// @title For all deposits, payments, signatures and times
contract PaymentChannelsSymbolicTest {
    PaymentChannels private channels;
    Caller private other;
    Caller private stranger;

    function setUp() public {
        channels = new PaymentChannels(IERC20Metadata(address(new StubToken(9))));
        other = new Caller();
        stranger = new Caller();
    }

    function opened(uint64 mine, uint64 theirs) private {
        channels.open(address(other), 1 hours, mine);
        assert(other.tries(address(channels), abi.encodeCall(channels.fund, (1, theirs))));
    }

    function credits() private view returns (uint256 one, uint256 two) {
        return (channels.creditOf(address(this)), channels.creditOf(address(other)));
    }

    /// @notice Whatever last balance passes pays out exactly what both put in, and only what both can pay; else nothing happens.
    function check_theCloseConserves(uint64 mine, uint64 theirs, int128 nano, bytes32 r, bytes32 s, bytes32 q, bytes32 t) public {
        opened(mine, theirs);
        PaymentChannels.Balance memory last = PaymentChannels.Balance(1, 1, nano, 0, 0);
        bytes memory first = abi.encodePacked(r, s, uint8(27));
        bytes memory second = abi.encodePacked(q, t, uint8(28));
        (bool done,) = address(channels).call(abi.encodeCall(channels.closeTogether, (last, first, second)));
        (uint256 one, uint256 two) = credits();
        assert(one + two == (done ? uint256(mine) + theirs : 0));
        if (done) assert(int256(one) == int256(uint256(mine)) - nano);
        (bool again,) = address(channels).call(abi.encodeCall(channels.closeTogether, (last, first, second)));
        assert(!(done && again));
    }

    /// @notice Closed unused, everybody gets back what it put in, once, and not before the challenge period is over.
    function check_unusedGoesBackInTime(uint64 mine, uint64 theirs, uint32 wait) public {
        opened(mine, theirs);
        VM.warp(1_000);
        channels.closeUnused(1);
        VM.warp(1_000 + uint256(wait));
        bool done = stranger.tries(address(channels), abi.encodeCall(channels.finish, (1)));
        assert(done == (wait >= 1 hours));
        (uint256 one, uint256 two) = credits();
        assert(one == (done ? mine : 0) && two == (done ? theirs : 0));
        assert(!stranger.tries(address(channels), abi.encodeCall(channels.finish, (1))) || !done);
    }

    /// @notice Who is no party neither funds nor begins to close.
    function check_onlyParties(uint64 mine, uint64 amount) public {
        opened(mine, 0);
        assert(!stranger.tries(address(channels), abi.encodeCall(channels.fund, (1, amount))));
        assert(!stranger.tries(address(channels), abi.encodeCall(channels.closeUnused, (1))));
    }
}
