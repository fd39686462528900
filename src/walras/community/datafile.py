"""The compact data file of a community: one year of profiles as small integers, the network's arrays, and where they come from.

An `.npz` (zip, deflated, nothing pickled) with
    meta         UTF-8 JSON as bytes: format, code, origin (UTC), minutes, slots, timezone, source, licence, profile names
    active       uint16 [profiles, slots]: power as a part of the peak = active / ACTIVE_SCALE
    reactive     int16 [profiles, slots]: reactive power as a part of the peak kvar = reactive / REACTIVE_SCALE (zero for PV)
    network.*    the arrays of a `walras.grid.Network`
Values are decoded by whole-number arithmetic only, so that every machine reads the same watt-hours out of it.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from walras.errors import Fault, InputError
from walras.slots import SlotGrid

FORMAT = "walras-community-data-1"
ACTIVE_SCALE = 60_000
REACTIVE_SCALE = 15_000
META_FIELDS = ("format", "code", "origin", "minutes", "slots", "timezone", "source", "licence", "profiles")
FIXED_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class CommunityData:
    """What a data file holds. Arrays are read-only.

    `active` [profiles, slots] in parts of ACTIVE_SCALE, `reactive` likewise in parts of REACTIVE_SCALE, rows as in `profiles`;
    slot i is the one of `grid`; `network` holds the arrays that `walras.grid.Network.from_arrays` takes.
    """

    code: str
    grid: SlotGrid
    profiles: tuple[str, ...]
    active: NDArray[np.uint16]
    reactive: NDArray[np.int16]
    network: dict[str, NDArray[Any]]
    source: str
    licence: str

    @property
    def slots(self) -> int:
        """How many slots the profiles cover, from slot 0."""
        return int(self.active.shape[1])

    def row(self, profile: str) -> int:
        """The row of a profile; ValueError where there is none (a community file is checked before)."""
        return self.profiles.index(profile)


def write_data(path: Path, data: CommunityData) -> None:
    """Write `data`; the same data give the same bytes."""
    meta = {
        "format": FORMAT,
        "code": data.code,
        "origin": data.grid.origin.isoformat(),
        "minutes": data.grid.minutes,
        "slots": data.slots,
        "timezone": data.grid.timezone,
        "source": data.source,
        "licence": data.licence,
        "profiles": list(data.profiles),
    }
    arrays: dict[str, NDArray[Any]] = {"active": data.active, "reactive": data.reactive}
    arrays |= {f"network.{name}": array for name, array in data.network.items()}
    write_arrays(path, meta, arrays)


def read_data(path: Path) -> CommunityData:
    """Read a data file; InputError names what is missing or does not fit."""
    meta, arrays = read_arrays(path)
    faults = [Fault(path.name, f"meta.{name}", "absent", "a value") for name in META_FIELDS if name not in meta]
    faults += [Fault(path.name, name, "absent", "an array") for name in ("active", "reactive") if name not in arrays]
    if not faults:
        faults = _faults(path.name, meta, arrays)
    if faults:
        raise InputError(f"data file {path.name}", faults, way_out="write it again with `walras import`")
    return CommunityData(
        code=meta["code"],
        grid=SlotGrid(datetime.fromisoformat(meta["origin"]).astimezone(UTC), meta["minutes"], meta["timezone"]),
        profiles=tuple(meta["profiles"]),
        active=arrays["active"],
        reactive=arrays["reactive"],
        network={name.removeprefix("network."): array for name, array in arrays.items() if name.startswith("network.")},
        source=meta["source"],
        licence=meta["licence"],
    )


def _faults(name: str, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> list[Fault]:
    shape = (len(meta["profiles"]), meta["slots"])
    faults = []
    if meta["format"] != FORMAT:
        faults.append(Fault(name, "meta.format", meta["format"], FORMAT))
    for key, dtype in (("active", np.uint16), ("reactive", np.int16)):
        array = arrays[key]
        if array.dtype != dtype or array.shape != shape:
            expected = f"{np.dtype(dtype).name} {shape}"
            faults.append(Fault(name, key, f"{array.dtype.name} {array.shape}", expected))
    if len(set(meta["profiles"])) != len(meta["profiles"]):
        faults.append(Fault(name, "meta.profiles", meta["profiles"], "names without repetition"))
    return faults


def write_arrays(path: Path, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """An `.npz` with JSON in `meta`, byte for byte the same for the same content."""
    text = json.dumps(meta, ensure_ascii=False, sort_keys=True).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in {"meta": np.frombuffer(text, dtype=np.uint8), **arrays}.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array) if array.ndim else array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", FIXED_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, buffer.getvalue(), compresslevel=9)


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """`meta` and the read-only arrays of an `.npz`; InputError where it is none, or holds pickled objects."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        meta = json.loads(arrays.pop("meta").tobytes())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, EOFError) as cause:
        fault = Fault(str(path), "file", type(cause).__name__, "a readable .npz with a `meta` entry")
        raise InputError(f"data file {path.name}", [fault]) from cause
    if not isinstance(meta, dict):
        raise InputError(f"data file {path.name}", [Fault(path.name, "meta", meta, "a JSON object")])
    for array in arrays.values():
        array.flags.writeable = False
    return meta, arrays
