"""The running hub of the streams' unit tests."""

from tests.unit.services.sse_service.conftest import make_rig, rig

__all__ = ["make_rig", "rig"]
