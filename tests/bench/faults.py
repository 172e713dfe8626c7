"""Faults: what happens to the routes on the peers while something breaks, and for how long.

Real ExaBGP, BIRD and GoBGP, one site a fault; their tables are watched all the time and held against what the BFD
sessions say. BIRD is looked at every 20 ms (`blind` is the longest time between two looks); GoBGP tells each change.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.bench.report import Column, Figures, Result
from tests.lab.exabgp import V4, V5, Release
from tests.lab.faults import Fault, faults
from tests.lab.judge import Wrong
from tests.lab.site import Found, Programs, Site

ABOUT = "routes wrongly missing or wrongly present on the peers while something breaks, and for how long"
BAR = "no route of a session that stays up is missing for a moment, unless ExaBGP itself or the peer is gone"
RELEASES = {"5": V5, "4": V4}
COLUMNS = (
    Column("kept_missing_ms", "missing ms", "d"),
    Column("kept_present_ms", "present ms", "d"),
    Column("turned_missing_ms", "late up ms", "d"),
    Column("turned_present_ms", "late down ms", "d"),
    Column("blind_ms", "blind ms", "d"),
    Column("remarks", "remarks"),
)
NOTES = (
    "missing, present: the worst route whose session did not change, on the worst peer, at a stretch.",
    "late up, late down: from a session's change, during the fault, until the last peer followed.",
    "A peer's own absence, which the test brings about, is not counted.",
)


def arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--fault", action="append", metavar="NAME", help=f"only this one: {', '.join(faults())}")
    group.add_argument("--exabgp", action="append", choices=tuple(RELEASES), help="only this one (default: both)")
    group.add_argument("--crowd", type=int, default=20_000, help="prefixes that fall at once (%(default)s)")
    group.add_argument("--fed", type=int, default=100_000, help="UPDATEs of a neighbour (%(default)s)")
    group.add_argument("--logs", type=Path, metavar="FOLDER", help="keep everybody's logs there")


def measure(options: argparse.Namespace) -> Result:
    known = faults(many=options.crowd, fed=options.fed)
    names = options.fault or list(known)
    unknown = set(names) - known.keys()
    assert not unknown, f"no fault {', '.join(sorted(unknown))}; there are {', '.join(known)}"
    releases = {key: RELEASES[key] for key in options.exabgp or RELEASES}
    programs = _programs(releases.values())
    versions = {key: release.version() for key, release in releases.items()}
    situations: dict[str, Figures] = {}
    for name in names:
        for key, release in releases.items():
            title = f"{name}, {versions[key]}"
            situations[title] = {"exabgp": versions[key], **_one(title, known[name], release, programs, options.logs)}
    return Result(
        "faults",
        ABOUT,
        BAR,
        {"crowd": options.crowd, "fed": options.fed, "exabgp": list(versions.values())},
        COLUMNS,
        situations,
        NOTES,
    )


def _programs(releases: Iterable[Release]) -> Programs:
    found = {name: shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin") for name in Programs._fields}
    missing = [name for name, path in found.items() if path is None]
    missing += [release.command[0] for release in releases if shutil.which(release.command[0]) is None]
    assert not missing, f"missing: {', '.join(missing)}; Debian's packages are bird2, gobgpd and exabgp"
    return Programs(**{name: path for name, path in found.items() if path is not None})


def _one(title: str, fault: Fault, release: Release, programs: Programs, logs: Path | None) -> Figures:
    """One site, one fault. What does not end well is told, and does not end the run."""
    with tempfile.TemporaryDirectory(prefix="exabgp-bfd-faults-") as folder:
        site = Site(Path(folder), programs, release, **fault.site)
        found: Found | None = None
        failed = ""
        with site:
            try:
                with site.fault(title, fault.timeout) as found:
                    fault.happen(site, found)
            except AssertionError as error:
                failed = str(error).partition("\n")[0].removeprefix(f"{title}: ")
            if logs is not None:
                logs.mkdir(parents=True, exist_ok=True)
                (logs / f"{title}.log").write_text(site.output(), "utf-8")
    if found is None:
        return {"failed": failed, "remarks": f"FAILED: {failed}"}
    return {
        **_figures("kept", found.kept),
        **_figures("turned", found.turned),
        **_figures("bulk", found.bulk),
        "blind_ms": round(found.blind * 1e3),
        "seconds": round(found.seconds, 2),
        "peers": {peer: _peer(groups) for peer, groups in found.peers.items()},
        "failed": failed,
        "remarks": "; ".join([*found.remarks, *([f"FAILED: {failed}"] if failed else [])]),
    }


def _peer(groups: dict[str, Wrong]) -> Figures:
    figures: Figures = {}
    for group, wrong in groups.items():
        figures |= _figures(group, wrong)
    return figures


def _figures(group: str, wrong: Wrong) -> dict[str, Any]:
    return {
        f"{group}_missing_ms": round(wrong.missing * 1e3),
        f"{group}_present_ms": round(wrong.present * 1e3),
        f"{group}_routes_missing": wrong.routes_missing,
        f"{group}_routes_present": wrong.routes_present,
    }
