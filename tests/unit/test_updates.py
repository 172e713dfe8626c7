"""What ExaBGP's JSON tells of routes, in the shapes of its releases."""

import json
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exabgp_bfd.speaker import messages
from exabgp_bfd.storage import updates
from exabgp_bfd.storage.updates import Change, Kind, Mark, Sign, Told, told

HEAD4 = (
    '{ "exabgp": "4.0.1", "time": 1.5, "host" : "vm", "pid" : 2, "ppid" : 1, "counter": 1, "type": "%s", "neighbor": '
)
NEIGHBOR4 = (
    '{ "address": { "local": "127.0.0.1", "peer": "127.0.0.2" }, "asn": { "local": 1, "peer": 2 } , "direction": "%s"'
)
HEAD5 = HEAD4.replace("4.0.1", "5.0.0")
NEIGHBOR5 = NEIGHBOR4.replace("} ,", '}, "router-id": "1.1.1.1" ,')
PEER = "127.0.0.2"
K4 = b"\x04\xc0\x00\x02\x01\x20"


def line(body: str, *, shape: int = 5, kind: str = "update", direction: str = "receive") -> str:
    head, neighbor = (HEAD4, NEIGHBOR4) if shape == 4 else (HEAD5, NEIGHBOR5)
    return head % kind + neighbor % direction + body + " } }"


def update(body: str, **more) -> str:
    return line(', "message": { "update": { ' + body + " } }", **more)


def of(text: str) -> Told | None:
    plain = updates.plain(text)
    decoded = told(json.loads(text))
    assert plain is None or plain.told == decoded
    return decoded


def changes(text: str) -> list[Change]:
    found = of(text)
    assert found is not None
    assert found.neighbor == PEER
    return found.changes


ATTRIBUTES4 = '"attribute": { "origin": "igp", "as-path": [ 65002, 64512 ], "confederation-path": [], "med": 50 }'
ATTRIBUTES5 = '"attribute": { "origin": "igp", "as-path": {"0": {"element": "as-sequence", "value": [65001]}} }'


@pytest.mark.parametrize(("shape", "attributes"), [(4, ATTRIBUTES4), (5, ATTRIBUTES5)])
def test_announced_prefixes_as_4_and_5_write_them(shape, attributes):
    text = update(
        attributes
        + ', "announce": { "ipv4 unicast": { "127.0.0.9": [ { "nlri": "192.0.2.1/32" }, { "nlri": "10.0.0.0/8" } ] } }',
        shape=shape,
    )
    assert changes(text) == [
        Change(Kind.ANNOUNCE, "ipv4 unicast", K4, "", None, "127.0.0.9"),
        Change(Kind.ANNOUNCE, "ipv4 unicast", b"\x04\x0a\0\0\0\x08", "", None, "127.0.0.9"),
    ]
    assert updates.plain(text) is not None
    assert updates.attributes_of(json.loads(text))["origin"] == "igp"


def test_withdrawn_prefixes():
    text = update('"withdraw": { "ipv6 unicast": [ { "nlri": "2001:db8::/32" } ] }', direction="send")
    (change,) = changes(text)
    assert (change.kind, change.next_hop, updates.spell(change.key)) == (Kind.WITHDRAW, None, "2001:db8::/32")
    assert of(text).direction == "send"
    assert updates.plain(text) is not None


def test_withdraws_come_before_announces_as_in_the_message():
    text = update(
        ATTRIBUTES5 + ', "announce": { "ipv4 unicast": { "127.0.0.9": [ { "nlri": "192.0.2.1/32" } ] } }, '
        '"withdraw": { "ipv4 unicast": [ { "nlri": "192.0.2.1/32" } ] }'
    )
    assert [change.kind for change in changes(text)] == [Kind.WITHDRAW, Kind.ANNOUNCE]


