"""Names of devices, users and metadata that would act as code in a page that does not escape them.

Shared with the browser tests; each raises an alert, loads something or adds an element `img`, `svg`
or `script` where it is not shown as text.
"""

from __future__ import annotations

HOSTILE_NAMES = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "'-alert(1)-'",
    "</script><script>alert(1)</script>",
    "</title></textarea><img src=//evil.example/x>",
    "javascript:alert(1)",
    "{{7*7}}${7*7}<%= 7*7 %>#{7*7}",
    "__proto__",
    "constructor",
    "&lt;img src=x onerror=alert(1)&gt;",
    "data: forged\u2028event: bye",
    "lab\u202egnp.exe",
    "\ufeff<!--",
    "=HYPERLINK(1)",
    "%3Cscript%3Ealert(1)%3C/script%3E",
]
