"""A device's TPM 2.0: meter key, attestation key and counter live in it. The one file that imports `tpm2_pytss`.

Kept here: no key is ever read out (all are made in the TPM, FIXEDTPM); everything that must survive a restart is in the TPM's
own memory (persistent handles, an NV counter), so the device keeps no state of its own. A lost connection is opened again and
the command given once more: to sign twice is harmless, to count twice leaves out a number. The counter is *orderly*
(TPMA_NV_ORDERLY): its steps are kept in the TPM's RAM, which spares the memory, and after a power cut it goes on above any
number that it can have given. The keys are exempt from the TPM's lockout (NO_DA), which counts a power cut after a signature as a
guess at a password: a few would silence a meter that has none.

`tpm2_pytss` (BSD 2-clause) needs the system's libtss2; it is the optional extra `walras[tpm]`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Any, TypeVar

from walras.errors import Fault, InputError, MeteringError
from walras.metering.identity import PublicKey, lower_s
from walras.metering.tpm.endorsement import EK_POLICY
from walras.metering.tpm.enrolment import Challenge, Evidence, Offer, Statement
from walras.metering.tpm.structures import read_public, read_signature

ENDORSEMENT_CERTIFICATE = 0x01C00002
ENDORSEMENT_KEY = 0x81010001
"""Where makers put certificate and key of template L-1 (TCG EK Credential Profile, 2.2.1.4; TCG Provisioning Guidance, 7.8)."""

ATTESTATION_KEY = 0x81017FFF
FIRST_KEY = 0x81017000
FIRST_COUNTER = 0x01807000
MOST_KEYS = 0x7FF
"""Persistent handles and NV indexes of the owner's range (TCG Registry of Reserved Handles): key `number` and its counter."""

PATIENCE_S, PAUSE_S = 5.0, 0.02

_NOT_STARTED = 0x100
_TCTI_LAYER = 0x0A0000
_LAYER_MASK = 0xFF0000
_NOT_THERE = (0x18B, 0x28B, 0x18A)
_CHUNK = 512
_Result = TypeVar("_Result")


class Tpm:
    """A connection to one TPM by TCTI (`device:/dev/tpmrm0`, `swtpm:host=…,port=…`). Not for use by two threads at once."""

    def __init__(self, tcti: str) -> None:
        """Connect; MeteringError where the library or the TPM is missing."""
        self.library = _library()
        self._tcti = tcti
        self._handles: dict[int, Any] = {}
        self._esys = self._open()

    def close(self) -> None:
        """Give the connection back."""
        self._esys.close()

    def do(self, action: Callable[[Any], _Result]) -> _Result:
        """The action on the connection; opened again once where it was lost. MeteringError for what the TPM refuses."""
        try:
            try:
                return action(self._esys)
            except self.library.TSS2_Exception as lost:
                if lost.rc & _LAYER_MASK != _TCTI_LAYER:
                    raise
            self._esys.close()
            self._handles.clear()
            self._esys = self._reopened()
            return action(self._esys)
        except self.library.TSS2_Exception as cause:
            raise MeteringError(f"TPM {self._tcti}: {cause}", thing=self._tcti) from cause

    def handle(self, number: int) -> Any | None:
        """What stands at a persistent handle or NV index; None where nothing does."""
        if number not in self._handles:
            try:
                self._handles[number] = self._esys.tr_from_tpmpublic(number)
            except self.library.TSS2_Exception as cause:
                if cause.rc not in _NOT_THERE:
                    raise
                return None
        return self._handles[number]

    def forget(self, number: int) -> None:
        """What stands at a handle has changed: ask again."""
        self._handles.pop(number, None)

    def _reopened(self) -> Any:
        """Connect again; a TPM that lost its supply takes a moment to come back."""
        end = monotonic() + PATIENCE_S
        while True:
            try:
                return self._open()
            except MeteringError:
                if monotonic() > end:
                    raise
            sleep(PAUSE_S)

    def _open(self) -> Any:
        try:
            esys = self.library.ESAPI(self._tcti)
            try:
                esys.get_random(1)
            except self.library.TSS2_Exception as asleep:
                if asleep.rc != _NOT_STARTED:
                    esys.close()  # an emulated TPM serves one connection at a time
                    raise
                esys.startup(self.library.TPM2_SU.CLEAR)
        except (self.library.TSS2_Exception, TypeError, ValueError) as cause:
            way_out = "tpm:device:/dev/tpmrm0 is a built-in TPM, tpm:swtpm:host=127.0.0.1,port=2321 an emulated one"
            raise MeteringError(f"TPM {self._tcti} cannot be reached: {cause}", thing=self._tcti, way_out=way_out) from cause
        return esys


