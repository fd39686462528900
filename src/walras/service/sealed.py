"""Secrets that a TPM gives out only to the firmware under which they were sealed, kept as a file that is nothing without it.

For keys that no TPM signs with (an oracle's is of secp256k1), and for what wraps members' keys in a store. The file holds the TPM's
place, the registers that count, and the sealed object (TPM2_Create under the owner's storage key; PolicyPCR, no password).
Elsewhere, or after a start with other firmware, TPM2_Unseal refuses. Once given out the secret is in this machine's memory: a
running node that is taken over has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from walras.errors import Fault, InputError, MeteringError
from walras.service.tpm_device import Tpm

_STORAGE = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"
_SEALED = "fixedtpm|fixedparent|noda"


class Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file: JSON, bytes in base64."""

    tpm: str
    registers: tuple[int, ...]
    public: bytes
    private: bytes


def seal(tcti: str, registers: Sequence[int], secret: bytes) -> bytes:
    """The file's content for a secret of at most 128 bytes, sealed to the registers as they are now."""
    tpm = Tpm(tcti)
    try:
        public, private = tpm.do(lambda esys: _create(tpm, esys, registers, secret))
    finally:
        tpm.close()
    return msgspec.json.encode(Sealed(tpm=tcti, registers=tuple(registers), public=public, private=private)) + b"\n"


def unseal(path: Path, content: bytes) -> bytes:
    """The secret; InputError for what is no such file, MeteringError where the TPM does not give it out."""
    try:
        sealed = msgspec.json.decode(content, type=Sealed)
    except msgspec.DecodeError as cause:
        raise InputError("sealed secret", [Fault(str(path), "file", str(cause), "a file by `walras key --seal`")]) from cause
    tpm = Tpm(sealed.tpm)
    try:
        return tpm.do(lambda esys: _open(tpm, esys, sealed))
    except MeteringError as cause:
        raise MeteringError(
            f"{path}: the TPM does not give the secret out: {cause.message}",
            thing=path,
            way_out="it was sealed in another TPM or under other firmware: `walras key secret:FILE --seal` seals it again",
        ) from cause
    finally:
        tpm.close()


def _create(tpm: Tpm, esys: Any, registers: Sequence[int], secret: bytes) -> tuple[bytes, bytes]:
    lib = tpm.library
    session = _session(lib, esys, lib.TPM2_SE.TRIAL, registers)
    try:
        policy = bytes(esys.policy_get_digest(session))
    finally:
        esys.flush_context(session)
    template = lib.TPM2B_PUBLIC.parse("keyedhash", _SEALED)
    template.publicArea.authPolicy = policy
    sensitive = lib.TPM2B_SENSITIVE_CREATE(lib.TPMS_SENSITIVE_CREATE(data=secret))
    parent = _storage_key(lib, esys)
    try:
        private, public, *_ = esys.create(parent, sensitive, template)
    finally:
        esys.flush_context(parent)
    return bytes(public.marshal()), bytes(private.marshal())


def _open(tpm: Tpm, esys: Any, sealed: Sealed) -> bytes:
    lib = tpm.library
    parent = _storage_key(lib, esys)
    try:
        private, _ = lib.TPM2B_PRIVATE.unmarshal(sealed.private)
        public, _ = lib.TPM2B_PUBLIC.unmarshal(sealed.public)
        loaded = esys.load(parent, private, public)
    finally:
        esys.flush_context(parent)
    session = _session(lib, esys, lib.TPM2_SE.POLICY, sealed.registers)
    try:
        return bytes(esys.unseal(loaded, session1=session))
    finally:
        esys.flush_context(session)
        esys.flush_context(loaded)


def _storage_key(lib: Any, esys: Any) -> Any:
    """The owner's storage key: of this template it is the same after every start, so nothing has to be kept."""
    template = lib.TPM2B_PUBLIC.parse("ecc256:aes128cfb", _STORAGE)
    handle, *_ = esys.create_primary(lib.TPM2B_SENSITIVE_CREATE(), template, lib.ESYS_TR.OWNER)
    return handle


def _session(lib: Any, esys: Any, kind: Any, registers: Sequence[int]) -> Any:
    """A session bound to the registers as they are now."""
    none = lib.ESYS_TR.NONE
    session = esys.start_auth_session(none, none, kind, lib.TPMT_SYM_DEF(algorithm=lib.TPM2_ALG.NULL), lib.TPM2_ALG.SHA256)
    selection = lib.TPML_PCR_SELECTION.parse("sha256:" + ",".join(map(str, registers)))
    esys.policy_pcr(session, b"", selection)
    return session
