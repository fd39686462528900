// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {FlexibilityBond} from "FlexibilityBond.sol";
import {Settlement} from "Settlement.sol";
import {Caller, StubRegistry, StubSettlement, StubToken, VM} from "Stubs.sol";

/// @title For all rewards, stakes and times; two slots of 16 Wh, so that the solver shifts where it would have to multiply
contract FlexibilityBondSymbolicTest {
    FlexibilityBond private bonds;
    StubToken private token;
    Caller private provider;
    Caller private stranger;

    function setUp() public {
        StubSettlement settlement = new StubSettlement(address(new StubRegistry(address(this))));
        token = new StubToken(9);
        settlement.payIn(address(token));
        bonds = new FlexibilityBond(Settlement(address(settlement)));
        provider = new Caller();
        stranger = new Caller();
        VM.warp(1_000);
    }

    function offered(uint64 reward, uint64 stake) private {
        bonds.offer(FlexibilityBond.Terms(address(provider), 0, 2, 16, reward, stake, 1_500, 2_000, bytes32(0)));
    }

    function held() private view returns (uint256) {
        return token.balanceOf(address(bonds));
    }

    /// @notice What an offer that nobody takes brought in is the buyer's again, to the nano-unit.
    function check_anOfferGoesBackWhole(uint64 reward) public {
        offered(reward, 0);
        bonds.withdrawOffer(1);
        assert(bonds.creditOf(address(this)) == held());
    }

    /// @notice What nobody showed goes back to where it came from, after the expiry and not before; every nano is somebody's.
    function check_whatNobodyShowedGoesBack(uint64 reward, uint64 stake, uint16 wait) public {
        offered(reward, stake);
        assert(provider.tries(address(bonds), abi.encodeCall(bonds.accept, (1))));
        VM.warp(1_000 + uint256(wait));
        bool done = stranger.tries(address(bonds), abi.encodeCall(bonds.expire, (1)));
        assert(done == (wait >= 1_000));
        if (done) assert(bonds.creditOf(address(this)) + bonds.creditOf(address(provider)) == held());
        assert(!stranger.tries(address(bonds), abi.encodeCall(bonds.expire, (1))) || !done);
    }

    /// @notice Only the buyer takes an offer back, only the provider takes it up, and nobody the one after the other.
    function check_onlyTheParties(uint64 reward, uint64 stake) public {
        offered(reward, stake);
        assert(!stranger.tries(address(bonds), abi.encodeCall(bonds.withdrawOffer, (1))));
        assert(!stranger.tries(address(bonds), abi.encodeCall(bonds.accept, (1))));
        assert(provider.tries(address(bonds), abi.encodeCall(bonds.accept, (1))));
        (bool done,) = address(bonds).call(abi.encodeCall(bonds.withdrawOffer, (1)));
        assert(!done);
    }
}
