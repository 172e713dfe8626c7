"""ExaBGP's lines told apart: each form that 5.0.13 writes, the broken ones of others, and whatever else may come."""

import json
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exabgp_bfd.core.model import Advertised, Negotiated, Neighbor, Outcome
from exabgp_bfd.speaker import messages
from exabgp_bfd.speaker.messages import Body, Ended, Message, Quarantined, Shutdown

PEER = ip_address("127.0.0.2")

# The head and the neighbour as ExaBGP 5.0.13 writes them, its odd spaces included (research, 5.6).
HEAD = '"exabgp": "5.0.0", "time": 1795223708.6891382, "host" : "vm", "pid" : 5913, "ppid" : 5911, "counter": 7'
NEIGHBOR = (
    '"address": { "local": "127.0.0.1", "peer": "127.0.0.2" }, "asn": { "local": 65001, "peer": 65002 },'
    ' "router-id": "1.1.1.1" '
)


def event(kind: str, content: str, head: str = HEAD, neighbor: str = NEIGHBOR) -> bytes:
    """A whole line about a neighbour."""
    return f'{{ {head}, "type": "{kind}", "neighbor": {{ {neighbor}, {content} }} }}'.encode()


def update(direction: str, message: str) -> bytes:
    return event("update", f'"direction": "{direction}", "message": {message}')


ATTRIBUTES = '"attribute": { "origin": "igp", "as-path": {"0": {"element": "as-sequence", "value": [65001]}} }'
ANNOUNCE = (
    f'{{ "update": {{ {ATTRIBUTES}, "announce": {{ "ipv4 unicast":'
    ' { "127.0.0.1": [ { "nlri": "203.0.113.1/32" } ] } } } }'
)
WITHDRAW = '{ "update": { "withdraw": { "ipv4 unicast": [ { "nlri": "203.0.113.1/32" } ] } } }'
EOR = '{ "eor": { "afi" : "ipv4", "safi" : "unicast" } }'

STATE_UP = event("state", '"state": "up"')
STATE_CONNECTED = event("state", '"state": "connected"')
STATE_DOWN = event("state", '"state": "down", "reason": "notification received (6,3)"')
FSM = event("fsm", '"state": "ESTABLISHED"')
NEGOTIATED = event(
    "negotiated",
    '"negotiated": { "message_size": 65535, "hold_time": 180, "asn4": true, "multisession": false,'
    ' "operational": false, "refresh": "absent", "families": ["ipv4 unicast", "ipv6 unicast"], "nexthop": [],'
    ' "add_path": {"send": [], "receive": []} } ',
)
OPEN = event(
    "open",
    '"direction": "receive", "open": { "version": 4, "asn": 65002, "hold_time": 180, "router_id": "2.2.2.2",'
    ' "capabilities": { "1": { "name": "multiprotocol", "families": [ "ipv4/unicast", "ipv6/unicast" ] },'
    ' "65": { "name": "asn4", "asn4": 65002 }, "6": { "name": "extended-message", "size": 65535 } } }',
)
OPEN_SENT = event(
    "open",
    '"direction": "send", "open": { "version": 4, "asn": 65001, "hold_time": 180, "router_id": "1.1.1.1",'
    ' "capabilities": { "multiprotocol": { }, "hostname": { "host-name": null, "domain-name": null } } }',
)
KEEPALIVE = f'{{ {HEAD}, "type": "keepalive", "neighbor": {{ {NEIGHBOR}, "direction": "receive"  }} }}'.encode()
NOTIFICATION = event(
    "notification",
    '"direction": "receive", "notification": { "code": 6, "subcode": 3, "data": "0x506565",'
    ' "message": "\\u0017Administrative Shutdown" } ',
)
REFRESH = event(
    "refresh", '"direction": "send", "route-refresh": { "afi": "ipv4", "safi": "unicast", "subtype": "query" }'
)
SIGNAL = event("signal", '"code": "15", "name": "SIGTERM"')
OPERATIONAL = event(
    "operational",
    '"direction": "receive", "operational": { "name": "ADM", "afi": "ipv4", "safi": "unicast", "advisory": "hi" }',
)
PACKETS = event(
    "update",
    '"direction": "receive", "message": { "category": 2, "header": "0xFFFF", "body": "0x0000" } ,'
    ' "negotiated": { "message_size": 65535 } ',
)
PACKETS_REFRESH = event("route-refresh", '"direction": "receive", "message": { "category": 5, "header": "0xFFFF" } ')
CONSOLIDATED = (
    f'{{ {HEAD}, "type": "update", "header": "0xFFFF", "body": "0x00", "neighbor": {{ {NEIGHBOR},'
    f' "direction": "send", "message": {ANNOUNCE} }} }}'
).encode()
SHUTDOWN = (
    b'{ "exabgp": "5.0.0", "time": 1795224144.8769236, "host" : "vm", "pid" : 7489, "ppid" : 7487,'
    b' "type": "notification", "notification": "shutdown" }'
)


