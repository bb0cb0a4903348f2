"""Strict readers for the formats that evidence comes in: binary, JSON, CBOR, base64, hex and PEM.

They refuse what lenient readers forgive and attackers use: duplicate keys, trailing bytes, NaN, indefinite lengths, padding
variants, over-long input. Every refusal is a :class:`MalformedError` that names the place.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, NoReturn, TypeVar

import cbor2
import rfc8785

from attest import limits
from attest.errors import MalformedError

type_name = type  # `type` is a member name in several of our formats

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]
"""A JSON value as the strict reader returns it: no floats, no duplicate keys."""

Cbor = None | bool | int | str | bytes | list["Cbor"] | dict[int | str | bytes, "Cbor"] | cbor2.CBORTag

_T = TypeVar("_T")


def _fail(code: str, message: str, *, where: str = "", found: str = "", expected: str = "") -> NoReturn:
    raise MalformedError.at(f"wire.{code}", message, where=where, found=found, expected=expected)


# -- binary ---------------------------------------------------------------------------------------------------------------


class Reader:
    """Bounded reader over bytes that knows where it is.

    ``name`` is what the bytes are ("SNP report"); it and the absolute offset are in every error. Reading past the end, and
    :meth:`end` before the end, raise :class:`MalformedError`.
    """

    __slots__ = ("_base", "_data", "_offset", "name")

    def __init__(self, data: bytes | memoryview, name: str, *, base: int = 0) -> None:
        self._data: Final = memoryview(data)
        self._offset = 0
        self._base: Final = base
        self.name: Final = name

    @property
    def offset(self) -> int:
        """Absolute offset of the next byte."""
        return self._base + self._offset

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self._offset

    def where(self, offset: int | None = None) -> str:
        """ "SNP report offset 0x038": for error messages."""
        return f"{self.name} offset 0x{self.offset if offset is None else offset:03x}"

    def _take(self, size: int, field: str) -> memoryview:
        if size < 0 or size > self.remaining:
            _fail(
                "truncated",
                f"{self.name} ends inside {field}",
                where=self.where(),
                found=f"{self.remaining} bytes",
                expected=f"{size} bytes",
            )
        view = self._data[self._offset : self._offset + size]
        self._offset += size
        return view

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, or fewer at the end, without reading them."""
        return bytes(self._data[self._offset : self._offset + size])

    def bytes(self, size: int, field: str) -> bytes:
        """The next ``size`` bytes."""
        return bytes(self._take(size, field))

    def uint(self, size: int, field: str) -> int:
        """The next ``size`` bytes as an unsigned little-endian integer."""
        return int.from_bytes(self._take(size, field), "little")

    def uint_be(self, size: int, field: str) -> int:
        """The next ``size`` bytes as an unsigned big-endian integer."""
        return int.from_bytes(self._take(size, field), "big")

    def zero(self, size: int, field: str) -> None:
        """Skip ``size`` bytes that must be zero."""
        start = self.offset
        data = self._take(size, field)
        if any(data):
            bad = next(i for i, byte in enumerate(data) if byte)
            _fail("reserved", f"{field} must be zero", where=self.where(start + bad), found=f"0x{data[bad]:02x}", expected="0x00")

    def sub(self, size: int, name: str) -> Reader:
        """A reader over the next ``size`` bytes, with absolute offsets."""
        start = self.offset
        return Reader(self._take(size, name), f"{self.name}, {name}", base=start)

    def end(self) -> None:
        """Nothing may be left."""
        if self.remaining:
            _fail("trailing", f"{self.name} has bytes after its end", where=self.where(), found=f"{self.remaining} bytes", expected="0")


def bounded(data: bytes, limit: int, name: str) -> bytes:
    """``data`` when it is at most ``limit`` bytes long; raises :class:`MalformedError` otherwise."""
    if len(data) > limit:
        _fail("too-long", f"{name} is too long", found=f"{len(data)} bytes", expected=f"at most {limit} bytes")
    return data


