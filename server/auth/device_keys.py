"""DeviceKeys: which tenant and device a post speaks for."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from copy import copy

import msgspec

from server.auth.principal import DEFAULT_TENANT, Principal
from server.auth.sessions import digest
from server.auth.wrong_keys import WrongKeys
from server.errors import BasError, Forbidden, RateLimited, Unauthenticated
from server.services.firestore.base import StoreBusy, StoreUnavailable
from server.services.firestore.devices_store import DevicesStore
from server.services.firestore.models import Device
from server.services.firestore.store_watch import StoreWatch

UNNAMED = "unknown"
# Devices of which it is remembered whether they were admitted; about 300 bytes each.
REMEMBERED_MAX = 20_000
KEY_MAX = 256


_Asked = tuple[str, str | None, str]
"""A key's digest, the device that was named, and the caller's tenant."""


class WrongKey(Unauthenticated):
    """No device has this key, or none has it any more."""

    error = "Invalid device key"
    code = "INVALID_DEVICE_KEY"


class KeyOfAnother(Forbidden):
    """The post names another device than its key is of: `owner`, of `tenant_id`."""

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
        super().__init__(message="send it as Authorization: Bearer KEY or X-Device-Key")


class DeviceKeys:
    """Keys of devices: long random texts, of which a digest is stored.

    `mode` optional: a device with a key must present it; required: every device must; off: keys
    are not looked at.

    While the store is away a device is admitted, or refused, as it was last. After too many wrong
    keys from an address more of them are RateLimited; a right one never is.
    """

    def __init__(
        self, devices: DevicesStore, mode: str, watch: StoreWatch, wrong_keys: WrongKeys
    ) -> None:
        self._devices = devices
        self._mode = mode
        self._watch = watch
        self._wrong_keys = wrong_keys
        self._last: dict[_Asked, tuple[str, str] | BasError] = {}

    async def issue(self, tenant_id: str, device_id: str) -> str:
        """Register the device with a new key, which replaces an earlier one, and is told once."""
        key = "bas_" + secrets.token_urlsafe(32)
        await self._devices.register_device(tenant_id, device_id, key_digest=digest(key))
        return key

    def names_device(self, key: str | None) -> bool:
        """Whether a post with this key, if it is right, is the key's device's."""
        return bool(key) and self._mode != "off"

    async def identify(
        self, key: str | None, device_id: str | None, caller: Principal | None, address: str = ""
    ) -> tuple[str, str]:
        """The tenant and device of a post with this key, naming this device, by this caller.

        Without a key a device belongs to the caller's tenant, or to the default one. Raises
        Unauthenticated for a wrong or missing key, RateLimited for one wrong key too many from this
        address, Forbidden for a key of another device or a caller who may not speak for devices,
        StoreUnavailable for a device that was never heard while the store is away.
        """
        if self._watch.error is not None:
            return self._as_last(_asked(key, device_id, caller), self._watch.error)
        try:
            return await self._identified(key, device_id, caller, address)
        except StoreUnavailable as error:
            self._lose(error)
            return self._as_last(_asked(key, device_id, caller), error)
        except BasError as refusal:
            asked = _asked(key, device_id, caller)
            keyed = self._mode == "optional" and isinstance(refusal, KeyRequired)
            # A stranger is not remembered; a key that was replaced is refused from now on.
            if keyed or asked in self._last:
                self._remember(asked, copy(refusal))
            self._count(refusal, address)
            raise

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
        if self._mode == "required" or (
            self._mode == "optional" and await self.has_key(tenant_id, device_id)
        ):
            raise KeyRequired
        return tenant_id, device_id

    async def identify_many(
        self,
        key: str | None,
        named: Collection[str | None],
        caller: Principal | None,
        address: str = "",
    ) -> tuple[str, dict[str | None, str | BasError]]:
        """As `identify`, of one post that names several devices: its tenant, and for each name the
        device or why this post does not speak for it.

        Raises what would be said of every name: Unauthenticated or RateLimited for a wrong key,
        Unauthenticated for none where every device must have one, Forbidden for a caller who may
        not speak for devices.
        """
        error = self._watch.error
        if error is None:
            try:
                return await self._identified_many(key, named, caller, address)
            except StoreUnavailable as lost:
                self._lose(lost)
                error = lost
            except WrongKey as refusal:
                self._count(refusal, address)
                raise
        return self._as_last_many(key, named, caller, error)

    def _lose(self, error: StoreUnavailable) -> None:
        if not isinstance(error, StoreBusy):
            self._watch.lose(error)

    def _as_last_many(
        self,
        key: str | None,
        named: Collection[str | None],
        caller: Principal | None,
        error: StoreUnavailable,
    ) -> tuple[str, dict[str | None, str | BasError]]:
        """Each as it was admitted last; those that were not are StoreUnavailable."""
        if self._mode == "required" and not key:
            raise KeyRequired
        tenant_id, answer = "", dict[str | None, str | BasError]()
        for name in named:
            last = self._last.get(_asked(key, name, caller), error)
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
        """Remember that readings of this post were stored, as this tenant's: under each name the
        device it stands for. Not before, or made-up devices would push out those that are there."""
        key_digest, of_tenant = digest(key) if key else "", _tenant_of(caller)
        for name, device_id in devices.items():
            self._remember((key_digest, name, of_tenant), (tenant_id, device_id))

    def told_as(self, key: str | None, device_id: str | None, caller: Principal | None) -> str:
        """A text by which another process knows whom this post speaks for."""
        return msgspec.json.encode(_asked(key, device_id, caller)).decode()

    def known_as(self, text: str) -> tuple[str, str] | None:
        """The tenant and device of such a post, if one was admitted last."""
        found = self._last.get(msgspec.json.decode(text, type=_Asked))
        return None if isinstance(found, BasError) else found

    def _as_last(self, asked: _Asked, error: StoreUnavailable) -> tuple[str, str]:
        if self._mode == "required" and not asked[0]:
            raise KeyRequired
        last = self._last.get(asked, error)
        if isinstance(last, BasError):
            raise copy(last)
        return last

    def _remember(self, asked: _Asked, found: tuple[str, str] | BasError) -> None:
        known = self._last.get(asked)
        if known is None:
            if len(self._last) >= REMEMBERED_MAX:
                del self._last[next(iter(self._last))]
            self._last[asked] = found
        elif known != found:
            self._last[asked] = found

    async def _identified_many(
        self,
        key: str | None,
        named: Collection[str | None],
        caller: Principal | None,
        address: str,
    ) -> tuple[str, dict[str | None, str | BasError]]:
        if key and self._mode != "off":
            device = await self._by_key(key, named, caller, address)
            tenant_id, own = device.tenant_id, device.device_id
            return tenant_id, {
                name: own if name in {None, own} else KeyOfAnother(tenant_id, own) for name in named
            }
        tenant_id = _tenant_of(caller)
        if self._mode == "required":
            raise KeyRequired
        answer: dict[str | None, str | BasError] = {name: name or UNNAMED for name in named}
        if self._mode == "optional":
            device_ids = list({name or UNNAMED for name in named})
            for fresh in (False, True):  # nobody is refused for what may have changed since
                found = await self._devices.get_devices(tenant_id, device_ids, fresh=fresh)
                device_ids = [name for name, device in found.items() if device.key_digest]
            keyed = set(device_ids)
            answer |= {name: KeyRequired() for name in named if (name or UNNAMED) in keyed}
        return tenant_id, answer

    async def _by_key(
        self, key: str, named: Collection[str | None], caller: Principal | None, address: str
    ) -> Device:
        device = None
        if len(key) <= KEY_MAX:
            key_digest = digest(key)
            if not self._wrong_keys.limited(address) or self._knows(key_digest, named, caller):
                device = await self._devices.get_device_by_key(key_digest, fresh=False)
                if device is None:  # nobody is refused for what may have changed since
                    device = await self._devices.get_device_by_key(key_digest, fresh=True)
            else:
                async with self._wrong_keys.turn(address):
                    self._watch.check_there()  # the store may have been lost during the wait
                    device = await self._devices.get_device_by_key(key_digest, fresh=True)
        if device is None:
            raise WrongKey
        return device

    def _knows(
        self, key_digest: str, named: Collection[str | None], caller: Principal | None
    ) -> bool:
        """Whether the key was right in such a post before, so that no stranger is asking."""
        of_tenant = _tenant_of(caller)
        return any(isinstance(self._last.get((key_digest, one, of_tenant)), tuple) for one in named)

    def _count(self, refusal: BasError, address: str) -> None:
        """Raise RateLimited instead of a wrong key if there were too many of them."""
        if isinstance(refusal, WrongKey) and (wait_s := self._wrong_keys.count(address)):
            raise RateLimited(wait_s) from refusal

    async def has_key(self, tenant_id: str, device_id: str) -> bool:
        """Whether this device has a key. Raises StoreUnavailable."""
        for fresh in (False, True):
            device = await self._devices.get_device(tenant_id, device_id, fresh=fresh)
            if device is None or not device.key_digest:
                return False
        return True


def _asked(key: str | None, device_id: str | None, caller: Principal | None) -> _Asked:
    return digest(key) if key else "", device_id, _tenant_of(caller)


def _tenant_of(caller: Principal | None) -> str:
    """Whose devices a caller without a device's key speaks for. Raises Forbidden."""
    if caller is not None and not caller.may("operator"):
        raise Forbidden(message=f"{caller.role} role cannot perform this action")
    return caller.tenant_id if caller else DEFAULT_TENANT
