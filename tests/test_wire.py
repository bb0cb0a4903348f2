"""Strict readers: what lenient ones forgive is refused, with the place, and nothing else than MalformedError is ever raised."""

from __future__ import annotations

import base64
import json
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest import limits
from attest.errors import MalformedError, Reason
from attest.wire import (
    Fields,
    Reader,
    base64_bytes,
    base64url,
    base64url_bytes,
    bounded,
    canonical_json,
    cbor_value,
    format_time,
    hex_bytes,
    json_members,
    json_value,
    parse_time,
    pem_blocks,
    utf8,
)


def refused(call, code: str) -> Reason:
    with pytest.raises(MalformedError) as caught:
        call()
    assert caught.value.code == code
    assert caught.value.exit_code == 3
    return caught.value.reasons[0]


# -- binary ----------------------------------------------------------------------------------------------------------------


def test_reader_reads_in_both_byte_orders():
    reader = Reader(bytes(range(1, 12)), "thing")
    assert reader.uint(2, "a") == 0x0201
    assert reader.uint_be(2, "b") == 0x0304
    assert reader.bytes(3, "c") == b"\5\6\7"
    assert (reader.offset, reader.remaining) == (7, 4)
    sub = reader.sub(3, "inner")
    assert sub.offset == 7
    assert sub.uint(3, "d") == 0x0A0908
    sub.end()
    assert reader.bytes(1, "e") == b"\x0b"
    assert reader.bytes(0, "nothing") == b""
    reader.end()


def test_reader_names_the_place():
    reader = Reader(bytes(0x40), "SNP report", base=0x100)
    reader.bytes(0x38, "head")
    assert reader.where() == "SNP report offset 0x138"
    reason = refused(lambda: reader.uint(9, "field"), "wire.truncated")
    assert reason.where == "SNP report offset 0x138"
    assert (reason.found, reason.expected) == ("8 bytes", "9 bytes")
    assert "field" in reason.message
    assert refused(reader.end, "wire.trailing").found == "8 bytes"
    inner = reader.sub(8, "tail")
    inner.bytes(4, "half")
    assert refused(lambda: inner.bytes(5, "more"), "wire.truncated").where == "SNP report, tail offset 0x13c"


def test_reader_stays_where_it_was_after_a_refusal():
    reader = Reader(b"abc", "thing")
    refused(lambda: reader.bytes(4, "x"), "wire.truncated")
    refused(lambda: reader.bytes(-1, "x"), "wire.truncated")
    assert reader.bytes(3, "x") == b"abc"


@given(st.integers(0, 31), st.integers(1, 255))
def test_reserved_bytes_must_be_zero(offset, value):
    data = bytearray(32)
    Reader(bytes(data), "thing").zero(32, "reserved")
    data[offset] = value
    reason = refused(lambda: Reader(bytes(data), "thing", base=0x1000).zero(32, "reserved"), "wire.reserved")
    assert reason.where == f"thing offset 0x{0x1000 + offset:03x}"
    assert reason.found == f"0x{value:02x}"


@given(st.binary(max_size=64), st.lists(st.integers(0, 16), max_size=12))
def test_reader_gives_back_what_it_was_given(data, sizes):
    reader = Reader(data, "thing")
    read = b""
    with suppress(MalformedError):
        for size in sizes:
            read += reader.bytes(size, "field")
    assert read == data[: len(read)]
    assert reader.offset == len(read)
    assert reader.remaining == len(data) - len(read)


def test_bounded():
    assert bounded(b"1234", 4, "x") == b"1234"
    assert refused(lambda: bounded(b"12345", 4, "x"), "wire.too-long").expected == "at most 4 bytes"


# -- text encodings --------------------------------------------------------------------------------------------------------