class TpmKey:
    """`identity.KeyStore` in a TPM: key and counter `number`, made at the first use and found again at every other."""

    def __init__(self, tpm: Tpm, number: int = 0) -> None:
        """Find or make key and counter; InputError for a number beyond the range, MeteringError for what the TPM refuses."""
        if not 0 <= number < MOST_KEYS:
            raise InputError("TPM key", [Fault("key", "number", number, f"0 to {MOST_KEYS - 1}")])
        self._tpm, self._lib = tpm, tpm.library
        self._key, self._index = FIRST_KEY + number, FIRST_COUNTER + number
        self._public = read_public(tpm.do(lambda esys: self._signing_area(self._key, restricted=False)))
        tpm.do(lambda esys: self._made_counter())

    def public_key(self) -> PublicKey:
        """As `KeyStore.public_key`."""
        return self._public.key  # type: ignore[return-value]  # the template's

    def sign_digest(self, digest: bytes) -> bytes:
        """As `KeyStore.sign_digest`: by the TPM, with a nonce of its own."""
        lib = self._lib
        ticket = lib.TPMT_TK_HASHCHECK(tag=lib.TPM2_ST.HASHCHECK, hierarchy=lib.TPM2_RH.NULL)

        def signed(esys: Any) -> bytes:
            scheme = lib.TPMT_SIG_SCHEME(scheme=lib.TPM2_ALG.NULL)
            return bytes(esys.sign(self._tpm.handle(self._key), lib.TPM2B_DIGEST(digest), scheme, ticket).marshal())

        return lower_s(read_signature(self._tpm.do(signed)))

    def next_counter(self) -> int:
        """As `KeyStore.next_counter`: TPM2_NV_Increment, then read."""
        self._tpm.do(lambda esys: esys.nv_increment(self._tpm.handle(self._index), self._tpm.handle(self._index)))
        return self._tpm.do(lambda esys: int.from_bytes(self._nv(self._index, 8), "big"))

    def close(self) -> None:
        """Give the TPM's connection back, for all its keys."""
        self._tpm.close()

    def registers(self, numbers: Sequence[int]) -> tuple[tuple[int, bytes], ...]:
        """Numbers and values of registers of the SHA-256 bank, as they are now."""

        def values(esys: Any) -> tuple[tuple[int, bytes], ...]:
            selections = [(number, self._lib.TPML_PCR_SELECTION.parse(f"sha256:{number}")) for number in numbers]
            return tuple((number, bytes(esys.pcr_read(selection)[2][0])) for number, selection in selections)

        return self._tpm.do(values)

    def offer(self) -> Offer:
        """What the device shows first (`enrolment`); MeteringError where the TPM has no endorsement certificate."""
        return self._tpm.do(self._offer)

    def answer(self, challenge: Challenge) -> Evidence:
        """The evidence for a challenge; MeteringError where the TPM does not open it: it is for another TPM or another key."""
        return self._tpm.do(lambda esys: self._answer(esys, challenge))

    def _offer(self, esys: Any) -> Offer:
        if self._tpm.handle(ENDORSEMENT_CERTIFICATE) is None:
            raise MeteringError(
                "the TPM carries no certificate of an RSA-2048 endorsement key",
                thing=f"NV index 0x{ENDORSEMENT_CERTIFICATE:08x}",
                way_out="swtpm_setup --create-ek-cert makes one for an emulated TPM; ask the maker for that of a real one",
            )
        area, _ = esys.nv_read_public(self._tpm.handle(ENDORSEMENT_CERTIFICATE))
        certificate = self._nv(ENDORSEMENT_CERTIFICATE, int(area.nvPublic.dataSize), owner=True)
        endorsement = esys.read_public(self._endorsement_key())[0].publicArea.marshal()
        attestation = self._signing_area(ATTESTATION_KEY, restricted=True)
        counter, _ = esys.nv_read_public(self._tpm.handle(self._index))
        return Offer(certificate, bytes(endorsement), attestation, self._public.encoded, bytes(counter.nvPublic.marshal()))

    def _answer(self, esys: Any, challenge: Challenge) -> Evidence:
        lib, handle = self._lib, self._tpm.handle
        attestation, key, index = handle(ATTESTATION_KEY), handle(self._key), handle(self._index)
        nonce, scheme = lib.TPM2B_DATA(challenge.nonce), lib.TPMT_SIG_SCHEME(scheme=lib.TPM2_ALG.NULL)
        secret = self._opened(esys, attestation, challenge)
        certified = esys.certify(key, attestation, nonce, scheme)
        registers = lib.TPML_PCR_SELECTION.parse("sha256:" + ",".join(map(str, challenge.registers)))
        quoted = esys.quote(attestation, registers, nonce, scheme)
        counted = esys.nv_certify(attestation, index, nonce, scheme, 8)
        return Evidence(secret, *(_statement(*made) for made in (certified, quoted, counted)))

    def _opened(self, esys: Any, attestation: Any, challenge: Challenge) -> bytes:
        """TPM2_ActivateCredential under the endorsement key's policy."""
        lib = self._lib
        endorsement = self._endorsement_key()
        none = lib.ESYS_TR.NONE
        aes = lib.TPMT_SYM_DEF(algorithm=lib.TPM2_ALG.NULL)
        session = esys.start_auth_session(none, none, lib.TPM2_SE.POLICY, aes, lib.TPM2_ALG.SHA256)
        try:
            esys.policy_secret(lib.ESYS_TR.ENDORSEMENT, session, b"", b"", b"", 0)
            blob, seed = lib.TPM2B_ID_OBJECT(challenge.blob), lib.TPM2B_ENCRYPTED_SECRET(challenge.encrypted_seed)
            opened = esys.activate_credential(attestation, endorsement, blob, seed, session1=lib.ESYS_TR.PASSWORD, session2=session)
        finally:
            esys.flush_context(session)
        return bytes(opened)

    def _endorsement_key(self) -> Any:
        """The maker's, or the same made again from the TPM's own seed (template L-1)."""
        if self._tpm.handle(ENDORSEMENT_KEY) is None:
            template = self._lib.TPM2B_PUBLIC.parse("rsa2048:aes128cfb", _EK_ATTRIBUTES)
            template.publicArea.authPolicy = EK_POLICY
            template.publicArea.unique.rsa = bytes(256)
            self._persist(template, self._lib.ESYS_TR.ENDORSEMENT, ENDORSEMENT_KEY)
        return self._tpm.handle(ENDORSEMENT_KEY)

    def _signing_area(self, number: int, *, restricted: bool) -> bytes:
        """Public area of the P-256 key at a persistent handle, made there at the first use."""
        if self._tpm.handle(number) is None:
            attributes = _RESTRICTED_ATTRIBUTES if restricted else _SIGNING_ATTRIBUTES
            template = self._lib.TPM2B_PUBLIC.parse("ecc256:ecdsa-sha256:null", attributes)
            unique = os.urandom(32)  # else a primary key of this template is the same each time, whatever stood there before
            template.publicArea.unique.ecc.x = unique
            self._persist(template, self._lib.ESYS_TR.OWNER, number)
        return bytes(self._tpm._esys.read_public(self._tpm.handle(number))[0].publicArea.marshal())

    def _persist(self, template: Any, hierarchy: Any, number: int) -> None:
        esys = self._tpm._esys
        made, *_ = esys.create_primary(self._lib.TPM2B_SENSITIVE_CREATE(), template, hierarchy)
        try:
            esys.evict_control(self._lib.ESYS_TR.OWNER, made, number)
        finally:
            esys.flush_context(made)
        self._tpm.forget(number)

    def _made_counter(self) -> None:
        """Define the counter at the first use; a counter starts above any that was ever in this TPM (Part 1, "Counters")."""
        lib = self._lib
        if self._tpm.handle(self._index) is not None:
            return
        area = lib.TPMS_NV_PUBLIC(nvIndex=self._index, nameAlg=lib.TPM2_ALG.SHA256, attributes=_counter_attributes(lib), dataSize=8)
        self._tpm._esys.nv_define_space(lib.TPM2B_AUTH(), lib.TPM2B_NV_PUBLIC(nvPublic=area), lib.ESYS_TR.OWNER)
        self._tpm.forget(self._index)
        index = self._tpm.handle(self._index)
        self._tpm._esys.nv_increment(index, index)  # unwritten, it could not be attested
        self._tpm.forget(self._index)  # its name changed with its first value

    def _nv(self, number: int, size: int, *, owner: bool = False) -> bytes:
        handle = self._tpm.handle(number)
        by = self._lib.ESYS_TR.OWNER if owner else handle
        parts = [self._tpm._esys.nv_read(handle, min(_CHUNK, size - at), at, by) for at in range(0, size, _CHUNK)]
        return b"".join(bytes(part) for part in parts)


