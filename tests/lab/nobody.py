"""A copy of what is installed that everybody may read: a virtual environment often lies where only its owner looks."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import exabgp_bfd


def interpreter(user: str) -> str | None:
    """A Python of this version that a user may run, None where there is none."""
    for python in (sys.executable, "/usr/bin/python3"):
        want = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
        try:
            # -S: the site's packages may well be out of the user's reach.
            if (
                subprocess.run(
                    [python, "-S", "-c", want], user=user, cwd="/", capture_output=True, check=False
                ).returncode
                == 0
            ):
                return python
        except OSError:
            continue
    return None


def copy_packages(to: Path) -> None:
    """Copies our package and all that it needs."""
    shutil.copytree(Path(exabgp_bfd.__file__).parent, to / "exabgp_bfd", ignore=shutil.ignore_patterns("__pycache__"))
    for distribution in _needed("exabgp-bfd", set()):
        for file in distribution.files or ():
            source = Path(str(file.locate()))
            if ".." not in file.parts and "__pycache__" not in file.parts and source.is_file():
                target = to / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)


def _needed(name: str, seen: set[str]) -> Iterator[importlib.metadata.Distribution]:
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return
    seen.add(key)
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:  # needed on another system
        return
    if key != "exabgp-bfd":
        yield distribution
    for needed in distribution.requires or ():
        found = re.match(r"[A-Za-z0-9._-]+", needed)
        if found is not None and "extra ==" not in needed:
            yield from _needed(found[0], seen)
