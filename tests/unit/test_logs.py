"""The log: one line a record whatever is in it, and nobody who logs ever waits."""

import contextlib
import logging
import os
import re
import subprocess
import sys
import threading
import time
import warnings

import pytest

from exabgp_bfd import logs
from exabgp_bfd.core.model import ConfigError

OURS = logging.getLogger("exabgp_bfd.app")
SHAPE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) \S+ .+")


def record(message: str, *args: object, created: float = 1795176000.1239) -> logging.LogRecord:
    made = logging.LogRecord("exabgp_bfd.app", logging.INFO, __file__, 1, message, args, None)
    made.created = created
    return made


def until(condition, timeout: float = 20.0) -> bool:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    with contextlib.suppress(OSError):
        os.close(reading)
    # A listener that was stuck on the pipe ends now; before it has, its descriptor's number must not be another's.
    for thread in threading.enumerate():
        if "_monitor" in thread.name:
            thread.join(10)
            assert not thread.is_alive()
    with contextlib.suppress(OSError):
        os.close(writing)


@pytest.fixture
def start(pipe):
    """`start(level, file...)` sets the log up on a pipe; stopped at the end in any case."""
    running = []

    def start(level="info", file=None, max_bytes=1_000_000, backups=2, descriptor=pipe[1]):
        running.append(logs.setup(level, file, max_bytes, backups, descriptor))
        return running[-1]

    yield start
    for log in running:
        log.stop()


def written(reading: int) -> list[str]:
    os.set_blocking(reading, False)
    text = b""
    try:
        while chunk := os.read(reading, 65536):
            text += chunk
    except BlockingIOError:
        pass
    return text.decode().splitlines()


# --- one line ---------------------------------------------------------------------------------------------------


def test_a_line():
    assert logs.LineFormatter().format(record("session %s is %s", "edge1/192.0.2.9", "down")) == (
        "2026-11-20T12:00:00.123Z INFO exabgp_bfd.app session edge1/192.0.2.9 is down"
    )


def test_milliseconds_are_always_three():
    assert logs.LineFormatter().format(record("x", created=1795176000.0)).startswith("2026-11-20T12:00:00.000Z ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb\r\nc", "a\\nb\\r\\nc"),
        ("a\x1b[31mb\x00\x7f\x9b", "a\\x1b[31mb\\x00\\x7f\\x9b"),
        ("a\u2028b\u2029\x85", "a\\u2028b\\u2029\\x85"),
        ("a\u202eb\u2066", "a\\u202eb\\u2066"),
        ("a\udcffb", "a\\udcffb"),
        ("zürich 東京", "zürich 東京"),
        ("C:\\new", "C:\\new"),
    ],
)
def test_what_could_forge_a_line_is_escaped(text, line):
    assert logs.escape(text) == line
    assert logs.LineFormatter().format(record("%s", text)).endswith(f" {line}")


def test_a_logger_cannot_forge_a_line_by_its_name():
    forged = record("x")
    forged.name = "a\nb"
    assert "\n" not in logs.LineFormatter().format(forged)


def test_a_traceback_stays_on_the_line():
    try:
        raise ValueError("first\nsecond")  # noqa: TRY301
    except ValueError:
        failed = record("it failed")
        failed.exc_info = sys.exc_info()
    line = logs.LineFormatter().format(failed)
    assert len(line.splitlines()) == 1
    assert " it failed | Traceback (most recent call last): | File " in line
    assert line.endswith(" | ValueError: first | second")


def test_arguments_that_do_not_fit_still_give_a_line():
    class Broken:
        def __str__(self):
            raise RuntimeError("no text")

    assert (
        logs.LineFormatter()
        .format(record("%d sessions", "x"))
        .endswith("%d sessions (its arguments do not fit: TypeError)")
    )
    assert logs.LineFormatter().format(record("%s", Broken())).endswith("(its arguments do not fit: RuntimeError)")


# --- the running log --------------------------------------------------------------------------------------------


