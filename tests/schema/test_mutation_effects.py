"""What each mutation does, beyond what holds for all of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from community_gql.actions.validation import MAX_VECTOR_LENGTH, POPULAR
from community_gql.db.pool import PoolConfig
from community_gql.identity.provisioning import Provisioning
from community_gql.schema.ids import write_id
from tests.support import factories as make
from tests.support import writing
from tests.support.client import Client
from tests.support.factories import Person, Row
from tests.support.mutations import TABLE
from tests.support.writing import MUTATIONS, Scene, change, refusal, send


@pytest.fixture
async def scene(db: asyncpg.Connection) -> Scene:
    return await writing.scene(db)


# --- Stories ---


async def test_a_new_story_reads_back_whole(api: Client, scene: Scene) -> None:
    payload = await change(
        api,
        scene.ada,
        "createStory",
        """story {
          id title content excerpt(length: 5) visibility tagNames tags { name } viewerCanEdit
          author { id } createdAt updatedAt
        }""",
        title="Moss",
        content="After the rain.",
        visibility="FRIENDS",
        tags=["moss", "Fern"],
    )
    story = payload["story"]
    assert story.pop("createdAt") == story.pop("updatedAt")
    assert story.pop("id")
    assert story == {
        "title": "Moss",
        "content": "After the rain.",
        "excerpt": "Afte…",
        "visibility": "FRIENDS",
        "tagNames": ["fern", "moss"],
        "tags": [{"name": "fern"}, {"name": "moss"}],
        "viewerCanEdit": True,
        "author": {"id": scene.ada.id},
    }


async def test_a_story_is_private_unless_said_otherwise(api: Client, scene: Scene) -> None:
    payload = await change(
        api, scene.ada, "createStory", "story { visibility tagNames }", title="a", content="b"
    )
    assert payload["story"] == {"visibility": "PRIVATE", "tagNames": []}


@pytest.mark.parametrize(
    ("name", "list_name", "given"),
    [
        ("createStory", "stories", {"title": "a", "content": "b"}),
        ("createHabit", "habits", {"name": "a", "frequency": "DAILY"}),
    ],
)
async def test_an_edge_goes_at_the_head_of_its_list(
    name: str, list_name: str, given: dict[str, Any], api: Client, scene: Scene
) -> None:
    edge = f"{name.removeprefix('create').lower()}Edge"
    payload = await change(api, scene.ada, name, f"{edge} {{ cursor node {{ id }} }}", **given)
    listed = (
        await api(
            f"query($id: ID!) {{ user(id: $id) {{ {list_name} {{ edges {{ cursor node {{ id }} }} "
            "} } }",
            scene.ada,
            id=scene.ada.id,
        )
    ).data["user"][list_name]["edges"]
    assert payload[edge] == listed[0]
    assert len(listed) == 2


async def test_new_tags_replace_the_old_ones(api: Client, scene: Scene) -> None:
    async def tags(**given: Any) -> list[str]:
        shown = "story { tagNames tags { name } }"
        story = (await change(api, scene.ada, "updateStory", shown, id=scene.story.id, **given))[
            "story"
        ]
        assert [tag["name"] for tag in story["tags"]] == story["tagNames"]
        names: list[str] = story["tagNames"]
        return names

    assert await tags() == ["moss"]
    assert await tags(tags=["fern", "moss"]) == ["fern", "moss"]
    assert await tags(title="other") == ["fern", "moss"]
    assert await tags(tags=["fern"]) == ["fern"]
    assert await tags(tags=[]) == []
    assert await tags(tags=["moss"]) == ["moss"]
    assert await tags(tags=None) == []


UPDATED = "story { updatedAt }"


async def test_every_edit_by_its_author_is_a_change_of_the_story(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    async def edited(**given: Any) -> str:
        payload = await change(api, scene.ada, "updateStory", UPDATED, id=scene.story.id, **given)
        moment: str = payload["story"]["updatedAt"]
        return moment

    before = await edited()
    for given in (
        {"title": "b"},
        {"content": "b"},
        {"visibility": "PRIVATE"},
        {"tags": ["fern"]},
        {"tags": ["fern", "moss"]},
        {"tags": None},
        {"title": "c", "tags": ["moss"]},
    ):
        after = await edited(**given)
        assert after > before, given
        assert await edited(**given) == after, "the same again is no change"
        before = after
    await change(api, scene.moderator, "renameTag", id=scene.moss.id, name="lichen")
    assert await edited() == before, "the author did not edit it"


async def test_expected_updated_at_keeps_an_edit_from_overwriting_another(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    for name, shown, who in (
        ("updateStory", "story { updatedAt }", {"id": scene.story.id}),
        ("updateProfile", "user { profile { updatedAt } }", {}),
    ):
        member, words = ("title", "displayName")[not who], ("a", "b")
        read = await change(api, scene.ada, name, shown, **who)
        seen = (read.get("story") or read["user"]["profile"])["updatedAt"]

        first = await change(
            api, scene.ada, name, shown, **who, **{member: words[0]}, expectedUpdatedAt=seen
        )
        now = (first.get("story") or first["user"]["profile"])["updatedAt"]
        assert now > seen
        before = await writing.rows(db)
        assert await refusal(
            api, scene.ada, name, **who, **{member: words[1]}, expectedUpdatedAt=seen
        ) == [("CONFLICT", ["expectedUpdatedAt"])]
        assert await writing.rows(db) == before
        # The same moment in another time zone, and none at all, are not in the way.
        zoned = datetime.fromisoformat(now).astimezone().isoformat()
        await change(api, scene.ada, name, **who, **{member: words[1]}, expectedUpdatedAt=zoned)
        await change(api, scene.ada, name, **who, **{member: "c"}, expectedUpdatedAt=None)


VERSIONS = {
    "updateStory": "story { updatedAt }",
    "updateProfile": "user { profile { updatedAt } }",
}
"""Where the payload of each mutation that takes ``expectedUpdatedAt`` has the moment."""


def test_every_version_is_known() -> None:
    versioned = {n for n in MUTATIONS if "expectedUpdatedAt" in writing.input_type(n).fields}
    assert versioned == VERSIONS.keys()


@pytest.mark.parametrize("name", VERSIONS)
async def test_two_edits_of_one_version_do_not_overwrite_each_other(
    api: Client, scene: Scene, name: str
) -> None:
    """Whichever member they change: one that did not move ``updatedAt`` would be lost."""
    example = TABLE[name].example(scene)
    who = {"id": example.pop("id")} if "id" in example else {}
    for member, value in example.items():
        read = await change(api, scene.ada, name, VERSIONS[name], **who)
        seen = (read.get("story") or read["user"]["profile"])["updatedAt"]
        edit = {**who, member: value, "expectedUpdatedAt": seen}
        await change(api, scene.ada, name, **edit)
        refused = await refusal(api, scene.ada, name, **edit)
        assert refused == [("CONFLICT", ["expectedUpdatedAt"])], member


async def test_a_profile_that_is_not_there_matches_no_moment(
    api: Client, db: asyncpg.Connection
) -> None:
    cleo = await make.person(db)
    assert await refusal(
        api, cleo, "updateProfile", bio="x", expectedUpdatedAt="2026-01-01T00:00:00Z"
    ) == [("CONFLICT", ["expectedUpdatedAt"])]


# --- idempotencyKey ---

ONCE = {"title": "a", "content": "b", "tags": ["moss"]}


async def keyed(api: Client, viewer: Person, key: str = "k", **given: Any) -> Any:
    return await change(
        api,
        viewer,
        "createStory",
        "story { id title tagNames } storyEdge { cursor }",
        idempotencyKey=key,
        **ONCE | given,
    )


async def stories(db: asyncpg.Connection) -> int:
    count: int = await db.fetchval("SELECT count(*) FROM stories WHERE title <> 'Moss'")
    return count


async def test_a_retry_gives_the_first_answer(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    first = await keyed(api, scene.ada)
    before = await writing.rows(db)

    assert await keyed(api, scene.ada, " k ") == first
    assert await keyed(api, scene.ada, title="something else", tags=["no such"]) == first
    assert await writing.rows(db) == before
    assert await keyed(api, scene.ada, "K") != first, "keys are told apart by case"
    assert (await keyed(api, scene.bea))["story"]["id"] != first["story"]["id"], "keys are personal"
    assert await stories(db) == 3


async def test_a_refused_attempt_does_not_use_up_the_key(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    for bad in ({"title": " "}, {"tags": ["no such"]}):
        await refusal(api, scene.ada, "createStory", idempotencyKey="k", **{**ONCE, **bad})
    assert (await keyed(api, scene.ada))["story"]["title"] == "a"


async def test_retries_at_the_same_time_write_once(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    answers = await asyncio.gather(*(keyed(api, scene.ada) for _ in range(20)))
    assert len({answer["story"]["id"] for answer in answers}) == 1
    assert await stories(db) == 1


async def test_a_key_is_forgotten_after_a_day(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    async def passes(time: timedelta) -> None:
        await db.execute("UPDATE story_requests SET created_at = created_at - $1::interval", time)

    first = await keyed(api, scene.ada)
    await keyed(api, scene.ada, "another")
    await passes(timedelta(hours=23, minutes=59))
    assert await keyed(api, scene.ada) == first
    await passes(timedelta(minutes=2))
    answers = await asyncio.gather(*(keyed(api, scene.ada) for _ in range(10)))
    assert len({answer["story"]["id"] for answer in answers}) == 1
    assert answers[0] != first
    left = await db.fetch("SELECT key FROM story_requests")
    assert [row["key"] for row in left] == ["k"], "old ones are gone"


async def test_a_late_retry_does_not_bring_back_what_was_deleted(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    first = await keyed(api, scene.ada)
    await change(api, scene.ada, "deleteStory", id=first["story"]["id"])
    before = await writing.rows(db)

    assert await refusal(api, scene.ada, "createStory", idempotencyKey="k", **ONCE) == [
        ("NOT_FOUND", ["idempotencyKey"])
    ]
    assert await writing.rows(db) == before


# --- Habits, gardens ---


async def test_names_of_habits_are_unique_per_person_and_case_sensitive(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    async def create(viewer: Person, name: str) -> list[tuple[str, list[str]]]:
        answer = await send(api, viewer, "createHabit", name=name, frequency="DAILY")
        return [(e["code"], e["path"]) for e in answer.data["createHabit"]["userErrors"]]

    taken = [("HABIT_ALREADY_EXISTS", ["name"])]
    assert await create(scene.ada, "walk") == taken
    assert await create(scene.ada, " walk ") == taken
    assert await create(scene.ada, "Walk") == []
    assert await create(scene.bea, "walk") == []
    other = await make.habit(db, scene.ada, "read")
    assert await refusal(api, scene.ada, "updateHabit", id=other.id, name="walk") == taken
    await change(api, scene.ada, "updateHabit", id=other.id, name="read")
    await change(api, scene.ada, "deleteHabit", id=scene.habit.id)
    assert await create(scene.ada, "walk") == []


async def test_everyone_has_at_most_one_garden(api: Client, scene: Scene) -> None:
    assert await refusal(api, scene.ada, "createGarden", name="b") == [
        ("GARDEN_ALREADY_EXISTS", [])
    ]
    await change(api, scene.ada, "deleteGarden", id=scene.garden.id)
    await change(api, scene.ada, "createGarden", name="b")


async def test_what_is_deleted_is_gone_and_named(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    for name, row in (
        ("deleteStory", scene.story),
        ("deleteHabit", scene.habit),
        ("deleteGarden", scene.garden),
        ("endFriendship", scene.asked_by_bea),
    ):
        payload = await change(
            api,
            scene.ada,
            name,
            f'deletedId query {{ node(id: "{row.id}") {{ id }} }}',
            id=row.id,
        )
        assert payload == {"deletedId": row.id, "query": {"node": None}}
        assert await refusal(api, scene.ada, name, id=row.id) == [("NOT_FOUND", ["id"])]


# --- Friendships ---

FRIENDSHIP = "friendship { id status requester { id } addressee { id } acceptedAt }"


async def test_a_friendship_from_request_to_end(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    cleo = await make.person(db, "Cleo")
    asked = (await change(api, scene.ada, "requestFriendship", FRIENDSHIP, userId=cleo.id))[
        "friendship"
    ]
    id_ = asked.pop("id")
    pending = {
        "status": "PENDING",
        "requester": {"id": scene.ada.id},
        "addressee": {"id": cleo.id},
        "acceptedAt": None,
    }
    assert asked == pending
    again = await change(api, scene.ada, "requestFriendship", FRIENDSHIP, userId=cleo.id)
    assert again["friendship"] == {"id": id_, **pending}
    assert await refusal(api, scene.ada, "acceptFriendship", id=id_) == [("FORBIDDEN", ["id"])]

    accepted = (await change(api, cleo, "acceptFriendship", FRIENDSHIP, id=id_))["friendship"]
    assert (accepted["status"], accepted["id"]) == ("ACCEPTED", id_)
    assert accepted["acceptedAt"]
    for viewer, name, given in (
        (cleo, "acceptFriendship", {"id": id_}),
        (cleo, "requestFriendship", {"userId": scene.ada.id}),
        (scene.ada, "requestFriendship", {"userId": cleo.id}),
    ):
        assert (await change(api, viewer, name, FRIENDSHIP, **given))["friendship"] == accepted

    assert await change(api, scene.ada, "endFriendship", "deletedId", id=id_) == {"deletedId": id_}
    assert await refusal(api, cleo, "endFriendship", id=id_) == [("NOT_FOUND", ["id"])]
    anew = await change(api, cleo, "requestFriendship", FRIENDSHIP, userId=scene.ada.id)
    assert anew["friendship"]["requester"] == {"id": cleo.id}


async def test_asking_whoever_has_asked_accepts(api: Client, scene: Scene) -> None:
    payload = await change(api, scene.ada, "requestFriendship", FRIENDSHIP, userId=scene.bea.id)
    assert payload["friendship"]["status"] == "ACCEPTED"
    assert payload["friendship"]["requester"] == {"id": scene.bea.id}
    assert payload["friendship"]["id"] == scene.asked_by_bea.id


async def test_nobody_befriends_themselves(api: Client, scene: Scene) -> None:
    assert await refusal(api, scene.ada, "requestFriendship", userId=scene.ada.id) == [
        ("INVALID", ["userId"])
    ]


@pytest.mark.parametrize("who", ["ada", "bea"])
async def test_either_side_ends_a_request(who: str, api: Client, scene: Scene) -> None:
    viewer: Person = getattr(scene, who)
    await change(api, viewer, "endFriendship", id=scene.asked_by_bea.id)
    payload = await change(
        api, viewer, "updateProfile", "query { viewer { friendRequests { totalCount } } }"
    )
    assert payload["query"]["viewer"]["friendRequests"]["totalCount"] == 0


# --- Tags ---


async def test_tags_are_folded_when_they_are_made_and_renamed(api: Client, scene: Scene) -> None:
    made = await change(api, scene.moderator, "createTag", "tag { id name }", name=" Wet \t MOSS ")
    assert made["tag"]["name"] == "wet moss"
    for name, given in (
        ("createTag", {"name": "WET  moss"}),
        ("renameTag", {"id": scene.fern.id, "name": " Wet Moss"}),
    ):
        assert await refusal(api, scene.moderator, name, **given) == [
            ("TAG_ALREADY_EXISTS", ["name"])
        ]
    same = await change(
        api, scene.moderator, "renameTag", "tag { id name }", id=made["tag"]["id"], name="Wet moss"
    )
    assert same == made


async def tagged(db: asyncpg.Connection, story: Row) -> list[str]:
    names: list[str] = await db.fetchval("SELECT tags_cached FROM stories WHERE id = $1", story.key)
    return names


async def test_a_renamed_tag_is_renamed_everywhere(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    payload = await change(
        api,
        scene.moderator,
        "renameTag",
        "tag { id name stories { nodes { tagNames } } users { nodes { tags { name } } } }",
        id=scene.moss.id,
        name="Lichen",
    )
    assert payload["tag"] == {
        "id": scene.moss.id,
        "name": "lichen",
        "stories": {"nodes": [{"tagNames": ["lichen"]}]},
        "users": {"nodes": [{"tags": [{"name": "lichen"}]}]},
    }


async def test_merging_leaves_each_with_the_other_tag_once(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    both = await make.story(db, scene.bea, tags=[scene.moss, scene.fern])
    neither = await make.story(db, scene.bea)
    hidden = await make.story(db, scene.bea, visibility="private", tags=[scene.moss])
    await make.choose(db, scene.bea, scene.moss, scene.fern)

    payload = await change(
        api,
        scene.moderator,
        "mergeTags",
        'tag { id name } query { tag(name: "moss") { id } }',
        fromId=scene.moss.id,
        intoId=scene.fern.id,
    )
    assert payload == {"tag": {"id": scene.fern.id, "name": "fern"}, "query": {"tag": None}}
    assert [await tagged(db, each) for each in (scene.story, both, neither, hidden)] == [
        ["fern"],
        ["fern"],
        [],
        ["fern"],
    ]
    chosen = await db.fetch("SELECT user_id, tag_id FROM user_tags")
    assert {tuple(row) for row in chosen} == {
        (who.sub, scene.fern.key) for who in (scene.ada, scene.bea)
    }
    assert len(chosen) == 2
    assert await refusal(
        api, scene.moderator, "mergeTags", fromId=scene.fern.id, intoId=scene.fern.id
    ) == [("INVALID", ["intoId"])]


async def test_a_deleted_tag_is_gone_everywhere(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    await change(api, scene.moderator, "deleteTag", id=scene.moss.id)
    assert await tagged(db, scene.story) == []
    assert await db.fetch("SELECT * FROM user_tags") == []


MODERATIONS = {
    "renameTag": lambda popular, other: {"id": popular.id, "name": "new"},
    "mergeTags": lambda popular, other: {"fromId": popular.id, "intoId": other.id},
    "deleteTag": lambda popular, other: {"id": popular.id},
}


@pytest.mark.parametrize("name", MODERATIONS)
async def test_a_popular_tag_is_not_moderated_in_one_request(
    name: str, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    popular = await make.tag(db, "popular")
    await db.execute(
        """
        WITH made AS (
          INSERT INTO stories (user_id, title, content)
          SELECT $1, 'x', 'y' FROM generate_series(1, $2) RETURNING id
        )
        INSERT INTO story_tags SELECT id, $3 FROM made
        """,
        scene.bea.sub,
        POPULAR + 1,
        popular.key,
    )
    given = MODERATIONS[name](popular, scene.moss)

    answer = await send(api, scene.moderator, name, **given)
    (error,) = answer.data[name]["userErrors"]
    assert (error["code"], error["path"]) == ("TAG_TOO_POPULAR", [])
    assert "community-gql tags" in error["message"]

    await db.execute("DELETE FROM stories WHERE id = (SELECT max(id) FROM stories)")
    answer = await send(api, scene.moderator, name, **given)
    assert answer.data[name]["userErrors"] == []
    timeout = PoolConfig().statement_timeout
    assert answer.line.database_milliseconds < timeout * 1000 / 2  # type: ignore[attr-defined]
    assert await db.fetchval("SELECT count(*) FROM stories WHERE 'popular' = ANY(tags_cached)") == 0
    left = {"renameTag": "new", "mergeTags": "moss"}.get(name)
    found = await db.fetchval(
        "SELECT count(*) FROM stories WHERE user_id = $1 AND tags_cached = $2",
        scene.bea.sub,
        [left] if left else [],
    )
    assert found == POPULAR


# --- Features and matches ---


async def test_features_replace_those_of_before(api: Client, scene: Scene) -> None:
    async def put(vector: list[float], version: int | None = None) -> Any:
        given: dict[str, Any] = {"userId": scene.ada.id, "vector": vector}
        given |= {} if version is None else {"version": version}
        payload = await change(api, scene.machine, "putFeatures", "count", features=[given])
        assert payload == {"count": 1}
        return (await api("{ viewer { features { vector version } } }", scene.ada)).data["viewer"]

    assert await put([1, 2.5]) == {"features": {"vector": [1, 2.5], "version": 1}}
    assert await put([3, 1e-300]) == {"features": {"vector": [3, 1e-300], "version": 1}}
    assert await put([1] * 3, 2) == {"features": {"vector": [1, 1, 1], "version": 2}}
    assert (await put([1.7e308] * MAX_VECTOR_LENGTH, 3))["features"]["version"] == 3


async def test_vectors_of_a_version_have_one_length(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    await make.features(db, scene.bea, [1, 2, 3], version=5)
    ada, bea = scene.ada.id, scene.bea.id

    async def put(*features: tuple[str, list[float], int]) -> Any:
        listed = [{"userId": u, "vector": v, "version": n} for u, v, n in features]
        answer = await send(api, scene.machine, "putFeatures", features=listed)
        errors = answer.data["putFeatures"]["userErrors"]
        return [(error["code"], error["path"]) for error in errors]

    def wrong(place: int, member: str = "vector") -> tuple[str, list[str]]:
        return "INVALID", ["features", str(place), member]

    before = await writing.rows(db)
    assert await put((ada, [1, 2], 5)) == [wrong(0)]
    assert await put((ada, [1], 6), (bea, [1, 2], 6)) == [wrong(1)]
    assert await put((ada, [], 6)) == [wrong(0)]
    assert await put((ada, [1] * (MAX_VECTOR_LENGTH + 1), 6)) == [wrong(0)]
    assert await put((ada, [1], 0), (bea, [1], -1)) == [wrong(0, "version"), wrong(1, "version")]
    assert await put((ada, [1], 6), (ada, [2], 6)) == [wrong(1, "userId")]
    assert await writing.rows(db) == before
    assert await put((ada, [1, 2, 3], 5), (bea, [1], 2**31 - 1)) == []


async def test_numbers_are_finite(api: Client, db: asyncpg.Connection, scene: Scene) -> None:
    """JSON has none that are not, but a document's 1e999 is read as infinity."""
    before = await writing.rows(db)
    for number in ("1e999", "-1e999"):
        answer = await api(
            f"""mutation($ada: ID!, $bea: ID!) {{
              putFeatures(input: {{features: [{{userId: $ada, vector: [1, {number}]}}]}})
                {{ userErrors {{ code path }} }}
              putMatches(input: {{matches: [{{
                userId: $ada, targetUserId: $bea, score: {number}
              }}]}}) {{ userErrors {{ code path }} }}
            }}""",
            scene.machine,
            ada=scene.ada.id,
            bea=scene.bea.id,
        )
        if "data" in answer.body:
            assert answer.data == {
                "putFeatures": {
                    "userErrors": [{"code": "INVALID", "path": ["features", "0", "vector"]}]
                },
                "putMatches": {
                    "userErrors": [{"code": "INVALID", "path": ["matches", "0", "score"]}]
                },
            }
        else:
            assert set(answer.codes) == {"GRAPHQL_VALIDATION_FAILED"}
    for number in ("1e999", "NaN", "Infinity"):
        body = (
            '{"query": "mutation($f: [FeaturesInput!]!) '
            '{ putFeatures(input: {features: $f}) { count } }", '
            f'"variables": {{"f": [{{"userId": "{scene.ada.id}", "vector": [{number}]}}]}}}}'
        )
        headers = {
            "Content-Type": "application/json",
            **api.authorization(scene.machine.sub, *scene.machine.permissions),
        }
        answer = await api.send("POST", content=body.encode(), headers=headers)
        assert answer.status in (400, 422)
    assert await writing.rows(db) == before


