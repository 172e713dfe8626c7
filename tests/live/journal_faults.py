"""Breaks a journal's ground while a real process writes it, again and again, and counts what was answered.

Run as a program: `journal_faults.py FAULT ROUNDS FOLDER`, in a mount namespace of its own where FAULT is about mounts;
it prints one JSON object. `journal_faults.py write PATH` is the process that writes: it says on stdout what was
answered (`+TOKEN`), what it was refused (`-WHY`), that it has the journal (`@`), and what the journal told
(`!EVENT_TYPE`).
"""

import fcntl
import json
import os
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from exabgp_bfd.core.model import Event, StoreError
from exabgp_bfd.storage.journal import Journal

PATIENCE = 60.0
DAY = 86_400
EXT4_IOC_SHUTDOWN = 0x8004587D
"""Of linux/fs/ext4/ext4.h; with 2 (NOLOGFLUSH) what was not synchronised is gone, as by a power cut."""


# --- the process that writes ---


def write(path: Path) -> None:
    ending: list[int] = []
    offset = [0.0]
    real, real_ns = time.time, time.time_ns
    back = path.parent / "back"
    if not back.exists():
        with suppress(OSError):
            back.write_text(str(random.uniform(60, 400 * DAY)))

    def leap(*_: object) -> None:
        offset[0] = -float(back.read_text()) if offset[0] == 0.0 else 0.0

    signal.signal(signal.SIGTERM, lambda *_: ending.append(1))
    signal.signal(signal.SIGUSR1, leap)
    time.time = lambda: real() + offset[0]
    time.time_ns = lambda: real_ns() + int(offset[0] * 1e9)

    def say(text: str) -> None:
        os.write(1, f"{text}\n".encode())

    said = ""
    while not ending:
        journal = Journal(path, "fra1", batch_seconds=0.002, keep_events=30.0 * DAY, keep_messages=60.0)
        try:
            number = journal.open().last_event
            break
        except StoreError as error:
            journal.stop(0)
            if str(error) != said:
                said = str(error)
                say(f"-{said}")
            time.sleep(0.02)
    else:
        return
    say("@")
    journal.start()
    run = f"{os.getpid()}.{time.monotonic_ns()}"
    while not ending:
        tokens = []
        for _ in range(random.randint(1, 9)):
            number += 1
            tokens.append(f"{run}/{number}")
            journal.record(Event(number, "x", details={"token": tokens[-1], "fill": "x" * 300}), time.time_ns() // 1000)
        journal.messages([b'{"type": "update", "n": %d}' % number], time.time_ns() // 1000)
        journal.flushed(messages=random.random() < 0.3).result(PATIENCE)
        say("\n".join(f"+{token}" for token in tokens))
        for note in journal.notes():
            say(f"!{note.event_type}")
        time.sleep(0.002)
    journal.stop(PATIENCE)
    say("=")


# --- what breaks it ---


class Child:
    """The writing process, and what it said."""

    def __init__(self, site: "Site") -> None:
        self._site = site
        self._rest = b""
        self.opened = False
        self.dead = False
        """What it says from now on a machine without power would not have said."""
        self.refused: list[str] = []
        self.notes: Counter[str] = Counter()
        self.answered = 0
        self._process = subprocess.Popen(
            [sys.executable, __file__, "write", str(site.path)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        site.children.append(self)

    @property
    def pid(self) -> int:
        return self._process.pid

    def listen(self, seconds: float) -> bool:
        """Reads what it says for so long at most; False at the end."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        if not select.select([descriptor], [], [], seconds)[0]:
            return True
        data = os.read(descriptor, 1 << 20)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode()
            if text.startswith("+"):
                self._site.answered[text[1:]] += not self.dead
                self.answered += 1
            elif text == "@":
                self.opened = True
            elif text.startswith("-"):
                self.refused.append(text[1:])
            elif text.startswith("!"):
                self.notes[text[1:]] += 1
                self._site.alarms += text == "!store_missing"
        return bool(data)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if not self.listen(0.05):
                raise RuntimeError(f"the writer ended with {self._process.wait()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"it did not come true: {self.refused[-1:]}, {self.notes}, {self.answered}")

    def more(self, least: int = 1) -> None:
        """Waits for so many answers more."""
        wanted = self.answered + least
        self.until(lambda: self.answered >= wanted)

    def write_a_while(self) -> None:
        self.more(random.randint(1, 60))
        time.sleep(random.random() / 100)

    def silent(self) -> None:
        """Waits until nothing is answered any more."""
        deadline = time.monotonic() + PATIENCE
        while True:
            before = self.answered
            quiet = time.monotonic() + 0.3
            while time.monotonic() < quiet:
                self.listen(0.05)
            if self.answered == before:
                return
            if time.monotonic() > deadline:
                raise RuntimeError("it answers on and on")

    def kill(self, how: int = signal.SIGKILL) -> None:
        """Ends it; what it had said before is heard."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, how)
        deadline = time.monotonic() + PATIENCE
        while self.listen(0.2) and time.monotonic() < deadline:
            pass
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()
        if self in self._site.children:
            self._site.children.remove(self)


class Site:
    """Where the journal is, and the account of what was answered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ground = folder / "ground"
        self.ground.mkdir(parents=True, exist_ok=True)
        self.path = self.ground / "journal.db"
        self.answered: Counter[str] = Counter()
        self.children: list[Child] = []
        self.told: Counter[str] = Counter()
        """How often what this fault is about was truly seen."""
        self.alarms = 0
        """How often the journal missed events, and none was missing."""

    def renew(self) -> None:
        """Another journal from now on: what was carried over once need not be again and again."""
        self.path = self.ground / f"journal{random.getrandbits(64):x}.db"
        self.answered.clear()

    def account(self) -> dict:
        """What is found of what was answered, in the one file that has the journal's name."""
        found: Counter[str] = Counter()
        # By a connection that may write, as a killed process leaves a log that is to be taken up.
        with closing(sqlite3.connect(self.path, timeout=PATIENCE)) as connection:
            rows = connection.execute("SELECT id, details FROM event ORDER BY id").fetchall()
            checked = connection.execute("PRAGMA quick_check").fetchone()[0]
            counted = connection.execute("SELECT coalesce(sum(rows), 0) FROM span WHERE kind = 'event'").fetchone()[0]
        wrong = 0
        for number, details in rows:
            token = json.loads(details)["token"]
            found[token] += 1
            wrong += int(token.rpartition("/")[2]) != number
        return {
            "answered": len(+self.answered),
            "missing": sum(token not in found for token in +self.answered),
            "twice": sum(count > 1 for count in found.values()),
            "changed": wrong,
            "kept_unanswered": len(found.keys() - (+self.answered).keys()),
            "sound": checked == "ok" and counted == len(rows),
            "set_aside": len([*self.ground.glob(f"{self.path.name}.damaged-*")]),
        }


def mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, capture_output=True)


def unmount(*words: object) -> None:
    subprocess.run(["umount", *map(str, words)], check=True, capture_output=True)


def sigkill(site: Site) -> None:
    child = Child(site)
    child.write_a_while()
    child.kill()


def full(site: Site) -> None:
    """A disk without room, in the midst of writing; every other time we are killed then, and start on it."""
    if not site.ground.is_mount():
        mount("-t", "tmpfs", "-o", "size=48m", "none", site.ground)
    child = Child(site)
    child.write_a_while()
    filler = site.ground / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(random.choice((1 << 16, 4096, 512))))
    child.silent()
    if random.random() < 0.5:
        child.kill()
        child = Child(site)
        # A little room there may be in what the log has already: then it opens, and answers nothing.
        child.until(lambda: bool(child.refused or child.opened))
        site.told["started on it, refused"] += bool(child.refused)
        site.told["started on it, opened"] += child.opened
    filler.unlink()
    child.more(5)
    child.kill(random.choice((signal.SIGKILL, signal.SIGTERM)))


def read_only(site: Site) -> None:
    """Killed in the midst of writing; what it starts on is read-only, for a while."""
    if not site.ground.is_mount():
        mount("-t", "tmpfs", "-o", "size=48m", "none", site.ground)
    child = Child(site)
    child.write_a_while()
    child.kill()
    mount("-o", "remount,ro", site.ground)
    child = Child(site)
    child.until(lambda: bool(child.refused))
    assert "writable" in child.refused[0], child.refused
    site.told["refused at start"] += 1
    mount("-o", "remount,rw", site.ground)
    child.write_a_while()
    child.kill()


def mount_gone(site: Site) -> None:
    """The mount under the journal goes away while we write, and comes back."""
    other = site.folder / "other"
    if not other.is_mount():
        other.mkdir()
        mount("-t", "tmpfs", "-o", "size=48m", "none", other)
        mount("--bind", other, site.ground)
    child = Child(site)
    child.write_a_while()
    unmount("-l", site.ground)
    child.until(lambda: child.notes["store_rescued"] >= 1)
    child.write_a_while()
    mount("--bind", other, site.ground)
    child.until(lambda: child.notes["store_rescued"] >= 2)
    child.write_a_while()
    site.told["carried over"] += child.notes["store_rescued"]
    child.kill()
    for aside in site.ground.glob(f"{site.path.name}.replaced-*"):
        aside.unlink()


def deleted(site: Site) -> None:
    child = Child(site)
    child.write_a_while()
    names = random.choice((("",), ("", "-wal"), ("", "-wal", "-shm"), ("", ".lock"), ("", "-wal", "-shm", ".lock")))
    for name in names:
        site.path.with_name(site.path.name + name).unlink(missing_ok=True)
    child.until(lambda: child.notes["store_rescued"] >= 1)
    child.write_a_while()
    site.told["carried over"] += 1
    child.kill()


def replaced(site: Site) -> None:
    """A copy of some moments ago is moved to the journal's name."""
    child = Child(site)
    child.write_a_while()
    copy = site.ground / "copy"
    with closing(sqlite3.connect(site.path, timeout=PATIENCE)) as one, closing(sqlite3.connect(copy)) as two:
        one.backup(two)
    child.write_a_while()
    copy.replace(site.path)
    child.until(lambda: child.notes["store_rescued"] >= 1)
    child.write_a_while()
    site.told["carried over"] += 1
    child.kill()
    for aside in site.ground.glob(f"{site.path.name}.replaced-*"):
        aside.unlink()


def clock_back(site: Site) -> None:
    child = Child(site)
    child.write_a_while()
    for _ in range(random.randint(1, 3)):
        os.kill(child.pid, signal.SIGUSR1)
        child.write_a_while()
    child.kill(random.choice((signal.SIGKILL, signal.SIGTERM)))


def two_processes(site: Site) -> None:
    """The second waits, named the first, and goes on in its place when that is killed."""
    first = Child(site)
    first.write_a_while()
    second = Child(site)
    second.until(lambda: bool(second.refused))
    assert f"(process {first.pid})" in second.refused[0], second.refused
    assert second.answered == 0
    first.write_a_while()
    first.kill()
    second.write_a_while()
    second.kill()
    site.told["refused at start"] += 1


def power_cut(site: Site) -> None:
    """The file system loses all that was not synchronised, and ends, in the midst of writing."""
    image = site.folder / "image"
    if not image.exists():
        with image.open("wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True)
    mount("-o", "loop,noatime", image, site.ground)
    child = Child(site)
    child.write_a_while()
    descriptor = os.open(site.ground, os.O_RDONLY)
    # A synchronisation that is under way may end without an error though the journal of the file system was cut off,
    # and an answer follow: of a power cut nobody lives to say so. What counts is what was heard before it.
    child.dead = True
    fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, (2).to_bytes(4, "little"))
    os.close(descriptor)
    # What it hears of the disk from now on is errors: nothing more can have been answered truly.
    child.silent()
    child.kill()
    unmount(site.ground)
    mount("-o", "loop,noatime", image, site.ground)
    after = Child(site)
    after.more(5)
    after.kill()
    site.told["cut"] += 1
    site.alarms = 0  # What was not synchronised is missing in truth, where the mark outlived it.


def unmount_after(site: Site) -> None:
    if site.ground.is_mount():
        unmount(site.ground)


FAULTS = {
    each.__name__: each
    for each in (sigkill, full, read_only, mount_gone, deleted, replaced, clock_back, two_processes, power_cut)
}


def main(fault: str, rounds: int, folder: Path) -> None:
    site = Site(folder)
    began = time.monotonic()
    total: Counter[str] = Counter()
    answered = before = 0
    try:
        for _ in range(rounds):
            FAULTS[fault](site)
            found = site.account()
            total["unsound"] += not found["sound"]
            total["false_alarms"] += site.alarms
            site.alarms = 0
            for key in ("missing", "twice", "changed", "set_aside"):
                total[key] += found[key]
            answered += found["answered"] - before
            before = found["answered"]
            if FAULTS[fault] in (deleted, replaced, mount_gone):
                before = 0
                site.renew()
            if fault == "power_cut":
                unmount_after(site)
        seconds = time.monotonic() - began
        print(
            json.dumps(
                {
                    "fault": fault,
                    "rounds": rounds,
                    "seconds": round(seconds),
                    "answered": answered,
                    **total,
                    **site.told,
                }
            )
        )
    finally:
        for child in list(site.children):
            child.kill()
        if fault in {"full", "read_only", "mount_gone", "power_cut"}:
            with suppress(subprocess.CalledProcessError):
                unmount_after(site)
        shutil.rmtree(folder / "copy", ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