def test_utf8():
    assert utf8("grün".encode(), "x") == "grün"
    for bad in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
        refused(lambda: utf8(b"ab" + bad, "x"), "wire.utf8")  # noqa: B023
    assert refused(lambda: utf8(b"ab\xff", "x"), "wire.utf8").where == "offset 2"
    refused(lambda: utf8(b"\xef\xbb\xbfa", "x"), "wire.utf8")


@given(st.binary(max_size=64))
def test_hex_round_trip(data):
    assert hex_bytes(data.hex(), "x") == data
    assert hex_bytes(data.hex().upper(), "x", size=len(data)) == data
    refused(lambda: hex_bytes(data.hex(), "x", size=len(data) + 1), "wire.hex")


@pytest.mark.parametrize("text", ["0", "0x00", " 00", "00 ", "00\n", "0g", "00 11", "\uff11\uff11", "0_0_"])
def test_hex_refuses(text):
    refused(lambda: hex_bytes(text, "x"), "wire.hex")


def test_hex_is_bounded():
    refused(lambda: hex_bytes("00" * (limits.MAX_HEX_BYTES + 1), "x"), "wire.hex")


@given(st.binary(max_size=64))
def test_base64_round_trip(data):
    assert base64_bytes(base64.b64encode(data).decode(), "x") == data
    assert base64url_bytes(base64url(data), "x") == data
    assert "=" not in base64url(data)


@given(st.text(max_size=24))
def test_base64_has_one_spelling(text):
    for read, write in ((base64_bytes, lambda data: base64.b64encode(data).decode()), (base64url_bytes, base64url)):
        with suppress(MalformedError):
            assert write(read(text, "x")) == text


@pytest.mark.parametrize("text", ["AA", "AA=", "AB==", "AA==\n", "A A=", "AA==AA==", "-_8=", "AA===", "=", "é"])
def test_base64_refuses(text):
    refused(lambda: base64_bytes(text, "x"), "wire.base64")


@pytest.mark.parametrize("text", ["AA==", "A", "AB", "AA\n", "+/8", "A A", "é"])
def test_base64url_refuses(text):
    refused(lambda: base64url_bytes(text, "x"), "wire.base64url")


def test_base64_is_bounded():
    text = "AAAA" * (limits.MAX_BASE64_BYTES // 4 + 1)
    refused(lambda: base64_bytes(text, "x"), "wire.base64")
    refused(lambda: base64url_bytes(text, "x"), "wire.base64url")


# -- PEM -------------------------------------------------------------------------------------------------------------------


def pem(data: bytes, label: str = "CERTIFICATE", width: int = 64, end: str = "\n") -> bytes:
    text = base64.b64encode(data).decode()
    lines = [text[start : start + width] for start in range(0, len(text), width)]
    return end.join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


@given(st.lists(st.binary(min_size=1, max_size=100), min_size=1, max_size=4), st.sampled_from(["\n", "\r\n"]), st.integers(4, 80))
def test_pem_round_trip(blocks, end, width):
    data = b"\n \t\r\n".join(pem(block, width=width, end=end) for block in blocks)
    assert pem_blocks(data, "CERTIFICATE", "x", most=4) == tuple(blocks)
    assert pem_blocks(data.rstrip(), "CERTIFICATE", "x", most=4) == tuple(blocks)


BLOCK = pem(b"0123456789")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"subject=GPU\n" + BLOCK,
        BLOCK + b"text",
        BLOCK + b"# comment\n" + BLOCK,
        pem(b"0123456789", "PRIVATE KEY"),
        BLOCK + pem(b"0123456789", "TRUSTED CERTIFICATE"),
        BLOCK.replace(b"END CERTIFICATE", b"END PRIVATE KEY"),
        BLOCK[:-10],
        BLOCK.replace(b"-----BEGIN", b"----BEGIN"),
        BLOCK.replace(b"\nMDEy", b"\nProc-Type: 4,ENCRYPTED\n\nMDEy"),
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        b"\xef\xbb\xbf" + BLOCK,
        BLOCK + b"\0",
        BLOCK * 3,
    ],
)
def test_pem_refuses(data):
    refused(lambda: pem_blocks(data, "CERTIFICATE", "x", most=2), "wire.pem")


