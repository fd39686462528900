// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";
import {Issuance} from "./Issuance.sol";
import {Registry} from "./Registry.sol";
import {Settlement} from "./Settlement.sol";

/// @title Certificates of local energy
/// @notice One unit is one watt-hour that a member gave to the others in one slot; the token id is the slot (the vintage), the
/// contract stands for one feeder (the zone). A certificate is issued only against a settled slot that nothing can correct any
/// more, from the very positions that were paid, once for each member and slot (`Issuance` remembers it, for claims too). It is
/// transferred and split like any ERC-1155 token, and retired by burning, with a numbered receipt that a greenhouse-gas account
/// can cite. An ordinary slot costs nothing here: who wants the token brings the proof.
/// @dev The proof is the positions themselves (they are in the calldata of the settlement): their hash is in the slot's
/// commitment. What ERC-1888 asks for beyond ERC-1155 is here: issuance and claim events, `getCertificate` with a call that
/// says whether it holds, claimed balances, and a transfer that retires for another. Its `issue` is not: a proof issues.
contract EnergyCertificates is ERC1155 {
    struct Receipt {
        address holder;
        uint64 slot;
        uint256 energyWh;
        bytes32 beneficiary; // keccak256 of the text in the event
    }

    /// @notice ERC-1888 topic of these claims: renewable or not is the issuer's business, this is local energy.
    uint256 public constant TOPIC = 1;
    uint256 private constant POSITION_BYTES = 16;

    Settlement public immutable settlement;
    Registry public immutable registry;
    Issuance public immutable issuance;

    /// @notice Receipts of retirement, from number 1.
    mapping(uint256 number => Receipt) public receiptOf;
    uint256 public receipts;
    /// @notice Watt-hours retired for a holder and vintage.
    mapping(address holder => mapping(uint256 id => uint256)) public claimedBalanceOf;
    /// @notice Watt-hours issued and retired of a vintage.
    mapping(uint256 id => uint256) public issuedOf;
    mapping(uint256 id => uint256) public retiredOf;

    event Issued(uint64 indexed slot, uint256 indexed account, address indexed to, uint256 energyWh);
    /// @notice ERC-1888.
    event IssuanceSingle(address indexed issuer, uint256 indexed topic, uint256 id, uint256 value);
    /// @notice ERC-1888.
    event ClaimSingle(
        address indexed claimIssuer,
        address indexed claimSubject,
        uint256 indexed topic,
        uint256 id,
        uint256 value,
        bytes claimData
    );
    event Retired(uint256 indexed number, address indexed holder, uint64 indexed slot, uint256 energyWh, string beneficiary);

    error NotFinal(uint64 slot, uint64 finalFrom);
    error WrongRevisions(uint256 given, uint256 needed);
    error NotWhatWasSettled(uint64 slot, uint256 revision);
    error NoSurplus(uint64 slot, uint256 account, int256 energyWh);
    error NothingToRetire();
    error NotSettled(uint256 id);
    error LengthMismatch(uint256 owners, uint256 ids);

    constructor(Settlement settlement_, Issuance issuance_, string memory uri) ERC1155(uri) {
        settlement = settlement_;
        registry = settlement_.registry();
        issuance = issuance_;
    }

    /// @notice Issue to the caller what its account gave to the others in `slot`.
    /// @param headers of the settlement and, after it, of each correction in order.
    /// @param positions packed, of the settlement and each correction: what was in their calldata.
    /// @return energyWh issued.
    function issue(uint64 slot, Settlement.Header[] calldata headers, bytes[] calldata positions)
        external
        returns (uint256 energyWh)
    {
        uint256 account = registry.accountOf(msg.sender);
        _checkFinal(slot);
        uint256 needed = uint256(settlement.revisionOf(slot)) + 1;
        if (headers.length != needed || positions.length != needed) revert WrongRevisions(positions.length, needed);
        int256 net = 0;
        for (uint256 revision = 0; revision < needed; ++revision) {
            bytes32 known = revision == 0 ? settlement.commitmentOf(slot) : settlement.correctionOf(slot, uint64(revision));
            Settlement.Header calldata header = headers[revision];
            bytes32 given = keccak256(
                abi.encode(
                    slot, header.readingsRoot, header.tradesRoot, header.journalHead, keccak256(positions[revision])
                )
            );
            if (known != given) revert NotWhatWasSettled(slot, revision);
            net += _energyOf(account, positions[revision]);
        }
        if (net >= 0) revert NoSurplus(slot, account, net);
        energyWh = uint256(-net);
        issuance.takeAccount(slot, account);
        issuedOf[slot] += energyWh;
        emit Issued(slot, account, msg.sender, energyWh);
        emit IssuanceSingle(address(this), TOPIC, slot, energyWh);
        _mint(msg.sender, slot, energyWh, "");
    }

    /// @notice Burn `energyWh` of vintage `slot` for good, in the name of `beneficiary`.
    /// @return number of the receipt.
    function retire(uint64 slot, uint256 energyWh, string calldata beneficiary) external returns (uint256 number) {
        return _retire(msg.sender, msg.sender, slot, energyWh, bytes(beneficiary));
    }

    /// @notice ERC-1888: burn `value` of `from`'s certificates `id`, retired for `to`. `from` or whom it approved.
    function safeTransferAndClaimFrom(
        address from,
        address to,
        uint256 id,
        uint256 value,
        bytes calldata, /* data: nobody receives a token */
        bytes calldata claimData
    ) external {
        if (from != msg.sender && !isApprovedForAll(from, msg.sender)) {
            revert ERC1155MissingApprovalForAll(msg.sender, from);
        }
        if (to == address(0)) revert ERC1155InvalidReceiver(to);
        if (id > type(uint64).max) revert NotSettled(id);
        _retire(from, to, uint64(id), value, claimData);
    }

    /// @notice ERC-1888.
    function claimedBalanceOfBatch(address[] calldata owners, uint256[] calldata ids)
        external
        view
        returns (uint256[] memory claimed)
    {
        if (owners.length != ids.length) revert LengthMismatch(owners.length, ids.length);
        claimed = new uint256[](owners.length);
        for (uint256 i = 0; i < owners.length; ++i) {
            claimed[i] = claimedBalanceOf[owners[i]][ids[i]];
        }
    }

    /// @notice ERC-1888: who issued, on what topic, the call (to this contract) that says whether it holds, and the payload:
    /// `abi.encode(settlement, slot, commitment, revision)`, where the last two say what was settled in the end.
    function getCertificate(uint256 id)
        external
        view
        returns (address issuer, uint256 topic, bytes memory validityCall, bytes memory data)
    {
        uint64 slot = uint64(id);
        bytes32 commitment = settlement.commitmentOf(slot);
        if (id > type(uint64).max || commitment == bytes32(0)) revert NotSettled(id);
        uint64 revision = settlement.revisionOf(slot);
        if (revision > 0) commitment = settlement.correctionOf(slot, revision);
        return (
            address(this), TOPIC, abi.encodeCall(this.isValid, (id)), abi.encode(settlement, slot, commitment, revision)
        );
    }

    /// @notice Whether certificates of vintage `id` were issued, and are not all retired.
    function isValid(uint256 id) external view returns (bool) {
        return issuedOf[id] > retiredOf[id];
    }

    /// @notice Whether anything of `account`'s `slot` is issued already, here or elsewhere.
    function issued(uint64 slot, uint256 account) external view returns (bool) {
        return issuance.isTaken(settlement, slot, account);
    }

    function _retire(address from, address holder, uint64 slot, uint256 energyWh, bytes calldata beneficiary)
        private
        returns (uint256 number)
    {
        if (energyWh == 0) revert NothingToRetire();
        _burn(from, slot, energyWh);
        number = ++receipts;
        receiptOf[number] = Receipt(holder, slot, energyWh, keccak256(beneficiary));
        claimedBalanceOf[holder][slot] += energyWh;
        retiredOf[slot] += energyWh;
        emit ClaimSingle(address(this), holder, TOPIC, slot, energyWh, beneficiary);
        emit Retired(number, holder, slot, energyWh, string(beneficiary));
    }

    function _checkFinal(uint64 slot) private view {
        uint64 next = settlement.nextSlot();
        uint64 window = settlement.correctionWindow();
        uint64 finalBelow = next > window ? next - window : 0;
        if (slot >= finalBelow) revert NotFinal(slot, finalBelow);
    }

    /// @dev The energy of `account` in packed positions, 0 where it has none. Accounts are sorted, so a bisection finds it.
    function _energyOf(uint256 account, bytes calldata positions) private pure returns (int256) {
        uint256 low = 0;
        uint256 high = positions.length / POSITION_BYTES;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            uint256 found = uint16(bytes2(positions[middle * POSITION_BYTES:middle * POSITION_BYTES + 2]));
            if (found == account) {
                bytes6 energy = bytes6(positions[middle * POSITION_BYTES + 10:middle * POSITION_BYTES + 16]);
                return int48(uint48(energy));
            }
            if (found < account) low = middle + 1;
            else high = middle;
        }
        return 0;
    }
}