_SIGNING_ATTRIBUTES = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign"
_RESTRICTED_ATTRIBUTES = _SIGNING_ATTRIBUTES + "|restricted"
_EK_ATTRIBUTES = "fixedtpm|fixedparent|sensitivedataorigin|adminwithpolicy|restricted|decrypt"


def _counter_attributes(lib: Any) -> Any:
    nv = lib.TPMA_NV
    kind = lib.TPM2_NT.COUNTER << nv.TPM2_NT_SHIFT
    return nv.OWNERREAD | nv.OWNERWRITE | nv.AUTHREAD | nv.AUTHWRITE | nv.NO_DA | nv.ORDERLY | kind


def _statement(attest: Any, signature: Any) -> Statement:
    return Statement(bytes(attest), bytes(signature.marshal()))


def _library() -> Any:
    """`tpm2_pytss`; MeteringError with the way out where it is not installed."""
    os.environ.setdefault("TSS2_LOG", "all+none")  # its own messages, in C, straight to standard error; ours carry the same
    try:
        return importlib.import_module("tpm2_pytss")
    except ImportError as cause:
        way_out = "apt-get install libtss2-dev pkg-config, then pip install 'walras[tpm]'; or a key in a file: --key FILE"
        raise MeteringError(f"keys in a TPM need tpm2-pytss: {cause}", thing="tpm2_pytss", way_out=way_out) from cause
