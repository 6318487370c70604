"""Reads a reading from a document's fields, as this server and the existing one stored them."""

from __future__ import annotations

import msgspec

from server.services.history.measured import TEMP_MAX, TEMP_MIN, measured
from server.services.ports.documents import Fields
from server.services.ports.readings import Reading


def reading_from(fields: Fields) -> Reading:
    """A document's reading.

    The existing server stored measured fields as devices sent them, so in its documents they may be
    null, have a fraction or be out of range. Raises msgspec.ValidationError if another field does
    not have its type.
    """
    temp, sensor_ok = fields.get("temp_tenths"), fields.get("sensor_ok")
    # The fast way for documents of this server, which are nearly all.
    if type(temp) is int and TEMP_MIN <= temp <= TEMP_MAX and type(sensor_ok) is bool:
        return msgspec.convert(fields, Reading)
    read = measured(temp, sensor_ok)
    fields = fields | {"temp_tenths": read.temp_tenths, "sensor_ok": read.sensor_ok}
    if read.fault_reason:
        fields["fault_reason"] = read.fault_reason
    return msgspec.convert(fields, Reading)