# -- text encodings -------------------------------------------------------------------------------------------------------

_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*\Z")
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*\Z")
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END \1-----[ \t]*(?:\r?\n|\Z)")


def utf8(data: bytes, name: str) -> str:
    """Strict UTF-8, no byte order mark."""
    try:
        text = data.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        _fail("utf8", f"{name} is not UTF-8", where=f"offset {error.start}")
    if text.startswith("\ufeff"):
        _fail("utf8", f"{name} starts with a byte order mark")
    return text


def hex_bytes(text: str, name: str, *, size: int | None = None) -> bytes:
    """Bytes of a hex string without prefix or white space; exactly ``size`` bytes when given."""
    if len(text) > 2 * limits.MAX_HEX_BYTES or not _HEX.match(text):
        _fail("hex", f"{name} is not hex", found=_short(text), expected="an even number of hex digits, and nothing else")
    data = bytes.fromhex(text)
    if size is not None and len(data) != size:
        _fail("hex", f"{name} has the wrong length", found=f"{len(data)} bytes", expected=f"{size} bytes")
    return data


def base64_bytes(text: str, name: str) -> bytes:
    """Standard base64 with padding, canonical (re-encoding gives the same text), no white space."""
    if len(text) > limits.MAX_BASE64_BYTES:
        _fail("base64", f"{name} is too long", found=f"{len(text)} characters")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        _fail("base64", f"{name} is not base64", found=_short(text))
    if base64.b64encode(data).decode() != text:
        _fail("base64", f"{name} is not canonical base64", found=_short(text))
    return data


def base64url_bytes(text: str, name: str) -> bytes:
    """base64url without padding (RFC 7515 section 2), canonical."""
    if len(text) > limits.MAX_BASE64_BYTES or not _BASE64URL.match(text) or len(text) % 4 == 1:
        _fail("base64url", f"{name} is not base64url", found=_short(text))
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64url(data) != text:
        _fail("base64url", f"{name} is not canonical base64url", found=_short(text))
    return data


