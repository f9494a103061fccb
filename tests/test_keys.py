"""Keys over a real store: shown once, kept as digests, refused when disabled."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.errors import SetupError
from renga.keys import CACHE_SECONDS, Keys
from renga.store import Store, sqlite_url
from renga.workspaces import Workspaces

NOW = 1_800_000_000.0


@pytest.fixture
async def store(store_url: str):
    async with await Store.open(store_url) as store:
        yield store


def keys_of(store: Store, ticks: Callable[[], float] = lambda: 0.0) -> Keys:
    moments = itertools.count()
    return Keys(store, clock=lambda: NOW + next(moments), ticks=ticks)


async def test_a_key_resolves_to_its_workspace(store):
    keys = keys_of(store)
    made = await keys.create("laptop", "team")
    owner = await keys.resolve(made.plain)
    assert owner is not None
    assert (owner.workspace, owner.key_id) == ("team", made.key.key_id)
    assert made.plain.startswith("sk-renga-")
    assert made.plain.startswith(made.key.hint)


async def test_the_key_itself_is_not_kept(tmp_path):
    async with await Store.open(sqlite_url(tmp_path / "renga.db")) as store:
        made = await keys_of(store).create("laptop")
    secret = made.plain.removeprefix(made.key.hint).encode()
    files = [file.read_bytes() for file in tmp_path.iterdir()]
    assert any(made.key.hint.removeprefix("sk-renga-").encode() in content for content in files)
    assert not any(secret in content for content in files)


async def test_equal_entropy_is_the_only_way_to_equal_keys(store):
    keys = keys_of(store)
    made = [await keys.create("same name") for _ in range(20)]
    assert len({new.plain for new in made}) == len({new.key.key_id for new in made}) == 20


async def test_randomness_is_a_parameter(store, tmp_path):
    first = await Keys(store, clock=lambda: NOW, entropy=random.Random(5).randbytes).create("a")
    async with await Store.open(sqlite_url(tmp_path / "other.db")) as other:
        again = await Keys(other, clock=lambda: NOW, entropy=random.Random(5).randbytes).create("a")
    assert first == again


async def test_keys_are_listed_oldest_first_with_what_tells_them_apart(store):
    keys = keys_of(store)
    made = [await keys.create(name, "team") for name in ("b", "a")]
    listed = await keys.list()
    assert listed == [new.key for new in made]
    assert [key.created_at for key in listed] == [NOW, NOW + 1]
    assert not any(new.plain in repr(listed) for new in made)


async def test_a_disabled_key_is_refused_at_once(store):
    keys = keys_of(store)
    made = await keys.create("laptop")
    assert await keys.resolve(made.plain) is not None
    disabled = await keys.disable(made.key.key_id)
    assert disabled.disabled_at is not None
    assert await keys.resolve(made.plain) is None
    assert (await keys.disable(made.key.key_id)).disabled_at == disabled.disabled_at
    assert await keys.any_exist()


async def test_a_key_disabled_by_another_process_is_refused_within_the_stated_time(
    store, store_url
):
    now = 0.0
    here = keys_of(store, ticks=lambda: now)
    made = await here.create("laptop")
    assert await here.resolve(made.plain) is not None
    async with await Store.open(store_url) as elsewhere:
        await keys_of(elsewhere).disable(made.key.key_id)
    now = CACHE_SECONDS + 0.001
    assert await here.resolve(made.plain) is None


async def test_a_key_made_by_another_process_is_accepted_at_once(store, store_url):
    here = keys_of(store)
    assert not await here.any_exist()
    async with await Store.open(store_url) as elsewhere:
        made = await keys_of(elsewhere).create("laptop")
    assert await here.any_exist()
    assert await here.resolve(made.plain) is not None


async def test_a_disabled_key_can_be_enabled_and_an_archived_one_cannot(store):
    keys = keys_of(store)
    made = await keys.create("laptop")
    await keys.disable(made.key.key_id)
    assert (await keys.enable(made.key.key_id)).disabled_at is None
    assert await keys.resolve(made.plain) is not None
    await keys.archive(made.key.key_id)
    assert await keys.resolve(made.plain) is None
    with pytest.raises(SetupError, match="archived, which is for good"):
        await keys.enable(made.key.key_id)


async def test_a_key_is_refused_from_its_end_on(store):
    now = NOW
    keys = Keys(store, clock=lambda: now)
    made = await keys.create("laptop", expires_at=NOW + 60)
    now = NOW + 59.9
    assert await keys.resolve(made.plain) is not None
    now = NOW + 60
    assert await keys.resolve(made.plain) is None
    assert [key.status(now) for key in await keys.list()] == ["expired"]
    with pytest.raises(SetupError, match="expires_at"):
        await keys.create("late", expires_at=NOW)


async def test_a_key_has_all_scopes_but_admin_unless_some_are_named(store):
    keys = keys_of(store)
    usual, one = await keys.create("a"), await keys.create("b", scopes=["usage", "usage"])
    owners = [await keys.resolve(made.plain) for made in (usual, one)]
    assert [sorted(o.scopes) for o in owners if o] == [
        ["batches", "files", "messages", "models", "usage"],
        ["usage"],
    ]
    assert one.key.scopes == ("usage",)
    for wrong in (["mesages"], [], ["messages", ""]):
        with pytest.raises(SetupError, match=r"^scopes: "):
            await keys.create("c", scopes=wrong)
    assert len(await keys.list()) == 2


async def test_when_a_key_was_used_is_noted_to_the_minute_without_a_write_each_time(store):
    now = NOW
    keys = Keys(store, clock=lambda: now)
    made = await keys.create("laptop")
    for now in (NOW + 100, NOW + 101, NOW + 119):  # noqa: B007  the clock reads it
        await keys.resolve(made.plain)
    assert (await keys.list())[0].last_used_at is None
    await keys.stamp()
    assert (await keys.list())[0].last_used_at == NOW + 60
    now = NOW + 130
    await keys.resolve(made.plain)
    await keys.aclose()
    assert (await keys.list())[0].last_used_at == NOW + 120


async def test_an_archived_workspace_refuses_its_keys_and_has_no_new_ones(store):
    now = 0.0
    keys = keys_of(store, ticks=lambda: now)
    workspaces = Workspaces(store, clock=lambda: NOW)
    made = await keys.create("laptop", "team")
    assert await keys.resolve(made.plain) is not None
    await workspaces.archive("team")
    now = CACHE_SECONDS + 0.001
    assert await keys.resolve(made.plain) is None
    with pytest.raises(SetupError, match="'team' is archived"):
        await keys.create("other", "team")
    with pytest.raises(SetupError, match="already"):
        await workspaces.create("team")
    assert len(await keys.list()) == 1


async def test_disabling_an_unknown_key_names_it(store):
    with pytest.raises(SetupError, match="key_id: there is no key 'key_x'"):
        await keys_of(store).disable("key_x")


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "two\nlines", "bell\a"])
@pytest.mark.parametrize("field", ["name", "workspace"])
async def test_a_name_that_cannot_be_shown_is_refused(store, name, field):
    with pytest.raises(SetupError, match=rf"^{field}: .*accepted: 1 to 200 printable"):
        await keys_of(store).create(**{"name": "fine", "workspace": "fine", field: name})


async def test_only_the_key_itself_resolves(store):
    keys = keys_of(store)
    made = await keys.create("laptop")
    end = "1" if made.plain[-1] == "0" else "0"
    for wrong in (
        "",
        "sk-renga-",
        made.plain[:-1],
        made.plain[:-1] + end,
        made.plain + "0",
        made.plain.upper(),
        made.key.hint,
        " " + made.plain[1:],
        made.plain[:-1] + "é",
        made.plain.replace("sk-renga-", "sk-other-"),
    ):
        assert await keys.resolve(wrong) is None
    assert await keys.resolve(made.plain) is not None


async def test_a_known_key_is_resolved_without_the_database(tmp_path):
    store = await Store.open(sqlite_url(tmp_path / "renga.db"))
    keys = keys_of(store)
    known, unseen = [await keys.create(name) for name in ("known", "unseen")]
    owner = await keys.resolve(known.plain)
    await store.aclose()
    assert await keys.resolve(known.plain) == owner is not None
    with pytest.raises(RuntimeError, match="shutdown"):
        await keys.resolve(unseen.plain)


def test_no_text_breaks_resolving(tmp_path):
    with asyncio.Runner() as runner:
        store = runner.run(Store.open(sqlite_url(tmp_path / "renga.db")))
        keys = keys_of(store)

        @settings(max_examples=100, deadline=None)
        @given(st.one_of(st.text(), st.text(min_size=60, max_size=60).map("sk-renga-".__add__)))
        def check(presented: str) -> None:
            assert runner.run(keys.resolve(presented)) is None

        check()
        runner.run(store.aclose())
