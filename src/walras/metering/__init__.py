"""Metering: who measured what, proven.

The way of a reading: `sign_readings` makes its one canonical encoding; `admit` lets it in or names the `Refusal`; at
the deadline `close_slot` fills what is missing with marked `substitutes`; oracles do the same for themselves
(`receive`, `close`) and vote on the Merkle root; `quorum` attests it. Verify, then admit; a refused reading changes
nothing.
"""

from walras.metering.admission import (
    AdmissionState,
    Admitted,
    Refused,
    Registry,
    Rules,
    admit,
    initial_state,
    registry_of,
    revoke,
)
from walras.metering.balance import Balance, BalanceRule, Suspect, feeder_balance, over_window, suspects
from walras.metering.correction import Correction, Reason, corrected, corrected_by_late_reading, difference
from walras.metering.credential import (
    KeyAttestation,
    MeterCredential,
    check_credential,
    issue,
    read_credential,
    registry_of_credentials,
)
from walras.metering.disclosure import Disclosed, check_presentation, issue_disclosable, present, salts_from
from walras.metering.identity import Key, KeyStore, derive_key, did_of, key_id, public_key_of
from walras.metering.jose import CredentialRefusal
from walras.metering.merkle import KECCAK_SORTED, SHA256_RFC6962, MerkleTree, Proof, root_of, tree_over, verify_inclusion
from walras.metering.oracle import (
    Attestation,
    Disagreement,
    Equivocation,
    OracleState,
    Vote,
    cast_vote,
    close,
    initial_oracle,
    own_digest,
    proves_equivocation,
    quorum,
    receive,
)
from walras.metering.parcel import Evidence, admit_parcels, evidence_holds, evidence_of, readings_of_parcel, sign_parcel
from walras.metering.privacy import Budget, Exhausted, Release, release_count, release_sum, release_values
from walras.metering.reading import Quality, Reading, decode_reading, sign_reading, sign_readings
from walras.metering.refusals import Refusal
from walras.metering.slot_readings import SlotReadings, close_slot, missing_devices
from walras.metering.status_list import StatusList, empty_list, issue_list, newer_list, read_list, revoked_rows, with_revoked
from walras.metering.substitute import NO_FORECAST, SubstituteRule, substitutes
from walras.metering.validation import Check, Finding, ValidationRule, Window, validate

__all__ = [
    "KECCAK_SORTED",
    "NO_FORECAST",
    "SHA256_RFC6962",
    "AdmissionState",
    "Admitted",
    "Attestation",
    "Balance",
    "BalanceRule",
    "Budget",
    "Check",
    "Correction",
    "CredentialRefusal",
    "Disagreement",
    "Disclosed",
    "Equivocation",
    "Evidence",
    "Exhausted",
    "Finding",
    "Key",
    "KeyAttestation",
    "KeyStore",
    "MerkleTree",
    "MeterCredential",
    "OracleState",
    "Proof",
    "Quality",
    "Reading",
    "Reason",
    "Refusal",
    "Refused",
    "Registry",
    "Release",
    "Rules",
    "SlotReadings",
    "StatusList",
    "SubstituteRule",
    "Suspect",
    "ValidationRule",
    "Vote",
    "Window",
    "admit",
    "admit_parcels",
    "cast_vote",
    "check_credential",
    "check_presentation",
    "close",
    "close_slot",
    "corrected",
    "corrected_by_late_reading",
    "decode_reading",
    "derive_key",
    "did_of",
    "difference",
    "empty_list",
    "evidence_holds",
    "evidence_of",
    "feeder_balance",
    "initial_oracle",
    "initial_state",
    "issue",
    "issue_disclosable",
    "issue_list",
    "key_id",
    "missing_devices",
    "newer_list",
    "over_window",
    "own_digest",
    "present",
    "proves_equivocation",
    "public_key_of",
    "quorum",
    "read_credential",
    "read_list",
    "readings_of_parcel",
    "receive",
    "registry_of",
    "registry_of_credentials",
    "release_count",
    "release_sum",
    "release_values",
    "revoke",
    "revoked_rows",
    "root_of",
    "salts_from",
    "sign_parcel",
    "sign_reading",
    "sign_readings",
    "substitutes",
    "suspects",
    "tree_over",
    "validate",
    "verify_inclusion",
    "with_revoked",
]
