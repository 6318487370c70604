"""Answers a device's post, by whichever path it came."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from server.auth.device_keys import (
    UNNAMED,
    CertificateRequired,
    DeviceKeys,
    KeyOfAnother,
    KeyRequired,
)
from server.auth.principal import DEFAULT_TENANT, Principal
from server.common.clock import Clock
from server.common.errors import BasError, Unavailable
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.control.batch import Newcomers, all_may
from server.control.batch_service import BatchResult, BatchService
from server.control.factory import Control
from server.control.messages import OFF, Command
from server.control.outage.relay_notices import RelayNotices
from server.control.rules.decision import PostedRow
from server.control.rules.posted_body import UNREADABLE, device_of, reading_of
from server.control.rules.reading import NewReading, near_each_other
from server.routes.post_limits import Limited, PostLimits
from server.routes.refusals import BATCH, SINGLE, OnRefused, Refusals
from server.routes.sender import NO_KEY, Body, RepeatKey, Sender, check_tenant, known_caller
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.store_watch import WAIT_S
from server.services.ports.documents import DemandUnmet, StoreUnavailable


class DevicePosts:
    """Answers each device with the safest command that its body allows.

    A device with its own key is identified whatever its body says, so an unreadable body is a fault
    of that device. Without a key, a body that names no known device's relay is refused; `Refusals`
    records that.
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
        limits: PostLimits | None = None,
    ) -> None:
        self._limits = limits
        self._batches = batches
        self._relays = relays
        self._keys = keys
        relays.set_device_finder(keys.device_of_sender)
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

        Raises BasError if the device cannot be identified, and Unavailable, with the command, if a
        reading with a key is not stored.
        """
        try:
            named, reading = self._parse(sender, body, repeat.key)
        except BasError as refusal:
            self._refused(SINGLE, sender, refusal)
            raise
        command = await self._commanded(sender, named, reading)
        if repeat.ignored or reading.key_ignored:
            command = msgspec.structs.replace(command, key="ignored")
        return command

    async def answer_lost(self, sender: Sender, body: Body) -> None:
        """Note that the answer to this accepted post did not reach its device."""
        try:
            named, _ = self._parse(sender, body)
            caller = known_caller(sender.caller)
            found = await self._keys.identify(sender.device_key, named, caller, sender.address)
        except BasError:
            return  # not a device's post
        await self._batches.answer_lost(*found)

    async def many(
        self,
        sender: Sender,
        bodies: Sequence[Body] | BasError,
        repeat: RepeatKey,
    ) -> tuple[int, BatchResult]:
        """The number of rows in a batch, and the results; each row is read like a single post.

        Raises BasError if the body is no batch.
        """
        if isinstance(bodies, BasError):
            if not self._is_fault(sender.device_key, bodies):
                self._refused(BATCH, sender, bodies)
                raise bodies
            bodies = [bodies]
        near = near_each_other(repeat.key)
        errors: dict[int, BasError] = {}
        # Lists, since a tuple for each row sets off garbage collections.
        indexes: list[int] = []
        names: list[str | None] = []
        parsed: list[NewReading] = []
        for index, body in enumerate(bodies):
            # No header has a line break, so no other caller's key equals this one.
            key = None if repeat.key is None else f"{repeat.key}\n{index}"
            try:
                name, reading = self._parse(sender, body, key, near)
            except BasError as error:
                errors[index] = error
                continue
            indexes.append(index)
            names.append(name)
            parsed.append(reading)
        tenant_id, devices = await self._devices(sender, dict.fromkeys(names))
        off: dict[str, Command] = {}
        readings: dict[str, list[PostedRow]] = {}
        ignored = {name for name, reading in zip(names, parsed, strict=True) if reading.key_ignored}
        for index, name, reading in zip(indexes, names, parsed, strict=True):
            device = devices[name]
            if not isinstance(device, BasError):
                readings.setdefault(device, []).append(PostedRow(index, reading))
                continue
            errors[index] = device
            if isinstance(device, StoreUnavailable):  # the device is not in memory
                off[name or UNNAMED] = self._off(sender, name)
        _, newcomers = self._limited(sender)
        answer = await self._batches.accept(tenant_id, readings, newcomers)
        errors |= answer.errors
        if errors:
            self._record_refusals(
                sender, tenant_id, dict(zip(indexes, names, strict=True)), devices, errors
            )
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
        return len(bodies), BatchResult(commands, errors)

    async def close(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` for audit entries about refusals."""
        await self._refusals.close(timeout_s)

    async def turn(self) -> None:
        """Wait until the batches before this one are done, before a batch is read."""
        await self._batches.turn()

    def _record_refusals(
        self,
        sender: Sender,
        tenant_id: str,
        names: Mapping[int, str | None],
        devices: Mapping[str | None, str | BasError],
        errors: Mapping[int, BasError],
    ) -> None:
        """Record a batch's refused rows.

        Rows that the store could not take are left out: their devices get a command all the same.
        """
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
        """Record a refusal that came before the named devices were identified."""
        # A post without a name and without a key is from the device UNNAMED.
        nobody = UNNAMED if isinstance(refusal, KeyRequired) else None
        named = [device for name in names if (device := name or nobody)]
        caller = sender.caller
        tenant_id = caller.tenant_id if isinstance(caller, Principal) else DEFAULT_TENANT
        if isinstance(refusal, KeyOfAnother):
            tenant_id = refusal.tenant_id
        self._refusals.refused(route, refusal, sender.address, tenant_id, named)

    async def _keyless(
        self, sender: Sender, named: str | None, reading: NewReading, newcomers: Newcomers
    ) -> Command | bool:
        """The command for the post of a device without a key, of which the store makes sure.

        Otherwise whether the store may still take the reading, once the device is identified.
        """
        caller = sender.caller
        if reading.may_repeat or isinstance(caller, BasError) or not self._batches.checks_keys:
            return True
        if caller is None and not sender.certified:
            return True
        if caller is not None and not caller.sees(named or UNNAMED):
            return True
        found = self._keys.presumed(sender.device_key, named, caller)
        if found is None:
            return True
        try:
            command = await self._batches.accept_keyless(*found, reading, WAIT_S, newcomers)
        except DemandUnmet:
            return True
        except Unavailable:
            return False
        except BasError as refusal:
            self._refusals.refused(SINGLE, refusal, sender.address, found[0], [found[1]])
            raise
        self._keys.admitted(None, caller, found[0], {named: found[1]})
        return command

    async def _commanded(self, sender: Sender, named: str | None, reading: NewReading) -> Command:
        is_over, newcomers = self._limited(sender)
        keyless = is_over or await self._keyless(sender, named, reading, newcomers)
        if isinstance(keyless, Command):
            return keyless
        began = self._clock.monotonic()
        try:
            caller = known_caller(sender.caller)
            self._check_certificate(sender)
            tenant_id, device_id = await self._keys.identify(
                sender.device_key, named, caller, sender.address
            )
        except StoreUnavailable as error:  # the device is not in memory
            command = self._off(sender, named)
            if reading.key is None:
                return command
            self._refused(SINGLE, sender, error, [named])
            raise error.with_more(command) from error
        except BasError as refusal:
            self._refused(SINGLE, sender, refusal, [named])
            raise
        try:
            check_tenant(sender, tenant_id)
            if caller is not None:
                caller.check_zone(device_id)
            if not keyless:
                return self._batches.unstored(tenant_id, device_id, reading)
            wait_s = WAIT_S - (self._clock.monotonic() - began)
            if is_over and (in_force := self._in_force(tenant_id, device_id, reading)):
                return in_force
            command = await self._batches.accept_one(
                tenant_id, device_id, reading, wait_s, newcomers
            )
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
            caller = known_caller(sender.caller)
            self._check_certificate(sender)
            key = sender.device_key
            found = await self._keys.identify_many(key, named, caller, sender.address)
        except StoreUnavailable as error:
            return "", dict.fromkeys(named, error)
        except BasError as refusal:
            self._refused(BATCH, sender, refusal, named)
            raise
        tenant_id, devices = found
        try:
            check_tenant(sender, tenant_id)
        except BasError as refusal:
            own = list({one: None for one in devices.values() if isinstance(one, str)})
            self._refusals.refused(BATCH, refusal, sender.address, tenant_id, own)
            raise
        return tenant_id, devices if caller is None else caller.seen(devices)

    def _check_certificate(self, sender: Sender) -> None:
        """Raise CertificateRequired if nothing shows that the sender belongs to this site."""
        if sender.certified or sender.caller is not None:
            return
        if not self._keys.names_device(sender.device_key):
            raise CertificateRequired

    def _off(self, sender: Sender, named: str | None) -> Command:
        """The command for a device that cannot be identified; another process may know it."""
        self._metrics.readings_unstored.inc()
        if not isinstance(sender.caller, BasError):
            # A device with a key need not name itself.
            device_id = named if sender.device_key else named or UNNAMED
            text = self._keys.sender_text(sender.device_key, named, sender.caller)
            self._relays.commanded_off(text, device_id)
        return OFF

    def _limited(self, sender: Sender) -> Limited:
        if self._limits is None:
            return False, all_may
        return self._limits.of(sender.address, sender.caller)

    def _in_force(self, tenant_id: str, device_id: str, new: NewReading) -> Command | None:
        """The answer to a post beyond the limit of its address, if it need not be handled."""
        return self._limits.answer(tenant_id, device_id, new) if self._limits else None

    def _is_fault(self, device_key: str | None, error: BasError) -> bool:
        """Whether an unreadable body is a fault of the device whose key came with it."""
        return error.code != "NO_DATA" and self._keys.names_device(device_key)

    def _parse(
        self, sender: Sender, body: Body, key: str | None = None, near: str = ""
    ) -> tuple[str | None, NewReading]:
        """The device that a body names, and its reading. Raises BasError if it cannot be read."""
        try:
            if isinstance(body, BasError):
                raise body
            return device_of(body), reading_of(body, key, near, sender.address)
        except BasError as error:
            if not self._is_fault(sender.device_key, error):
                raise
            return None, msgspec.structs.replace(UNREADABLE, key=key, near=near)


def device_posts(
    config: ServerConfig,
    control: Control,
    keys: DeviceKeys,
    audit: AuditStore,
    metrics: Metrics,
    clock: Clock,
) -> DevicePosts:
    """The DevicePosts of this control, with the limits of the settings."""
    deciding = control.batches, control.relays
    limits = PostLimits(config, control.post_limit, clock)
    refused = control.watch.refused
    return DevicePosts(*deciding, keys, audit, metrics, clock, refused, limits)
