// SPDX-License-Identifier: Apache-2.0
// The committed day: 96 consecutive slots, each an import and an export of 18 bits [Wh], seven slots packed into a word of 252
// bits, the fourteen words hashed with the context (which meter, which slots) and a secret salt. See day.py beside this folder.
pragma circom 2.2.0;
include "bits.circom";
include "poseidon.circom";

function SLOTS() { return 96; }
function WORDS() { return 14; }
function SLOTS_PER_WORD() { return 7; }
function VALUE_BITS() { return 18; }

template Commitment() {
    signal input word[14];
    signal input context;
    signal input salt;
    signal output hash;
    component poseidon = Poseidon16();
    for (var w = 0; w < WORDS(); w++) {
        poseidon.value[w] <== word[w];
    }
    poseidon.value[14] <== context;
    poseidon.value[15] <== salt;
    hash <== poseidon.hash;
}

// Every reading in its 18 bits, and the commitment that they have.
template CommittedDay() {
    signal input import_wh[96];
    signal input export_wh[96];
    signal input context;
    signal input salt;
    signal output hash;
    component importBits[96];
    component exportBits[96];
    component commitment = Commitment();
    for (var w = 0; w < WORDS(); w++) {
        var sum = 0;
        for (var k = 0; k < SLOTS_PER_WORD() && w * SLOTS_PER_WORD() + k < SLOTS(); k++) {
            var slot = w * SLOTS_PER_WORD() + k;
            importBits[slot] = Below(VALUE_BITS());
            importBits[slot].value <== import_wh[slot];
            exportBits[slot] = Below(VALUE_BITS());
            exportBits[slot].value <== export_wh[slot];
            sum += (import_wh[slot] + export_wh[slot] * 2 ** VALUE_BITS()) * 2 ** (2 * VALUE_BITS() * k);
        }
        commitment.word[w] <== sum;
    }
    commitment.context <== context;
    commitment.salt <== salt;
    hash <== commitment.hash;
}

// Where slot `index` of a day stands: which word, and which seventh of it.
template Place() {
    signal input index;
    signal output inWord[14];
    signal output inSeventh[7];
    signal word <-- index \ 7;
    signal seventh <-- index % 7;
    component words = OneHot(WORDS());
    component sevenths = OneHot(SLOTS_PER_WORD());
    words.index <== word;
    sevenths.index <== seventh;
    word * SLOTS_PER_WORD() + seventh === index;
    inWord <== words.at;
    inSeventh <== sevenths.at;
    // The last word holds slots 91 to 95: its last two places are no slots.
    words.at[13] * (sevenths.at[5] + sevenths.at[6]) === 0;
}

// The reading at a place of a committed day, without showing which words stand around it.
template ReadingAt() {
    signal input word[14];
    signal input context;
    signal input salt;
    signal input inWord[14];
    signal input inSeventh[7];
    signal output hash;
    signal output import_wh;
    signal output export_wh;
    component commitment = Commitment();
    commitment.word <== word;
    commitment.context <== context;
    commitment.salt <== salt;
    hash <== commitment.hash;

    signal part[14];
    var chosen = 0;
    for (var w = 0; w < WORDS(); w++) {
        part[w] <== word[w] * inWord[w];
        chosen += part[w];
    }
    component bits = Bits(2 * VALUE_BITS() * SLOTS_PER_WORD());
    bits.value <== chosen;

    signal importPart[7];
    signal exportPart[7];
    var imports = 0;
    var exports = 0;
    for (var k = 0; k < SLOTS_PER_WORD(); k++) {
        var importHere = 0;
        var exportHere = 0;
        for (var b = 0; b < VALUE_BITS(); b++) {
            importHere += bits.bit[2 * VALUE_BITS() * k + b] * 2 ** b;
            exportHere += bits.bit[2 * VALUE_BITS() * k + VALUE_BITS() + b] * 2 ** b;
        }
        importPart[k] <== importHere * inSeventh[k];
        exportPart[k] <== exportHere * inSeventh[k];
        imports += importPart[k];
        exports += exportPart[k];
    }
    import_wh <== imports;
    export_wh <== exports;
}
