"""Firestore's values are decoded to JSON, whichever program wrote them."""

from __future__ import annotations

import msgspec
from google.cloud.firestore_v1 import types

from server.services.firestore.google.values import DocumentProto, decode_document


def test_a_document_of_another_program_is_decoded_to_json() -> None:
    document = DocumentProto(name="projects/p/databases/(default)/documents/devices/default_roof")
    metadata = document.fields["metadata"].map_value.fields
    metadata["where"].geo_point_value.latitude = 48.25
    metadata["where"].geo_point_value.longitude = -16.5
    metadata["photo"].bytes_value = b"\x00\xff"
    metadata["seen"].timestamp_value.seconds = 1_700_000_000
    metadata["part_of"].reference_value = "projects/p/databases/(default)/documents/devices/x"
    metadata["tags"].array_value.values.append(types.Value.pb()(bytes_value=b"a"))
    found, _ = decode_document(document)
    expected = {
        "where": {"latitude": 48.25, "longitude": -16.5},
        "photo": "AP8=",
        "seen": 1_700_000_000_000,
        "part_of": "projects/p/databases/(default)/documents/devices/x",
        "tags": ["YQ=="],
    }
    assert found.fields == {"metadata": expected}
    assert msgspec.json.decode(msgspec.json.encode(found.fields)) == found.fields
