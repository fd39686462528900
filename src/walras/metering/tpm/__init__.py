"""TPM 2.0: what an operator checks before it vouches for a key that lives in one. Verification needs no TPM and no library of one.

`check_offer`, `challenge`, `check_evidence` are the three steps of `enrolment`; the device's side is `service.tpm_device`.
"""

from walras.metering.tpm.enrolment import (
    Attested,
    Challenge,
    EnrolmentRefusal,
    Evidence,
    Firmware,
    Offer,
    Offered,
    Policy,
    Statement,
    challenge,
    check_evidence,
    check_offer,
)
from walras.metering.tpm.structures import read_attest, read_nv_public, read_public, read_signature

__all__ = [
    "Attested",
    "Challenge",
    "EnrolmentRefusal",
    "Evidence",
    "Firmware",
    "Offer",
    "Offered",
    "Policy",
    "Statement",
    "challenge",
    "check_evidence",
    "check_offer",
    "read_attest",
    "read_nv_public",
    "read_public",
    "read_signature",
]