def test_lines_go_to_the_descriptor_in_order(start, pipe):
    log = start()
    for number in range(200):
        OURS.info("line %d", number)
    log.stop()
    lines = written(pipe[0])
    assert [line.rpartition(" ")[2] for line in lines] == [str(number) for number in range(200)]
    assert all(SHAPE.fullmatch(line) for line in lines)
    assert log.dropped == 0


def test_the_message_is_made_when_it_is_logged(start, pipe):
    log = start()
    seen = ["before"]
    OURS.info("%s", seen)
    seen[0] = "after"
    log.stop()
    assert "before" in written(pipe[0])[0]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["our debug", "our info", "our warning", "our error", "their warning", "their error"]),
        ("info", ["our info", "our warning", "our error", "their warning", "their error"]),
        ("warning", ["our warning", "our error", "their warning", "their error"]),
        ("error", ["our error", "their error"]),
    ],
)
def test_levels_for_us_and_for_libraries(start, pipe, level, expected):
    log = start(level)
    for whose, logger in (("our", OURS), ("their", logging.getLogger("pymongo.command"))):
        for at in ("debug", "info", "warning", "error"):
            getattr(logger, at)("%s %s", whose, at)
    log.stop()
    assert [" ".join(line.split(" ")[3:]) for line in written(pipe[0])] == expected


def test_warnings_of_python_are_lines_too(start, pipe):
    log = start()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old\nway", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    log.stop()
    (line,) = written(pipe[0])
    assert "WARNING py.warnings" in line
    assert "DeprecationWarning: old\\nway" in line


def test_stop_gives_everything_back(start, pipe):
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.getLogger("exabgp_bfd").level)
    threads = threading.active_count()
    log = start("debug")
    assert root.handlers != before[0]
    log.stop()
    log.stop()
    assert (root.handlers, root.level, logging.getLogger("exabgp_bfd").level) == before
    assert threading.active_count() == threads
    OURS.debug("after")
    assert written(pipe[0]) == []


def test_a_reader_that_does_not_read_stops_nobody(start, pipe, tmp_path):
    file = tmp_path / "bfd.log"
    log = start(file=file, max_bytes=100_000_000)
    # A pipe holds 64 KiB: these are a megabyte, and nobody reads.
    for number in range(2000):
        OURS.info("%06d %s", number, "x" * 500)
    assert until(lambda: file.read_text().count("\n") == 2000), "the file waits for stderr"
    assert log.dropped > 0
    kept = written(pipe[0])
    OURS.info("the reader is back")
    log.stop()
    kept += written(pipe[0])
    # The line that was cut ends where it was cut; every other line is whole, and what is missing is said.
    numbers = [line.split(" ")[3] for line in kept if line.endswith("x" * 500)]
    assert numbers == sorted(numbers)
    (notice,) = [line for line in kept if "lines of the log were dropped: nobody read stderr" in line]
    assert int(re.search(r"(\d+) lines", notice)[1]) == 2000 - len(numbers)
    assert kept[-1].endswith("the reader is back")


def test_a_queue_that_is_full_drops_and_counts(start, pipe, monkeypatch):
    monkeypatch.setattr(logs, "QUEUE_LINES", 10)
    gate = threading.Event()
    emit = logs.DescriptorHandler.emit

    def held(self, made):
        gate.wait(20)
        emit(self, made)

    monkeypatch.setattr(logs.DescriptorHandler, "emit", held)
    log = start()
    for number in range(100):
        OURS.info("line %d", number)
    # Ten are queued and one may be in the hands of the writing thread.
    assert log.dropped in {89, 90}
    dropped = log.dropped
    gate.set()
    log.stop()
    lines = written(pipe[0])
    # One more may have given way to the mark of the end.
    assert sum(" line " in line for line in lines) in {100 - dropped, 99 - dropped}
    said = re.findall(r" (\d+) lines of the log were dropped: they came faster", "\n".join(lines))
    assert sum(map(int, said)) in {dropped, dropped + 1}
    assert said


