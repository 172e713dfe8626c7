"""Where it was measured, and what a process used there (Linux's /proc)."""

from __future__ import annotations

import os
import platform
import re
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")


def describe() -> dict[str, Any]:
    """Processor, cores, versions: without them a figure means nothing."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in ("exabgp-bfd", "pysnmp", "gufo_snmp", "waitress")},
    }


def load_average() -> float:
    """Of the last minute: others on the machine disturb what is measured."""
    return round(os.getloadavg()[0], 2)


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8", "replace"), re.MULTILINE)
    return found[1] if found else platform.processor()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def waited(process: int | str = "self") -> float:
    """Seconds so far in which a process's main thread was ready to run and had no core, for others had them all."""
    return int(Path(f"/proc/{process}/schedstat").read_text("ascii").split()[1]) / 1e9


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds used so far, at `at` (monotonic seconds), and memory in MB."""

    at: float
    cpu: float
    rss: float
    peak_rss: float


def usage(pid: int) -> Usage:
    """What a process has used, and those that it has started: ours has a keeper."""
    used = own_usage(pid)
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        more = usage(int(child))
        used = Usage(more.at, used.cpu + more.cpu, used.rss + more.rss, used.peak_rss + more.peak_rss)
    return used


def own_usage(pid: int) -> Usage:
    """What a process has used itself."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    status = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))
    cpu = (int(fields[11]) + int(fields[12])) / _TICKS  # utime and stime, proc(5)
    return Usage(time.monotonic(), cpu, int(status["VmRSS"]) / 1024, int(status["VmHWM"]) / 1024)
