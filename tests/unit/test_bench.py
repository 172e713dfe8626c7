"""The bench runs and has its figures, so that it cannot rot. What they are is nobody's business here."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from exabgp_bfd.core.model import State
from exabgp_bfd.sources.snmp.notifications import notified
from exabgp_bfd.sources.snmp.trap_message import noticed

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_reaction_gives_a_table_and_its_figures_as_json(tmp_path):
    file = tmp_path / "figures.json"
    done = bench(
        "reaction", "--sessions", "20", "--samples", "4", "--interval", "0.2", "--no-load", "--json", str(file)
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    document = json.loads(file.read_text())
    assert document["machine"]["cores"] >= 1
    measured = document["measures"]["reaction"]
    assert measured["settings"]["sessions"] == measured["settings"]["services"] == 20
    assert set(measured["situations"]) == {"idle", "plain script", "floor"}
    for name, figures in measured["situations"].items():
        assert figures["samples"] == 4
        # A line cannot come before the response that told of the Down, nor in no time.
        assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"]
        assert figures["cpu_seconds"] >= 0
        assert figures["rss_mb"] > 1
        assert f"\n{name} " in done.stdout
    assert measured["situations"]["idle"]["p50_of_plain_script"] > 0


def test_under_load_what_was_fed_is_stored_and_the_clients_are_answered():
    done = bench(
        *("reaction", "--sessions", "5", "--samples", "2", "--interval", "0.2", "--feed", "500"),
        *("--no-peers", "--json", "-"),
    )
    assert done.returncode == 0, done.stderr
    load = json.loads(done.stdout)["measures"]["reaction"]["situations"]["load"]
    assert load["lines_fed"] > 0
    assert load["messages_stored"] == load["lines_fed"]
    assert load["messages_dropped"] == load["store_dropped"] == 0
    assert set(load["requests_answered"]) == {"200"}


def test_an_unknown_measure_is_refused_with_the_names_of_those_there_are():
    done = bench("speed")
    assert done.returncode == 2
    assert "no measure speed; there are reaction" in done.stderr


def test_deciding_gives_its_figures_beside_a_rescan(tmp_path):
    file = tmp_path / "figures.json"
    done = bench("deciding", "--decided-sessions", "50", "--samples", "20", "--json", str(file))
    assert done.returncode == 0, done.stderr
    situations = json.loads(file.read_text())["measures"]["deciding"]["situations"]
    assert {"nothing new", "down, withdrawn", "up, announced", "plain rescan"} <= set(situations)
    assert all(figures["p50_us"] > 0 for figures in situations.values())


@pytest.fixture
def measuring(monkeypatch):
    """A module of the bench, by its name; pytest itself does not know the folder as a package."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"tests.bench.{name}")


def test_polling_reads_every_way_beside_the_others(tmp_path):
    file = tmp_path / "figures.json"
    done = bench(
        *("polling", "--quick", "--poll-part", "values", "--poll-engine", "pysnmp", "--poll-version", "2c"),
        *("--json", str(file)),
    )
    assert done.returncode == 0, done.stderr
    situations = json.loads(file.read_text())["measures"]["polling"]["situations"]
    ours = {"pysnmp, engine alone, v2c", "pysnmp, decided, v2c"}
    assert ours | {"pysnmp's get_cmd, v2c"} <= set(situations)
    for name, figures in situations.items():
        assert figures["us_a_value"] > 0
        assert 0 < figures["agent_load"] < 1, name
        assert figures["of_get_cmd"] > 0
    assert situations["pysnmp's get_cmd, v2c"]["of_get_cmd"] == 1
    # Our own engine does not do what the library's own interface does for each value: far from any noise.
    assert situations["pysnmp, engine alone, v2c"]["of_get_cmd"] < 0.5
    assert "bar 5 us: " in done.stdout