# --- every type that 5.0.13 writes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("state", STATE_UP),
        ("state", STATE_CONNECTED),
        ("state", STATE_DOWN),
        ("fsm", FSM),
        ("negotiated", NEGOTIATED),
        ("open", OPEN),
        ("open", OPEN_SENT),
        ("keepalive", KEEPALIVE),
        ("notification", NOTIFICATION),
        ("refresh", REFRESH),
        ("signal", SIGNAL),
        ("operational", OPERATIONAL),
        ("update", update("send", ANNOUNCE)),
        ("update", update("send", WITHDRAW)),
        ("update", update("send", EOR)),
        ("update", update("receive", ANNOUNCE)),
        ("update", PACKETS),
        ("route-refresh", PACKETS_REFRESH),
        ("update", CONSOLIDATED),
    ],
)
def test_each_event_is_a_message_of_its_type(kind, line):
    parsed = messages.parse(line)
    assert isinstance(parsed, Message)
    assert parsed.kind == kind
    assert parsed.document == json.loads(line)
    assert messages.is_event(line)
    assert not messages.ends_answer(line)


@pytest.mark.parametrize("line", [SHUTDOWN, SHUTDOWN + b"\r", b" " + SHUTDOWN])
def test_the_notice_of_exabgps_end(line):
    assert messages.parse(line) == Shutdown()


def test_a_notification_of_a_neighbour_is_not_exabgps_end():
    for text in (NOTIFICATION, NOTIFICATION.replace(b"\\u0017Administrative Shutdown", b"shutdown")):
        assert isinstance(messages.parse(text), Message)


# --- states -------------------------------------------------------------------------------------------------------


def as_message(line: bytes) -> Message:
    parsed = messages.parse(line)
    assert isinstance(parsed, Message)
    return parsed


@pytest.mark.parametrize(
    ("line", "neighbor"),
    [
        (STATE_UP, Neighbor(PEER, "up")),
        (STATE_CONNECTED, Neighbor(PEER, "connected")),
        (STATE_DOWN, Neighbor(PEER, "down", "notification received (6,3)")),
        (event("state", '"state": "down", "reason": ""'), Neighbor(PEER, "down")),
        (event("state", '"state": "down", "reason": null'), Neighbor(PEER, "down")),
        (STATE_UP.replace(b"127.0.0.2", b"2001:db8::2"), Neighbor(ip_address("2001:db8::2"), "up")),
    ],
)
def test_the_state_of_a_neighbour(line, neighbor):
    assert messages.neighbor_state(as_message(line)) == neighbor


@pytest.mark.parametrize(
    "line",
    [
        FSM,  # it has a `state` too, and is no `state` event
        KEEPALIVE,
        NOTIFICATION,
        update("send", ANNOUNCE),
        event("state", '"state": 5'),
        event("state", '"state": ""'),
        event("state", '"other": "up"'),
        STATE_UP.replace(b'"127.0.0.2"', b'"not an address"'),
        STATE_UP.replace(b'"127.0.0.2"', b"2130706434"),  # a number is no address, though Python would take it for one
        f'{{ {HEAD}, "type": "state", "neighbor": "127.0.0.2" }}'.encode(),
        f'{{ {HEAD}, "type": "state" }}'.encode(),
    ],
)
def test_whatever_tells_no_state(line):
    assert messages.neighbor_state(as_message(line)) is None


def test_half_a_surrogate_pair_in_a_reason_can_be_stored():
    line = event("state", '"state": "down", "reason": "a\\ud800b"')
    neighbor = messages.neighbor_state(as_message(line))
    assert neighbor == Neighbor(PEER, "down", "a?b")
    neighbor.reason.encode("utf-8")


# --- what was advertised ------------------------------------------------------------------------------------------


def seen(line: bytes) -> list[Advertised]:
    return list(messages.advertised(as_message(line)))


