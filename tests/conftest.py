"""What every test folder may ask for."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

REQUIRE_ALL = os.environ.get("EXABGP_BFD_REQUIRE_ALL") == "1"
RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "recordings"


def missing(what: str, remedy: str) -> None:
    """Skips the test, or fails it where everything must be present."""
    text = f"{what} is missing: {remedy}"
    if REQUIRE_ALL:
        pytest.fail(text)
    pytest.skip(text)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each of xdist's processes begins with its share of the live tests: no long wait is left for the end.

    After pytest-randomly, whose order is kept within the live ones and within the others, and so are modules whole.
    """
    processes = getattr(config, "workerinput", {}).get("workercount", 1)
    live = [item for item in items if item.get_closest_marker("live")]
    others = [item for item in items if not item.get_closest_marker("live")]
    items[:] = [
        item for place in range(processes) for part in (live, others) for item in _share(part, place, processes)
    ]


def _share(items: list[pytest.Item], place: int, processes: int) -> list[pytest.Item]:
    return items[len(items) * place // processes : len(items) * (place + 1) // processes]


@pytest.fixture
def need() -> Callable[[str, str], str]:
    """`need("snmpd", "snmpd")` gives the program's path, or skips naming the Debian package that brings it."""

    def find(program: str, package: str) -> str:
        path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if path is None:
            missing(program, f"install the Debian package {package}")
            raise AssertionError("unreachable")
        return path

    return find