@pytest.mark.parametrize("data", [BLOCK.replace(b"==", b"="), BLOCK.replace(b"MDEy", b"M=Ey"), BLOCK.replace(b"OQ==", b"OR==")])
def test_pem_content_is_canonical(data):
    assert data != BLOCK
    refused(lambda: pem_blocks(data, "CERTIFICATE", "x", most=2), "wire.base64")


def test_pem_is_bounded():
    refused(lambda: pem_blocks(BLOCK + b" " * limits.MAX_PEM_BYTES, "CERTIFICATE", "x", most=2), "wire.too-long")


# -- time ------------------------------------------------------------------------------------------------------------------

TIMES = st.datetimes(timezones=st.just(UTC)).map(lambda value: value.replace(microsecond=0))


@given(TIMES)
def test_time_round_trip(value):
    assert parse_time(format_time(value), "x") == value


@given(st.text(max_size=24))
def test_time_has_one_spelling(text):
    with suppress(MalformedError):
        assert format_time(parse_time(text, "x")) == text


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T08:00:00",
        "2026-11-21 08:00:00Z",
        "2026-11-21T08:00:00z",
        "2026-11-21T08:00:00+00:00",
        "2026-11-21T08:00:00.5Z",
        "2026-11-21T08:00:00Z\n",
        "2026-02-29T08:00:00Z",
        "2026-13-01T08:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T08:00:60Z",
        "0000-11-21T08:00:00Z",
        "\uff12\uff10\uff12\uff16-11-21T08:00:00Z",
        "2026-11-21T08:00:0\u0663Z",
        "",
    ],
)
def test_time_refuses(text):
    refused(lambda: parse_time(text, "x"), "wire.time")


def test_time_is_written_in_utc_and_never_from_a_naive_one():
    there = timezone(timedelta(hours=9))
    assert format_time(datetime(2026, 11, 21, 8, 0, 0, 999_999, tzinfo=there)) == "2026-11-20T23:00:00Z"
    with pytest.raises(ValueError, match="naive"):
        format_time(datetime(2026, 11, 21))  # noqa: DTZ001


# -- JSON ------------------------------------------------------------------------------------------------------------------

# Integers as far as the canonical form goes (RFC 8785 section 3.2.2.3), and no half surrogate pairs.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_json_round_trip(value):
    assert json_value(canonical_json(value), "x") == value
    assert json_value(json.dumps(value).encode(), "x") == value


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":2}',
        b'{"b":{"a":1,"\\u0061":2}}',
        b"1.0",
        b"1e3",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"[1,]",
        b"{'a':1}",
        b"1 2",
        b"",
        b" ",
        b"01",
        b"+1",
        b"nul",
        b'"\x00"',
        b'"\t"',
        b'"\\x41"',
        b"/* */1",
        b"100000000000000000000",
        b"-10000000000000000000000",
        b'"\\ud800"',
        b'{"\\udc00":1}',
        b'["ok","\\ud83d\\u0041"]',
        b"\x0c1",
        b"\xc2\xa01",
        "\uff11".encode(),
    ],
)
def test_json_refuses(data):
    refused(lambda: json_value(data, "x"), "wire.json")


def test_json_refuses_other_encodings():
    for data in ('"a"'.encode("utf-16"), b'\xef\xbb\xbf"a"', b'"\xff"'):
        refused(lambda: json_value(data, "x"), "wire.utf8")  # noqa: B023


def test_json_surrogate_pairs_are_text():
    assert json_value(b'"\\ud83d\\ude00"', "x") == "\U0001f600"


