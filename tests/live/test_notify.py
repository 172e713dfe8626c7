"""Signed alerts of the real process: all arrive, also over its sudden end; and our own webhook believes them."""

import json
import signal
import urllib.error
import urllib.request

import pytest
from lab import wait_for
from lab.process import WEBHOOK_SECRET, toml
from lab.receiver import Receiver, answer

from exabgp_bfd.core.model import Secret, State
from exabgp_bfd.web.auth import Sender, prove, sign

WHSEC = "whsec_" + "bm9ib2R5LW1heS1zZWUtdGhpcy1zZWNyZXQtZXZlcg=="
OTHER = "whsec_" + "YW5vdGhlciBzZWNyZXQgdGhhdCBub2JvZHkgbWF5IHNlZQ=="
PATH = "/webhook/failure"


@pytest.fixture
def receiver():
    listening = Receiver().start()
    yield listening
    listening.stop()


def notify(name, url, *, secret=WHSEC, **more):
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())
    return f'[[notify]]\nname = "{name}"\nurl = "{url}"\nsecrets = ["{secret}"]\n{lines}'


def report(process, number):
    """A report that is on disk."""
    body = json.dumps({"device": "edge1", "reason": "link_flap", "evidence": {"number": number}}).encode()
    status, answered = process.request(PATH, body, {"X-Hub-Signature-256": sign(Secret(WEBHOOK_SECRET), body)})
    assert status == 202, answered
    return json.loads(answered)["id"]


def admin(process):
    return {"X-API-Key": (process.journal.parent / "admin.key").read_text().strip()}


def change(process, path, method="POST"):
    """Status and JSON of a change by the admin."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{process.api_port}{path}", method=method, headers=admin(process)
    )
    try:
        with urllib.request.urlopen(request, timeout=15) as answered:
            return answered.status, json.load(answered)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


pytestmark = pytest.mark.live


def test_every_alert_arrives_over_a_kill(launch, router, receiver):
    """At least once each, none but what matches, all of them signed, and the same one under the same id."""
    settings = toml(router.port, notify("noc", f"{receiver.url}/hook/T0PSECRET", events=["link_flap", "bfd_failure"]))
    process = launch(toml=settings).ready()
    wait_for(lambda: process.get("/sessions")["sessions"][0]["state"] == "up", "up")
    promised = {report(process, number) for number in range(8)}
    router.set(State.DOWN)
    wait_for(lambda: any(told.event["event_type"] == "bfd_failure" for told in receiver.told), "told of the failure")
    receiver.behave = receiver.stall  # the next is under way, and the others wait, when we are killed
    promised |= {report(process, number) for number in range(8, 20)}
    wait_for(lambda: process.get("/notify")["endpoints"][0]["waiting"] >= 11, "they wait")
    process.signal(signal.SIGKILL)
    process.wait()
    receiver.behave = answer(200)
    receiver.gate.set()
    again = launch(toml=settings).ready()
    known = {event["id"]: event for event in again.events(event_type="link_flap")}
    assert known.keys() == promised
    wait_for(lambda: promised <= {told.event["id"] for told in receiver.told}, "all of them are told")
    names: dict[str, set[int]] = {}
    for told in receiver.told:
        assert prove([Sender("us", (Secret(WHSEC),))], told.headers.items(), told.body).id == f"id:{told.name}"
        assert told.event["event_type"] in {"link_flap", "bfd_failure"}
        assert told.event == known.get(told.event["id"], told.event)
        names.setdefault(told.name, set()).add(told.event["id"])
    assert all(len(ids) == 1 for ids in names.values())
    assert len(names) == len({told.event["id"] for told in receiver.told})
    ((endpoint,)) = wait_for(
        lambda: [each for each in again.get("/notify")["endpoints"] if not each["waiting"]], "nothing waits"
    )
    assert (endpoint["state"], endpoint["address"]) == ("ok", receiver.url)
    assert again.metric('exabgp_bfd_notify_alerts_total{outcome="sent"}') >= 12
    assert again.metric('exabgp_bfd_notify_up{endpoint="noc"}') == 1
    shown = again.log() + process.log() + json.dumps(again.events()) + json.dumps(again.get("/notify"))
    assert "T0PSECRET" not in shown
    assert WHSEC not in shown


def test_our_own_webhook_believes_our_signature(launch, router, receiver):
    """It knows who sends, and then finds that an event is no report; of a wrong secret it does not get so far."""
    sender = f'[[webhook.sender]]\nname = "peer"\nsecrets = ["{WHSEC}"]\n'
    # In one process here, for the port of another is not known before it runs.
    process = launch(toml=toml(router.port, sender, interval=600.0)).ready()
    own = f"http://127.0.0.1:{process.api_port}{PATH}"
    both = notify("peer", own, events=["link_flap"], tries=1) + notify(
        "stranger", own, secret=OTHER, events=["link_flap"], tries=1
    )
    process.write_toml(toml(router.port, sender + both, interval=600.0))
    process.signal(signal.SIGHUP)  # endpoints come with a reload
    wait_for(lambda: len(process.get("/notify")["endpoints"]) == 2, "there are endpoints")
    report(process, 1)
    dead = wait_for(lambda: len(found := process.get("/notify/dead")["dead"]) == 2 and found, "both are refused")
    reasons = {letter["endpoint"]: letter["reason"] for letter in dead}
    assert reasons == {"peer": "status 422", "stranger": "status 401"}
    assert process.metric('exabgp_bfd_webhooks_total{outcome="invalid"}') == 1
    assert process.metric('exabgp_bfd_webhooks_total{outcome="unsigned"}') == 1
    told = wait_for(lambda: process.events(event_type="notify_dead"), "told of")
    assert {event["details"]["endpoint"] for event in told} <= {"peer", "stranger"}

    # Somewhere else they are welcome: a reload gives the endpoint another url, and a dead letter its way.
    process.write_toml(toml(router.port, sender + notify("peer", receiver.url, events=["link_flap"]), interval=600.0))
    process.signal(signal.SIGHUP)
    wait_for(lambda: len(process.get("/notify")["endpoints"]) == 1, "another configuration holds")
    numbers = {letter["endpoint"]: letter["number"] for letter in dead}
    assert change(process, f"/notify/dead/{numbers['stranger']}/resend")[0] == 409
    status, rehearsed = change(process, f"/notify/dead/{numbers['peer']}/resend?dry_run=true")
    assert (status, rehearsed["event"]) == (200, None)
    status, ordered = change(process, f"/notify/dead/{numbers['peer']}/resend")
    assert status == 202
    wait_for(lambda: receiver.told, "delivered after all")
    assert receiver.told[0].event["event_type"] == "link_flap"
    status, discarded = change(process, f"/notify/dead/{numbers['stranger']}", "DELETE")
    assert status == 200
    wait_for(lambda: process.get("/notify/dead")["dead"] == [], "none is left")
    kinds = {event["id"]: (event["event_type"], event["actor"]) for event in process.events()}
    assert kinds[ordered["event"]] == ("notify_resend", "admin (ephemeral key)")
    assert kinds[discarded["event"]] == ("notify_discarded", "admin (ephemeral key)")
    assert [told for told in receiver.told if told.event["event_type"] != "link_flap"] == []
