"""Whatever is nested in a body is what is read back; what is detached is gone; rights stay."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from shared.database import Database
from shared.identity import Principal
from shared.sql import raw
from shared.testing import Client

Shop = tuple[Client, Database]
CLERK = Principal(user=7, group=5)  # may change groceries, may look at makers, no more
EXAMPLES: Final = 25

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0"),
                min_size=1, max_size=12)  # fmt: skip
labels = st.lists(st.integers(1, 6), unique=True, max_size=3)


@dataclass(frozen=True)
class Grocery:
    title: str
    stock: int | None
    labels: list[int]


@dataclass(frozen=True)
class Maker:
    name: str
    groceries: list[Grocery]


groceries = st.builds(Grocery, words, st.none() | st.integers(-9, 9), labels)
makers = st.builds(Maker, words, st.lists(groceries, max_size=3))


@dataclass(frozen=True)
class Step:
    """What becomes of each grocery (kept, changed, detached), and which are new."""

    fates: list[Grocery | bool | None] = field(default_factory=list)
    new: list[Grocery] = field(default_factory=list)


fate = st.one_of(st.none(), st.just(True), groceries)
steps = st.builds(Step, st.lists(fate, min_size=3, max_size=3), st.lists(groceries, max_size=2))


def entry(grocery: Grocery) -> dict[str, Any]:
    """As a body has it: labels by their keys, made where there are none yet."""
    return {
        "title": grocery.title,
        "stock": grocery.stock,
        "active": 1,
        "labels": [{"data": {"id": key, "word": f"label {key}"}} for key in grocery.labels],
    }


def read(maker: Any, version: str) -> Maker:
    """As an answer of either version has it."""

    def rows(value: Any) -> list[Any]:
        return value["data"] if version == "1.1" else value["rows"]

    def label(value: Any) -> int:
        return value["id"] if version == "1.1" else value["data"]["id"]

    return Maker(
        maker["name"],
        [
            Grocery(row["title"], row["stock"], [label(item) for item in rows(row["labels"])])
            for row in rows(maker["groceries"])
        ],
    )


class Nested:
    """Makers written and read over the service's wire."""

    def __init__(self, client: Client, database: Database) -> None:
        self._client = client
        self._database = database

    async def send(self, method: str, path: str, body: object = None) -> Any:
        status, answer = await self._client.send(method, path, json=body)
        assert status == 200, answer
        return answer

    async def write(self, wanted: Maker) -> int:
        body = {"name": wanted.name, "groceries": [entry(one) for one in wanted.groceries]}
        return (await self.send("POST", "tables/makers/rows", body))["data"]["id"]

    async def holds(self, key: int, wanted: Maker) -> None:
        for version in ("1", "1.1"):
            path = f"/api/{version}/tables/makers/rows/{key}?depth=2"
            answer = await self.send("GET", path)
            assert read(answer["data"] if version == "1.1" else answer, version) == wanted

    async def change(self, key: int, present: Maker, step: Step) -> Maker:
        """Send a step; returns what must be there then."""
        path = f"tables/makers/rows/{key}"
        held = (await self.send("GET", f"{path}?depth=2"))["data"]["groceries"]["data"]
        entries: list[dict[str, Any]] = []
        left: list[Grocery] = []
        for row, one, what in zip(held, present.groceries, step.fates, strict=False):
            if isinstance(what, Grocery):
                links = row["labels"]["junction"]["data"]
                gone = [{"id": link["id"], "active": 0} for link in links]
                body = entry(what)
                entries.append({**body, "id": row["id"], "labels": [*gone, *body["labels"]]})
                left.append(what)
            elif what:
                left.append(one)  # not mentioned: stays
            else:
                entries.append({"id": row["id"], "active": 0})
        entries += [entry(one) for one in step.new]
        await self.send("PUT", path, {"groceries": entries})
        return Maker(present.name, [*left, *present.groceries[len(step.fates) :], *step.new])

    async def refuses_the_clerk(self, key: int, wanted: Maker) -> None:
        clerk = self._client.as_(CLERK)
        body = {"title": "x", "maker_id": {"id": key, "name": f"{wanted.name[:11]}!"}}
        status, _ = await clerk.post("tables/groceries/rows", body)
        assert status == 403
        status, _ = await clerk.send(
            "PUT", f"tables/makers/rows/{key}", json={"groceries": [{"title": "x"}]}
        )
        assert status == 403


def examples(run: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
    asyncio.run_coroutine_threadsafe(run, loop).result(60)


SETTINGS: Final = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.timeout(180)
async def test_what_is_written_is_read_back_changed_and_detached(own_related: Shop) -> None:
    nested = Nested(*own_related)
    loop = asyncio.get_running_loop()

    async def story(wanted: Maker, told: list[Step]) -> None:
        key = await nested.write(wanted)
        await nested.holds(key, wanted)
        for step in told:
            wanted = await nested.change(key, wanted, step)
            await nested.holds(key, wanted)
        await nested.refuses_the_clerk(key, wanted)
        await nested.holds(key, wanted)

    @SETTINGS
    @given(makers, st.lists(steps, max_size=2))
    def stories(wanted: Maker, told: list[Step]) -> None:
        examples(story(wanted, told), loop)

    await asyncio.to_thread(stories)


@pytest.mark.timeout(180)
async def test_a_fault_anywhere_inside_leaves_everything_as_it_was(own_related: Shop) -> None:
    client, database = own_related
    loop = asyncio.get_running_loop()
    sizes = raw(
        "SELECT (SELECT count(*) FROM makers), (SELECT count(*) FROM groceries),"
        " (SELECT count(*) FROM groceries_labels), (SELECT count(*) FROM labels),"
        " (SELECT count(*) FROM directus_activity)"
    )

    async def story(wanted: Maker, place: int) -> None:
        before = tuple(await database.fetchrow(sizes) or ())
        bad = [entry(one) for one in wanted.groceries]
        bad.insert(place % (len(bad) + 1), {"title": "x" * 41})
        status, answer = await client.post(
            "tables/makers/rows", {"name": wanted.name, "groceries": bad}
        )
        assert status == 422, answer
        assert tuple(await database.fetchrow(sizes) or ()) == before

    @SETTINGS
    @given(makers, st.integers(0, 3))
    def stories(wanted: Maker, place: int) -> None:
        examples(story(wanted, place), loop)

    await asyncio.to_thread(stories)
