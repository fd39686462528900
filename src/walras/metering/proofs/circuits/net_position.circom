// SPDX-License-Identifier: Apache-2.0
// Statement: in slot `slot`, the readings of the four meters under `root` net to `net_wh` (import less export; below zero it
// stands as r - |net_wh|). The root is the hash of the meters' four commitments, their four contexts, and eight zeros. Fewer
// meters are filled up with the empty day, whose commitment everybody knows.
pragma circom 2.2.0;
include "day.circom";

template NetPosition(meters) {
    signal input root;
    signal input slot;
    signal input net_wh;
    signal input context[meters];
    signal input word[meters][14];
    signal input salt[meters];

    component list = Poseidon16();
    component place = Place();
    place.index <== slot;
    component reading[meters];
    var net = 0;
    for (var m = 0; m < meters; m++) {
        reading[m] = ReadingAt();
        reading[m].word <== word[m];
        reading[m].context <== context[m];
        reading[m].salt <== salt[m];
        reading[m].inWord <== place.inWord;
        reading[m].inSeventh <== place.inSeventh;
        list.value[m] <== reading[m].hash;
        list.value[meters + m] <== context[m];
        net += reading[m].import_wh - reading[m].export_wh;
    }
    for (var i = 2 * meters; i < 16; i++) {
        list.value[i] <== 0;
    }
    list.hash === root;
    net === net_wh;
}

component main {public [root, slot, net_wh]} = NetPosition(4);
