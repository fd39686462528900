// SPDX-License-Identifier: Apache-2.0
// Statement: in slots `first` to `until` (half-open) the net import under `commitment` was at least `reduction_wh` below that of
// the agreed baseline, which is committed in the same form, under the context that belongs to the baseline of the same meter
// and slots: 2^248 more than that of the readings, which is below it.
pragma circom 2.2.0;
include "day.circom";

template Reduction() {
    signal input commitment;
    signal input context;
    signal input baseline;
    signal input first;
    signal input until;
    signal input reduction_wh;
    signal input import_wh[96];
    signal input export_wh[96];
    signal input salt;
    signal input baseline_import_wh[96];
    signal input baseline_export_wh[96];
    signal input baseline_salt;

    component day = CommittedDay();
    day.import_wh <== import_wh;
    day.export_wh <== export_wh;
    day.context <== context;
    day.salt <== salt;
    day.hash === commitment;
    component agreed = CommittedDay();
    agreed.import_wh <== baseline_import_wh;
    agreed.export_wh <== baseline_export_wh;
    agreed.context <== context + 2 ** 248;
    agreed.salt <== baseline_salt;
    agreed.hash === baseline;

    // inside = starts so far - ends so far; a bit, so the window does not end before it starts.
    component starts = OneHot(97);
    starts.index <== first;
    component ends = OneHot(97);
    ends.index <== until;
    signal inside[96];
    signal part[96];
    var open = 0;
    var reduced = 0;
    for (var slot = 0; slot < SLOTS(); slot++) {
        open += starts.at[slot] - ends.at[slot];
        inside[slot] <== open;
        inside[slot] * (inside[slot] - 1) === 0;
        part[slot] <== inside[slot]
            * (baseline_import_wh[slot] - baseline_export_wh[slot] - import_wh[slot] + export_wh[slot]);
        reduced += part[slot];
    }
    // 96 slots move less than 2^26 Wh either way, so neither number can wrap round the field.
    component claimed = Below(26);
    claimed.value <== reduction_wh;
    component beyond = Below(26);
    beyond.value <== reduced - reduction_wh;
}

component main {public [commitment, context, baseline, first, until, reduction_wh]} = Reduction();
