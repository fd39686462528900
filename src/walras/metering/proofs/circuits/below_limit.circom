// SPDX-License-Identifier: Apache-2.0
// Statement: in slot `slot` of the day under `commitment`, import was below `import_limit_wh` and export below
// `export_limit_wh`. A limit of 2^18 says nothing: every reading is below it.
pragma circom 2.2.0;
include "day.circom";

template BelowLimit() {
    signal input commitment;
    signal input context;
    signal input slot;
    signal input import_limit_wh;
    signal input export_limit_wh;
    signal input word[14];
    signal input salt;

    component place = Place();
    place.index <== slot;
    component reading = ReadingAt();
    reading.word <== word;
    reading.context <== context;
    reading.salt <== salt;
    reading.inWord <== place.inWord;
    reading.inSeventh <== place.inSeventh;
    reading.hash === commitment;

    // limit - 1 - value in 18 bits, for a value of 18 bits: the limit is a whole number from 1 to 2^19.
    component importRoom = Below(18);
    importRoom.value <== import_limit_wh - 1 - reading.import_wh;
    component exportRoom = Below(18);
    exportRoom.value <== export_limit_wh - 1 - reading.export_wh;
}

component main {public [commitment, context, slot, import_limit_wh, export_limit_wh]} = BelowLimit();
