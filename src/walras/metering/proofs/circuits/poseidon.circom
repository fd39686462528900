// SPDX-License-Identifier: Apache-2.0
// Poseidon of sixteen inputs (Grassi et al., USENIX Security 2021): width 17, 8 full rounds around 68 partial ones, S-box x^5.
// The constants are written by tools/compile_circuits.py from the rule in poseidon.py beside this folder.
// 612 products; `full` and `partial` name what goes into each S-box, so that the linear layers stay sums of named signals.
pragma circom 2.2.0;
include "poseidon_constants.circom";

template Poseidon16() {
    signal input value[16];
    signal output hash;
    var ROUNDS = 76;
    var HALF = 4;
    var constants[76][17] = POSEIDON_CONSTANTS();
    var matrix[17][17] = POSEIDON_MATRIX();
    signal full[8][17];
    signal full2[8][17];
    signal full4[8][17];
    signal full5[8][17];
    signal partial[68];
    signal partial2[68];
    signal partial4[68];
    signal partial5[68];

    var state[17];
    state[0] = 0;
    for (var i = 0; i < 16; i++) {
        state[i + 1] = value[i];
    }
    var f = 0;
    var p = 0;
    for (var r = 0; r < ROUNDS; r++) {
        for (var i = 0; i < 17; i++) {
            state[i] = state[i] + constants[r][i];
        }
        if (r < HALF || r >= ROUNDS - HALF) {
            for (var i = 0; i < 17; i++) {
                full[f][i] <== state[i];
                full2[f][i] <== full[f][i] * full[f][i];
                full4[f][i] <== full2[f][i] * full2[f][i];
                full5[f][i] <== full4[f][i] * full[f][i];
                state[i] = full5[f][i];
            }
            f++;
        } else {
            partial[p] <== state[0];
            partial2[p] <== partial[p] * partial[p];
            partial4[p] <== partial2[p] * partial2[p];
            partial5[p] <== partial4[p] * partial[p];
            state[0] = partial5[p];
            p++;
        }
        var next[17];
        for (var i = 0; i < 17; i++) {
            next[i] = 0;
            for (var j = 0; j < 17; j++) {
                next[i] = next[i] + matrix[i][j] * state[j];
            }
        }
        for (var i = 0; i < 17; i++) {
            state[i] = next[i];
        }
    }
    hash <== state[0];
}
