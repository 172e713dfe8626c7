"""How often one may ask: each has its own allowance, failures have few, and memory has an end."""

import pytest
from api.box import keys
from hypothesis import given
from hypothesis import strategies as st

from exabgp_bfd.config import RateSettings
from exabgp_bfd.web.backend import WebSettings
from exabgp_bfd.web.limits import PLACES, Allowance, Limits, Rates, place_of


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_burst_and_then_the_rate(clock):
    allowance = Allowance(2.0, 3, clock=clock)
    assert [allowance.take("a") for _ in range(3)] == [0.0] * 3
    assert allowance.take("a") == pytest.approx(0.5)
    assert allowance.take("a") == pytest.approx(0.5)  # who is refused pays nothing
    clock.now += 0.5
    assert allowance.take("a") == 0.0
    assert allowance.take("a") > 0
    clock.now += 100
    assert [allowance.take("a") == 0 for _ in range(4)] == [True] * 3 + [False]


def test_each_has_its_own(clock):
    allowance = Allowance(1.0, 1, clock=clock)
    assert [allowance.take(who) for who in "abc"] == [0.0] * 3
    assert allowance.take("a") > 0


def test_a_look_takes_nothing(clock):
    allowance = Allowance(1.0, 1, clock=clock)
    assert [allowance.look("a") for _ in range(5)] == [0.0] * 5
    allowance.take("a")
    assert allowance.look("a") == pytest.approx(1.0)


def test_no_rate_is_no_limit(clock):
    allowance = Allowance(0.0, 1, clock=clock)
    assert [allowance.take("a") for _ in range(1000)] == [0.0] * 1000
    assert len(allowance) == 0


@given(
    st.floats(0.1, 50),
    st.integers(1, 20),
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 5)), min_size=1, max_size=80),
)
def test_nobody_gets_more_than_the_burst_and_the_rate(rate, burst, steps):
    clock = Clock()
    allowance = Allowance(rate, burst, clock=clock)
    granted: dict[int, int] = {}
    for pause, who in steps:
        clock.now += pause
        if allowance.take(who) == 0:
            granted[who] = granted.get(who, 0) + 1
        assert all(count <= burst + (clock.now - 1000.0) * rate + 1e-6 for count in granted.values())


def test_memory_has_an_end_and_nobody_is_pushed_out(clock):
    allowance = Allowance(1.0, 1, places=50, clock=clock)
    assert allowance.take("guesser") == 0
    taken = [allowance.take(f"stranger {number}") for number in range(1000)]
    assert len(allowance) == 50
    assert taken[:49] == [0.0] * 49
    assert taken[49] == 0.0  # all others share one place
    assert all(wait > 0 for wait in taken[50:])
    assert allowance.take("guesser") > 0  # is remembered still
    assert allowance.look("stranger 999") > 0
    clock.now += 2  # all of them have their burst again: their places are free
    assert [allowance.take(f"later {number}") for number in range(50)] == [0.0] * 50
    assert len(allowance) <= 50


def test_limits_of_one_api_are_bounded(clock):
    limits = Limits(Rates(), clock)
    for number in range(3 * PLACES):
        limits.request(None, f"2001:db8:{number:x}::1")
        limits.failed(f"2001:db8:{number:x}::1")
        limits.watch(f"2001:db8:{number:x}::1")
    assert {len(part) for part in (limits._requests, limits._failures, limits._watching)} == {PLACES}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),  # one host's own network
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::1", "::2", False),
        (None, "", True),
    ],
)
def test_which_addresses_are_one(one, other, same):
    assert (place_of(one) == place_of(other)) is same


def test_waits_are_whole_seconds(clock):
    limits = Limits(Rates(requests=100, burst=1, failures=6), clock)
    assert [limits.request(None, "192.0.2.1") for _ in range(2)] == [0, 1]
    assert [limits.failed("192.0.2.1") for _ in range(7)] == [0] * 6 + [10]
    assert limits.barred("192.0.2.1") == 10
    assert limits.barred("192.0.2.2") == 0


# --- in the application -------------------------------------------------------------------------------------------


def test_more_than_the_rate_is_429_for_each_key_and_address(build, problem, key):
    client = build(keys=keys(), ephemeral=None, rates=Rates(requests=0.01, burst=2))
    assert [client.get("/services", headers=key("read")).status_code for _ in range(3)] == [200, 200, 429]
    refused = client.get("/services", headers=key("read"))
    assert "[api.rates]" in problem(refused, 429)["detail"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 100
    # Another key from the same address, and the same address without one.
    assert client.get("/services", headers=key("operate")).status_code == 200
    assert [client.get("/services").status_code for _ in range(3)] == [401, 401, 429]
    assert client.get("/nothing").status_code == 429
    # The same key from elsewhere is the same key.
    assert client.get("/services", headers=key("read"), environ_base={"REMOTE_ADDR": "192.0.2.7"}).status_code == 429


def test_loopback_without_keys_is_limited_too_and_its_health_apart(build):
    client = build(rates=Rates(requests=0.01, burst=2))
    assert [client.get("/services").status_code for _ in range(3)] == [200, 200, 429]
    assert client.get("/metrics").status_code == 429
    assert [client.get(path).status_code for path in ("/healthz", "/readyz", "/healthz")] == [200, 200, 429]
    assert client.get("/services", environ_base={"REMOTE_ADDR": "127.0.0.2"}).status_code == 200


def test_guessing_keys_is_limited_harder(build, problem, key):
    client = build(keys=keys(), ephemeral=None, rates=Rates(requests=1000, burst=1000, failures=3))
    guesses = [client.get("/services", headers={"X-API-Key": f"guess {number}"}).status_code for number in range(5)]
    assert guesses == [401, 401, 401, 429, 429]
    # Even the right one is not looked at now, or guessing would go on: from there, and from nowhere else.
    refused = client.post("/reload", headers=key("admin"))
    assert "too many wrong keys" in problem(refused, 429)["detail"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 20
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    assert client.post("/reload", headers=key("admin"), environ_base=elsewhere).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_a_right_key_costs_no_failure(build, key):
    client = build(keys=keys(), ephemeral=None, rates=Rates(failures=1))
    assert {client.get("/services", headers=key("read")).status_code for _ in range(20)} == {200}
    assert {client.post("/reload", headers=key("read")).status_code for _ in range(5)} == {403}


def test_the_usual_rates_are_those_of_the_configuration():
    usual, written = WebSettings("127.0.0.1", 1).rates, RateSettings()
    assert (usual.requests, usual.burst, usual.failures) == (written.requests, written.burst, written.failures)
