"""The bench runs and has its figures, so that it cannot rot. What they are is nobody's business here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