def base64url(data: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def pem_blocks(data: bytes, label: str, name: str, *, most: int) -> tuple[bytes, ...]:
    """The DER contents of consecutive PEM blocks of one label, in file order.

    Only white space may stand between and after them: text around a block is refused, so that nobody can read another certificate
    out of the same file. At most ``most`` blocks.
    """
    bounded(data, limits.MAX_PEM_BYTES, name)
    blocks: list[bytes] = []
    position = 0
    while True:
        while position < len(data) and data[position] in b" \t\r\n":
            position += 1
        if position == len(data):
            break
        match = _PEM.match(data, position)
        if match is None or match[1] != label.encode():
            _fail("pem", f"{name} is not a sequence of PEM {label} blocks", where=f"offset {position}")
        if len(blocks) == most:
            _fail("pem", f"{name} has too many PEM blocks", expected=f"at most {most}")
        body = match[2].translate(None, b"\r\n").decode()
        blocks.append(base64_bytes(body, f"{name}, block {len(blocks)}"))
        position = match.end()
    if not blocks:
        _fail("pem", f"{name} holds no PEM {label}")
    return tuple(blocks)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


# -- time -----------------------------------------------------------------------------------------------------------------

_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")


def parse_time(text: str, name: str) -> datetime:
    """RFC 3339 in UTC, whole seconds, ``2026-11-21T08:00:00Z`` and no other spelling."""
    if not _TIME.match(text):
        _fail("time", f"{name} is not a UTC time", found=_short(text), expected="YYYY-MM-DDTHH:MM:SSZ")
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        _fail("time", f"{name} is not a UTC time", found=_short(text), expected="YYYY-MM-DDTHH:MM:SSZ")


def format_time(time: datetime) -> str:
    """The spelling that :func:`parse_time` reads; fractions of a second are cut off. ``time`` must be aware."""
    if time.tzinfo is None:
        raise ValueError("naive datetime")
    time = time.astimezone(UTC)
    return f"{time.year:04d}-{time.month:02d}-{time.day:02d}T{time.hour:02d}:{time.minute:02d}:{time.second:02d}Z"


# -- JSON -----------------------------------------------------------------------------------------------------------------


def _no_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members: dict[str, Json] = {}
    for key, value in pairs:
        if key in members:
            _fail("json", "duplicate JSON member", found=_short(key))
        members[key] = value
    return members


def _no_float(text: str) -> NoReturn:
    _fail("json", "JSON number is not an integer", found=_short(text))


def _integer(text: str) -> int:
    if len(text) > 20:
        _fail("json", "JSON integer is too large", found=_short(text))
    return int(text)


# Possessive, and a string without an end runs to the end of the text: every character is looked at once, whatever the input.
_TOKENS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def _too_deep(text: str) -> bool:
    """Whether brackets outside strings nest too deeply; found out before parsing because the parser recurses."""
    if text.count("[") + text.count("{") <= limits.MAX_JSON_DEPTH:
        return False
    depth = 0
    for token in _TOKENS.finditer(text):
        bracket = text[token.start()]
        if bracket in "[{":
            depth += 1
            if depth > limits.MAX_JSON_DEPTH:
                return True
        elif bracket in "]}":
            depth -= 1
    return False


def json_value(data: bytes, name: str, *, limit: int = limits.MAX_JSON_BYTES) -> Json:
    """Parse strict JSON: UTF-8 without BOM, no duplicate members, integers only, bounded size and depth, nothing after the value.

    Every string is Unicode text: an escape for half a surrogate pair is refused (RFC 7493 section 2.1).
    """
    text = utf8(bounded(data, limit, name), name)
    if _too_deep(text):
        _fail("json", f"{name} is nested too deeply", expected=f"at most {limits.MAX_JSON_DEPTH}")
    try:
        value: Json = json.loads(
            text, object_pairs_hook=_no_duplicates, parse_constant=_no_float, parse_float=_no_float, parse_int=_integer
        )
    except MalformedError as error:
        raise error.about(name) from None
    except (ValueError, RecursionError) as error:
        position = f"line {error.lineno} column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        _fail("json", f"{name} is not JSON", where=position)
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            _fail("json", f"{name} holds half a surrogate pair", expected="Unicode text")
    return value


def json_members(data: bytes, name: str, *, limit: int) -> dict[str, tuple[Json, bytes]]:
    """The members of a JSON object, each as value and as the very bytes that stand for it in ``data``.

    For documents that carry a signature over one of their members as it stands. As strict as :func:`json_value`, and quick for compact
    text, which is what vendors sign: text that is exactly what its value is written as holds no duplicate and no second spelling.
    """
    text = utf8(bounded(data, limit, name), name)
    try:
        return _members(text, name)
    except MalformedError as error:
        raise error.about(name) from None
    except (ValueError, RecursionError):
        _fail("json", f"{name} is not a JSON object")


def _members(text: str, name: str) -> dict[str, tuple[Json, bytes]]:
    members: dict[str, tuple[Json, bytes]] = {}
    position = _token(text, 0, "{", name)
    while True:
        key, position = _DECODER.raw_decode(text, _space(text, position))
        start = _space(text, _token(text, position, ":", name))
        value, position = _DECODER.raw_decode(text, start)
        if not isinstance(key, str) or key in members:
            _fail("json", f"{name} has a member twice, or one without a name", found=_short(str(key)))
        exact = text[start:position]
        if json.dumps(value, separators=(",", ":"), ensure_ascii=False) != exact:
            value = json_value(exact.encode(), f"{name}: {key}")
        members[key] = (value, exact.encode())
        position = _space(text, position)
        if text[position : position + 1] == ",":
            position += 1
            continue
        if _space(text, _token(text, position, "}", name)) != len(text):
            _fail("trailing", f"{name} has text after its end")
        return members


def _space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _token(text: str, position: int, token: str, name: str) -> int:
    position = _space(text, position)
    if text[position : position + 1] != token:
        _fail("json", f"{name} is not a JSON object", where=f"character {position}", expected=token)
    return position + 1


_SPACE: Final = re.compile(r"[ \t\r\n]*")
_DECODER: Final = json.JSONDecoder(parse_float=_no_float, parse_constant=_no_float)


def canonical_json(value: Json) -> bytes:
    """RFC 8785 (JCS) bytes: the form that is hashed and signed.

    Raises MalformedError for what has no such form: unpaired surrogates, integers beyond 2**53.
    """
    try:
        return rfc8785.dumps(value)
    except ValueError as error:
        _fail("json", "value has no canonical JSON form", found=type_name(error).__name__, expected="I-JSON (RFC 7493)")


class Fields:
    """A JSON object being read member by member; :meth:`done` refuses every member that was not asked for.

    ``path`` is where the object stands ("bundle.json: evidence[0]") and begins every error message.
    """

    __slots__ = ("_members", "_read", "path")

    def __init__(self, value: Json, path: str) -> None:
        if not isinstance(value, dict):
            _fail("json", f"{path} is not an object", found=_kind(value), expected="object")
        self._members: Final[dict[str, Json]] = value
        self._read: Final[set[str]] = set()
        self.path: Final = path

    @classmethod
    def parse(cls, data: bytes, name: str, *, limit: int = limits.MAX_JSON_BYTES) -> Fields:
        """Strict JSON text whose top is an object."""
        return cls(json_value(data, name, limit=limit), name)

    def _get(self, key: str) -> Json:
        if key not in self._members:
            _fail("json", f"{self.path} has no member {key!r}", expected=key)
        self._read.add(key)
        return self._members[key]

    def has(self, key: str) -> bool:
        """Whether the member is there (and not null)."""
        if key in self._members and self._members[key] is None:
            self._read.add(key)
            return False
        return key in self._members

    def names(self) -> tuple[str, ...]:
        """All member names, for objects that are maps; the caller must read each."""
        return tuple(self._members)

    def text(self, key: str) -> str:
        """A string."""
        value = self._get(key)
        if not isinstance(value, str):
            _fail("json", f"{self.path}: {key} is not a string", found=_kind(value), expected="string")
        return value

    def integer(self, key: str, *, least: int = 0, most: int = 2**63 - 1) -> int:
        """An integer in ``least``..``most``."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            _fail("json", f"{self.path}: {key} is not an integer", found=_kind(value), expected="integer")
        if not least <= value <= most:
            _fail("json", f"{self.path}: {key} is out of range", found=str(value), expected=f"{least}..{most}")
        return value

    def boolean(self, key: str) -> bool:
        """true or false."""
        value = self._get(key)
        if not isinstance(value, bool):
            _fail("json", f"{self.path}: {key} is not true or false", found=_kind(value), expected="boolean")
        return value

    def hex(self, key: str, *, size: int | None = None) -> bytes:
        """Bytes written as hex."""
        return hex_bytes(self.text(key), f"{self.path}: {key}", size=size)

    def base64(self, key: str) -> bytes:
        """Bytes written as standard base64."""
        return base64_bytes(self.text(key), f"{self.path}: {key}")

    def base64url(self, key: str) -> bytes:
        """Bytes written as base64url without padding."""
        return base64url_bytes(self.text(key), f"{self.path}: {key}")

    def time(self, key: str) -> datetime:
        """An RFC 3339 UTC time."""
        return parse_time(self.text(key), f"{self.path}: {key}")

    def value(self, key: str) -> Json:
        """Any JSON value, unchecked."""
        return self._get(key)

    def items(self, key: str) -> list[Json]:
        """An array."""
        value = self._get(key)
        if not isinstance(value, list):
            _fail("json", f"{self.path}: {key} is not an array", found=_kind(value), expected="array")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """An array of strings."""
        values = self.items(key)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                _fail("json", f"{self.path}: {key}[{index}] is not a string", found=_kind(value), expected="string")
        return tuple(value for value in values if isinstance(value, str))

    def object(self, key: str) -> Fields:
        """A nested object."""
        return Fields(self._get(key), f"{self.path}: {key}")

    def objects(self, key: str) -> Iterator[Fields]:
        """An array of objects."""
        for index, value in enumerate(self.items(key)):
            yield Fields(value, f"{self.path}: {key}[{index}]")

    def choice(self, key: str, make: Callable[[str], _T]) -> _T:
        """A string that ``make`` (an enum class) accepts."""
        text = self.text(key)
        try:
            return make(text)
        except ValueError:
            expected = ", ".join(str(member) for member in make) if isinstance(make, type_name) and hasattr(make, "__iter__") else ""
            _fail("json", f"{self.path}: {key} has an unknown value", found=_short(text), expected=expected)

    def optional(self, key: str, read: Callable[[str], _T]) -> _T | None:
        """``read(key)`` when the member is there, else None: ``fields.optional("note", fields.text)``."""
        return read(key) if self.has(key) else None

    def done(self) -> None:
        """Refuse members that nobody read."""
        surplus = sorted(set(self._members) - self._read)
        if surplus:
            _fail("json", f"{self.path} has unknown members", found=", ".join(surplus[:8]), expected=", ".join(sorted(self._read)))


def _kind(value: Json) -> str:
    return {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", type_name(None): "null"}[type_name(value)]


# -- CBOR -----------------------------------------------------------------------------------------------------------------


def cbor_value(data: bytes, name: str, *, limit: int = limits.MAX_CBOR_BYTES) -> Cbor:
    """Parse strict CBOR (RFC 8949): definite lengths, no duplicate keys, no floats, nothing after the item, bounded depth.

    Tags come back as :class:`cbor2.CBORTag`; no tag is turned into a Python object.
    """
    bounded(data, limit, name)
    stream = io.BytesIO(data)
    try:
        decoder = cbor2.CBORDecoder(
            stream,
            read_size=1,
            max_depth=limits.MAX_CBOR_DEPTH,
            allow_duplicate_keys=False,
            allow_indefinite=False,
            semantic_decoders=_NO_SEMANTIC_TAGS,
        )
        value: object = decoder.decode()
    except MalformedError as error:
        raise error.about(name) from None
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RuntimeError, MemoryError) as error:
        _fail("cbor", f"{name} is not CBOR", where=f"offset {stream.tell()}", found=type_name(error).__name__)
    if stream.tell() != len(data):
        _fail("trailing", f"{name} has bytes after its end", where=f"offset {stream.tell()}", found=f"{len(data) - stream.tell()} bytes")
    return _plain(value, name)


def _refuse_tag(_decoder: object) -> NoReturn:
    _fail("cbor", "CBOR tag with a built-in meaning is not used in attestation")


# cbor2 turns these tags into Python objects, or (28, 29, 256, 25) lets one item stand for another: none may appear in evidence.
_NO_SEMANTIC_TAGS: Final = dict.fromkeys(
    (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 43000, 100, 256, 258, 260, 261, 1004, 55799), _refuse_tag
)


def _plain(value: object, name: str) -> Cbor:
    if value is None or isinstance(value, bool | int | str | bytes):
        return value
    if isinstance(value, cbor2.CBORTag):
        return cbor2.CBORTag(value.tag, _plain(value.value, name))
    if isinstance(value, Mapping):
        for key in value:
            if isinstance(key, bool) or not isinstance(key, int | str | bytes):
                _fail(
                    "cbor", f"{name} has a map key of a type that is not used", found=type_name(key).__name__, expected="int, text or bytes"
                )
        return {key: _plain(item, name) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, name) for item in value]
    _fail("cbor", f"{name} holds a CBOR type that is not used in attestation", found=type_name(value).__name__)