def test_json_names_the_place():
    assert refused(lambda: json_value(b'{\n "a" 1}', "policy.json"), "wire.json").where == "line 2 column 6"
    assert refused(lambda: json_value(b'{"a":1,"a":2}', "policy.json"), "wire.json").subject == "policy.json"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_json_depth(opening, closing):
    per = opening.count(b"[") + opening.count(b"{")
    count = limits.MAX_JSON_DEPTH // per
    json_value(opening * count + b"1" + closing * count, "x")
    refused(lambda: json_value(opening * (count + 1) + b"1" + closing * (count + 1), "x"), "wire.json")
    refused(lambda: json_value(opening * 100_000, "x"), "wire.json")


def test_json_brackets_that_do_not_nest_are_no_depth():
    assert json_value(b"[" + b"[]," * 1000 + b"{}]", "x") == [[]] * 1000 + [{}]
    for string in ("[" * 100, '\\"' + "[" * 100, "\\\\", '{"' + "[{" * 50):
        text = json.dumps([string, string])
        assert json_value(text.encode(), "x") == [string, string]


@given(st.text(alphabet='[]{}",:\\a1 ', max_size=120))
def test_json_depth_agrees_with_the_parser(text):
    """Whatever the text, the count before parsing never refuses what the parser reads within the bound."""
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    if parsed is not None:
        with suppress(MalformedError):
            assert json_value(text.encode(), "x") == parsed
    else:
        with suppress(MalformedError):
            assert json_value(text.encode(), "x") is None


@pytest.mark.parametrize(
    "data",
    [b'"' + b'\\"' * 200_000, b'"' * 400_001, b'"' + b"\\" * 400_001, b"[" * 33 + b'"a' * 200_000, b'{"a":"' + b"[" * 400_000],
    ids=["escaped quotes", "quotes", "backslashes", "strings that do not end", "brackets in a string that does not end"],
)
def test_json_time_is_linear(data):
    start = time.perf_counter()
    with suppress(MalformedError):
        json_value(data, "x")
    assert time.perf_counter() - start < 2


def test_json_is_bounded():
    refused(lambda: json_value(b'"1234"', "x", limit=5), "wire.too-long")


@pytest.mark.parametrize("value", [2**53 + 1, -(2**60), "\ud800", {"\udfff": 1}, [["\udc00"]]])
def test_canonical_json_refuses_what_has_no_canonical_form(value):
    refused(lambda: canonical_json(value), "wire.json")


def test_canonical_json_sorts_by_utf16_and_escapes_little():
    assert canonical_json({"\U0001f600": 1, "\ufb33": 2, "a": "\n/\u2028"}) == '{"a":"\\n/\u2028","\U0001f600":1,"\ufb33":2}'.encode()


# -- fields ----------------------------------------------------------------------------------------------------------------


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


OBJECT = (
    b'{"text":"a","number":7,"yes":true,"hex":"00ff","base64":"AP8=","base64url":"AP8","time":"2026-11-21T08:00:00Z","none":null,'
    b'"colour":"red","inner":{"x":1},"list":[1,"a"],"texts":["a","b"],"objects":[{"x":1},{"x":2}]}'
)


def test_fields_read_every_type():
    fields = Fields.parse(OBJECT, "thing.json")
    assert fields.text("text") == "a"
    assert fields.integer("number") == 7
    assert fields.boolean("yes") is True
    assert fields.hex("hex", size=2) == fields.base64("base64") == fields.base64url("base64url") == b"\x00\xff"
    assert fields.time("time") == datetime(2026, 11, 21, 8, tzinfo=UTC)
    assert fields.choice("colour", Colour) is Colour.RED
    assert fields.object("inner").integer("x") == 1
    assert fields.items("list") == [1, "a"]
    assert fields.texts("texts") == ("a", "b")
    assert [item.integer("x") for item in fields.objects("objects")] == [1, 2]
    assert not fields.has("none")
    assert not fields.has("absent")
    assert fields.has("text")
    assert fields.optional("none", fields.text) is None
    assert fields.optional("absent", fields.text) is None
    assert fields.optional("text", fields.text) == "a"
    fields.done()


