"""Delays the import of library modules that a server at rest does not use, to save memory."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader

# Modules that are imported for what a server at rest does not do, and the names that libraries
# import from them. `from module import name` gives a stand-in for such a name, which loads the
# module when it is called; any other use of the module loads it. A name must be a function or a
# class that nobody catches as an exception. No module may be here that a post needs, or that is
# first needed in an emergency.
LATER: dict[str, Collection[str]] = {
    "aiofiles.tempfile": (),
    "argparse": (),  # a server without options
    "bz2": (),  # shutil's archives
    "calendar": (),
    "code": (),  # Quart's shell
    "csv": (),
    "difflib": (),
    "email.charset": ("Charset",),
    "email.header": (),
    "email.parser": (),
    "h2.connection": (),  # HTTP/2, with HPACK's tables
    "h2.events": (),
    "html": (),  # entities
    "http.cookiejar": ("CookieJar",),  # Quart's test client
    "hypercorn.asyncio": ("serve",),  # another accept loop
    "hypercorn.protocol.h2": ("H2Protocol",),
    "hypercorn.protocol.ws_stream": ("WSStream",),
    "importlib.metadata": ("entry_points", "version"),  # plug-ins of Flask's and Quart's commands
    "jinja2.bccache": ("BytecodeCache", "FileSystemBytecodeCache", "MemcachedBytecodeCache"),
    "logging.config": ("dictConfig", "fileConfig"),
    "logging.handlers": (),
    "lzma": (),
    "msgspec.inspect": (),
    "msgspec.msgpack": (),
    "msgspec.toml": (),
    "msgspec.yaml": (),
    "multiprocessing": (),
    "multiprocessing.synchronize": ("Event",),
    "ntpath": (),  # pathlib on Windows
    "pdb": (),  # Click's test runner
    "pprint": ("pformat",),
    "priority": (),  # HTTP/2
    "prometheus_client": (),  # all its parts, among them an HTTP server
    "prometheus_client.mmap_dict": ("MmapedDict", "mmap_key"),
    "quart.testing.client": ("QuartClient",),
    "shlex": (),
    "shutil": (),
    "tempfile": ("SpooledTemporaryFile", "TemporaryFile"),
    "textwrap": (),
    "tomllib": (),  # files with Hypercorn's settings
    "urllib.request": ("Request",),
    "werkzeug.sansio.multipart": (  # forms
        *("Data", "Epilogue", "Field", "File", "NeedData", "Preamble"),
        *("MultipartDecoder", "MultipartEncoder"),
    ),
    "werkzeug.serving": ("is_running_from_reloader", "run_simple"),  # a server for development
    "werkzeug.test": ("Client",),
    "zipfile": (),  # packages in archives
    "zoneinfo": (),  # and how Python was built
}


class _Later:
    """A function or class of a module that is loaded when this is called or made a base class."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _loaded(self) -> Any:
        module = import_module(self._module)
        loader = module.__dict__.get("__loader__")
        if isinstance(loader, _LaterLoader):
            loader.load(module)
        return getattr(module, self._name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._loaded()(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # `typing` asks whatever stands in an annotation
            raise AttributeError(name)
        return getattr(self._loaded(), name)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._loaded(),)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._loaded())


# Without the base class of `importlib.abc`, which loads modules for archives.
class _LaterLoader:
    """Fills a module when it is first asked for a name that is not one of `names`."""

    def __init__(self, loader: Loader, names: Collection[str]) -> None:
        self._loader = loader
        self._names = names
        self._lock = RLock()
        self._begun = False

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        def ask(name: str) -> Any:
            if name in self._names:
                return _Later(module.__name__, name)
            if name != "__path__" and not _is_part(module, name):
                self.load(module)
                if name in module.__dict__:
                    return module.__dict__[name]
                own = module.__dict__.get("__getattr__", ask)
                if own is not ask:
                    return own(name)
            # `from module import x` asks for __path__. `from package import part` imports the part
            # when the package does not have it.
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        self._ask = module.__dict__["__getattr__"] = ask

    def load(self, module: ModuleType) -> None:
        """Fill the module once, unless this thread does that just now.

        If that raises an error, it is attempted again at the next use.
        """
        with self._lock:
            if self._begun:
                return
            self._begun = True
            try:
                self._loader.exec_module(module)
            except BaseException:
                self._begun = False
                raise
            if module.__dict__.get("__getattr__") is self._ask:
                del module.__dict__["__getattr__"]
            module.__loader__ = self._loader
            if module.__spec__ is not None:
                module.__spec__.loader = self._loader


def _is_part(module: ModuleType, name: str) -> bool:
    folders = module.__dict__.get("__path__")
    if folders is None:
        return False
    return PathFinder.find_spec(f"{module.__name__}.{name}", folders) is not None


class _LaterFinder:
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in LATER:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _LaterLoader(spec.loader, LATER[fullname])  # type: ignore[assignment]
        return spec


def is_loaded(name: str) -> bool:
    """Whether a module is imported and was used."""
    module = sys.modules.get(name)
    return module is not None and not isinstance(vars(module).get("__loader__"), _LaterLoader)


def import_later() -> None:
    """Load the modules of LATER when they are used instead of when they are imported."""
    if not any(isinstance(finder, _LaterFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _LaterFinder())
