"""Starts, ends and what lies between: who waits, who is told, who is replaced, and that ExaBGP outlives all of it."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from lab import free_port, nobody, stays, wait_for
from lab.bird import Bird
from lab.exabgp import ExaBGP, Release, alive, kill
from lab.judge import Wrong
from lab.keeping import worker_of, workers_of
from lab.process import ANNOUNCE, PREFIX, SERVICE, SHUTDOWN, WITHDRAW, Inside, Process, toml
from lab.site import Site, usual

from exabgp_bfd import app, config, starts
from exabgp_bfd.app import App
from exabgp_bfd.config import Glimpse
from exabgp_bfd.core.model import State

pytestmark = pytest.mark.live

NEVER = Wrong()
LEASED = SERVICE.replace('name = "dns"', 'name = "dns"\nlease = true')
OTHER = SERVICE.replace('"dns"', '"other"').replace(PREFIX, "203.0.113.54/32")
LEASE = "[speaker]\nlease = 2.0\n"


@pytest.fixture
def played(launch, router):
    """Starts a process under an ExaBGP that answers everything; its file is the usual one unless said."""

    def start(*flags: str, text: str | None = None, **more) -> Process:
        return launch(*flags, toml=toml(router.port) if text is None else text, **more)

    return start


# --- a start that waits -----------------------------------------------------------------------------------------------


def problem(process: Process, path: str) -> dict:
    status, body = process.request(path)
    assert status == 503, body
    return json.loads(body)


def test_a_start_that_waits_tells_why_over_http_and_leaves_the_port_to_the_api(played, router):
    process = played(text=toml(router.port).replace('name = "dns"', 'name = "d n s"'))
    wait_for(lambda: process.request("/readyz")[0], "somebody answers")
    for path in ("/readyz", "/health", "/", "/metrics"):
        assert "service[0].name: a name holds no slash and no blank" in problem(process, path)["detail"], path
    assert process.get("/healthz")["status"] == "waiting", "killing us would remedy nothing"
    process.write_toml(toml(router.port))
    wait_for(lambda: process.lines == [ANNOUNCE], "announced")
    process.ready()
    assert process.get("/healthz")["status"] == "ok"
    assert occurrences(process, "trying again") == 1, "the API had its port at once"


def occurrences(process: Process, text: str) -> int:
    return sum(text in line for line in process.log().splitlines())


def test_another_fault_and_another_address_are_told_as_they_come(played, router):
    process = played(text="[[device]]\n")
    wait_for(lambda: "device[0]" in process.request("/readyz")[1].decode(), "the first fault")
    first, process.api_port = process.api_port, free_port()
    process.write_toml("[[service]]\n")
    wait_for(lambda: "service[0]" in process.request("/readyz")[1].decode(), "another fault, at another address")
    second, process.api_port = process.api_port, first
    assert process.request("/readyz")[0] == 0, "and nobody at the old one"
    process.api_port = second
    # Not to be read at all: where it was last is where the file would have it, as far as anybody knows... but nobody
    # has begun with that file yet.
    process.write_toml("not TOML", head=False)
    wait_for(lambda: process.request("/readyz")[0] == 0, "nobody knows where the file would have it")


def test_a_file_that_cannot_be_read_is_told_where_the_api_was(played, router):
    flags = ("--db",)
    process = played(text="x")
    process.stop()
    listening = played(*flags, str(process.journal)).ready()
    port = listening.api_port
    listening.stop()
    again = played(*flags, str(process.journal), text="not TOML")
    assert again.api_port != port
    again.api_port = port
    assert b"is not TOML" in wait_for(lambda: again.request("/readyz")[1], "somebody answers")


def test_a_journal_in_use_is_told_but_not_in_the_way_of_its_owner(played, router):
    first = played().ready()
    second = played()
    assert second.api_port != first.api_port, "whose file is now that of the second"
    detail = wait_for(lambda: second.request("/readyz")[1], "told")
    assert f"in use by another exabgp-bfd (process {worker_of(first.process.pid)})".encode() in detail
    # The first takes up the file, and with it the address, which the second leaves in turns.
    first.signal(signal.SIGHUP)
    first.api_port = second.api_port
    first.ready()
    stays(lambda: first.request("/readyz")[0] == 200, "and keeps it", 3.0)
    assert second.running
    assert not second.lines
    first.signal(signal.SIGTERM)
    first.wait()
    second.ready()


def test_a_secret_of_a_file_that_is_wrong_is_not_told(played, router):
    process = played(text=toml(router.port, "[webhok]\n"))
    told = wait_for(lambda: process.request("/readyz")[1], "somebody answers")
    assert b"webhok" in told
    # `launch` searches the log and /readyz of every process for the secrets in the end.
    process.look()


def test_a_broken_installation_is_waited_out(played, router, tmp_path):
    """Half an upgrade: nothing of ours can be imported, and ExaBGP would start us six times in a second."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "pydantic.py").write_text("raise ImportError('half an upgrade')")
    process = played(env={"PYTHONPATH": str(broken)})
    wait_for(lambda: occurrences(process, "ended by status 1") >= 4, "it is tried again, but slower each time")
    assert process.running
    assert not process.lines
    (broken / "pydantic.py").unlink()
    shutil.rmtree(broken / "__pycache__", ignore_errors=True)
    wait_for(lambda: process.lines == [ANNOUNCE], "it goes on by itself")
    process.stop()
    process.stderr.write_text("")  # its tracebacks are what this was about


