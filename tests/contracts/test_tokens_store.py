"""TokensStore on each DocumentClient: names, links that open once, revoked tokens."""

from __future__ import annotations

import asyncio

import pytest

from server.common.errors import BasError
from server.services.firestore.models import ApiToken
from server.services.firestore.tokens_store import NoSuchToken, TokenExists, TokensStore
from server.services.ports.documents import Create, DocumentClient, VersionConflict


@pytest.fixture
def store(client: DocumentClient) -> TokensStore:
    return TokensStore(client, client)


def token(name: str, digest: str, tenant_id: str = "here", **about: object) -> ApiToken:
    fields: dict[str, object] = {"role": "operator", **about}
    return ApiToken(digest=digest, name=name, tenant_id=tenant_id, **fields)  # type: ignore[arg-type]


def entry(number: int) -> Create:
    return Create("audit_log", f"entry{number}", {"tenant_id": "here"})


async def test_a_token_is_found_by_its_digest_and_listed_by_tenant_and_name(
    store: TokensStore, client: DocumentClient
) -> None:
    made = [
        token("pump", "d1", zones=["attic", "lab"], created_at=5, expires_at=9, created_by="ada"),
        token("grafana", "d2", role="read-only"),
        token("grafana", "d3", "there"),
    ]
    for number, one in enumerate(made):
        await store.create(one, entry(number))
    assert await store.get("d1") == await store.get("d1", fresh=True) == made[0]
    assert await store.get("d9") is None
    assert await store.get_many(["d2", "d9"]) == {"d2": made[1]}
    assert await store.list_tokens("here") == [made[1], made[0]]
    assert await store.list_tokens() == [made[1], made[0], made[2]]
    assert await client.get("audit_log", "entry2") is not None


async def test_a_name_is_taken_in_its_tenant_until_its_token_is_revoked(
    store: TokensStore, client: DocumentClient
) -> None:
    await store.create(token("pump", "d1"), entry(1))
    with pytest.raises(TokenExists):
        await store.create(token("pump", "d2"), entry(2))
    assert await store.get("d2", fresh=True) is None
    assert await client.get("audit_log", "entry2") is None
    await store.create(token("pump", "d3", "there"), entry(3))
    await store.revoke("here", "pump", 7, 70, entry(4))
    await store.create(token("pump", "d2"), entry(5))
    assert [one.digest for one in await store.list_tokens("here")] == ["d2"]


async def test_a_revoked_token_is_still_known_as_revoked_and_is_listed_no_more(
    store: TokensStore,
) -> None:
    await store.create(token("pump", "d1"), entry(1))
    revoked = await store.revoke("here", "pump", 7, 70, entry(2))
    assert (revoked.name, revoked.revoked_at, revoked.expire_at) == ("pump", 7, 70)
    assert await store.get("d1", fresh=True) == revoked
    assert await store.list_tokens() == []
    for tenant_id in ("here", "there"):
        with pytest.raises(NoSuchToken):
            await store.revoke(tenant_id, "pump", 8, 80, entry(3))


async def test_the_last_use_of_a_token_is_kept_and_that_of_none_is_refused(
    store: TokensStore,
) -> None:
    await store.create(token("pump", "d1"), entry(1))
    await store.set_last_used("d1", 12_345)
    (found,) = await store.list_tokens()
    assert found.last_used == 12_345
    with pytest.raises(VersionConflict):
        await store.set_last_used("d2", 12_345)


async def test_of_many_simultaneous_openings_of_a_link_one_succeeds(store: TokensStore) -> None:
    """OWASP ASVS 5.0, V6.5.1: a lookup secret or one-time link works once."""
    link = token("lobby", "link", kind="link", role="read-only")
    await store.create(link, entry(0))

    async def opening(number: int) -> str:
        try:
            return (await store.open_link(link, f"new{number}", entry(number))).digest
        except BasError as error:
            return error.code

    results = await asyncio.gather(*(opening(number) for number in range(1, 6)))
    (opened,) = [one for one in results if one != NoSuchToken.code]
    assert results.count(NoSuchToken.code) == 4
    (display,) = await store.list_tokens()
    assert (display.digest, display.name, display.kind) == (opened, "lobby", "display")
    assert await store.get("link", fresh=True) is None


async def test_a_link_that_was_revoked_does_not_open_and_an_opened_display_can_be_revoked(
    store: TokensStore,
) -> None:
    link = token("lobby", "link", kind="link", role="read-only")
    await store.create(link, entry(0))
    await store.revoke("here", "lobby", 1, 10, entry(1))
    with pytest.raises(NoSuchToken):
        await store.open_link(link, "new", entry(2))
    again = token("lobby", "link2", kind="link", role="read-only")
    await store.create(again, entry(3))
    await store.open_link(again, "cookie", entry(4))
    assert (await store.revoke("here", "lobby", 5, 50, entry(5))).digest == "cookie"
    assert await store.list_tokens() == []
