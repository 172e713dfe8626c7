"""Each event that was answered is found exactly once afterwards, whatever broke in the midst of writing.

The long form, `EXABGP_BFD_KILLS=100 pytest -n 0 -s tests/live/test_journal_faults.py`, prints the table.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.live

REQUIRE_ALL = os.environ.get("EXABGP_BFD_REQUIRE_ALL") == "1"
KILLS = int(os.environ.get("EXABGP_BFD_KILLS", "0"))
DRIVER = Path(__file__).with_name("journal_faults.py")
SHORT = {"sigkill": 10}
"""Times in the short form; the others twice."""
TRULY = {
    "full": None,
    "read_only": "refused at start",
    "mount_gone": "carried over",
    "deleted": "carried over",
    "replaced": "carried over",
    "two_processes": "refused at start",
    "power_cut": "cut",
}
"""What must have been seen at least once a round, so that a fault that did not happen is no proof."""


def namespace(fault: str, need: Callable[[str, str], str], folder: Path) -> list[str]:
    """What the driver runs in, where its fault is about mounts; skips where that is not permitted."""
    if fault not in {"full", "read_only", "mount_gone", "power_cut"}:
        return []
    unshare = need("unshare", "util-linux")
    # Loop devices are for the machine's own root only.
    wrapped = [unshare, "-m"] if os.geteuid() == 0 else [unshare, "-rm"]
    probe = folder / "probe"
    probe.mkdir()
    command = ["mount", "-t", "tmpfs", "none", str(probe)]
    if fault == "power_cut":
        make = need("mkfs.ext4", "e2fsprogs")
        image = folder / "probe.image"
        image.touch()
        os.truncate(image, 8 << 20)
        subprocess.run([make, "-q", "-F", str(image)], check=True, timeout=60)
        command = ["mount", "-o", "loop", str(image), str(probe)]
    tried = subprocess.run([*wrapped, *command], capture_output=True, text=True, timeout=60, check=False)
    if tried.returncode:
        what = f"mounting for {fault} is not permitted here: {tried.stderr.strip()}"
        if REQUIRE_ALL:
            pytest.fail(what)
        pytest.skip(what)
    return wrapped


@pytest.mark.parametrize(
    "fault",
    [
        *("sigkill", "full", "read_only", "mount_gone", "deleted", "replaced", "clock_back", "two_processes"),
        "power_cut",
    ],
)
def test_each_event_that_was_answered_is_found_exactly_once(fault: str, need, tmp_path: Path) -> None:
    rounds = KILLS or SHORT.get(fault, 2)
    done = subprocess.run(
        [*namespace(fault, need, tmp_path), sys.executable, str(DRIVER), fault, str(rounds), str(tmp_path / fault)],
        capture_output=True,
        text=True,
        timeout=120 + 30 * rounds,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)
    if KILLS:
        print(f"\n{json.dumps(found)}")
    assert found["answered"] >= rounds
    faults = {key: found[key] for key in ("missing", "twice", "changed", "unsound", "set_aside", "false_alarms")}
    assert faults == dict.fromkeys(faults, 0), done.stderr[-4000:]
    if (seen := TRULY.get(fault)) is not None:
        assert found[seen] >= rounds
