// SPDX-License-Identifier: Apache-2.0
// Whole numbers inside a field: a value is below 2^n when n bits make it up, and there is one way to do so while 2^n < r.
pragma circom 2.2.0;

template Bits(n) {
    assert(n < 253);
    signal input value;
    signal output bit[n];
    var sum = 0;
    for (var i = 0; i < n; i++) {
        bit[i] <-- (value >> i) & 1;
        bit[i] * (bit[i] - 1) === 0;
        sum += bit[i] * 2 ** i;
    }
    sum === value;
}

// 0 <= value < 2^n
template Below(n) {
    signal input value;
    component bits = Bits(n);
    bits.value <== value;
}

// at[i] = 1 where i is the index, else 0; without a solution where the index is not from 0 to n - 1.
template OneHot(n) {
    signal input index;
    signal output at[n];
    var ones = 0;
    var sum = 0;
    for (var i = 0; i < n; i++) {
        at[i] <-- index == i ? 1 : 0;
        at[i] * (at[i] - 1) === 0;
        ones += at[i];
        sum += i * at[i];
    }
    ones === 1;
    sum === index;
}