HOST = ip_network("203.0.113.1/32")
HOST6 = ip_network("2001:db8::53/128")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (update("send", ANNOUNCE), [Advertised(PEER, HOST, announced=True)]),
        (CONSOLIDATED, [Advertised(PEER, HOST, announced=True)]),
        (update("send", WITHDRAW), [Advertised(PEER, HOST, announced=False)]),
        (update("send", EOR), []),
        (update("receive", ANNOUNCE), []),
        (update("receive", WITHDRAW), []),
        (PACKETS, []),
        (STATE_UP, []),
        (KEEPALIVE, []),
        (NOTIFICATION, []),
    ],
)
def test_what_an_update_says(line, expected):
    assert seen(line) == expected


def test_several_prefixes_next_hops_and_families_in_one_update():
    line = update(
        "send",
        '{ "update": { "announce": { "ipv4 unicast": { "192.0.2.1": [ { "nlri": "203.0.113.1/32" },'
        ' { "nlri": "203.0.113.2/32" } ], "192.0.2.2": [ { "nlri": "203.0.113.3/32" } ] },'
        ' "ipv6 unicast": { "2001:db8::1": [ { "nlri": "2001:db8::53/128" } ] } },'
        ' "withdraw": { "ipv4 unicast": [ { "nlri": "203.0.113.4/32" } ] } } }',
    )
    # Withdrawn before announced, as BGP means a prefix that stands in both (RFC 4271 section 4.3).
    assert seen(line) == [
        Advertised(PEER, ip_network("203.0.113.4/32"), announced=False),
        Advertised(PEER, ip_network("203.0.113.1/32"), announced=True),
        Advertised(PEER, ip_network("203.0.113.2/32"), announced=True),
        Advertised(PEER, ip_network("203.0.113.3/32"), announced=True),
        Advertised(PEER, HOST6, announced=True),
    ]


def test_add_path_and_the_compact_form_name_the_same_prefix():
    """With exabgp_api_compact ExaBGP writes bare prefixes; with ADD-PATH a path beside them."""
    path = update("send", ANNOUNCE.replace('"203.0.113.1/32"', '"203.0.113.1/32", "path-information": "0.0.0.1"'))
    compact = update("send", ANNOUNCE.replace('{ "nlri": "203.0.113.1/32" }', '"203.0.113.1/32"'))
    withdrawn = update("send", WITHDRAW.replace('{ "nlri": "203.0.113.1/32" }', '"203.0.113.1/32"'))
    assert seen(path) == seen(compact) == [Advertised(PEER, HOST, announced=True)]
    assert seen(withdrawn) == [Advertised(PEER, HOST, announced=False)]


@pytest.mark.parametrize("family", ["ipv4 mpls-vpn", "ipv4 nlri-mpls", "ipv4 multicast", "ipv4 flow"])
def test_another_family_says_nothing_of_our_route(family):
    assert seen(update("send", ANNOUNCE.replace("ipv4 unicast", family))) == []


@pytest.mark.parametrize(
    "nlri", ["203.0.113.1/24", "203.0.113.1/33", "203.0.113", "", "null", "203.0.113.1/32 ", "٣/1", "\\ud800"]
)
def test_what_is_no_prefix_is_passed_over(nlri):
    line = update("send", ANNOUNCE.replace('{ "nlri": "203.0.113.1/32" }', f'{{ "nlri": "{nlri}" }}, "2001:db8::/32"'))
    assert seen(line) == [Advertised(PEER, ip_network("2001:db8::/32"), announced=True)]


@pytest.mark.parametrize(
    "message",
    [
        "null",
        "[]",
        '"update"',
        '{ "update": null }',
        '{ "update": [] }',
        '{ "update": { "announce": null, "withdraw": null } }',
        '{ "update": { "announce": { "ipv4 unicast": null }, "withdraw": { "ipv4 unicast": 5 } } }',
        '{ "update": { "announce": { "ipv4 unicast": { "null": { "eor": {} } } } } }',
        '{ "update": { "announce": { "ipv4 unicast": { "192.0.2.1": [ null, 5, [], {}, { "nlri": 167772160 } ] } } } }',
        '{ "update": { "withdraw": { "ipv4 unicast": [ null, 5, [], {}, { "nlri": null } ] } } }',
        '{ "update": { "withdraw": { "ipv4 unicast": "203.0.113.1/32" } } }',
    ],
)
def test_other_shapes_say_nothing(message):
    assert seen(update("send", message)) == []