@pytest.mark.parametrize(("entry", "more"), [
    ('{ "nlri": "192.0.2.1/32", "path-information": "0.0.0.7" }', "0.0.0.7"),
    ('{ "nlri": "192.0.2.1/32", "label": [ [ 3 ] ], "rd": "65000:1" }', " 65000:1"),
    ('{ "nlri": "192.0.2.1/32", "path-information": "0.0.0.7", "rd": "65000:1" }', "0.0.0.7 65000:1"),
    ('"192.0.2.1/32"', ""),
    ('{ "nlri": "192.0.2.1" }', ""),
])  # fmt: skip
def test_what_tells_routes_to_one_prefix_apart(entry, more):
    text = update(ATTRIBUTES5 + ', "announce": { "ipv4 mpls-vpn": { "127.0.0.9": [ ' + entry + " ] } }")
    (change,) = changes(text)
    assert (change.key, change.more, change.nlri) == (K4, more, None)
    assert updates.split(change.more) == (more.partition(" ")[0], more.partition(" ")[2])


def test_a_flow_is_the_same_with_and_without_its_next_hop():
    flow = '"destination-ipv4": [ "192.0.2.0/24" ], "protocol": [ "=tcp" ]'
    announced = update(
        ATTRIBUTES5 + f', "announce": {{ "ipv4 flow": {{ "no-nexthop": [ {{ {flow}, "string": "flow x" }} ] }} }}'
    )
    withdrawn = update(f'"withdraw": {{ "ipv4 flow": [ {{ {flow}, "next-hop": "192.0.2.9", "string": "flow y" }} ] }}')
    one, other = changes(announced)[0], changes(withdrawn)[0]
    assert one.key == other.key
    assert json.loads(one.nlri) == json.loads("{" + flow + "}")
    assert updates.spell(one.key) is None


def test_an_evpn_route_is_the_same_under_another_label_and_segment():
    def mac(label, esi, address):
        told = {"code": 2, "parsed": True, "raw": label, "rd": "1:1", "esi": esi, "mac": address, "label": [[label]]}
        return json.dumps(told)

    keys = [
        changes(update('"withdraw": { "l2vpn evpn": [ ' + mac(*what) + " ] }"))[0].key
        for what in ((1, "-", "00:00:00:00:00:01"), (2, "x", "00:00:00:00:00:01"), (1, "-", "00:00:00:00:00:02"))
    ]
    assert keys[0] == keys[1] != keys[2]


def test_what_exabgp_cannot_take_apart_is_told_by_its_octets():
    def raw(octets):
        return changes(
            update(f'"withdraw": {{ "l2vpn evpn": [ {{ "code": 9, "parsed": false, "raw": "{octets}" }} ] }}')
        )[0].key

    assert raw("0x01") == raw("0x01") != raw("0x02")


def test_long_texts_have_short_keys_that_differ():
    def key(text):
        return updates.spot(text)[0]

    assert len(key("x" * 5000)) == 33
    assert key("x" * 5000) != key("x" * 4999 + "y")


EOR = '"eor": { "afi" : "ipv4", "safi" : "unicast" }'


def test_the_end_of_rib_of_4_and_5():
    assert of(line(', "message": { ' + EOR + " }")) == Told(PEER, "receive", [], (Mark(Sign.END, "ipv4 unicast"),))


def test_the_end_of_rib_of_6_which_is_no_json_and_is_mended():
    broken = update('"announce": { "ipv4 unicast": { "null": [ ' + EOR + " ] } }", direction="in").encode()
    with pytest.raises(ValueError, match="delimiter"):
        json.loads(broken)
    mended = messages.parse(broken)
    assert isinstance(mended, messages.Message)
    assert told(mended.document) == Told(PEER, "receive", [], (Mark(Sign.END, "ipv4 unicast"),))


def test_a_refresh_of_4_2_is_mended():
    broken = line(
        ', "route-refresh": { "afi": ""ipv4"", "safi": ""unicast"", "subtype": "begin" }', shape=4, kind="refresh"
    )
    mended = messages.parse(broken.encode())
    assert isinstance(mended, messages.Message)
    assert told(mended.document) == Told(PEER, "receive", [], (Mark(Sign.BEGIN, "ipv4 unicast"),))


@pytest.mark.parametrize(("state", "sign"), [("up", Sign.UP), ("down", Sign.DOWN), ("connected", None), (5, None)])
def test_states(state, sign):
    document = {"type": "state", "neighbor": {"address": {"peer": PEER}, "state": state}}
    assert told(document) == (None if sign is None else Told(PEER, "", [], (Mark(sign, None),)))


