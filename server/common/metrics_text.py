"""Writes the metrics of a registry as text for Prometheus."""

from __future__ import annotations

from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

# https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"


def exposition(registry: Collector) -> bytes:
    """Counters, gauges and histograms as lines of text.

    The package's own `generate_latest` does the same, but is in a module with an HTTP server and
    clients, which together take a megabyte.
    """
    lines: list[str] = []
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        text = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
        lines += (f"# HELP {name} {text}\n", f"# TYPE {name} {family.type}\n")
        lines += map(_line, family.samples)
    return "".join(lines).encode()


def _line(sample: Sample) -> str:
    labels = ",".join(f'{key}="{_escaped(sample.labels[key])}"' for key in sorted(sample.labels))
    value = floatToGoString(sample.value)  # type: ignore[no-untyped-call]
    return f"{sample.name}{{{labels}}} {value}\n" if labels else f"{sample.name} {value}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