def test_a_soak_tells_what_memory_and_descriptors_did_and_takes_every_notification():
    done = bench(
        *("soak", "--rounds", "300", "--soak-engine", "pysnmp", "--soak-version", "2c", "--json", "-"),
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["measures"]["soak"]["situations"]["pysnmp, v2c"]
    assert figures["rounds"] >= 300
    assert len(figures["ticks"]) >= 3
    assert figures["rss_5"] > 1
    assert figures["descriptors_last"] == figures["descriptors_first"]
    assert figures["silences"] == 0
    assert 0 < figures["notifications"] <= figures["sent"]
    assert figures["counts"]["accepted"] == figures["notifications"]
    assert 0 < figures["withdrawn"] <= figures["sent"]


def test_notifications_withdraw_and_every_notification_of_a_burst_is_in_the_journal():
    done = bench("notifications", "--quick", "--trap-version", "2c", "--json", "-")
    assert done.returncode == 0, done.stderr
    situations = json.loads(done.stdout)["measures"]["notifications"]["situations"]
    for name in ("single, v2c", "single, without a pause, v2c"):
        assert 0 < situations[name]["p50_ms"] <= situations[name]["p99_ms"]
    for name in ("burst, v2c", "burst of informs, v2c"):
        assert (situations[name]["received"], situations[name]["lost"]) == (situations[name]["samples"], 0)
        assert 0 < situations[name]["first_ms"] <= situations[name]["last_ms"]
    assert situations["burst of informs, v2c"]["acknowledged"] == situations["burst of informs, v2c"]["samples"]
    assert situations["pysnmp only receives a burst, v2c"]["received"] > 0


def test_what_is_late_is_late_against_a_devices_own_turns(measuring):
    lateness = measuring("snmp_agent").lateness
    # Two requests near each other are one round; the fourth round is 0.2 s late, and the fifth never came.
    times = [10.0, 10.01, 11.0, 12.001, 13.2, 15.0]
    assert lateness([times], 1.0) == {"rounds": 5, "late": 1, "missed": 1, "worst_late_ms": 200.0}
    # A first round that was late itself is told by those that were not.
    assert lateness([[10.15, 11.0, 12.0]], 1.0) == {"rounds": 3, "late": 1, "missed": 0, "worst_late_ms": 150.0}
    assert lateness([[], [5.0]], 1.0) == {"rounds": 1, "late": 0, "missed": 0, "worst_late_ms": 0.0}


def test_samples_become_a_median_and_ratios(measuring):
    polling = measuring("polling")
    sample = {"agent_load": 0.2, "rss_mb": None}
    situations = {
        name: polling.summary([{**sample, "us_a_value": cost} for cost in costs])
        for name, costs in {
            "gufo, engine alone, v2c": (4.0, 3.0, 9.0),
            "gufo, engine alone, v3": (10.0, 10.0, 10.0),
            "gufo, decided, v2c": (12.5, 12.5, 12.5),
            "pysnmp's get_cmd, v2c": (400.0, 400.0, 400.0),
            "snmpbulkwalk, v2c": (8.0, 8.0, 8.0),
        }.items()
    }
    polling.compare(situations)
    alone = situations["gufo, engine alone, v2c"]
    assert (alone["us_a_value"], alone["spread"]) == (4.0, "3..9")
    assert (alone["of_get_cmd"], alone["of_bulkwalk"]) == (0.01, 0.5)
    assert situations["gufo, engine alone, v3"]["of_2c"] == 2.5
    assert "rss_mb" not in alone
    said = "\n".join(polling.notes(situations))
    assert "gufo, engine alone, v2c: 4.00 us, bar 5 us: met" in said
    assert "gufo, decided, v2c: 12.50 us, bar 12 us: missed" in said
    assert "gufo, engine alone, v3: 2.50 x v2c, bar 2 x: missed" in said
    assert "busy" not in said
    busy = {"gufo, engine alone, v2c": {**alone, "agent_load": 0.95}}
    assert "the agent was busy for 95% of the time" in "\n".join(polling.notes(busy))


def test_a_burst_is_told_from_its_first_datagram_to_its_last_line(measuring):
    notifications, said = measuring("notifications"), measuring("speaker").Said
    lines = {f"{number}": said(1_000_000_000 + number * 1_000_000, "withdraw", f"{number}") for number in (7, 20, 3)}
    figures = notifications.burst_figures(1_000_000_000, lines, sent=4, received=3)
    assert figures == {"samples": 4, "received": 3, "lost": 1, "first_ms": 3.0, "last_ms": 20.0}
    assert notifications.notes({"burst, v2c": figures, "pysnmp only receives a burst, v2c": figures}) == (
        "burst, v2c: last 20, bar 1000: met",
        "burst, v2c: lost 1, bar 0: missed",
    )
    single = {"single, v2c": {"p99_ms": 20.5}}
    assert notifications.notes(single) == ("single, v2c: p99 20.5, bar 20: missed",)


def test_a_notification_of_the_bench_is_one_to_the_receiver(measuring):
    notifications = measuring("notifications")
    octets = measuring("snmp_octets")
    pdu = notifications.down_pdu(octets.TRAP, 77, 4)
    notice = noticed(pdu, version=1)
    hint = notified(notice.trap_oid, notice.varbinds)
    assert hint is not None
    assert (hint.profile, hint.said, hint.low, hint.high) == ("bfd-std", State.DOWN, "4", "4")


def test_a_leak_shows_as_a_slope_of_the_second_half(measuring):
    soak = measuring("soak")
    assert soak.slope([(0, 5.0), (10, 5.0)]) == 0
    assert soak.slope([(0, 1.0), (10, 3.0), (20, 5.0)]) == pytest.approx(0.2)
    ticks = [
        {"tick": 1000 * (place + 1), "rss_mb": 40.0 + max(0, place - 9) * 0.01, "descriptors": 9, "cpu": 0.1}
        for place in range(20)
    ]
    end = {"answered": 20_000, "seconds": 5.0, "cpu": 4.0, "descriptors": 10, "silences": 0}
    figures = soak.summary(ticks, {**end, "notifications": 1, "withdrawn": 1, "reason": "", "refused": {}})
    assert figures["slope"] == pytest.approx(0.1)
    assert (figures["rss_5"], figures["rss_50"], figures["rss_100"]) == (40.0, 40.0, 40.1)
    assert figures["cpu_us_a_round"] == 200.0
    said = "\n".join(soak.notes({"gufo, v2c": figures}))
    assert "+25.9 MB in thirty days" in said
    assert "9 descriptors became 10" in said


def test_the_stores_answer_every_question_and_retention_leaves_a_plateau(tmp_path):
    file = tmp_path / "figures.json"
    done = bench("stores", "--quick", "--no-mongodb", "--json", str(file))
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())["measures"]["stores"]["situations"]
    asked = {name: each for name, each in figures.items() if name.startswith("journal: ")}
    assert len(asked) > 60
    assert not [name for name, each in asked.items() if "NO ANSWER" in each["how"]]
    assert asked["journal: chain of causes"]["rows"] == 64
    assert asked["journal: events by service and type"]["how"] == "event_service_type"
    assert asked["journal: messages by direction, none"]["how"] == "message_sent"


def test_runs_of_a_feed_become_one_row(measuring):
    together = measuring("bgp").together
    run = {"lines_a_second": 100.0, "stored": 10, "blocked_longest_ms": 1.0, "reactions_ns": [1_000_000]}
    found = together([run, {**run, "lines_a_second": 300.0, "blocked_longest_ms": 7.0, "reactions_ns": [3_000_000]}])
    assert (found["lines_a_second"], found["stored"], found["blocked_longest_ms"]) == (200.0, 20, 7.0)
    assert (found["samples"], found["max_ms"]) == (2, 3.0)
