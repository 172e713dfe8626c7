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