def test_without_a_peer_nothing_was_advertised_to_anybody():
    assert seen(update("send", ANNOUNCE).replace(b'"peer": "127.0.0.2"', b'"peer": "auto"')) == []


# --- what a session can carry --------------------------------------------------------------------------------------

BOTH = frozenset({"ipv4 unicast", "ipv6 unicast"})
# As 4.2.21 and 5.0.15 wrote them towards BIRD, with `graceful-restart 60` configured; the neighbour's address changed.
NEGOTIATED_4 = event(
    "negotiated",
    '"negotiated": { "message_size": 4096, "hold_time": 30, "asn4": true, "multisession": false, "operational": false,'
    ' "refresh": "absent", "families": [ "ipv4 unicast" ,"ipv6 unicast" ], "nexthop": [  ],'
    ' "add_path": { "send": [  ], "receive": [  ] } } ',
)
OPEN_OURS = event(
    "open",
    '"direction": "send", "open": { "version": 4, "asn": 65001, "hold_time": 30, "router_id": "192.0.2.1",'
    ' "capabilities": { "multiprotocol": { "name": "multiprotocol", "families": [ "ipv4/unicast", "ipv6/unicast" ] },'
    ' "asn4": { "name": "asn4", "asn4": 65001 }, "graceful-restart": { "name": "graceful restart", "time": 60,'
    ' "address-family-flags": { "ipv4/unicast": [ "restart" ] , "ipv6/unicast": [ "restart" ] },'
    ' "restart-flags": [ "forwarding" ]  }, "extended-message": { "name": "extended-message", "size": 65535 } } }',
)
OPEN_THEIRS = event(
    "open",
    '"direction": "receive", "open": { "version": 4, "asn": 65002, "hold_time": 240, "router_id": "192.0.2.2",'
    ' "capabilities": { "1": { "name": "multiprotocol", "families": [ "ipv4/unicast" ] },'
    ' "2": { "name": "route-refresh", "variant": "RFC" }, "64": { "name": "graceful restart", "time": 120,'
    ' "address-family-flags": { }, "restart-flags": [ ]  }, "65": { "name": "asn4", "asn4": 65002 },'
    ' "70": { "name": "enhanced-route-refresh" }, "71": { "name": "unknown", "iana": "unassigned", "value": 71,'
    ' "raw": "" } } }',
)


@pytest.mark.parametrize("line", [NEGOTIATED, NEGOTIATED_4])
def test_what_was_negotiated(line):
    assert messages.negotiated(as_message(line)) == Negotiated(PEER, BOTH)


@pytest.mark.parametrize(
    "line",
    [
        STATE_UP,
        OPEN_OURS,
        # It is appended to others too, once for each UPDATE: that is no news.
        event("update", '"direction": "send", "message": {}, "negotiated": { "families": ["ipv4 unicast"] }'),
        event("negotiated", '"negotiated": null'),
        event("negotiated", '"negotiated": { "families": "ipv4 unicast" }'),
        NEGOTIATED.replace(b'"127.0.0.2"', b'"auto"'),
    ],
)
def test_what_tells_nothing_of_it(line):
    assert messages.negotiated(as_message(line)) is None


def test_families_that_are_no_words_are_left_out():
    line = event("negotiated", '"negotiated": { "families": [null, 5, "", ["ipv6 unicast"], "ipv4 unicast"] }')
    assert messages.negotiated(as_message(line)) == Negotiated(PEER, frozenset({"ipv4 unicast"}))


def taken(*lines: bytes) -> list[Negotiated | None]:
    handshakes = messages.Handshakes()
    return [handshakes.take(as_message(line)) for line in lines]


def test_both_opens_together_tell_what_both_sides_have():
    told = Negotiated(PEER, frozenset({"ipv4 unicast"}), graceful_restart=True)
    assert taken(STATE_CONNECTED, OPEN_OURS, OPEN_THEIRS) == [None, None, told]
    assert taken(OPEN_THEIRS, OPEN_OURS) == [None, told]


def test_graceful_restart_is_what_both_offered():
    plain = OPEN_OURS.replace(b'"graceful-restart"', b'"other"')
    other = OPEN_THEIRS.replace(b'"64"', b'"66"')
    assert [told.graceful_restart for told in taken(plain, OPEN_THEIRS)[1:]] == [False]
    assert [told.graceful_restart for told in taken(OPEN_OURS, other)[1:]] == [False]


