"""What of this host the engine is told: sleeps of our loop, the clock, and files, however badly their disks behave."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
import time
from pathlib import Path

import pytest
from lab import wait_for

from exabgp_bfd import host
from exabgp_bfd.core.model import Clock, Disabled, Stall
from exabgp_bfd.host import FileLooks, HostWatch


@pytest.fixture
def disk(monkeypatch):
    """The disk as `lstat` shows it: files whose path holds `hangs` never come back, `errs` gives an error."""
    free = threading.Event()
    asked: list[str] = []
    errors: dict[str, OSError] = {}
    real = os.lstat

    def lstat(path, **more):
        text = os.fspath(path)
        if "hangs" in str(text) and "disk" in str(text):
            asked.append(text)
            free.wait(60)
        for part, error in errors.items():
            if part in str(text):
                raise error
        return real(path, **more)

    class Disk:
        pass

    made = Disk()
    made.free, made.asked, made.errors = free, asked, errors
    monkeypatch.setattr(host.os, "lstat", lstat)
    monkeypatch.setattr(host, "HANGS_AFTER", 0.1)
    yield made
    free.set()
    wait_for(lambda: not waiting(), "the threads that hung end")


def waiting() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "disable files"]


def watch(**files: Path | str) -> tuple[HostWatch, list]:
    told: list = []
    made = HostWatch(told.append)
    made.set_rules(10.0, {service: str(file) for service, file in files.items()})
    return made, told


def look(made: HostWatch) -> None:
    """A round of looking, as `watch_files` does it."""
    made.seen(made.present(made._files))


# --- disable files --------------------------------------------------------------------------------------------------


def test_a_file_that_comes_and_goes_is_told_once_each(tmp_path):
    file = tmp_path / "down"
    made, told = watch(dns=file, ntp=tmp_path / "other")
    look(made)
    assert told == []
    file.touch()
    look(made)
    look(made)
    file.unlink()
    look(made)
    assert told == [Disabled("dns", True), Disabled("dns", False)]


def test_a_link_to_nowhere_is_there_and_a_file_below_a_file_is_not(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    made, _ = watch(dns=tmp_path / "link", ntp=tmp_path / "file" / "below")
    assert made.present(made._files) == {"dns": True, "ntp": False}


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ELOOP, errno.ENOMEM])
def test_a_disk_in_trouble_keeps_the_last_word_which_is_logged_once(tmp_path, disk, caplog, number):
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.touch()
    made, told = watch(dns=there, ntp=gone)
    look(made)
    assert told == [Disabled("dns", True)]
    disk.errors[str(tmp_path)] = OSError(number, "the disk errs")
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            look(made)
        assert told == [Disabled("dns", True)], "an error is no word that it has gone"
        (said,) = [record.getMessage() for record in caplog.records]
        assert "the disk errs" in said
        assert f"{there} counts as there" in said
        assert f"{gone} counts as not there" in said
        disk.errors.clear()
        there.unlink()
        look(made)
        assert told == [Disabled("dns", True), Disabled("dns", False)]
        assert "can be looked for again" in caplog.records[-1].getMessage()


def test_at_the_start_a_disk_that_hangs_holds_up_nobody_and_counts_as_not_there(tmp_path, disk, caplog):
    file = tmp_path / "down"
    file.touch()
    made, _ = watch(dns="/disk/hangs/down", ntp=file)
    ended = threading.Event()
    answers: list[dict[str, bool]] = []

    def start() -> None:
        answers.append(made.present({"dns": "/disk/hangs/down", "ntp": str(file)}, 5.0))
        ended.set()

    threading.Thread(target=start, daemon=True).start()
    assert ended.wait(30), "the start waits for the disk"
    assert answers == [{"dns": False, "ntp": True}]
    assert "/disk/hangs/down counts as not there" in caplog.text


def test_one_path_that_hangs_stops_no_other_and_is_taken_up_again(tmp_path, disk):
    file = tmp_path / "down"
    made, told = watch(dns="/disk/hangs/down", ntp=file, www="/disk/hangs/another")
    for _ in range(5):
        look(made)
    assert len(disk.asked) == 1, "what else is in the directory would hang as well"
    assert len(waiting()) == 1
    file.touch()
    look(made)
    assert told == [Disabled("ntp", True)]
    disk.free.set()
    wait_for(lambda: not waiting(), "the disk answers")
    look(made)
    assert "/disk/hangs/another" in disk.asked


def test_no_more_threads_wait_than_are_allowed(tmp_path, disk, monkeypatch):
    monkeypatch.setattr(host, "HUNG_AT_MOST", 3)
    files = {f"s{number}": f"/disk/hangs{number}/down" for number in range(10)}
    made, told = watch(**files)
    for _ in range(3):
        assert made.present(files, 30.0) == dict.fromkeys(files, False)
    assert len(disk.asked) == len(waiting()) == 3
    assert told == []


def test_many_files_in_too_little_time_keep_their_last_word(tmp_path, monkeypatch, caplog):
    real, slow = os.lstat, threading.Event()

    def lstat(path, **more):
        slow.wait(0.05)
        return real(path, **more)

    files = [str(tmp_path / f"f{number}") for number in range(40)]
    for file in files:
        Path(file).touch()
    looks = FileLooks()
    assert looks.look(files) == dict.fromkeys(files, True)
    monkeypatch.setattr(host.os, "lstat", lstat)
    assert looks.look(files, 0.3) == dict.fromkeys(files, True)
    assert "there was no time left" in caplog.text
    fresh = FileLooks().look(files, 0.3)
    assert len(fresh) < len(files), "of the others nothing is known"
    wait_for(lambda: not waiting(), "nobody goes on")


def test_the_word_on_a_file_goes_with_the_file_and_that_on_a_service_with_the_service(tmp_path, disk):
    file = tmp_path / "down"
    file.touch()
    made, _ = watch(dns=file)
    look(made)
    disk.errors[str(tmp_path)] = OSError(errno.EIO, "the disk errs")
    renamed, moved = {"dns2": str(file)}, {"dns": str(tmp_path / "another")}
    assert made.present(renamed) == {"dns2": True}, "its file is the same"
    assert made.present(moved) == {"dns": True}, "nothing is known of its new file"
    assert made.present({"ntp": str(tmp_path / "third")}) == {"ntp": False}


def test_what_the_engine_knows_is_not_told_again_and_what_left_is_forgotten(tmp_path):
    file = tmp_path / "down"
    file.touch()
    made, told = watch(dns=file)
    made.found(["dns"])
    look(made)
    assert told == []
    made.set_rules(10.0, {})
    made.seen({"dns": False})
    assert told == []
    made.set_rules(10.0, {"dns": str(file)})
    look(made)
    assert told == [Disabled("dns", True)], "it came anew, and the engine does not know of it"


def test_a_round_that_began_under_other_rules_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "FILES_SECONDS", 0.01)
    old, new = tmp_path / "old", tmp_path / "new"
    old.touch()
    made, told = watch(dns=old)
    present, looked, go_on = made.present, threading.Event(), threading.Event()

    def slow(files, *more):
        answer = present(files, *more)
        looked.set()
        go_on.wait(30)
        return answer

    monkeypatch.setattr(made, "present", slow)

    async def live() -> None:
        task = asyncio.create_task(made.watch_files())
        await asyncio.to_thread(looked.wait, 30)
        made.set_rules(10.0, {"dns": str(new)})
        go_on.set()
        monkeypatch.setattr(made, "present", present)
        await asyncio.sleep(0.1)
        assert told == []
        new.touch()
        await asyncio.to_thread(wait_for, lambda: told, "told")
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(live())
    assert told == [Disabled("dns", True)]


def test_the_end_waits_for_no_disk(tmp_path, disk, monkeypatch):
    monkeypatch.setattr(host, "FILES_SECONDS", 0.01)
    monkeypatch.setattr(host, "HANGS_AFTER", 60.0)
    made, _ = watch(dns="/disk/hangs/down")

    async def live() -> None:
        task = asyncio.create_task(made.watch_files())
        await asyncio.to_thread(wait_for, lambda: disk.asked, "asked")
        task.cancel()
        await asyncio.wait([task])

    ended = threading.Event()
    threading.Thread(target=lambda: (asyncio.run(live()), ended.set()), daemon=True).start()
    assert ended.wait(30), "the end waits for the disk"


# --- the beat -------------------------------------------------------------------------------------------------------


def beat(made: HostWatch, seconds: float, *, stray: float = 0.0) -> list[Stall]:
    """Lets it beat on a loop that never sleeps; the stalls that somebody who asks all the time is told of."""

    async def live() -> list[Stall]:
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        made.start(loop, time.time() + stray, now)
        stalls = []
        until = now + seconds
        while time.monotonic() < until:
            await asyncio.sleep(0.02)
            stalls.append(made.overslept(time.monotonic()))
        made.stop()
        return [stall for stall in stalls if stall is not None]

    return asyncio.run(live())


def test_a_delivery_that_fails_ends_no_beat_and_is_no_stall(monkeypatch, caplog):
    monkeypatch.setattr(host, "BEAT_SECONDS", 0.05)
    told: list = []

    def deliver(what) -> None:
        told.append(what)
        if len(told) < 4:
            raise RuntimeError("a fault of ours")

    made = HostWatch(deliver)
    made.set_rules(4.0, {})  # stalls are of 2 s and more
    assert beat(made, 3.0, stray=5.0) == []
    assert len(told) == 4, "told until it was taken, and then no more"
    assert all(isinstance(each, Clock) for each in told)
    assert len(caplog.records) == 1, "told once, though it came three times"


def test_a_loop_that_slept_is_told_once(monkeypatch):
    monkeypatch.setattr(host, "BEAT_SECONDS", 0.05)
    told: list = []
    made = HostWatch(told.append)
    made.set_rules(0.2, {})

    async def live() -> None:
        made.start(asyncio.get_running_loop(), time.time(), time.monotonic())
        await asyncio.sleep(0.1)
        time.sleep(1.0)  # noqa: ASYNC251 - the loop itself sleeps
        await asyncio.sleep(0.2)
        made.stop()

    asyncio.run(live())
    assert [type(each) for each in told] == [Stall]
    assert told[0].seconds > 0.5


def test_a_clock_that_was_set_is_told_once(monkeypatch):
    monkeypatch.setattr(host, "BEAT_SECONDS", 0.05)
    told: list = []
    made = HostWatch(told.append)
    made.set_rules(10.0, {})
    beat(made, 0.5, stray=-3600.0)
    (clock,) = told
    assert isinstance(clock, Clock)
