"""While the store is away, a device is admitted or refused as at its last post."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from server.auth import device_keys
from server.auth.device_keys import DeviceKeys, KeyRequired
from server.auth.sessions import digest
from server.auth.wrong_keys import WrongKeys
from server.common.errors import Unauthenticated
from server.services.ports.documents import StoreBusy, StoreUnavailable
from tests.support.clock import ManualClock
from tests.support.http import Caller, lose_store, reading, served

T = "default"
AWAY = StoreUnavailable(message="gone")


def device(name, key_digest=""):
    return SimpleNamespace(
        tenant_id=T, device_id=name, key_digest=key_digest, needs_key=bool(key_digest)
    )


class Devices:
    """Two devices, of which `lab` has the key "secret"; every call fails while `error` is set."""

    def __init__(self):
        self.error = None
        self.known = {
            "lab": device("lab", digest("secret")),
            "attic": device("attic"),
        }

    def _check(self):
        if self.error is not None:
            raise self.error

    async def get_device(self, tenant_id, device_id, fresh):
        self._check()
        return self.known.get(device_id)

    async def get_devices(self, tenant_id, device_ids, fresh):
        self._check()
        return {name: self.known[name] for name in device_ids if name in self.known}

    async def get(self, key_digest, fresh):
        self._check()
        found = (one for one in self.known.values() if one.key_digest == key_digest)
        return next(found, None)


class Uses:
    def note(self, key):
        pass


class Watch:
    error = None

    def lose(self, error):
        self.error = error

    def waiting(self, wait_s):
        return nullcontext()


class Rig:
    def __init__(self, mode="optional"):
        self.devices, self.watch = Devices(), Watch()
        self.keys = DeviceKeys(
            self.devices, self.devices, mode, self.watch, WrongKeys(ManualClock()), Uses()
        )

    async def stored(self, key, name):
        """A post with this key and name, whose reading was stored."""
        found = await self.keys.identify(key, name, None)
        self.keys.admitted(key, None, found[0], {name: found[1]})
        return found

    def lose(self):
        self.devices.error = self.watch.error = AWAY


@pytest.fixture
def rig():
    return Rig()


def codes(found):
    """For each name of a batch its device, or the code of the error."""
    return {name: one if isinstance(one, str) else one.code for name, one in found[1].items()}


POSTS = [("secret", "lab"), ("secret", None), (None, "attic"), (None, "new"), (None, None)]


@pytest.mark.parametrize(("key", "name"), POSTS)
async def test_a_device_whose_reading_was_stored_is_admitted_as_before(rig, key, name):
    found = await rig.stored(key, name)
    rig.lose()
    assert await rig.keys.identify(key, name, None) == found
    assert await rig.keys.identify_many(key, [name], None) == (T, {name: found[1]})


@pytest.mark.parametrize(("key", "name"), POSTS)
async def test_a_device_whose_reading_was_never_stored_is_unknown(rig, key, name):
    await rig.keys.identify(key, name, None)
    rig.lose()
    with pytest.raises(StoreUnavailable):
        await rig.keys.identify(key, name, None)
    assert codes(await rig.keys.identify_many(key, [name], None)) == {name: "STORE_UNAVAILABLE"}


async def test_a_device_that_was_refused_before_is_refused(rig):
    with pytest.raises(KeyRequired):
        await rig.stored(None, "lab")
    rig.lose()
    with pytest.raises(KeyRequired):
        await rig.keys.identify(None, "lab", None)


async def test_a_device_that_was_admitted_and_later_needed_a_key_is_refused(rig):
    await rig.stored(None, "attic")
    rig.devices.known["attic"] = device("attic", digest("new"))
    with pytest.raises(KeyRequired):
        await rig.stored(None, "attic")
    rig.lose()
    with pytest.raises(KeyRequired):
        await rig.keys.identify(None, "attic", None)


@pytest.mark.parametrize(("key", "name"), [("wrong", "lab"), (None, "lab"), ("secret", "attic")])
async def test_a_device_that_was_admitted_with_its_key_is_not_admitted_otherwise(rig, key, name):
    await rig.stored("secret", "lab")
    rig.lose()
    with pytest.raises(StoreUnavailable):
        await rig.keys.identify(key, name, None)


async def test_device_auth_required_refuses_a_post_without_a_key_also_without_the_store():
    rig = Rig("required")
    found = await rig.stored("secret", "lab")
    rig.lose()
    for name in ("lab", "new", None):
        with pytest.raises(KeyRequired):
            await rig.keys.identify(None, name, None)
    assert await rig.keys.identify("secret", "lab", None) == found


async def test_each_device_of_a_batch_is_admitted_or_unknown_by_itself(rig):
    await rig.stored(None, "attic")
    rig.lose()
    found = await rig.keys.identify_many(None, ["attic", "new"], None)
    assert found[0] == T
    assert codes(found) == {"attic": "attic", "new": "STORE_UNAVAILABLE"}


@pytest.mark.parametrize("many", [False, True])
async def test_a_store_that_does_not_answer_is_marked_away_and_memory_answers_at_once(rig, many):
    found = await rig.stored(None, "attic")
    rig.devices.error = AWAY
    if many:
        assert await rig.keys.identify_many(None, ["attic"], None) == (T, {"attic": "attic"})
    else:
        assert await rig.keys.identify(None, "attic", None) == found
    assert rig.watch.error is AWAY


@pytest.mark.parametrize("many", [False, True])
async def test_a_store_with_too_many_waiting_calls_is_not_marked_away(rig, many):
    found = await rig.stored(None, "attic")
    rig.devices.error = StoreBusy()
    if many:
        assert await rig.keys.identify_many(None, ["attic"], None) == (T, {"attic": "attic"})
    else:
        assert await rig.keys.identify(None, "attic", None) == found
    assert rig.watch.error is None


async def test_the_number_of_remembered_devices_is_bounded(rig, monkeypatch):
    monkeypatch.setattr(device_keys, "REMEMBERED_MAX", 2)
    for name in ("a", "b", "c"):
        await rig.stored(None, name)
    rig.lose()
    with pytest.raises(StoreUnavailable):
        await rig.keys.identify(None, "a", None)
    assert [(await rig.keys.identify(None, name, None))[1] for name in "bc"] == ["b", "c"]


async def test_a_wrong_key_is_never_remembered(rig):
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await rig.stored("wrong", "lab")
    assert rig.keys._last == {}


@pytest.mark.parametrize("path", ["/api/sensor_data", "/api/sensor_data/batch"])
@pytest.mark.parametrize("tenant", [{}, {"X-BAS-Tenant": "elsewhere"}])
async def test_the_relays_of_an_unknown_device_are_off_whatever_tenant_the_post_names(
    config, clock, path, tenant
):
    async with served(config, clock) as container:
        key = await container.base.admin.register_device("elsewhere", "lab")
        await lose_store(container)
        body = reading(300)
        for _ in range(2):  # the first post finds the store away
            answer = await Caller(container.app).post(
                path,
                [body] if path.endswith("batch") else body,
                headers={"X-Device-Key": key} | tenant,
            )
            command = answer.json()
            command = command["commands"][0] if path.endswith("batch") else command
            assert (answer.status, command["stored"]) == (200, False)
            assert (command["cool_active"], command["heat_active"]) == (False, False)


@pytest.mark.parametrize("path", ["/api/sensor_data", "/api/sensor_data/batch"])
async def test_a_store_that_hangs_while_the_key_is_looked_up_is_lost_and_memory_answers(
    config, clock, monkeypatch, path
):
    monkeypatch.setattr(device_keys, "WAIT_S", 0.1)

    async def hang(*arguments, **named):
        await asyncio.Event().wait()

    async with served(config, clock) as container:
        key = await container.base.admin.register_device(T, "lab")
        headers = {"X-Device-Key": key}
        body = [reading(300)] if path.endswith("batch") else reading(300)
        device = Caller(container.app)
        assert (await device.post(path, body, headers=headers)).status == 200
        monkeypatch.setattr(container.base.auth.keys._keys, "get", hang)
        answer = await device.post(path, body, headers=headers)
        command = answer.json()
        command = command["commands"][0] if path.endswith("batch") else command
        assert (answer.status, command["stored"], command["heat_active"]) == (200, False, True)
        assert container.base.stores.watch.error is not None
