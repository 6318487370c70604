"""Converts JSON values to and from Firestore's, and hides the fields that it adds."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any

from google.cloud.firestore_v1 import types

from server.services.ports.documents import Document, Fields
from server.services.ports.indexes import EXPIRY

# The field with the token of the batch that wrote the document last.
TOKEN = "_write"  # noqa: S105 - a field's name
# Firestore has no lists inside lists: an inner list is stored as a map with the one key NESTED.
# Keys that Firestore refuses, or that have a meaning here, are stored with MARK in front. None of
# them can be NESTED, because a caller's key that begins with MARK gets a second MARK.
MARK = "~"
NESTED = "~["
_MARKED = re.compile(rf"{MARK}.*|__.*__|{TOKEN}|", re.DOTALL)
_PLAIN = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

# Whole milliseconds of a Firestore Timestamp: the years 1 to 9999.
TIME_MS_MIN, TIME_MS_MAX = -62_135_596_800_000, 253_402_300_799_999

Value = types.Value.pb()
DocumentProto = types.Document.pb()


def key_of(name: str) -> str:
    """The field or map key under which a caller's name is stored."""
    return MARK + name if _MARKED.fullmatch(name) else name


def field_path(name: str) -> str:
    """The path of a caller's top-level field, in the form for queries and masks."""
    key = key_of(name)
    return key if _PLAIN.fullmatch(key) else f"`{key}`"


def encode_fields(into: Any, fields: Fields, token: str) -> None:
    """Fill a document's `fields` map and add the token."""
    for name, value in fields.items():
        encode_field(into[key_of(name)], name, value)
    into[TOKEN].string_value = token


def encode_field(into: Any, name: str, value: Any) -> None:
    """Set a top-level field's value; a whole number in `expire_at` becomes a time, for the TTL."""
    if name == EXPIRY and type(value) is int and TIME_MS_MIN <= value <= TIME_MS_MAX:
        seconds, rest_ms = divmod(value, 1000)
        into.timestamp_value.seconds = seconds
        into.timestamp_value.nanos = rest_ms * 1_000_000
    else:
        _encode(into, value)


def _encode(into: Any, value: Any) -> None:
    match value:
        case None:
            into.null_value = 0
        case bool():
            into.boolean_value = value
        case int():
            into.integer_value = value
        case float():
            into.double_value = value
        case str():
            into.string_value = value
        case dict():
            into.map_value.SetInParent()
            for name, inner in value.items():
                _encode(into.map_value.fields[key_of(name)], inner)
        case list():
            into.array_value.SetInParent()
            for inner in value:
                item = into.array_value.values.add()
                _encode(item.map_value.fields[NESTED] if type(inner) is list else item, inner)


def decode_document(document: Any) -> tuple[Document, str]:
    """A stored document as callers see it, and its token."""
    fields: Fields = {}
    token = ""
    for key, value in document.fields.items():
        if key == TOKEN:
            token = value.string_value
        else:
            fields[key.removeprefix(MARK)] = _decode(value)
    doc_id = document.name.rpartition("/")[2]
    return Document(doc_id, version_of(document.update_time), fields), token


def version_of(time: Any) -> str:
    """A document's version: the time of its last write, in Unix nanoseconds."""
    return str(time.seconds * 1_000_000_000 + time.nanos)


def _decode(value: Any) -> Any:
    kind = value.WhichOneof("value_type")
    match kind:
        case "null_value":
            return None
        case "map_value":
            fields = value.map_value.fields
            if NESTED in fields:
                return _decode(fields[NESTED])
            return {key.removeprefix(MARK): _decode(inner) for key, inner in fields.items()}
        case "array_value":
            return [_decode(inner) for inner in value.array_value.values]
        case "timestamp_value":
            time = value.timestamp_value
            return time.seconds * 1000 + time.nanos // 1_000_000
        # Only other programs write these two types; callers expect JSON values.
        case "geo_point_value":
            point = value.geo_point_value
            return {"latitude": point.latitude, "longitude": point.longitude}
        case "bytes_value":
            return b64encode(value.bytes_value).decode()
        case _:
            return getattr(value, kind)
