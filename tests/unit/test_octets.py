"""PDUs as octets: pysnmp and pyasn1 are the judges of what we write and read by hand."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyasn1.codec.ber import decoder, encoder
from pysnmp.proto import api, rfc1902, rfc1905

from exabgp_bfd.core.model import ConfigError
from exabgp_bfd.sources.snmp import octets
from exabgp_bfd.sources.snmp.octets import Absent

V2C = api.PROTOCOL_MODULES[api.SNMP_VERSION_2C]

VALUES = [
    (V2C.Integer32(-(2**31)), -(2**31)),
    (V2C.Integer32(2**31 - 1), 2**31 - 1),
    (V2C.Counter32(2**32 - 1), 2**32 - 1),
    (V2C.Gauge32(0), 0),
    (V2C.TimeTicks(2**32 - 1), 2**32 - 1),
    (V2C.Counter64(2**64 - 1), 2**64 - 1),
    (V2C.OctetString(b""), b""),
    (V2C.OctetString(bytes(range(256)) * 3), bytes(range(256)) * 3),
    (V2C.Opaque(b"\x9f\x78\x04\0\0\0\0"), b"\x9f\x78\x04\0\0\0\0"),
    (V2C.IpAddress("198.51.100.7"), "198.51.100.7"),
    (V2C.ObjectIdentifier((1, 3, 6, 1, 2**32 - 1)), "1.3.6.1.4294967295"),
    (V2C.ObjectIdentifier((2, 999, 3)), "2.999.3"),
    (V2C.null, Absent.NULL),
    (V2C.NoSuchObject(""), Absent.ROW),
    (V2C.NoSuchInstance(""), Absent.ROW),
    (V2C.EndOfMibView(""), Absent.END),
]


def response(values, number: int = 1, status: int = 0, index: int = 0) -> bytes:
    pdu = V2C.ResponsePDU()
    V2C.apiPDU.set_defaults(pdu)
    V2C.apiPDU.set_request_id(pdu, number)
    V2C.apiPDU.set_varbinds(pdu, values)
    V2C.apiPDU.set_error_status(pdu, status)
    V2C.apiPDU.set_error_index(pdu, index)
    return encoder.encode(pdu)


def read(pdu: bytes):
    return octets.told(pdu, 0, len(pdu), 0xA2)


def test_every_kind_of_value():
    oids = [f"1.3.6.1.{place}" for place in range(len(VALUES))]
    pdu = response([(oid, value) for oid, (value, _) in zip(oids, VALUES, strict=True)], -77, 5, 3)
    assert read(pdu) == (-77, 5, 3, [(oid, plain) for oid, (_, plain) in zip(oids, VALUES, strict=True)])


@given(
    st.integers(0, 2**31 - 1),
    st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=12).map(lambda arcs: (1, 3, *arcs)), max_size=50),
    st.integers(0, 2**31 - 1),
)
@settings(deadline=None)
def test_requests_are_what_pysnmp_writes(number, oids, count):
    names = [".".join(map(str, oid)) for oid in oids]
    for kind, tag in ((V2C.GetRequestPDU, 0xA0), (V2C.GetNextRequestPDU, 0xA1)):
        pdu = kind()
        V2C.apiPDU.set_defaults(pdu)
        V2C.apiPDU.set_request_id(pdu, number)
        V2C.apiPDU.set_varbinds(pdu, [(oid, V2C.null) for oid in oids])
        assert octets.request(tag, number, 0, 0, names) == encoder.encode(pdu)
    bulk = V2C.GetBulkRequestPDU()
    V2C.apiBulkPDU.set_defaults(bulk)
    V2C.apiBulkPDU.set_request_id(bulk, number)
    V2C.apiBulkPDU.set_max_repetitions(bulk, count)
    V2C.apiBulkPDU.set_varbinds(bulk, [(oid, V2C.null) for oid in oids])
    assert octets.request(0xA5, number, 0, count, names) == encoder.encode(bulk)


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 255))
@example(b"", 0, 0x80)
@settings(max_examples=400, deadline=None)
def test_noise_is_a_value_error_and_what_is_read_pyasn1_reads_alike(noise, place, octet):
    """Never another exception; and never a value where pysnmp's own types have another one."""
    whole = response([("1.3.6.1.2", V2C.Counter32(9)), ("1.3.6.1.3", V2C.OctetString("abc"))])
    for pdu in (noise, whole[:place], whole[:place] + bytes([octet]) + whole[place + 1 :], whole[:place] + noise):
        try:
            number, status, index, values = read(pdu)
        except (ValueError, IndexError):
            continue
        try:
            told, rest = decoder.decode(pdu, asn1Spec=rfc1905.ResponsePDU())
        except Exception:  # noqa: BLE001 - stricter than we are, in error statuses and lengths
            continue
        assert (int(told[0]), int(told[1]), int(told[2]), rest) == (number, status, index, b"")
        assert [str(oid) for oid, _ in V2C.apiPDU.get_varbinds(told)] == [oid for oid, _ in values]


@pytest.mark.parametrize(
    "value",
    ["0200", "41010100", "4101ff", "4104ffffffff", "020500ffffffff", "4609010000000000000000", "4003010203", "0600",
     "06022b86", "0780", "3000", "04", "0480", "048100", "a000", "0101ff", "02800000"],
)  # fmt: skip
def test_values_that_snmp_has_not_are_refused(value):
    """Also in one varbind with a good one: half an answer is none."""
    contents = bytes.fromhex("06032b0601") + bytes.fromhex(value)
    varbind = octets.element(0x30, contents)
    good = octets.element(0x30, bytes.fromhex("06032b0602020104"))
    numbers = bytes.fromhex("020101020100020100")
    if value == "048100":  # a length with an octet to spare is none of our business
        assert octets.plain(bytes.fromhex(value)) == b""
        return
    with pytest.raises((ValueError, IndexError)):
        read(octets.element(0xA2, numbers + octets.element(0x30, good + varbind)))


def test_numbers_have_the_limits_of_pysnmp():
    for kind, tag in ((rfc1902.Integer32, 2), (rfc1902.Counter32, 0x41), (rfc1902.Counter64, 0x46)):
        for number in (-(2**31) - 1, -(2**31), -1, 0, 2**31, 2**32 - 1, 2**32, 2**64 - 1, 2**64):
            contents = number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)
            try:
                expected = int(kind(number))
            except Exception:  # noqa: BLE001 - whatever pysnmp has for it
                with pytest.raises((ValueError, IndexError)):
                    octets.plain(bytes([tag, len(contents)]) + contents)
            else:
                assert octets.plain(bytes([tag, len(contents)]) + contents) == expected


def test_an_arc_of_more_than_32_bits_is_no_oid():
    with pytest.raises(ValueError, match=r"^$"):
        read(response([("1.3.6.1.4294967296", V2C.Integer32(1))]))


def test_what_is_no_oid_cannot_be_asked():
    with pytest.raises(ConfigError):
        octets.request(0xA0, 1, 0, 0, ["1.3.x"])
