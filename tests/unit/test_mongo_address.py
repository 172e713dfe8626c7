"""What of a MongoDB's URI may be shown, and what is taken out of other people's texts."""

from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exabgp_bfd.core.model import Secret, StoreError
from exabgp_bfd.storage.mongo_address import LONGEST_MS, USUAL_MS, Address


def address(uri: str) -> Address:
    return Address(Secret(uri))


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://db1,db2:27018/x?replicaSet=rs0", "mongodb://db1,db2:27018/x?replicaSet=rs0"),
        ("mongodb://noc:secret@db1/x", "mongodb://***@db1/x"),
        ("mongodb+srv://noc:secret@c.example/?tls=true&w=1", "mongodb+srv://***@c.example/?tls=true&w=1"),
        ("mongodb://noc:sec/r@et@db1/x", "mongodb://***@db1/x"),
        ("mongodb://db1/?tlsCertificateKeyFilePassword=secret", "mongodb://db1/?tlsCertificateKeyFilePassword=***"),
        ("mongodb://db1/?unheardOf=secret&tls=true", "mongodb://db1/?unheardOf=***&tls=true"),
    ],
)
def test_only_what_is_known_to_be_harmless_is_shown(uri, shown) -> None:
    assert str(address(uri)) == repr(address(uri)) == shown
    assert address(uri).reveal() == uri


@pytest.mark.parametrize("uri", ["", "db1:27017", "http://noc:secret@db1/", "mongodb:/noc:secret@db1"])
def test_what_is_no_uri_is_refused_without_being_told(uri) -> None:
    with pytest.raises(StoreError) as refused:
        address(uri)
    assert "secret" not in str(refused.value)
    assert "mongodb://" in str(refused.value)


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=4))
def test_no_spelling_of_a_password_is_left_in_a_text(password) -> None:
    for spelled in {quote(password, safe=""), quote_plus(password), password}:
        target = address(f"mongodb://noc:{spelled}@db1/x")
        said = target.scrub(f"<<{spelled}>> <<{password}>>", longest=10_000)
        assert f"<<{spelled}>>" not in said
        assert f"<<{password}>>" not in said
        assert "db1" in str(target)


def test_a_part_that_the_driver_quotes_is_no_better() -> None:
    assert address("mongodb://noc:pa/ss@word@db1/x").scrub('Bad database name "ss@word@db1/x"') == (
        'Bad database name "***@db1/x"'
    )


def test_a_text_is_one_line_and_short() -> None:
    assert address("mongodb://db1").scrub("a\nb\tc") == "a b c"
    assert len(address("mongodb://db1").scrub("x" * 10_000)) == 303


@pytest.mark.parametrize(
    ("options", "milliseconds"),
    [
        ("", USUAL_MS),
        ("?timeoutMS=2000", 2000),
        ("?tls=true&TIMEOUTms=2000", 2000),
        ("?timeoutMS=99999999", LONGEST_MS),
        ("?timeoutMS=0", USUAL_MS),
        ("?timeoutMS=soon", USUAL_MS),
    ],
)
def test_every_operation_has_a_deadline(options, milliseconds) -> None:
    assert address(f"mongodb://db1/x{options}").deadline_ms == milliseconds