def test_an_open_without_multiprotocol_is_for_ipv4():
    line = OPEN_THEIRS.replace(b'"1": {', b'"99": {')
    assert taken(OPEN_OURS, line)[1].families == {"ipv4 unicast"}


def test_each_session_begins_anew():
    """An OPEN of the attempt before is no part of this one."""
    for between in (STATE_DOWN, STATE_CONNECTED):
        assert taken(OPEN_OURS, between, OPEN_THEIRS) == [None, None, None]
    assert taken(OPEN_OURS, STATE_UP, OPEN_THEIRS)[2] is not None
    assert taken(OPEN_OURS, OPEN_THEIRS, OPEN_THEIRS)[2] is None


def test_opens_of_different_neighbours_do_not_mix():
    other = OPEN_THEIRS.replace(b'"127.0.0.2"', b'"127.0.0.3"')
    assert taken(OPEN_OURS, other) == [None, None]


def test_more_neighbours_than_there_are_take_no_more_memory():
    handshakes = messages.Handshakes()
    for number in range(10_000):
        name = f'"10.0.{number >> 8}.{number & 255}"'.encode()
        handshakes.take(as_message(OPEN_OURS.replace(b'"127.0.0.2"', name)))
    for line in (OPEN_OURS, OPEN_THEIRS):
        assert handshakes.take(as_message(line)) is None
    assert handshakes.take(as_message(OPEN_THEIRS.replace(b'"127.0.0.2"', b'"10.0.0.1"'))) is not None


@pytest.mark.parametrize(
    "line",
    [
        KEEPALIVE,
        event("open", '"direction": "sideways", "open": { "capabilities": {} }'),
        event("open", '"direction": "send", "open": { "capabilities": [] }'),
        event("open", '"direction": "send", "open": null'),
        event("open", '"open": { "capabilities": {} }'),
        OPEN_OURS.replace(b'"127.0.0.2"', b'"auto"'),
    ],
)
def test_whatever_is_no_open(line):
    assert messages.offer(as_message(line)) is None


def test_directions_go_by_two_names():
    """ExaBGP 6's own samples say `in`."""
    line = update("in", ANNOUNCE)
    assert list(messages.advertised(as_message(line), "receive")) == [Advertised(PEER, HOST, announced=True)]
    assert seen(update("out", ANNOUNCE)) == [Advertised(PEER, HOST, announced=True)]


# --- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        (b"done", Outcome.DONE),
        (b"error", Outcome.ERROR),
        (b"done\r", Outcome.DONE),
        (b" error ", Outcome.ERROR),
        (b'{ "answer": "done", "message": "command completed" }', Outcome.DONE),
        (b'{ "answer": "error", "message": "this command does not support json output" }', Outcome.ERROR),
    ],
)
def test_the_end_of_an_answer(line, outcome):
    assert messages.parse(line) == Ended(outcome)
    assert messages.ends_answer(line)
    assert not messages.is_event(line)
    assert not messages.only_stored(line)


@pytest.mark.parametrize(
    "line",
    [
        b"error: unknown command",  # 6.0's detail, before its `error`
        b"done.",
        b"DONE",
        b"done done",
        b"",
        b"exabgp 5.0.15",
        b"shutdown in progress",
        b"neighbor 127.0.0.2 up",  # the text encoder's events
        b"neighbor 127.0.0.2 down - done",
        b'[ { "exabgp": "5.0.0", "type": "state" } ]',
        b'{ "answer": "shutdown", "message": "exbgp exited" }',
        b'{ "answer": null }',
        b'{ "answer": ["done"] }',
        b'{ "answer": true }',
        b'{ "peer": "127.0.0.2", "state": "established" }',  # `show neighbor json` of 5.0
        b'{ "message": "a body that mentions \\"exabgp\\"" }',
        b"{ not json",
        b"{}",
    ],
)
def test_whatever_else_is_the_body_of_an_answer(line):
    assert messages.parse(line) == Body(line.decode())
    assert not messages.ends_answer(line)


def test_half_a_surrogate_pair_as_an_answer_is_a_body():
    assert isinstance(messages.parse(b'{ "answer": "\\ud800" }'), Body)


def test_a_body_that_is_not_utf_8_is_shown_as_far_as_it_can_be():
    assert messages.parse(b"caf\xe9") == Body("caf�")


