"""The process that ExaBGP started, and the one that does the work for it."""

from __future__ import annotations

from pathlib import Path

from . import wait_for


def workers_of(keeper: int) -> list[int]:
    """The processes that a keeper has started and that live."""
    try:
        children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    except OSError:  # it is gone
        return []
    return [int(child) for child in children if _state(int(child)) not in {"", "Z", "X"}]


def worker_of(keeper: int, *, other_than: int = 0) -> int:
    """The process that works, once there is one (other than some earlier one)."""
    return wait_for(lambda: [worker for worker in workers_of(keeper) if worker != other_than], "a worker")[0]


def _state(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
