"""Checks a device's key, and finds out for which tenant and device a post speaks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy

import msgspec

from server.auth.key_uses import KeyUses
from server.auth.principal import DEFAULT_TENANT, Principal
from server.auth.sessions import digest
from server.auth.wrong_keys import WrongKeys
from server.common.errors import BasError, Forbidden, RateLimited, Unauthenticated
from server.services.firestore.device_keys_store import DeviceKeysStore
from server.services.firestore.devices_store import DevicesStore
from server.services.firestore.models import DeviceKey
from server.services.firestore.store_watch import WAIT_S, StoreWatch
from server.services.ports.documents import StoreBusy, StoreUnavailable

UNNAMED = "unknown"
# Devices for which it is known whether they were admitted last; about 300 bytes each.
REMEMBERED_MAX = 20_000
KEY_MAX = 256


_Sender = tuple[str, str | None, str]
"""A key's digest, the device that was named, and the caller's tenant."""

_Identified = dict[str | None, str | BasError]
"""For each name in a post, its device, or why the post does not speak for it."""


class WrongKey(Unauthenticated):
    """No device has this key now."""

    error = "Invalid device key"
    code = "INVALID_DEVICE_KEY"


class KeyOfAnother(Forbidden):
    """The post names another device than `owner` of `tenant_id`, to which the key belongs."""

    error = "Key of another device"
    code = "DEVICE_MISMATCH"

    def __init__(self, tenant_id: str, owner: str) -> None:
        super().__init__()
        self.tenant_id = tenant_id
        self.owner = owner


class KeyRequired(Unauthenticated):
    """The device must present a key."""

    error = "Device key required"
    code = "DEVICE_KEY_REQUIRED"

    def __init__(self) -> None:
        super().__init__(message="send the key as Authorization: Bearer KEY or X-Device-Key")


class CertificateRequired(KeyRequired):
    """The device must show a client certificate, or present a key."""

    error = "Client certificate or device key required"

    def __init__(self) -> None:
        super().__init__()
        self.message = f"show a certificate that BAS_TLS_CLIENT_CA signed, or {self.message}"


class DeviceKeys:
    """Keys of devices: long random texts, of which only a digest is stored.

    The modes are optional (a device with a key must present it), required (every device must
    present one, unless the post comes with an API token) and off (keys are ignored).

    While the store is away, a device is admitted or refused as it was last. After too many wrong
    keys from one address, further wrong ones raise RateLimited; a right key never does.
    """

    def __init__(
        self,
        devices: DevicesStore,
        keys: DeviceKeysStore,
        mode: str,
        watch: StoreWatch,
        wrong_keys: WrongKeys,
        uses: KeyUses,
    ) -> None:
        self._devices = devices
        self._keys = keys
        self._note_use = uses.note
        self._mode = mode
        self._watch = watch
        self._wrong_keys = wrong_keys
        self._last: dict[_Sender, tuple[str, str] | BasError] = {}

    def names_device(self, key: str | None) -> bool:
        """Whether a post with this key, if the key is right, comes from the key's device."""
        return bool(key) and self._mode != "off"

    async def identify(
        self, key: str | None, device_id: str | None, caller: Principal | None, address: str = ""
    ) -> tuple[str, str]:
        """The tenant and device of a post with this key, device name and caller.

        Without a key, a device belongs to the caller's tenant, or to the default one. Raises
        Unauthenticated for a wrong or missing key, RateLimited after too many wrong keys from this
        address, Forbidden for a key of another device or a caller who may not speak for devices,
        and StoreUnavailable if the store is away, or has not answered for WAIT_S, and the device is
        not in memory.
        """
        if self._watch.error is not None:
            return self._last_result(_sender_of(key, device_id, caller), caller, self._watch.error)
        try:
            with self._watch.waiting(WAIT_S):
                return await self._identified(key, device_id, caller, address)
        except StoreUnavailable as error:
            self._lose(error)
            return self._last_result(_sender_of(key, device_id, caller), caller, error)
        except BasError as refusal:
            sender = _sender_of(key, device_id, caller)
            keyed = self._mode == "optional" and isinstance(refusal, KeyRequired)
            # Strangers are not kept in memory; a key that was replaced is refused from now on. One
            # without a key must not displace a caller whose token stands in for it.
            known = sender in self._last and (key or not self._always_asks(caller))
            if keyed or known:
                self._remember(sender, copy(refusal))
            self._count(refusal, address)
            raise

    def presumed(
        self, key: str | None, device_id: str | None, caller: Principal | None
    ) -> tuple[str, str] | None:
        """The tenant and device of a post without a key, if the device has none, which is not read.

        None: `identify` must decide, because a key came or is known to be missing, the store is
        away, or the caller may not speak for devices.
        """
        if key or self._mode != "optional" or self._watch.error is not None:
            return None
        if caller is not None and not caller.may("operator"):
            return None
        if isinstance(self._last.get(_sender_of(key, device_id, caller)), BasError):
            return None
        return _tenant_of(caller), device_id or UNNAMED

    async def _identified(
        self, key: str | None, device_id: str | None, caller: Principal | None, address: str
    ) -> tuple[str, str]:
        if key and self._mode != "off":
            device = await self._by_key(key, (device_id,), caller, address)
            if device_id is not None and device_id != device.device_id:
                raise KeyOfAnother(device.tenant_id, device.device_id)
            return device.tenant_id, device.device_id
        tenant_id = _tenant_of(caller)
        device_id = device_id or UNNAMED
        if self._always_asks(caller) or (
            self._mode != "off" and await self.has_key(tenant_id, device_id)
        ):
            raise KeyRequired
        return tenant_id, device_id

    async def identify_many(
        self,
        key: str | None,
        named: Collection[str | None],
        caller: Principal | None,
        address: str = "",
    ) -> tuple[str, _Identified]:
        """Like `identify`, for one post that names several devices: its tenant, and each device.

        For each name the result has the device, or why the post does not speak for it.

        Raises errors that apply to every name: Unauthenticated or RateLimited for a wrong key,
        Unauthenticated for a missing one if every device must have one, and Forbidden for a caller
        who may not speak for devices.
        """
        if self._watch.error is not None:
            return self._last_results(key, named, caller, self._watch.error)
        try:
            with self._watch.waiting(WAIT_S):
                return await self._identified_many(key, named, caller, address)
        except StoreUnavailable as error:
            self._lose(error)
            return self._last_results(key, named, caller, error)
        except WrongKey as refusal:
            self._count(refusal, address)
            raise

    def _lose(self, error: StoreUnavailable) -> None:
        if not isinstance(error, StoreBusy):
            self._watch.lose(error)

    def _last_results(
        self,
        key: str | None,
        named: Collection[str | None],
        caller: Principal | None,
        error: StoreUnavailable,
    ) -> tuple[str, _Identified]:
        """Each device as it was admitted last; unknown ones get StoreUnavailable."""
        if not key and self._always_asks(caller):
            raise KeyRequired
        tenant_id = ""
        answer: _Identified = {}
        for name in named:
            last = self._last.get(_sender_of(key, name, caller), error)
            if isinstance(last, BasError):
                answer[name] = last
            else:
                tenant_id, answer[name] = last
        return tenant_id, answer

    def admitted(
        self,
        key: str | None,
        caller: Principal | None,
        tenant_id: str,
        devices: Mapping[str | None, str],
    ) -> None:
        """Remember that readings of this post were stored; `devices` maps each name to its device.

        Called only after they were stored: otherwise invented devices would push out real ones.
        """
        key_digest, of_tenant = digest(key) if key else "", _tenant_of(caller)
        for name, device_id in devices.items():
            self._remember((key_digest, name, of_tenant), (tenant_id, device_id))

    def sender_text(self, key: str | None, device_id: str | None, caller: Principal | None) -> str:
        """A text that identifies this post's sender to another process."""
        return msgspec.json.encode(_sender_of(key, device_id, caller)).decode()

    def device_of_sender(self, text: str) -> tuple[str, str] | None:
        """The tenant and device for a text of `sender_text`, if they were admitted last."""
        found = self._last.get(msgspec.json.decode(text, type=_Sender))
        return None if isinstance(found, BasError) else found

    def _always_asks(self, caller: Principal | None) -> bool:
        """Whether a post without a key is refused for any device; a token stands in for a key."""
        return self._mode == "required" and (caller is None or caller.token is None)

    def _last_result(
        self, sender: _Sender, caller: Principal | None, error: StoreUnavailable
    ) -> tuple[str, str]:
        if not sender[0] and self._always_asks(caller):
            raise KeyRequired
        last = self._last.get(sender, error)
        if isinstance(last, BasError):
            raise copy(last)
        return last

    def _remember(self, sender: _Sender, found: tuple[str, str] | BasError) -> None:
        known = self._last.get(sender)
        if known is None:
            if len(self._last) >= REMEMBERED_MAX:
                del self._last[next(iter(self._last))]
            self._last[sender] = found
        elif known != found:
            self._last[sender] = found

    async def _identified_many(
        self,
        key: str | None,
        named: Collection[str | None],
        caller: Principal | None,
        address: str,
    ) -> tuple[str, _Identified]:
        if key and self._mode != "off":
            device = await self._by_key(key, named, caller, address)
            return device.tenant_id, _of_its_key(device, named)
        tenant_id = _tenant_of(caller)
        if self._always_asks(caller):
            raise KeyRequired
        device_ids = {name: name or UNNAMED for name in named}
        keyed = set[str]()
        if self._mode != "off":
            keyed = await self._with_key(tenant_id, set(device_ids.values()))
        return tenant_id, {
            name: KeyRequired() if device_id in keyed else device_id
            for name, device_id in device_ids.items()
        }

    async def _with_key(self, tenant_id: str, device_ids: set[str]) -> set[str]:
        """Those of the devices that have a key. Raises StoreUnavailable."""
        for fresh in (False, True):  # only a fresh document may refuse
            found = await self._devices.get_devices(tenant_id, list(device_ids), fresh=fresh)
            device_ids = {name for name, device in found.items() if device.needs_key}
        return device_ids

    async def _by_key(
        self, key: str, named: Collection[str | None], caller: Principal | None, address: str
    ) -> DeviceKey:
        found = None
        if len(key) <= KEY_MAX:
            key_digest = digest(key)
            if not self._wrong_keys.limited(address) or self._knows(key_digest, named, caller):
                found = await self._keys.get(key_digest, fresh=False)
                if found is None:  # only a fresh document may refuse
                    found = await self._keys.get(key_digest, fresh=True)
            else:
                async with self._wrong_keys.turn(address):
                    self._watch.raise_if_away()  # the store may have been lost during the wait
                    found = await self._keys.get(key_digest, fresh=True)
        if found is None:
            raise WrongKey
        self._note_use(found)
        return found

    def _knows(
        self, key_digest: str, named: Collection[str | None], caller: Principal | None
    ) -> bool:
        """Whether such a post came with this key before and the key was right."""
        of_tenant = _tenant_of(caller)
        return any(isinstance(self._last.get((key_digest, one, of_tenant)), tuple) for one in named)

    def _count(self, refusal: BasError, address: str) -> None:
        """Raise RateLimited instead of the refusal after too many wrong keys."""
        if isinstance(refusal, WrongKey) and (wait_s := self._wrong_keys.count(address)):
            raise RateLimited(wait_s) from refusal

    async def has_key(self, tenant_id: str, device_id: str) -> bool:
        """Whether this device has a key. Raises StoreUnavailable."""
        for fresh in (False, True):
            device = await self._devices.get_device(tenant_id, device_id, fresh=fresh)
            if device is None or not device.needs_key:
                return False
        return True


def _sender_of(key: str | None, device_id: str | None, caller: Principal | None) -> _Sender:
    return digest(key) if key else "", device_id, _tenant_of(caller)


def _of_its_key(device: DeviceKey, named: Collection[str | None]) -> _Identified:
    """The device for each name in a post with this device's key; the post need not name it."""
    own = device.device_id
    return {
        name: own if name in {None, own} else KeyOfAnother(device.tenant_id, own) for name in named
    }


def _tenant_of(caller: Principal | None) -> str:
    """The tenant for whose devices a caller without a device key speaks. Raises Forbidden."""
    if caller is not None and not caller.may("operator"):
        raise Forbidden(message=f"{caller.role} role cannot perform this action")
    return caller.tenant_id if caller else DEFAULT_TENANT