def test_stop_does_not_wait_for_a_thread_that_hangs(start, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(logs, "QUEUE_LINES", 2)
    monkeypatch.setattr(logs, "_STOP_TIMEOUT", 0.05)
    monkeypatch.setattr(logs.DescriptorHandler, "emit", lambda _self, _made: gate.wait(60))
    log = start()
    for number in range(10):
        OURS.info("line %d", number)
    stopping = threading.Thread(target=log.stop)
    stopping.start()
    stopping.join(20)
    assert not stopping.is_alive()
    gate.set()


@pytest.mark.parametrize("end", ["reader", "writer"])
def test_a_descriptor_that_is_gone_costs_its_lines_only(start, pipe, end, tmp_path):
    file = tmp_path / "bfd.log"
    log = start(file=file)
    os.close(pipe[0] if end == "reader" else pipe[1])
    OURS.info("one")
    OURS.info("two")
    log.stop()
    assert log.dropped == 2
    assert [line.rpartition(" ")[2] for line in file.read_text().splitlines()] == ["one", "two"]


def test_a_long_line_is_whole(start, pipe):
    log = start()
    OURS.info("%s end", "y" * 40_000)
    log.stop()
    (line,) = written(pipe[0])
    assert line.endswith("y" * 40_000 + " end")


# --- the file ---------------------------------------------------------------------------------------------------


def test_the_file_turns_over_by_size_and_count(start, tmp_path):
    file = tmp_path / "bfd.log"
    log = start(file=file, max_bytes=4096, backups=2)
    for number in range(200):
        OURS.info("%04d %s", number, "x" * 60)
    log.stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bfd.log", "bfd.log.1", "bfd.log.2"]
    assert all(path.stat().st_size <= 4096 for path in tmp_path.iterdir())
    assert file.read_text().splitlines()[-1].split(" ")[3] == "0199"


def test_the_file_is_added_to(start, tmp_path):
    file = tmp_path / "bfd.log"
    file.write_text("before\n")
    log = start(file=file)
    OURS.info("after")
    log.stop()
    assert file.read_text().startswith("before\n2")


@pytest.mark.parametrize(
    ("path", "why"),
    [("none/bfd.log", "No such file or directory"), ("", "Is a directory"), ("file/bfd.log", "Not a directory")],
)
def test_a_file_that_cannot_be_written_is_refused(tmp_path, path, why):
    (tmp_path / "file").write_text("")
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    with pytest.raises(ConfigError) as caught:
        logs.setup("info", tmp_path / path, 4096, 1)
    assert caught.value.place == "log.file"
    assert f"cannot write {tmp_path / path} ({why}): give a file that the user ExaBGP runs us as" in caught.value.text
    assert (root.handlers, root.level) == before


def test_a_disk_that_is_full_costs_the_file_s_lines_only(start, pipe, capfd):
    log = start(file="/dev/full")
    OURS.info("one")
    log.stop()
    assert log.dropped == 1
    assert len(written(pipe[0])) == 1
    assert capfd.readouterr() == ("", "")


# --- the process ------------------------------------------------------------------------------------------------

PROGRAM = """
import logging, warnings
from exabgp_bfd import logs
log = logs.setup("debug", None, 4096, 1)
logging.getLogger("exabgp_bfd").debug("ours")
logging.getLogger("other").error("theirs")
warnings.warn("careful")
{end}
"""


@pytest.mark.parametrize("end", ["log.stop()", "raise SystemExit(0)\n"], ids=["stopped", "not stopped"])
def test_nothing_ever_goes_to_stdout(end):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(end=end)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    if end == "log.stop()":
        assert [line.split(" ")[1:3] for line in done.stderr.splitlines()] == [
            ["DEBUG", "exabgp_bfd"],
            ["ERROR", "other"],
            ["WARNING", "py.warnings"],
        ]


def test_a_process_whose_stderr_nobody_reads_still_ends():
    program = """
import logging
from exabgp_bfd import logs
log = logs.setup("info", None, 4096, 1)
for _ in range(2000):
    logging.getLogger("exabgp_bfd").info("x" * 500)
log.stop()
print("ended", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            # Only stdout is read, so that stderr's pipe stays full.
            assert process.wait(60) == 0
            assert process.stdout.read() == "ended\n"
        finally:
            process.kill()
