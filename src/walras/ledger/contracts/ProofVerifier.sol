// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Checks zero-knowledge proofs about committed meter data
/// @notice Groth16 over BN254 (alt_bn128), for the one circuit whose verifying key it was made with. One proof or many in a call:
/// of many, their random linear combination is checked, at n + 3 pairings where one by one it would be 4 n. That a commitment
/// among the inputs is a meter's own is not said here: the meter's signature says it, and the oracles check that.
/// @dev A single proof holds when e(A, B) = e(alpha, beta) e(IC(x), gamma) e(C, delta), e.g. Groth 2016, section 3.2. In a batch
/// both sides of proof i are raised to a weight of 128 bits, hashed from the key, all proofs and all inputs (the first has
/// weight 1), so a batch with a false proof passes with a chance of 2^-128. Anybody can turn a proof into another one of the same
/// statement: never use it as an identifier. The key lies in the code of a contract of its own, which is cheaper to read
/// than storage.
contract ProofVerifier {
    uint256 private constant Q = 21888242871839275222246405745257275088696311157297823662689037894645226208583;
    uint256 private constant R = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
    uint256 private constant PROOF_BYTES = 256;
    uint256 private constant FIXED_BYTES = 448; // alpha, beta, gamma, delta
    uint256 private constant POINT_BYTES = 64;
    uint256 private constant PAIR_BYTES = 192;
    // What a precompile takes at most: its price before EIP-1108. A refused point costs all that it is given.
    uint256 private constant ADD_GAS = 500;
    uint256 private constant MULTIPLY_GAS = 40_000;
    uint256 private constant PAIRING_GAS = 100_000;
    uint256 private constant PAIR_GAS = 80_000;

    /// @notice Where the verifying key lies, as code behind one stop byte.
    address public immutable keyStore;
    /// @notice Keccak-256 of the verifying key: which circuit and which ceremony this contract stands for.
    bytes32 public immutable keyHash;
    /// @notice Public inputs of a proof.
    uint256 public immutable inputCount;

    /// @notice All of `proofs` proofs hold; `statements` is the Keccak-256 of their public inputs, 32 bytes each, in order.
    event Proven(bytes32 indexed statements, uint256 proofs);

    error KeyInvalid(uint256 bytesGiven);
    error NothingToProve();
    error WrongLength(uint256 proofBytes, uint256 inputs);
    error ProofInvalid();

    /// @param key Points in the precompiles' order and form: alpha (64 bytes), beta, gamma, delta (128 each), then 64 bytes for
    /// the constant and for each public input.
    constructor(bytes memory key) {
        uint256 length = key.length;
        if (length < FIXED_BYTES + 2 * POINT_BYTES || (length - FIXED_BYTES) % POINT_BYTES != 0) revert KeyInvalid(length);
        if (!_isKey(key)) revert KeyInvalid(length);
        inputCount = (length - FIXED_BYTES) / POINT_BYTES - 1;
        keyHash = keccak256(key);
        // Creation code of ten bytes (push length, dup, push 10, push 0, codecopy, push 0, return), then what it returns.
        bytes memory code = abi.encodePacked(hex"61", uint16(length + 1), hex"80600a5f395ff3", hex"00", key);
        address store;
        assembly ("memory-safe") {
            store := create(0, add(code, 32), mload(code))
        }
        if (store.code.length != length + 1) revert KeyInvalid(length);
        keyStore = store;
    }

    /// @notice Whether all proofs hold: 256 bytes each (A, B, C as the precompiles take them), with their inputs one after the other.
    function verify(bytes calldata proofs, uint256[] calldata inputs) public view returns (bool) {
        uint256 count = proofs.length / PROOF_BYTES;
        if (count == 0) revert NothingToProve();
        if (proofs.length % PROOF_BYTES != 0 || inputs.length != count * inputCount) {
            revert WrongLength(proofs.length, inputs.length);
        }
        bytes memory key = _key();
        (bool valid, uint256[] memory sums, uint256 pairs) = _combine(proofs, inputs, count);
        return valid && _pairingHolds(key, sums, pairs, count);
    }

    /// @notice Check all proofs and put on record that they hold; reverts where one does not.
    function prove(bytes calldata proofs, uint256[] calldata inputs) external {
        if (!verify(proofs, inputs)) revert ProofInvalid();
        emit Proven(keccak256(abi.encodePacked(inputs)), proofs.length / PROOF_BYTES);
    }

    /// @dev Weighs inputs and points. Returns whether all were in their field and on their curve, the weighted sums of the inputs
    /// (the sum of the weights first), and where in memory the pairing's pairs begin: `count` of (weight * A, B), and in the last
    /// of the three after them the weighted sum of the Cs.
    function _combine(bytes calldata proofs, uint256[] calldata inputs, uint256 count)
        private
        view
        returns (bool valid, uint256[] memory sums, uint256 pairs)
    {
        uint256 width = inputCount;
        sums = new uint256[](width + 1);
        uint256 seed = uint256(keccak256(abi.encodePacked(keyHash, proofs, inputs)));
        assembly ("memory-safe") {
            // [weight and number to hash | scratch of four words | pairs]
            let scratch := mload(0x40)
            pairs := add(scratch, 0x80)
            let end := add(pairs, mul(add(count, 3), PAIR_BYTES))
            mstore(0x40, end)
            let last := sub(end, PAIR_BYTES)
            mstore(last, 0)
            mstore(add(last, 0x20), 0)
            valid := 1
            let proof := proofs.offset
            let input := inputs.offset
            let sum0 := add(sums, 0x20)
            for { let i := 0 } lt(i, count) { i := add(i, 1) } {
                let weight := 1
                if i {
                    mstore(0x00, seed)
                    mstore(0x20, i)
                    weight := shr(128, keccak256(0x00, 0x40))
                }
                mstore(sum0, addmod(mload(sum0), weight, R))
                for { let j := 1 } iszero(gt(j, width)) { j := add(j, 1) } {
                    let x := calldataload(input)
                    valid := and(valid, lt(x, R))
                    let at := add(sum0, shl(5, j))
                    mstore(at, addmod(mload(at), mulmod(weight, x, R), R))
                    input := add(input, 0x20)
                }
                let pair := add(pairs, mul(i, PAIR_BYTES))
                calldatacopy(pair, proof, PAIR_BYTES)
                calldatacopy(scratch, add(proof, PAIR_BYTES), 0x40)
                if i {
                    mstore(add(scratch, 0x40), weight)
                    valid := and(valid, staticcall(MULTIPLY_GAS, 0x07, scratch, 0x60, scratch, 0x40))
                    let c := mload(scratch)
                    let d := mload(add(scratch, 0x20))
                    mstore(scratch, mload(pair))
                    mstore(add(scratch, 0x20), mload(add(pair, 0x20)))
                    valid := and(valid, staticcall(MULTIPLY_GAS, 0x07, scratch, 0x60, pair, 0x40))
                    mstore(scratch, c)
                    mstore(add(scratch, 0x20), d)
                }
                mstore(add(scratch, 0x40), mload(last))
                mstore(add(scratch, 0x60), mload(add(last, 0x20)))
                valid := and(valid, staticcall(ADD_GAS, 0x06, scratch, 0x80, last, 0x40))
                proof := add(proof, PROOF_BYTES)
            }
        }
    }

    /// @dev Fills in the last three pairs, (-weights * alpha, beta), (-IC(x), gamma), (-C, delta), and asks the precompile.
    function _pairingHolds(bytes memory key, uint256[] memory sums, uint256 pairs, uint256 count)
        private
        view
        returns (bool holds)
    {
        uint256 width = inputCount;
        uint256 pairingGas = PAIRING_GAS + PAIR_GAS * (count + 3);
        assembly ("memory-safe") {
            let scratch := mload(0x40)
            let from := add(key, 0x20)
            let first := add(pairs, mul(count, PAIR_BYTES))
            let second := add(first, PAIR_BYTES)
            let third := add(second, PAIR_BYTES)
            let sum := add(sums, 0x20)
            // first: (R - weights) * alpha, beta
            mcopy(scratch, from, 0x40)
            mstore(add(scratch, 0x40), sub(R, mload(sum)))
            let done := staticcall(MULTIPLY_GAS, 0x07, scratch, 0x60, first, 0x40)
            mcopy(add(first, 0x40), add(from, 0x40), 0x80)
            // second: the inputs' points, gamma; two words of running sum lie behind the two of the product
            let point := add(from, FIXED_BYTES)
            mstore(add(scratch, 0x60), 0)
            mstore(add(scratch, 0x80), 0)
            for { let j := 0 } iszero(gt(j, width)) { j := add(j, 1) } {
                mcopy(add(scratch, 0xa0), point, 0x40)
                mstore(add(scratch, 0xe0), mod(sub(R, mload(add(sum, shl(5, j)))), R))
                done := and(done, staticcall(MULTIPLY_GAS, 0x07, add(scratch, 0xa0), 0x60, add(scratch, 0xa0), 0x40))
                done := and(done, staticcall(ADD_GAS, 0x06, add(scratch, 0x60), 0x80, add(scratch, 0x60), 0x40))
                point := add(point, POINT_BYTES)
            }
            mcopy(second, add(scratch, 0x60), 0x40)
            mcopy(add(second, 0x40), add(from, 0xc0), 0x80)
            // third: -C, delta
            mstore(add(third, 0x20), mod(sub(Q, mload(add(third, 0x20))), Q))
            mcopy(add(third, 0x40), add(from, 0x140), 0x80)
            done := and(done, staticcall(pairingGas, 0x08, pairs, mul(add(count, 3), PAIR_BYTES), scratch, 0x20))
            holds := and(done, mload(scratch))
        }
    }

    function _key() private view returns (bytes memory key) {
        address store = keyStore;
        uint256 length = FIXED_BYTES + (inputCount + 1) * POINT_BYTES;
        assembly ("memory-safe") {
            key := mload(0x40)
            mstore(key, length)
            extcodecopy(store, add(key, 0x20), 1, length)
            mstore(0x40, add(add(key, 0x20), length))
        }
    }

    /// @dev Points on their curves and in their subgroups: the precompiles refuse others. The product of the pairings does not
    /// matter here, so what they return is not looked at.
    function _isKey(bytes memory key) private view returns (bool valid) {
        uint256 pairingGas = PAIRING_GAS + PAIR_GAS;
        assembly ("memory-safe") {
            let scratch := mload(0x40)
            let from := add(key, 0x20)
            let end := add(from, mload(key))
            valid := 1
            for { let at := add(from, 0x40) } lt(at, add(from, FIXED_BYTES)) { at := add(at, 0x80) } {
                mcopy(scratch, from, 0x40)
                mcopy(add(scratch, 0x40), at, 0x80)
                valid := and(valid, staticcall(pairingGas, 0x08, scratch, PAIR_BYTES, scratch, 0x20))
            }
            for { let at := add(from, FIXED_BYTES) } lt(at, end) { at := add(at, POINT_BYTES) } {
                mcopy(scratch, at, 0x40)
                mstore(add(scratch, 0x40), 0)
                mstore(add(scratch, 0x60), 0)
                valid := and(valid, staticcall(ADD_GAS, 0x06, scratch, 0x80, scratch, 0x40))
            }
        }
    }
}