@pytest.mark.parametrize("text", [
    line(', "message": { "category": 2, "header": "0x", "body": "0x" }'),
    line(', "open": { }', kind="open"),
    line("", kind="keepalive"),
    line(', "notification": { "code": 6 }', kind="notification"),
    line(', "route-refresh": { "afi": "ipv4", "safi": "unicast", "subtype": "query" }', kind="refresh"),
    '{ "exabgp": "5.0.0", "type": "notification", "notification": "shutdown" }',
    update('"withdraw": { "ipv4 unicast": [ { "nlri": "192.0.2.1/32" } ] }', direction="sideways"),
])  # fmt: skip
def test_messages_that_tell_nothing_of_routes(text):
    assert of(text) is None


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["10.0.0.0/8", "::/0", "null", "up"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["nlri", "announce", "withdraw", "update", "eor", "afi", "safi", "ipv4 unicast", "null", "rd", "code"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(["update", "state", "refresh"]), anything, anything, anything)
def test_it_takes_whatever_json_may_hold(kind, message, direction, peer):
    document = {"type": kind, "neighbor": {"address": {"peer": peer}, "direction": direction, "message": message}}
    told(document)
    document["neighbor"] |= {
        "direction": "receive",
        "address": {"peer": PEER},
        "state": message,
        "route-refresh": message,
    }
    found = told(document)
    for change in found.changes if found is not None else ():
        hash(change)


@given(st.ip_addresses(), st.integers(0, 128))
def test_keys_sort_as_prefixes_do_and_are_spelled_again(address, length):
    prefix = ip_network((address, min(length, address.max_prefixlen)), strict=False)
    key = updates.key_of(prefix)
    assert updates.spot(str(prefix)) == (key, None)
    assert updates.spell(key) == str(prefix) or prefix.version == 6
    assert ip_network(updates.spell(key)) == prefix
    first, last = updates.inside(prefix)
    for inner in (prefix, *(list(prefix.subnets(1)) if prefix.prefixlen < prefix.max_prefixlen else [])):
        assert first <= updates.key_of(inner) <= last
        assert key in updates.around(inner)
    if prefix.prefixlen:
        assert not first <= updates.key_of(prefix.supernet()) <= last


@pytest.mark.parametrize(
    "text", ["10.0.0.0/33", "10.0.0.0/-1", "10.0.0/8", "x", "", "::/129", "10.0.0.0/8/9", "1.2.3.4\0"]
)
def test_what_is_no_prefix_is_a_text(text):
    key, nlri = updates.spot(text)
    assert nlri == text
    assert updates.spell(key) is None


# --- the quick way ---

PLAIN = update(ATTRIBUTES5 + ', "announce": { "ipv4 unicast": { "127.0.0.9": [ { "nlri": "192.0.2.1/32" } ] } }')


@pytest.mark.parametrize(("old", "new"), [
    ('"origin": "igp"', '"origin": "igp",'),
    ('"origin": "igp"', '"origin": igp'),
    ('"origin": "igp"', '"origin": "igp" }, "x": { "y": 1'),
    ('"origin": "igp"', '"origin": "i\x01gp"'),
    ('"host" : "vm"', '"host" : "v\\m"'),
    ('"receive"', '"receive", "direction": "send"'),
    ('"127.0.0.9"', '"null"'),
    ('"192.0.2.1/32"', '"192.0.2.1/32", "path-information": "0.0.0.1"'),
    ("} } }", '} }, "negotiated": { } }'),
])  # fmt: skip
def test_the_quick_way_leaves_alone_what_is_not_plain(old, new):
    assert old in PLAIN
    assert updates.plain(PLAIN) is not None
    assert updates.plain(PLAIN.replace(old, new, 1)) is None


def test_a_key_that_stands_twice_is_refused():
    forged = PLAIN.replace('"message"', '"message": { }, "message"')
    assert updates.doubtful(forged)
    with pytest.raises(ValueError, match="twice"):
        json.loads(forged, object_pairs_hook=updates.careful)
    assert json.loads(PLAIN, object_pairs_hook=updates.careful) == json.loads(PLAIN)
    assert not updates.doubtful(PLAIN)


def test_what_stands_in_the_host_bits_does_not_matter():
    assert updates.spot("10.1.2.3/8") == updates.spot("10.0.0.0/8")
    assert updates.spot("2001:db8::1/32") == updates.spot("2001:db8::/32")
