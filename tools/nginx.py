"""Where nginx is installed: Debian keeps it where an ordinary user's PATH does not look."""

from __future__ import annotations

import os
import shutil

EXECUTABLE = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
