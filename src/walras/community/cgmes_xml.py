"""CGMES files (IEC 61970-552 RDF/XML) as plain objects: identifier to class, attributes and references.

The rule: all files given are one model; a later file (SSH, TP, SV) adds to the objects of an earlier one (EQ). Identifiers are what
follows `#_`, `_` or `urn:uuid:`. Namespaces are dropped: CGMES 2.4 (CIM16) and 3.0 (CIM100) differ here only in names that
`cgmes_file.py` asks for both ways. Zip archives are opened. A document type declaration is refused (it could expand without end).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from walras.errors import Fault, InputError, reason_of

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
MOST_BYTES = 2**30


@dataclass(slots=True)
class CimObject:
    """One object: `kind` its class, `values` by attribute name without the class, `links` by reference name to identifiers."""

    id: str
    kind: str = ""
    values: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def number(self, name: str, default: float = 0.0) -> float:
        """A numeric attribute; InputError for what is none."""
        if name not in self.values:
            return default
        try:
            return float(self.values[name])
        except ValueError as cause:
            fault = Fault(f"{self.kind} {self.label}", name, self.values[name], "a number")
            raise InputError("CGMES", [fault]) from cause

    def flag(self, name: str, default: bool) -> bool:
        """A boolean attribute."""
        return self.values.get(name, str(default)).strip().lower() == "true"

    @property
    def label(self) -> str:
        """Its name, or its identifier."""
        return self.values.get("name") or self.id


class Model:
    """All objects, by identifier and by class."""

    def __init__(self, objects: dict[str, CimObject]) -> None:
        self.objects = objects
        self._by_kind: dict[str, list[CimObject]] = {}
        for found in objects.values():
            self._by_kind.setdefault(found.kind, []).append(found)

    def of(self, *kinds: str) -> Iterator[CimObject]:
        """The objects of these classes, in the order of the files."""
        for kind in kinds:
            yield from self._by_kind.get(kind, [])

    def linked(self, of: CimObject, *names: str) -> CimObject | None:
        """The object behind the first of these references that is there."""
        for name in names:
            target = self.objects.get(of.links.get(name, ""))
            if target is not None and target.kind:
                return target
        return None

    @property
    def kinds(self) -> dict[str, int]:
        """How many objects of each class."""
        return {kind: len(found) for kind, found in self._by_kind.items()}


def read_model(paths: Iterable[str | Path]) -> Model:
    """The model in these XML files or zip archives. Raises InputError with every file that cannot be read."""
    objects: dict[str, CimObject] = {}
    faults = []
    for path in map(Path, paths):
        try:
            for name, content in _documents(path):
                _read(content, objects, name)
        except (OSError, zipfile.BadZipFile, ElementTree.ParseError, ValueError) as cause:
            faults.append(Fault(str(path), "file", reason_of(cause), "CGMES in RDF/XML, or a zip of such files"))
    if faults:
        raise InputError("CGMES", faults)
    return Model(objects)


def _documents(path: Path) -> Iterator[tuple[str, bytes]]:
    if not zipfile.is_zipfile(path):
        yield path.name, path.read_bytes()
        return
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename.lower().endswith(".xml"):
                if info.file_size > MOST_BYTES:
                    raise ValueError(f"{info.filename} unpacks to {info.file_size} bytes")
                yield info.filename, archive.read(info)


def _read(content: bytes, objects: dict[str, CimObject], name: str) -> None:
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError(f"{name} declares a document type or entities")
    root = ElementTree.parse(io.BytesIO(content)).getroot()
    if root.tag != f"{_RDF}RDF":
        raise ValueError(f"{name} is no RDF document: {root.tag}")
    for element in root:
        raw = element.get(f"{_RDF}ID") or element.get(f"{_RDF}about") or ""
        found = objects.setdefault(_identifier(raw), CimObject(_identifier(raw)))
        kind = element.tag.split("}")[-1]
        if element.get(f"{_RDF}ID") or not found.kind:
            found.kind = kind
        for child in element:
            attribute = child.tag.split("}")[-1].split(".")[-1]
            reference = child.get(f"{_RDF}resource")
            if reference is not None:
                found.links[attribute] = _identifier(reference)
            else:
                found.values[attribute] = (child.text or "").strip()


def _identifier(raw: str) -> str:
    """`#_x`, `_x` and `urn:uuid:x` are x; of a URI with a fragment that is no identifier (an enumeration) the fragment stays."""
    text = raw.removeprefix("urn:uuid:")
    if "#" in text:
        text = text.split("#")[-1]
    return text.removeprefix("_")
