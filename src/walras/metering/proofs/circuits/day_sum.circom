// SPDX-License-Identifier: Apache-2.0
// Statement: under `commitment` lie 96 readings, none of which moved more than `capacity_wh` in its slot (import and export
// together: one wire carries both), and they sum to `import_total_wh` and `export_total_wh`.
pragma circom 2.2.0;
include "day.circom";

template DaySum() {
    signal input commitment;
    signal input context;
    signal input capacity_wh;
    signal input import_total_wh;
    signal input export_total_wh;
    signal input import_wh[96];
    signal input export_wh[96];
    signal input salt;

    component day = CommittedDay();
    day.import_wh <== import_wh;
    day.export_wh <== export_wh;
    day.context <== context;
    day.salt <== salt;
    day.hash === commitment;

    component capacity = Below(19);
    capacity.value <== capacity_wh;
    component room[96];
    var imports = 0;
    var exports = 0;
    for (var slot = 0; slot < SLOTS(); slot++) {
        room[slot] = Below(19);
        room[slot].value <== capacity_wh - import_wh[slot] - export_wh[slot];
        imports += import_wh[slot];
        exports += export_wh[slot];
    }
    imports === import_total_wh;
    exports === export_total_wh;
}

component main {public [commitment, context, capacity_wh, import_total_wh, export_total_wh]} = DaySum();