# --- broken lines -------------------------------------------------------------------------------------------------

OLD = HEAD.replace("5.0.0", "4.0.1")
NEXT = HEAD.replace("5.0.0", "6.0.0")
# 4.2.21, as it wrote them: the length octet of a shutdown text (RFC 9003) raw, and the quotes of a refresh doubled.
DOWN_4 = event(
    "state",
    '"state": "down", "reason": "peer reset, message (notification received (6,2)) error(\x17Administrative Shutdown)"',
    OLD,
)
REFRESH_4 = event(
    "refresh",
    '"direction": "send", "route-refresh": { "afi": ""ipv4"", "safi": ""unicast"", "subtype": ""query"" }',
    OLD,
)
# 6 in development: an end of RIB in a list, and families without quotes in what is appended to each update.
EOR_6 = event(
    "update",
    '"direction": "send", "message": { "update": { "announce":'
    ' { "ipv4 unicast": { "null": [ "eor": { "afi" : "ipv4", "safi" : "unicast" } ] } } } }',
    NEXT,
)
BARE = (
    '"negotiated": { "message_size": 65535, "hold_time": 180, "asn4": true, "multisession": false,'
    ' "operational": false, "refresh": "absent", "families": [ ipv4 unicast ,ipv6 unicast ],'
    ' "nexthop": [ ipv4 unicast ipv6 ],'
    ' "add_path": { "send": [  ], "receive": [  ] } } '
)
NEGOTIATED_6 = event("negotiated", BARE, NEXT)
UPDATE_6 = event("update", f'"direction": "send", "message": {ANNOUNCE}, {BARE}', NEXT)


@pytest.mark.parametrize(
    ("line", "repaired"),
    [
        (DOWN_4, "control characters"),
        (REFRESH_4, "quotes doubled"),
        (EOR_6, "end of RIB in a list"),
        (NEGOTIATED_6, "families without quotes"),
        (UPDATE_6, "families without quotes"),
        (
            EOR_6.replace(b"} } } } } }", b"} } } }, " + BARE.encode() + b"} }"),
            "end of RIB in a list, families without quotes",
        ),
        (DOWN_4.replace(b"\x17", b"\x00\x1f\t"), "control characters"),
    ],
)
def test_a_broken_line_that_is_known_is_repaired_and_says_so(line, repaired):
    with pytest.raises(json.JSONDecodeError):
        json.loads(line)
    parsed = messages.parse(line)
    assert isinstance(parsed, Message)
    assert parsed.repaired == repaired
    assert messages.is_event(line)
    assert not messages.ends_answer(line)


def test_what_the_repaired_lines_say():
    down = messages.neighbor_state(as_message(DOWN_4))
    assert down == Neighbor(
        PEER, "down", "peer reset, message (notification received (6,2)) error( Administrative Shutdown)"
    )
    refresh = as_message(REFRESH_4).document["neighbor"]["route-refresh"]
    assert refresh == {"afi": "ipv4", "safi": "unicast", "subtype": "query"}
    assert seen(EOR_6) == []
    assert seen(UPDATE_6) == [Advertised(PEER, HOST, announced=True)]
    assert messages.negotiated(as_message(NEGOTIATED_6)) == Negotiated(PEER, BOTH)


def test_a_line_that_needs_no_repair_says_so():
    assert as_message(STATE_UP).repaired == ""


def test_repairing_touches_no_text_of_a_peer():
    """Quotes that are doubled in a reason are escaped, and stay as they are; only its control character goes."""
    line = event("state", '"state": "down", "reason": "said: \\"\\"ipv4\\"\\" [ ipv4 unicast ] \x01"', OLD)
    assert messages.neighbor_state(as_message(line)) == Neighbor(PEER, "down", 'said: ""ipv4"" [ ipv4 unicast ]')


@pytest.mark.parametrize(
    "line",
    [
        # What a peer's shutdown text can be where its quotes are not escaped (ExaBGP before 5.0.13, and 6).
        NOTIFICATION.replace(b"\\u0017Administrative Shutdown", b'x" }, "address": { "peer": "127.0.0.9'),
        event("state", '"state": "down", "reason": "x", "address": { "peer": "127.0.0.9" }', OLD),
        event("notification", '"x": "y" }, "type": "state", "z": { "w": ""', OLD),
        event("notification", '"x": "y" }, "exabgp": "5.0.0", "z": { "w": ""', OLD),
    ],
)
def test_a_message_that_a_peer_began_anew_is_quarantined(line):
    json.loads(line)
    parsed = messages.parse(line)
    assert isinstance(parsed, Quarantined)
    assert "twice" in parsed.reason


