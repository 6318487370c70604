"""DevicePosts: what a device's post is answered, by whichever path it came."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from server.auth.device_keys import UNNAMED, DeviceKeys, KeyOfAnother, KeyRequired
from server.auth.principal import DEFAULT_TENANT, Principal
from server.clock import Clock
from server.control.batch_service import Answer, BatchService
from server.control.decision import Row
from server.control.posted import UNREADABLE, Posted, device_of, reading_of
from server.control.reading import NewReading, near_each_other
from server.control.relay_notices import RelayNotices
from server.control.views import OFF, Command
from server.errors import BasError, Unavailable
from server.metrics import Metrics
from server.routes.refusals import BATCH, SINGLE, OnRefused, Refusals
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.base import StoreUnavailable
from server.services.firestore.store_watch import WAIT_S

Body = Posted | BasError
"""A body that was read, or what is wrong with it."""


class RepeatKey(NamedTuple):
    """What the caller knows a request by, if it may come again; `ignored` if that is no key."""

    key: str | None = None
    ignored: bool = False


class Sender(NamedTuple):
    """Who sent a post: the device's key it came with, if any, else the session's user, or why that
    is nobody. `check_tenant` raises BasError if the request names another tenant than this.
    `address` is where it came from, as far as proxies that are trusted tell."""

    device_key: str | None = None
    caller: Principal | BasError | None = None
    check_tenant: Callable[[str], None] | None = None
    address: str = ""


NO_KEY, ANY_DEVICE = RepeatKey(), Sender()


class DevicePosts:
    """A device that speaks is answered with the safest command that its body allows.

    With its own key a device is known whatever its body says: what cannot be read is a fault then.
    Without one, what names nobody's relay is refused, which leaves its trace in `Refusals`.
    """

    def __init__(
        self,
        batches: BatchService,
        relays: RelayNotices,
        keys: DeviceKeys,
        audit: AuditStore,
        metrics: Metrics,
        clock: Clock,
        on_refused: OnRefused,
    ) -> None:
        self._batches = batches
        self._relays = relays
        self._keys = keys
        relays.know(keys.known_as)
        self._metrics = metrics
        self._clock = clock
        self._refusals = Refusals(audit, keys, metrics, clock, on_refused)

    async def one(
        self,
        sender: Sender,
        body: Body,
        repeat: RepeatKey = NO_KEY,
    ) -> Command:
        """The command for a post of one reading.

        Raises BasError where nobody knows whose relay it is, and Unavailable, with the command,
        where the reading of a caller who named a key is not stored.
        """
        try:
            named, reading = self._said(sender, body, repeat.key)
        except BasError as refusal:
            self._refused(SINGLE, sender, refusal)
            raise
        command = await self._commanded(sender, named, reading)
        if repeat.ignored or reading.key_ignored:
            command = msgspec.structs.replace(command, key="ignored")
        return command

    async def not_taken(self, sender: Sender, body: Body) -> None:
        """The answer to this post, which was accepted, did not come to its device."""
        try:
            named, _ = self._said(sender, body)
            caller = _known(sender.caller)
            found = await self._keys.identify(sender.device_key, named, caller, sender.address)
        except BasError:
            return  # nobody's
        await self._batches.not_heard(*found)

    async def many(
        self,
        sender: Sender,
        bodies: Sequence[Body] | BasError,
        repeat: RepeatKey,
    ) -> tuple[int, Answer]:
        """How many rows a batch has, and what came of them, each as a post of its own would be
        read. Raises BasError for what is no batch."""
        if isinstance(bodies, BasError):
            if not self._is_fault(sender.device_key, bodies):
                self._refused(BATCH, sender, bodies)
                raise bodies
            bodies = [bodies]
        near = near_each_other(repeat.key)
        errors: dict[int, BasError] = {}
        # Lists, and no tuple for each row: so many at once set off garbage collections.
        places: list[int] = []
        names: list[str | None] = []
        said: list[NewReading] = []
        for index, body in enumerate(bodies):
            # No header has a line break: it is nobody else's key.
            key = None if repeat.key is None else f"{repeat.key}\n{index}"
            try:
                name, reading = self._said(sender, body, key, near)
            except BasError as error:
                errors[index] = error
                continue
            places.append(index)
            names.append(name)
            said.append(reading)
        tenant_id, devices = await self._devices(sender, dict.fromkeys(names))
        off: dict[str, Command] = {}
        readings: dict[str, list[Row]] = {}
        ignored = {name for name, reading in zip(names, said, strict=True) if reading.key_ignored}
        for index, name, reading in zip(places, names, said, strict=True):
            device = devices[name]
            if not isinstance(device, BasError):
                readings.setdefault(device, []).append(Row(index, reading))
                continue
            errors[index] = device
            if isinstance(device, StoreUnavailable):  # it is not remembered
                off[name or UNNAMED] = self._off(sender, name)
        answer = await self._batches.accept(tenant_id, readings)
        errors |= answer.errors
        if errors:
            self._tell(sender, tenant_id, dict(zip(places, names, strict=True)), devices, errors)
        commands = off | answer.commands
        caller = None if isinstance(sender.caller, BasError) else sender.caller
        obeyed = {
            name: device
            for name, device in devices.items()
            if not isinstance(device, BasError) and device in commands
        }
        stored = {name: device for name, device in obeyed.items() if commands[device].stored}
        self._keys.admitted(sender.device_key, caller, tenant_id, stored)
        for name in ignored & obeyed.keys():
            device = obeyed[name]
            commands[device] = msgspec.structs.replace(commands[device], key="ignored")
        return len(bodies), Answer(commands, errors)

    async def close(self, timeout_s: float) -> None:
        """Wait for what is still to be kept about refusals, so long at most."""
        await self._refusals.close(timeout_s)

    async def turn(self) -> None:
        """Return when no other batch is at work, which comes before a batch is read."""
        await self._batches.turn()

    def _tell(
        self,
        sender: Sender,
        tenant_id: str,
        names: Mapping[int, str | None],
        devices: Mapping[str | None, str | BasError],
        errors: Mapping[int, BasError],
    ) -> None:
        """Tell what was refused of a batch: not a row whose device is answered all the same."""
        for index, refusal in errors.items():
            if isinstance(refusal, Unavailable):
                continue
            device = devices[names[index]] if index in names else None
            if isinstance(device, str):
                self._refusals.refused(BATCH, refusal, sender.address, tenant_id, [device])
            else:
                self._refused(BATCH, sender, refusal, [names[index]] if index in names else [])

    def _refused(
        self, route: str, sender: Sender, refusal: BasError, names: Collection[str | None] = ()
    ) -> None:
        """Tell of a refusal before anyone knew whose the devices of these names are."""
        # Who posts without a name and without a key is that device.
        nobody = UNNAMED if isinstance(refusal, KeyRequired) else None
        named = [device for name in names if (device := name or nobody)]
        caller = sender.caller
        tenant_id = caller.tenant_id if isinstance(caller, Principal) else DEFAULT_TENANT
        if isinstance(refusal, KeyOfAnother):
            tenant_id = refusal.tenant_id
        self._refusals.refused(route, refusal, sender.address, tenant_id, named)

    async def _commanded(self, sender: Sender, named: str | None, reading: NewReading) -> Command:
        began = self._clock.monotonic()
        try:
            caller = _known(sender.caller)
            tenant_id, device_id = await self._keys.identify(
                sender.device_key, named, caller, sender.address
            )
        except StoreUnavailable as error:  # of a device that is not remembered
            command = self._off(sender, named)
            if reading.key is None:
                return command
            self._refused(SINGLE, sender, error, [named])
            raise error.with_more(command) from error
        except BasError as refusal:
            self._refused(SINGLE, sender, refusal, [named])
            raise
        try:
            _check(sender, tenant_id)
            wait_s = WAIT_S - (self._clock.monotonic() - began)
            command = await self._batches.accept_one(tenant_id, device_id, reading, wait_s)
        except BasError as refusal:
            self._refusals.refused(SINGLE, refusal, sender.address, tenant_id, [device_id])
            raise
        if command.stored:
            self._keys.admitted(sender.device_key, caller, tenant_id, {named: device_id})
        return command

    async def _devices(
        self, sender: Sender, named: Collection[str | None]
    ) -> tuple[str, dict[str | None, str | BasError]]:
        try:
            caller = _known(sender.caller)
            key = sender.device_key
            found = await self._keys.identify_many(key, named, caller, sender.address)
        except StoreUnavailable as error:
            return "", dict.fromkeys(named, error)
        except BasError as refusal:
            self._refused(BATCH, sender, refusal, named)
            raise
        tenant_id, devices = found
        try:
            _check(sender, tenant_id)
        except BasError as refusal:
            own = list({one: None for one in devices.values() if isinstance(one, str)})
            self._refusals.refused(BATCH, refusal, sender.address, tenant_id, own)
            raise
        return found

    def _off(self, sender: Sender, named: str | None) -> Command:
        """What a device is told while nobody can know whose it is. Another process may."""
        self._metrics.readings_unstored.inc()
        if not isinstance(sender.caller, BasError):
            self._relays.told_off(self._keys.told_as(sender.device_key, named, sender.caller))
        return OFF

    def _is_fault(self, device_key: str | None, error: BasError) -> bool:
        """Whether a body that cannot be read is a fault of the device whose key came with it."""
        return error.code != "NO_DATA" and self._keys.names_device(device_key)

    def _said(
        self, sender: Sender, body: Body, key: str | None = None, near: str = ""
    ) -> tuple[str | None, NewReading]:
        """Which device a body names, and its reading. Raises BasError for what cannot be read."""
        try:
            if isinstance(body, BasError):
                raise body
            return device_of(body), reading_of(body, key, near, sender.address)
        except BasError as error:
            if not self._is_fault(sender.device_key, error):
                raise
            return None, msgspec.structs.replace(UNREADABLE, key=key, near=near)


def _known(caller: Principal | BasError | None) -> Principal | None:
    if isinstance(caller, BasError):
        raise caller
    return caller


def _check(sender: Sender, tenant_id: str) -> None:
    """Raise BasError if the request names another tenant than its key's, "" where none is known."""
    if tenant_id and sender.device_key and sender.check_tenant is not None:
        sender.check_tenant(tenant_id)
