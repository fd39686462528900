"""What the meters of rural3 send in so many days from New Year, as a file: one frame of readings a slot, signed one by one.

`python -m bench.year_meters COMMUNITY FRAMES`: every member's net energy by the product's own replay of the measured profiles (its
batteries among them), the transformer's by a power flow of it; each reading signed by its device's own P-256 key, as `walras run`
signs them. Prints readings and processor seconds of the signing (JSON). A process of its own: not the nodes' memory nor their time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import cbor2
import numpy as np

from walras.community import Community, load_community
from walras.ledger import LedgerKeys
from walras.study.meters import Meters, make_meters, run_seed
from walras.study.physics import bus_flow
from walras.study.replay import replay
from walras.study.runner import make_terms
from walras.study.trading import Trading
from walras.units import Int64

SIZE_BYTES = 4

Measured = tuple[range, Int64, Int64]
"""Slots of a day, the members' net energy [slots, members] and the transformer's [slots], whole Wh, positive towards the homes."""


def measured_days(community: Community) -> Iterator[Measured]:
    """Day after day, what every meter measures."""
    trading = Trading(community)
    terms = make_terms(community, trading, LedgerKeys(bytes(32)))
    hours = community.grid.hours
    for done in replay(trading, terms, community.slots):
        reactive = np.asarray(trading.day(done.slots.start).series.reactive_kvar)[: len(done.slots)]
        flow = bus_flow(trading.network, trading.bus, done.net_wh, reactive, hours)
        yield done.slots, done.net_wh, np.rint(flow.slack_p_kw * 1e3 * hours).astype(np.int64)


@cache
def _meters(path: Path) -> tuple[Community, Meters]:
    community = load_community(path)
    return community, make_meters(community, run_seed(community))


def signed_day(path: Path, measured: Measured) -> tuple[list[bytes], float]:
    """Frames of a day's slots, and the processor seconds that signing them took."""
    community, meters = _meters(path)
    slots, net_wh, through_wh = measured
    frames = []
    started = time.process_time()
    for row, slot in enumerate(slots):
        counter = slot - community.slots.start + 1
        sent = [*meters.sign(slot, counter, net_wh[row]), meters.sign_feeder(slot, counter, int(through_wh[row]))]
        frames.append(cbor2.dumps(sent))
    return frames, time.process_time() - started


def frames_of(path: Path) -> Iterator[bytes]:
    """The frames of a file, in the order of their slots."""
    with path.open("rb") as file:
        while head := file.read(SIZE_BYTES):
            yield file.read(int.from_bytes(head, "big"))


def main(community: Path, out: Path) -> None:
    """Write the file of frames."""
    spent, devices = 0.0, len(load_community(community).members) + 1
    slots = 0
    with out.open("wb") as file, ProcessPoolExecutor(2) as pool:
        days = list(measured_days(load_community(community)))
        for frames, seconds in pool.map(signed_day, [community] * len(days), days):
            spent += seconds
            slots += len(frames)
            for frame in frames:
                file.write(len(frame).to_bytes(SIZE_BYTES, "big") + frame)
    print(json.dumps({"readings": slots * devices, "seconds": spent}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