def test_a_peer_cannot_have_us_believe_that_exabgp_ends():
    line = event("notification", '"x": "y" }, "notification": "shutdown", "z": { "w": ""', OLD)
    assert isinstance(messages.parse(line), Message)
    # Inside of it a key may stand twice: it is a name of BGP's, not of the message.
    assert isinstance(messages.parse(event("open", '"open": { "asn": 1, "asn": 2 }')), Message)


@pytest.mark.parametrize(
    "line",
    [
        # Torn, doubled, not a type at all.
        STATE_UP[: len(STATE_UP) // 2],
        STATE_UP + STATE_UP,
        STATE_UP + b" done",
        b'{ "exabgp": "5.0.0", "time": 1 }',
        b'{ "exabgp": "5.0.0", "type": null }',
        b'{ "exabgp": "5.0.0", "type": ["notification"], "notification": "shutdown" }',
        b'{ "exabgp"',
        # Broken as known, and otherwise too.
        REFRESH_4.replace(b'"subtype"', b"subtype"),
        DOWN_4.replace(b'"state": "down"', b'"state": down'),
        EOR_6.replace(b"unicast", b'uni"cast'),
    ],
)
def test_a_broken_event_is_quarantined_and_never_an_answer(line):
    parsed = messages.parse(line)
    assert isinstance(parsed, Quarantined)
    assert parsed.reason
    assert messages.is_event(line)


def test_an_event_that_is_not_utf_8_is_quarantined():
    for broken in (b"\xff", b"\xc3", b"\xed\xa0", b"\x80"):
        line = event("state", '"state": "down", "reason": "X"').replace(b"X", broken)
        assert isinstance(messages.parse(line), Quarantined)


@pytest.mark.parametrize("depth", [500, 5_000, 1_000_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{ "a": ', b"}")])
@pytest.mark.parametrize("key", [b'"exabgp": "5.0.0", "type": "state", "neighbor"', b'"answer"'])
def test_nesting_as_deep_as_may_be_does_not_break_us(depth, opening, closing, key):
    line = b"{ " + key + b": " + opening * depth + b"1" + closing * depth + b" }"
    parsed = messages.parse(line)
    assert isinstance(parsed, Message | Quarantined | Body)
    if isinstance(parsed, Message):
        assert list(messages.advertised(parsed)) == []
        assert messages.neighbor_state(parsed) is None


@pytest.mark.parametrize("place", ["peer", "state", "reason", "nlri"])
@pytest.mark.parametrize("depth", range(930, 1000, 3))
def test_what_could_just_be_read_can_be_looked_at(place, depth):
    """Near the limit of nesting a value can be read, and no longer be turned into text."""
    deep = "[" * depth + "]" * depth
    line = {
        "peer": STATE_UP.decode().replace('"127.0.0.2"', deep),
        "state": event("state", f'"state": {deep}').decode(),
        "reason": event("state", f'"state": "down", "reason": {deep}').decode(),
        "nlri": update("send", ANNOUNCE.replace('"203.0.113.1/32"', deep)).decode(),
    }[place]
    parsed = messages.parse(line.encode())
    if isinstance(parsed, Message):
        assert list(messages.advertised(parsed)) == []
        expected = Neighbor(PEER, "down") if place == "reason" else None
        assert messages.neighbor_state(parsed) == expected


@pytest.mark.parametrize(
    "number", ["1" * 4300, "1" * 5000, "1e999999", "-1e999999", "NaN", "Infinity", "0." + "1" * 9999]
)
def test_numbers_of_any_size(number):
    line = event("state", f'"state": "up", "asn4": {number}')
    parsed = messages.parse(line)
    # Python refuses to read a whole number of more than 4300 digits: then nobody can read the line.
    if number == "1" * 5000:
        assert isinstance(parsed, Quarantined)
    else:
        assert messages.neighbor_state(as_message(line)) == Neighbor(PEER, "up")


# --- told apart without decoding ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        update("receive", ANNOUNCE),
        update("receive", WITHDRAW),
        update("receive", EOR),
        PACKETS,
        CONSOLIDATED.replace(b'"send"', b'"receive"'),
    ],
)
def test_received_updates_are_only_stored(line):
    assert messages.only_stored(line)


@pytest.mark.parametrize(
    "line",
    [
        update("send", ANNOUNCE),
        update("send", WITHDRAW),
        CONSOLIDATED,
        STATE_UP,
        STATE_DOWN,
        KEEPALIVE,
        NOTIFICATION,
        OPEN,
        SHUTDOWN,
        b"done",
        b"error",
        b'a body with "type": "update" and "direction": "receive"',
        # A peer's text cannot make an event look like a received update: its quotes are escaped.
        event(
            "state",
            '"state": "down", "reason": ' + json.dumps('"type": "update", "direction": "receive"'),
        ),
        update("send", ANNOUNCE.replace('"igp"', json.dumps('"direction": "receive"'))),
    ],
)
def test_everything_else_goes_to_the_decisions_too(line):
    assert not messages.only_stored(line)


def test_an_event_is_known_by_how_it_begins():
    assert messages.is_event(b'{"exabgp":"5.0.0"}')
    assert messages.is_event(b'{ "exabgp": "5.0.0"')
    assert not messages.is_event(b'"exabgp"')
    assert not messages.is_event(b'{ "message": "later on", "exabgp": "5.0.0" }')
    assert not messages.is_event(b"")


# --- whatever it is, nothing raises -------------------------------------------------------------------------------

KEYS = [
    "exabgp",
    "type",
    "neighbor",
    "address",
    "peer",
    "state",
    "reason",
    "direction",
    "message",
    "update",
    "announce",
]
KEYS += ["withdraw", "ipv4 unicast", "nlri", "notification", "answer", "other"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
ODD = st.sampled_from(["send", "receive", "update", "state", "up", "127.0.0.2", "203.0.113.1/32", "done", "shutdown"])


@st.composite
def mangled(draw):
    """A real line with some of its bytes changed."""
    whole = [STATE_DOWN, update("send", ANNOUNCE), SHUTDOWN, NOTIFICATION, b"done"]
    broken = [DOWN_4, REFRESH_4, EOR_6, NEGOTIATED_6, UPDATE_6, OPEN_OURS, NEGOTIATED_4]
    line = bytearray(draw(st.sampled_from([*whole, *broken])))
    for place in draw(st.lists(st.integers(0, len(line) - 1), max_size=4)):
        line[place] = draw(st.integers(0, 255))
    return bytes(line[: draw(st.integers(0, len(line)))])


LINES = st.one_of(
    st.binary(max_size=200),
    mangled(),
    st.binary(max_size=60).map(lambda data: b'{ "exabgp": ' + data),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(st.sampled_from(["neighbor", "notification", "answer"]), VALUES | ODD, max_size=3).map(
        lambda more: json.dumps({"exabgp": "5.0.0", "type": "update", **more}).encode()
    ),
    st.builds(
        lambda kind, neighbor: json.dumps({"exabgp": "5.0.0", "type": kind, "neighbor": neighbor}).encode(),
        st.sampled_from(["update", "state", "notification"]),
        st.fixed_dictionaries(
            {
                "address": st.fixed_dictionaries({"peer": VALUES | st.just("127.0.0.2")}),
                "direction": VALUES | st.just("send"),
            },
            optional={"state": VALUES | ODD, "reason": VALUES | ODD, "message": VALUES},
        ),
    ),
)


@given(LINES)
@example(b'{ "answer": "\\ud800" }')
@example(b'{"exabgp": "5.0.0", "type": "\\ud800"}')
@example(b"{\x00\x00\x00")
@example(b"{\x00}\x00")
@example(b"\xff\xfe{\x00")
@example(b"\xef\xbb\xbf{}")
def test_no_line_raises(line):
    parsed = messages.parse(line)
    assert isinstance(messages.is_event(line), bool)
    assert isinstance(messages.only_stored(line), bool)
    if messages.ends_answer(line):
        assert isinstance(parsed, Ended)
    if messages.is_event(line):
        assert not isinstance(parsed, Ended)
    if isinstance(parsed, Message):
        for one in messages.advertised(parsed):
            assert one.neighbor
        state = messages.neighbor_state(parsed)
        if state is not None:
            (state.state + state.reason).encode("utf-8")
        for told in (messages.negotiated(parsed), messages.Handshakes().take(parsed)):
            assert told is None or all(family.encode("utf-8") for family in told.families)
        offer = messages.offer(parsed)
        assert offer is None or offer.direction in ("send", "receive")