def test_a_folder_that_is_gone_is_no_reason_not_to_start(played, router, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    process = Process(tmp_path, toml=toml(router.port))
    leave = "import os, sys; os.chdir(sys.argv[1]); os.rmdir(sys.argv[1]); os.execv(sys.argv[2], sys.argv[2:])"
    process._command[:0] = [sys.executable, "-c", leave, str(gone)]
    process.start()
    try:
        process.ready()
        wait_for(lambda: process.lines == [ANNOUNCE], "announced")
    finally:
        process.stop()
    assert not list(process.faults())


# --- too many starts --------------------------------------------------------------------------------------------------


def up_or_held(process: Process) -> bool:
    return process.request("/readyz")[0] == 200 or "holding" in process.log()


def test_the_fourth_start_in_a_bucket_holds_still_and_says_so(played):
    """Each is killed as soon as it is up, keeper and all; the test is the ExaBGP that started all of them."""

    # So many because the first ones may be of the bucket before, where a busy machine has no room for four.
    for _ in range(8):
        wait_for(lambda: time.time() % 64 < 45, "a bucket with room for one that is held", timeout=60)
        process = played()
        wait_for(partial(up_or_held, process), "up")
        if "holding" in process.log():
            break
        process.signal(signal.SIGKILL)
        process.wait()
    detail = wait_for(lambda: process.request("/readyz")[0] == 503 and problem(process, "/readyz")["detail"], "told")
    assert "started 4 times" in detail
    assert occurrences(process, "started 4 times in") == 1
    assert process.get("/healthz")["status"] == "waiting"
    # Meanwhile whatever ExaBGP says is read, and it is told nothing.
    assert process.write_within(b'{ "exabgp": "5.0.0" }\n' * 20_000)
    assert process.everything == [], "it is told nothing at all"
    process.signal(signal.SIGTERM)
    assert process.wait() == 0


def test_who_was_held_goes_on_when_the_bucket_ends(tmp_path, router, monkeypatch):
    monkeypatch.setattr(starts, "BUCKET", 4)
    journal = tmp_path / "inside.db"
    text = tmp_path / "inside.toml"
    text.write_text(f'[storage]\npath = "{journal}"\n[api]\nlisten = "127.0.0.1:0"\n{toml(router.port)}')
    monkeypatch.setitem(App.__init__.__kwdefaults__, "glimpse", lambda: Glimpse(journal=journal))

    def held() -> dict:
        """How one lived that was started three times before, in what is left of a bucket."""
        wait_for(lambda: time.time() % 4 < 1.0, "the beginning of a bucket")
        for _ in range(3):
            starts.StartFile(journal).note(time.time(), app._parent())
        inside = Inside(lambda: config.load(text, config.Overrides(), {}))
        told: list[dict] = []

        def look(running: App) -> None:
            wait_for(lambda: ANNOUNCE in inside.lines, "it goes on")
            told.append(running.lifecycle())

        assert inside.play(look) == 0
        return told[0]

    # On a busy machine it may begin in the next bucket, where it is the first.
    lives = next(life for life in (held() for _ in range(10)) if life["starts"] == 4)
    assert 0.0 < lives["held"] <= 4.0


# --- the keeper -------------------------------------------------------------------------------------------------------


def test_workers_that_die_are_replaced_and_shown(played, router):
    process = played().ready()
    keeper, worker = process.process.pid, worker_of(process.process.pid)
    kill(worker, signal.SIGKILL)
    second = worker_of(keeper, other_than=worker)
    wait_for(lambda: (process.get("/health") or {}).get("lifecycle", {}).get("crashes") == 1, "another serves")
    assert process.get("/health")["lifecycle"]["last_crash"] == f"process {worker} ended by SIGKILL"
    wait_for(lambda: process.metric("exabgp_bfd_crashes_total") == 1.0, "counted")
    assert process.metric("exabgp_bfd_starts") == 1.0, "ExaBGP has started us once"
    newest, oldest = process.events(event_type="started")
    assert (oldest["details"]["pid"], newest["details"]["pid"]) == (worker, second)
    assert newest["details"]["lifecycle"]["crashes"] == 1
    # Signals are for the worker, whoever they are sent to.
    process.write_toml(toml(router.port, OTHER))
    process.signal(signal.SIGHUP)
    wait_for(lambda: any("203.0.113.54" in line for line in process.lines), "the new file holds")
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert not alive(second)


def test_what_exabgp_says_while_nobody_works_is_read(played):
    process = played().ready()
    keeper = process.process.pid
    worker = 0
    for _ in range(5):
        worker = worker_of(keeper, other_than=worker)
        kill(worker, signal.SIGKILL)
    assert process.write_within(b'{ "exabgp": "5.0.0", "type": "state" }\n' * 20_000)
    process.ready()


def test_a_worker_that_is_stopped_is_replaced_before_exabgp_freezes(played):
    process = played().ready()
    worker = worker_of(process.process.pid)
    kill(worker, signal.SIGSTOP)
    assert process.write_within(b'{ "exabgp": "5.0.0", "type": "state" }\n' * 20_000)
    wait_for(lambda: "has read nothing for" in process.log(), "said")
    process.ready()
    assert not alive(worker)


@pytest.mark.parametrize("end", ["stdin closed", "shutdown"])
def test_the_end_of_exabgp_ends_a_worker_that_is_stopped_as_well(played, end):
    process = played().ready()
    worker = worker_of(process.process.pid)
    kill(worker, signal.SIGSTOP)
    if end == "shutdown":
        process.write(SHUTDOWN)
        process.signal(signal.SIGTERM)
    else:
        process.close_stdin()
    process.wait()
    assert not alive(worker)
    assert WITHDRAW not in process.lines


# --- the lease --------------------------------------------------------------------------------------------------------


def test_a_worker_that_stalls_loses_its_lease_and_earns_it_anew(played, router):
    process = played(text=toml(router.port, LEASE, service=LEASED + OTHER))
    wait_for(lambda: len(process.lines) == 2, "both announced")
    process.ready()
    worker = worker_of(process.process.pid)
    kill(worker, signal.SIGSTOP)
    wait_for(lambda: WITHDRAW in process.lines, "withdrawn")
    assert not [line for line in process.lines if line.startswith("withdraw") and line != WITHDRAW], "nothing else is"
    wait_for(lambda: process.lines[-1] != WITHDRAW and ANNOUNCE in process.lines[3:], "and announced anew")
    process.ready()
    (expired,) = wait_for(lambda: process.events(event_type="lease_expired"), "the event")
    assert expired["details"]["services"] == ["dns"]
    assert expired["details"]["routes"] == [PREFIX]
    assert expired["details"]["withdrawn"] == 1
    assert expired["details"]["seconds"] >= 2.0
    assert process.get("/services/other")["state"] == "announced"
    assert process.get("/health")["lifecycle"]["lease"] == 2.0


def test_a_worker_that_stalls_while_its_session_is_down_stays_withdrawn(played, router):
    process = played(text=toml(router.port, LEASE, service=LEASED))
    wait_for(lambda: process.lines == [ANNOUNCE], "announced")
    process.ready()
    kill(worker_of(process.process.pid), signal.SIGSTOP)
    router.set(State.DOWN)
    wait_for(lambda: process.lines.count(WITHDRAW) == 1, "withdrawn")
    process.ready()
    stays(lambda: ANNOUNCE not in process.lines[1:], "and stays so", 1.0)
    router.set(State.UP)
    wait_for(lambda: process.lines[-1] == ANNOUNCE, "until it is up")


def test_short_stalls_and_ends_in_order_cost_no_lease(played, router):
    process = played("--lease", "3", text=toml(router.port, service=LEASED))
    wait_for(lambda: process.lines == [ANNOUNCE], "announced")
    process.ready()
    worker = worker_of(process.process.pid)
    kill(worker, signal.SIGSTOP)
    time.sleep(1.0)
    kill(worker, signal.SIGCONT)
    stays(lambda: workers_of(process.process.pid) == [worker], "left alone", 4.0)
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert process.lines == [ANNOUNCE]


def test_a_start_that_cannot_be_leaves_leased_routes_alone_no_longer_than_agreed(played, router):
    process = played(text=toml(router.port, LEASE, service=LEASED + OTHER))
    wait_for(lambda: len(process.lines) == 2, "both announced")
    process.ready()
    process.write_toml("not TOML")
    kill(worker_of(process.process.pid), signal.SIGKILL)
    wait_for(lambda: WITHDRAW in process.lines, "withdrawn")
    process.write_toml(toml(router.port, LEASE, service=LEASED + OTHER))
    wait_for(lambda: process.lines.count(ANNOUNCE) == 2, "announced anew")
    wait_for(lambda: process.events(event_type="lease_expired"), "the event")


def test_a_reload_changes_who_is_under_the_lease(played, router):
    process = played(text=toml(router.port, LEASE, service=SERVICE))
    wait_for(lambda: process.lines == [ANNOUNCE], "announced")
    process.ready()
    process.write_toml(toml(router.port, LEASE, service=LEASED))
    process.signal(signal.SIGHUP)
    wait_for(lambda: process.events(event_type="config_reloaded") or "reload" in process.log(), "reloaded")
    time.sleep(0.5)
    kill(worker_of(process.process.pid), signal.SIGSTOP)
    wait_for(lambda: WITHDRAW in process.lines, "withdrawn")
    process.ready()


# --- under the real ExaBGP --------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path, programs, release):
    with Site(tmp_path, programs._replace(gobgpd="", gobgp=""), release) as made:
        yield made
        print(made.output()[-20000:])


def test_crashes_in_a_minute_neither_end_exabgp_nor_cost_a_route(site):
    # As many as would end ExaBGP 5, had it started each of them; more only lengthen our own pauses, to 10 s each.
    with site.fault("six crashes") as found:
        keeper, worker = site.child(), 0
        for _ in range(6):
            worker = worker_of(keeper, other_than=worker)
            wait_for(
                lambda worker=worker: str(worker) in str(site.exabgp.get("/events?event_type=started")), "it is up"
            )
            kill(worker, signal.SIGKILL)
        worker_of(keeper, other_than=worker)
        site.ready()
        site.turn()
    assert found.kept == NEVER
    assert site.exabgp.running
    assert site.exabgp.child() == keeper, "ExaBGP has noticed nothing"


def test_six_ends_of_the_keeper_itself_do_not_end_exabgp_either(site):
    """Each as soon as it is up: the fourth of a bucket holds still, and the next ones are counted in another bucket."""
    with site.fault("six ends", timeout=120) as found:
        for _ in range(6):
            site.ready()
            keeper = site.child()
            kill(keeper, signal.SIGKILL)
            wait_for(lambda gone=keeper: site.exabgp.child() not in {None, gone}, "another is started at once")
            assert site.exabgp.running
            wait_for(lambda: site.exabgp.get("/readyz"), "up again", timeout=90)
    assert found.kept == NEVER
    assert site.exabgp.running
    assert "holding for" in site.exabgp.output()


def test_a_stall_costs_the_leased_routes_and_no_other(tmp_path, programs, release):
    routes = usual()
    routes["first"] = replace(routes["first"], next_hop=f"{routes['first'].next_hop}\nlease = true")
    leased, others = set(routes["first"].prefixes), set(routes["kept"].prefixes)
    judges = programs._replace(gobgpd="", gobgp="")
    with Site(tmp_path, judges, release, routes=routes, speaker=LEASE) as made:
        made.settle("the start")
        made.ready()
        begun = time.monotonic()
        kill(worker_of(made.child()), signal.SIGSTOP)
        wait_for(lambda: made.bird.routes() == others, f"the leased ones are gone; {made.output()[-3000:]}")
        made.settle("and are back, for their session is up")
        seen, now = made.tables["bird"], time.monotonic()
        assert all(len(seen.switches(prefix, begun, now)) == 3 for prefix in leased), "gone once, and back"
        assert all(seen.switches(prefix, begun, now) == [(begun, True)] for prefix in others), "always there"
        wait_for(lambda: made.exabgp.events(event_type="lease_expired"), "recorded")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_exabgp_is_no_reason_to_withdraw(site, number):
    site.settle("the start")
    site.ready()
    keeper = site.child()
    worker = worker_of(keeper)
    wait_for(lambda: len(site.exabgp.events(event_type="route_confirmed")) >= 4, "all confirmed")
    site.exabgp.signal(number)
    site.exabgp.wait()
    wait_for(lambda: not alive(worker) and not alive(keeper), "we end with it")
    with closing(sqlite3.connect(site.exabgp.journal)) as journal:
        kinds = [kind for (kind,) in journal.execute("SELECT event_type FROM event ORDER BY id")]
        kept = {key for (key,) in journal.execute("SELECT key FROM remembered")} if _has_key(journal) else None
    assert "route_withdraw" not in kinds
    assert kinds[-1] == "stopped"
    assert kept is None or kept >= set(site.routes["kept"].prefixes)


def _has_key(journal: sqlite3.Connection) -> bool:
    return "key" in {column[1] for column in journal.execute("PRAGMA table_info(remembered)")}


@pytest.fixture
def for_nobody(need):
    """A folder of nobody's own, with the packages beside it, and the Python that nobody may run."""
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    python = nobody.interpreter("nobody") or need("a Python of this version that nobody may run", "python3")
    folder = Path(tempfile.mkdtemp(prefix="exabgp-bfd-nobody-"))
    try:
        folder.chmod(0o755)
        nobody.copy_packages(folder / "packages")
        own = folder / "own"
        own.mkdir(mode=0o700)
        shutil.chown(own, "nobody")
        yield own, python, folder / "packages"
    finally:
        shutil.rmtree(folder)


def test_it_works_as_nobody(for_nobody, programs, release, router):
    """As most run it: ExaBGP gives up its rights before it starts us, and where it was started is not ours to read."""
    own, python, packages = for_nobody
    bird = Bird(programs.bird, programs.birdc, own)
    exabgp = ExaBGP(
        *(own, [bird.neighbor], toml(router.port)),
        release=replace_command(release, python),
        exabgp_daemon_user="nobody",
        HOME="/nonexistent",
        PYTHONPATH=str(packages),
    )
    program = own / "exabgp-bfd"
    program.write_text(f'#!/bin/sh\nexec {python} -m exabgp_bfd "$@"\n')
    program.chmod(0o755)
    conf = exabgp.conf.read_text()
    exabgp.conf.write_text(re.sub(r"run \S+ run ", f"run {program} run ", conf))
    for path in own.iterdir():
        shutil.chown(path, "nobody")
    bird.start()
    try:
        exabgp.start()
        wait_for(lambda: bird.routes() == {PREFIX}, f"announced; {exabgp.output()[-3000:]}")
        (started,) = wait_for(lambda: exabgp.events(event_type="started"), "the API")
        assert started["details"]["user"] == "nobody"
        files = {path.name: path.stat() for path in own.iterdir()}
        for name in ("journal.db", "admin.key", "starts.json"):
            assert files[name].st_uid == pwd.getpwnam("nobody").pw_uid, name
            assert not files[name].st_mode & 0o007, name
        keeper = exabgp.child()
        assert keeper is not None
        worker = worker_of(keeper)
        kill(worker, signal.SIGKILL)
        worker_of(keeper, other_than=worker)
        wait_for(lambda: exabgp.get("/readyz"), "as good as before")
        assert bird.routes() == {PREFIX}
    finally:
        exabgp.stop()
        bird.stop()
        print(exabgp.output()[-5000:])


def replace_command(release: Release, python: str) -> Release:
    """The same ExaBGP, by a Python that nobody may run; Debian's is one already."""
    if release.command[0].startswith("/usr/sbin"):
        return release
    return release._replace(command=(python, "-m", "exabgp", *release.command[1:]))
