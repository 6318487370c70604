"""The operations about notices of alarms; see `tables.py`."""

from __future__ import annotations

from server.http.openapi.operations import Operation, Operations

TARGET_FIELDS = {
    "name": "on call",
    "kind": "webhook",
    "severity": "critical",
    "hours": {"days": [6, 7], "start": "00:00", "end": "00:00"},
    "url": "https://192.168.1.20/hook",
    "secret": "a key that both have",
}
NOTICES: Operations = {
    "POST /api/notice-targets": Operation(
        "create_notice_target",
        "Create a target of notices: a webhook, ntfy or e-mail",
        "The secret is in no answer. A private address needs BAS_NOTICE_PRIVATE_ADDRESSES.",
        body={"id": "on-call", **TARGET_FIELDS},
    ),
    "GET /api/notice-targets": Operation(
        "list_notice_targets", "List the notice targets of the tenant"
    ),
    "PUT /api/notice-targets/<target_id>": Operation(
        "replace_notice_target",
        "Replace a notice target",
        "Without `secret` it keeps the one that it has, unless it leads to another server now.",
        path={"target_id": "on-call"},
        body={**TARGET_FIELDS, "severity": "warning"},
    ),
    "POST /api/notice-targets/<target_id>/test": Operation(
        "test_notice_target",
        "Send a test notice now",
        "The answer comes within ten seconds and says whether the notice arrived, or why not.",
        path={"target_id": "on-call"},
    ),
    "DELETE /api/notice-targets/<target_id>": Operation(
        "delete_notice_target",
        "Delete a notice target",
        "Notices that wait for it are dropped.",
        path={"target_id": "on-call"},
    ),
}