READS = {
    "text": lambda fields, key: fields.text(key),
    "integer": lambda fields, key: fields.integer(key),
    "boolean": lambda fields, key: fields.boolean(key),
    "items": lambda fields, key: fields.items(key),
    "object": lambda fields, key: fields.object(key),
}
GOOD = {"text": "text", "integer": "number", "boolean": "yes", "items": "list", "object": "inner"}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("key", ["text", "number", "yes", "none", "inner", "list", "absent"])
def test_fields_refuse_another_type(read, key):
    fields = Fields.parse(OBJECT, "thing.json")
    if key == GOOD[read]:
        READS[read](fields, key)
    else:
        reason = refused(lambda: READS[read](fields, key), "wire.json")
        assert "thing.json" in reason.message
        assert key in reason.message


def test_fields_refuse_bad_contents():
    fields = Fields.parse(b'{"a":"x","b":["a",1],"c":[{"y":1},2],"n":-1,"big":9223372036854775808}', "thing.json")
    for call, code in (
        (lambda: fields.hex("a"), "wire.hex"),
        (lambda: fields.base64("a"), "wire.base64"),
        (lambda: fields.base64url("a"), "wire.base64url"),
        (lambda: fields.time("a"), "wire.time"),
        (lambda: fields.texts("b"), "wire.json"),
        (lambda: list(fields.objects("c")), "wire.json"),
        (lambda: fields.integer("n"), "wire.json"),
        (lambda: fields.integer("big"), "wire.json"),
        (lambda: fields.integer("n", least=-5, most=-2), "wire.json"),
        (lambda: fields.choice("a", Colour), "wire.json"),
    ):
        refused(call, code)
    assert fields.integer("n", least=-1) == -1
    assert refused(lambda: fields.choice("a", Colour), "wire.json").expected == "red, blue"


def test_fields_refuse_members_that_nobody_read():
    fields = Fields.parse(b'{"a":1,"b":2,"c":null}', "thing.json")
    fields.integer("a")
    reason = refused(fields.done, "wire.json")
    assert reason.found == "b, c"
    fields.has("c")  # null stands for absent, and asking is reading
    fields.value("b")
    fields.done()
    assert fields.names() == ("a", "b", "c")


@pytest.mark.parametrize("value", [None, [], "a", 1, True])
def test_fields_want_an_object(value):
    refused(lambda: Fields(value, "thing"), "wire.json")


# -- CBOR ------------------------------------------------------------------------------------------------------------------

