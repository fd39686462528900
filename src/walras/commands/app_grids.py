"""The command line of grids: show one, bring one in from elsewhere."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from walras.errors import InputError

group = App()


@group.command
def network(
    community: Path,
    *,
    out: Path | None = None,
    envelopes: str | None = None,
    day: str | None = None,
    json: Path | None = None,
) -> None:
    """The network of a community in words, as a picture, and how much each member may take and feed in.

    Parameters
    ----------
    community
        The community file (TOML).
    out
        Write the picture (HTML) here.
    envelopes
        equal, proportional or welfare: limits of import and export by member and slot, so fair, within which any use is safe.
    day
        The envelopes of this local day, YYYY-MM-DD, instead of the file's first.
    json
        Write the envelopes of every slot here, in whole watts.
    """
    from walras.commands.envelopes import read_fairness
    from walras.commands.network import Envelopes, network_command
    from walras.commands.options import missing_beside, read_day

    faults = missing_beside({"--day": day, "--json": json}, {"--envelopes": envelopes})
    if faults:
        raise InputError("walras network", faults)
    wanted = None
    if envelopes is not None:
        wanted = Envelopes(read_fairness(envelopes), read_day(day, "walras network", "--day"), json)
    network_command(community, out, wanted)


imports = App(name="import", help="Bring a grid in from elsewhere.")
group.command(imports)


@imports.command
def simbench(code: str, *, out: Path = Path()) -> None:
    """A SimBench grid into a community file and a compact data file (needs the extra: pip install 'walras[simbench]').

    Parameters
    ----------
    code
        SimBench code, such as 1-LV-rural3--2-sw.
    out
        Folder for the two files.
    """
    from walras.commands.importing import simbench_command

    simbench_command(code, out)


@imports.command
def pandapower(file: Path, *, out: Path = Path(), profiles: str = "package:rural3") -> None:
    """A network that pandapower wrote (JSON) into a community file and a data file, with a list of what is not as in the file.

    Parameters
    ----------
    file
        The JSON file of pandapower's to_json.
    out
        Folder for the two files.
    profiles
        Data file whose year of shapes is borrowed.
    """
    from walras.commands.importing import pandapower_command

    pandapower_command(file, out, profiles)


@imports.command
def opendss(file: Path, *, out: Path = Path(), profiles: str = "package:rural3") -> None:
    """A circuit of an OpenDSS script, likewise (needs the extra: pip install 'walras[opendss]').

    Parameters
    ----------
    file
        The script that defines the circuit.
    out
        Folder for the two files.
    profiles
        Data file whose year of shapes is borrowed.
    """
    from walras.commands.importing import opendss_command

    opendss_command(file, out, profiles)


@imports.command
def cgmes(*files: Path, out: Path = Path(), profiles: str = "package:rural3") -> None:
    """A feeder in CGMES files (EQ and SSH, and TP for a bus-branch model; XML or zip), likewise.

    Parameters
    ----------
    files
        The files of one model.
    out
        Folder for the two files.
    profiles
        Data file whose year of shapes is borrowed.
    """
    from walras.commands.importing import cgmes_command

    cgmes_command(list(files), out, profiles)