async def test_a_batch_of_matches_has_one_moment_and_the_newest_is_shown(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    cleo = await make.person(db, "Cleo")

    async def put(*matches: tuple[Person, Person, float]) -> str:
        payload = await change(
            api,
            scene.machine,
            "putMatches",
            "createdAt",
            matches=[
                {"userId": one.id, "targetUserId": other.id, "score": score}
                for one, other, score in matches
            ],
        )
        moment: str = payload["createdAt"]
        return moment

    async def seen(viewer: Person) -> list[tuple[str, float, str]]:
        query = """query($id: ID!) { user(id: $id) { matches { nodes {
          user { id } score createdAt
        } } } }"""
        nodes = (await api(query, viewer, id=viewer.id)).data["user"]["matches"]["nodes"]
        return [(node["user"]["id"], node["score"], node["createdAt"]) for node in nodes]

    ada, bea = scene.ada, scene.bea
    first = await put((ada, bea, 0.25), (ada, cleo, 1), (cleo, ada, 0))
    assert await seen(ada) == [(cleo.id, 1, first), (bea.id, 0.25, first)]
    assert await seen(cleo) == [(ada.id, 0, first)]
    second = await put((ada, bea, 0.5))
    assert second > first
    assert await seen(ada) == [(bea.id, 0.5, second)]
    assert await seen(cleo) == [(ada.id, 0, first)]
    # The older batches of those who got a new one are gone.
    batches = await db.fetch("SELECT user_id, created_at FROM match_results")
    assert len(batches) == len({row["user_id"] for row in batches}) == 2


async def test_all_that_is_wrong_with_a_batch_is_said_and_nothing_is_saved(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    ada, bea, nobody = (
        scene.ada.id,
        scene.bea.id,
        write_id("User", UUID(int=0)),
    )
    matches = [
        {"userId": ada, "targetUserId": bea, "score": 0.5},
        {"userId": ada, "targetUserId": ada, "score": 1.01},
        {"userId": ada, "targetUserId": bea, "score": -0.01},
        {"userId": nobody, "targetUserId": "x", "score": 0},
        {"userId": nobody, "targetUserId": "x", "score": 0},
    ]
    before = await writing.rows(db)
    assert await refusal(api, scene.machine, "putMatches", matches=matches) == [
        ("INVALID", ["matches", "1", "score"]),
        ("INVALID", ["matches", "1", "targetUserId"]),
        ("INVALID", ["matches", "2", "score"]),
        ("INVALID", ["matches", "2"]),
        ("NOT_FOUND", ["matches", "3", "userId"]),
        ("NOT_FOUND", ["matches", "3", "targetUserId"]),
        ("NOT_FOUND", ["matches", "4", "userId"]),
        ("NOT_FOUND", ["matches", "4", "targetUserId"]),
    ]
    features = [
        {"userId": ada, "vector": [1]},
        {"userId": nobody, "vector": [1]},
        {"userId": scene.story.id, "vector": [1]},
    ]
    assert await refusal(api, scene.machine, "putFeatures", features=features) == [
        ("NOT_FOUND", ["features", "1", "userId"]),
        ("NOT_FOUND", ["features", "2", "userId"]),
    ]
    assert await writing.rows(db) == before


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001])
async def test_a_batch_has_1_to_1000(
    count: int, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    await db.execute(
        "INSERT INTO users (auth0_sub, email) "
        "SELECT 'n' || n, n || '@example.org' FROM generate_series(1, $1) AS n",
        count,
    )
    people = [
        write_id("User", row["public_id"])
        for row in await db.fetch("SELECT public_id FROM users WHERE auth0_sub LIKE 'n%'")
    ]
    assert len(people) == count
    features = [{"userId": id_, "vector": [0.5], "version": 9} for id_ in people]
    matches = [{"userId": id_, "targetUserId": scene.ada.id, "score": 0.5} for id_ in people]
    if 0 < count <= 1000:
        await change(api, scene.machine, "putFeatures", features=features)
        await change(api, scene.machine, "putMatches", matches=matches)
        assert await db.fetchval("SELECT count(*) FROM user_features WHERE version = 9") == count
        moments = await db.fetch(
            "SELECT created_at, count(*) FROM match_results WHERE target_user_id = $1 GROUP BY 1",
            scene.ada.sub,
        )
        assert [row["count"] for row in moments] == [count]
        return
    code = "REQUIRED" if count == 0 else "TOO_MANY"
    before = await writing.rows(db)
    assert await refusal(api, scene.machine, "putFeatures", features=features) == [
        (code, ["features"])
    ]
    assert await refusal(api, scene.machine, "putMatches", matches=matches) == [(code, ["matches"])]
    assert await writing.rows(db) == before


# --- The end of an account ---


async def test_an_account_goes_with_everything(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    await make.features(db, scene.ada)
    await make.match_batch(db, scene.bea, {scene.ada: 0.5})
    await change(api, scene.ada, "createStory", title="a", content="b", idempotencyKey="k")
    told = await db.fetchval("SELECT now()")

    payload = await change(
        api,
        scene.ada,
        "deleteAccount",
        f'deletedId query {{ viewer {{ email }} user(id: "{scene.ada.id}") {{ id }} }}',
        id=scene.ada.id,
    )

    assert payload == {"deletedId": scene.ada.id, "query": {"viewer": None, "user": None}}
    left = await writing.rows(db)
    ((_, deleted_at),) = left.pop("deleted_accounts")
    assert deleted_at >= told
    left.pop("changes")  # for live updates, kept an hour
    assert scene.ada.sub not in str(left)
    assert str(scene.ada.public_id) not in str(left)
    left.pop("name_words")  # of those who stay
    ((marked, *_),) = left.pop("stale_lists")
    assert marked == scene.bea.sub  # whose list held Ada
    assert {name for name, found in left.items() if found} == {"tags", "user_profiles", "users"}


async def test_writes_after_the_end_of_the_account_are_refused(
    api: Client, db: asyncpg.Connection, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in another process, which has not noticed yet: the writes themselves must.
    monkeypatch.setattr(Provisioning, "forget", lambda *_: None)
    await api.meet(scene.ada)
    await db.execute("DELETE FROM users WHERE auth0_sub = $1", scene.ada.sub)
    before = await writing.rows(db)
    permitted = replace(scene.ada, permissions=("manage:tags", "write:features", "write:matches"))
    # Their own rows went with the account; what is not theirs is there all the same.
    for name in writing.MUTATIONS:
        viewer = scene.ada if scene.actor(name) == scene.ada else permitted
        if name == "putFeatures":
            given: dict[str, Any] = {"features": [{"userId": scene.bea.id, "vector": [1.0]}]}
        elif name == "putMatches":
            other = scene.moderator.id
            given = {"matches": [{"userId": scene.bea.id, "targetUserId": other, "score": 1.0}]}
        else:
            given = writing.EXAMPLES[name](scene)
        answer = await send(api, viewer, name, **given)
        if "errors" in answer.body or viewer is permitted:
            assert answer.codes == ["UNAUTHENTICATED"], name
            assert "does not exist any more" in answer.errors[0]["message"]
        else:
            (error,) = answer.data[name]["userErrors"]
            assert error["code"] == "NOT_FOUND", name
    assert await writing.rows(db) == before
