"""The building-automation server."""

from server.common.lazy_modules import import_later

# Before any part imports the libraries.
import_later()