CBOR = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=8) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(-9, 9) | TEXT | st.binary(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(CBOR)
def test_cbor_round_trip(value):
    assert cbor_value(cbor2.dumps(value), "x") == value


def test_cbor_tags_are_kept_and_mean_nothing():
    assert cbor_value(cbor2.dumps(cbor2.CBORTag(18, [b"", {}, b"", b""])), "x") == cbor2.CBORTag(18, [b"", {}, b"", b""])
    for tag in range(400):
        for content in (0, "2026-11-21T00:00:00Z", b"\1", [1, 2]):
            data = b"\xd9" + tag.to_bytes(2, "big") + cbor2.dumps(content)
            with suppress(MalformedError):
                assert cbor_value(data, "x") == cbor2.CBORTag(tag, content)


@pytest.mark.parametrize("tag", [0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000, 55799])
def test_cbor_tags_that_libraries_give_a_meaning_are_refused(tag):
    refused(lambda: cbor_value(b"\xd9" + tag.to_bytes(2, "big") + b"\x00", "x"), "wire.cbor")


@pytest.mark.parametrize(
    "data",
    [
        "a201020103",  # duplicate key
        "a2616102616103",  # duplicate text key
        "5f4101ff",  # indefinite lengths: bytes, text, array, map
        "7f6161ff",
        "9f01ff",
        "bf0102ff",
        "f93c00",  # floats
        "fa3f800000",
        "fb3ff0000000000000",
        "f97e00",
        "f7",  # undefined
        "f8ff",  # unassigned simple value
        "e0",
        "ff",
        "1c",
        "62c328",  # not UTF-8
        "63eda080",
        "",
        "82",
        "8201",
        "4501",
        "5b7fffffffffffffff",
        "9b7fffffffffffffff",
        "bb7fffffffffffffff",
        "5affffffff",
        "9affffffff",
        "a1810102",  # keys that are no plain values
        "a1a1010102",
        "a1d83f810102",
        "a1d83f0102",
        "a1f502",
        "a1f602",
        "82a1810102a1810102",
    ],
)
def test_cbor_refuses(data):
    refused(lambda: cbor_value(bytes.fromhex(data), "x"), "wire.cbor")


def test_cbor_refuses_bytes_after_the_end():
    assert refused(lambda: cbor_value(b"\x01\x02", "x"), "wire.trailing").where == "offset 1"


def test_cbor_depth():
    depth = limits.MAX_CBOR_DEPTH
    within = next(count for count in range(depth + 2, 0, -1) if _reads(b"\x81" * count + b"\x00"))
    assert depth - 1 <= within <= depth
    refused(lambda: cbor_value(b"\x81" * 100_000 + b"\x00", "x"), "wire.cbor")
    refused(lambda: cbor_value(b"\xa1\x00" * 1000 + b"\x00", "x"), "wire.cbor")
    refused(lambda: cbor_value(b"\xd2" * 1000 + b"\x00", "x"), "wire.cbor")


def _reads(data: bytes) -> bool:
    try:
        cbor_value(data, "x")
    except MalformedError:
        return False
    return True


def test_cbor_is_bounded():
    refused(lambda: cbor_value(b"\x44abcd", "x", limit=4), "wire.too-long")


@given(st.binary(max_size=64))
@settings(max_examples=500)
def test_noise_is_refused_with_a_type(data):
    for read in (
        lambda: cbor_value(data, "x"),
        lambda: json_value(data, "x"),
        lambda: pem_blocks(data, "CERTIFICATE", "x", most=2),
        lambda: utf8(data, "x"),
        lambda: base64_bytes(data.decode("latin-1"), "x"),
        lambda: base64url_bytes(data.decode("latin-1"), "x"),
        lambda: hex_bytes(data.decode("latin-1"), "x"),
    ):
        with suppress(MalformedError):
            read()


@given(CBOR, st.data())
def test_damaged_cbor_is_refused_with_a_type(value, data):
    encoded = bytearray(cbor2.dumps(value))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MalformedError):
        cbor_value(bytes(encoded), "x")


# -- members as they stand ------------------------------------------------------------------------------------------------


def test_members_keep_their_bytes():
    members = json_members(b' {"a": {"x":1} , "b":"\xc3\xa4","c":[1, 2]}\n', "document", limit=100)
    assert members == {"a": ({"x": 1}, b'{"x":1}'), "b": ("ä", b'"\xc3\xa4"'), "c": ([1, 2], b"[1, 2]")}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"1", b'{"a":1', b'{"a":1,}', b'{"a":1}{}', b'{"a":1} x', b'{"a":1,"a":1}', b'{"a":{"b":1,"b":2}}', b'{"a":1.5}',
        b'{"a":NaN}', b'{"a":"\\ud800"}', b'{1:2}', b'{"a" 1}', b"\xff", b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a":' + b"9" * 5000 + b"}", b'{"a":1}' + b" " * 100,
    ],
)  # fmt: skip
def test_members_of_what_is_no_strict_object(data):
    with pytest.raises(MalformedError):
        json_members(data, "document", limit=100 if data.endswith(b" ") else 20_000)
