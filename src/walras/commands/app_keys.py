"""The command line of keys: make or show one, enrol a device, revoke one. Parses and calls."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

group = App()


@group.command
def key(
    place: str,
    *,
    new: bool = False,
    passphrase: Path | None = None,
    registers: str | None = None,
    seal: str | None = None,
    out: Path | None = None,
) -> None:
    """The name of a key: a DID of a meter, gateway or operator; the addresses of a ledger's actors under a secret.

    Parameters
    ----------
    place
        A file (PEM), `tpm:TCTI` or `tpm:TCTI#NUMBER` (made at the first use), or `secret:FILE` (64 hex digits).
    new
        Make the file; what exists is never written over.
    passphrase
        File whose first line encrypts the key's file.
    registers
        Also print these registers of the TPM as `walras enrol --trust` reads them, such as 0,4,7; with `seal` those that count.
    seal
        Place of a TPM (`tpm:TCTI`) to seal a `secret:FILE` in, under the registers as they are now.
    out
        File for the sealed secret: it can be given wherever the secret could.
    """
    from walras.commands.enrol import key_command, seal_command

    if seal is None:
        key_command(place, new, passphrase, registers)
    else:
        seal_command(place, seal, registers, out)


@group.command
def enrol(
    community: Path,
    device: str,
    *,
    operator: str,
    out: Path,
    key: str | None = None,
    tpm: str | None = None,
    trust: Path | None = None,
    unattested: bool = False,
    passphrase: Path | None = None,
) -> None:
    """Issue a device's credential, after its key in a TPM and the firmware's measurement have been attested.

    Parameters
    ----------
    community
        The community file (TOML): where the device hangs and what stands behind it.
    device
        A member's id, `transformer` for the feeder's own meter, or `exchange` for who may ask the oracles.
    operator
        Place of the meter operator's key.
    out
        File to write the credential to (compact JWT).
    key
        Place of the device's key, as `walras key` takes it.
    tpm
        The same as `--key tpm:`: the TCTI of the device's TPM, such as swtpm:host=127.0.0.1,port=2321.
    trust
        The operator's file (TOML) of makers' certificates and allowed firmware.
    unattested
        Vouch for a key of which nobody knows where it is, as for one in a file.
    passphrase
        File whose first line decrypts keys in files.
    """
    from walras.commands.enrol import enrol_command

    enrol_command(community, device, operator, out, key if tpm is None else f"tpm:{tpm}", trust, unattested, passphrase)


@group.command
def revoke(
    community: Path,
    devices: str = "",
    *,
    operator: str,
    status: Path,
    at: str | None = None,
    days: int = 366,
    passphrase: Path | None = None,
    credentials: Path | None = None,
) -> None:
    """Write the operator's status list: the devices named are revoked, for good; without a name it is the same list for longer.

    Parameters
    ----------
    community
        The community file (TOML).
    devices
        Ids of members, MEMBER@SLOT for a meter hung in another's place, or `transformer`, with commas between.
    operator
        Place of the meter operator's key.
    status
        The list (compact JWT); made where there is none.
    at
        When it begins to hold, YYYY-MM-DDTHH:MM:SSZ; default: now. A replay of the past has its own.
    days
        How long it holds: an oracle admits nothing under a list that has ended.
    passphrase
        File whose first line decrypts the operator's key.
    credentials
        Folder of the devices' credentials; default: `credentials` beside the list.
    """
    from walras.commands.enrol import revoke_command

    revoke_command(community, devices, operator, status, at, days, passphrase, credentials)
