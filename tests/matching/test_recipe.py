"""Recipe 1 by its parts."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from community_gql.actions.validation import MAX_JOURNALING_FREQUENCY, MAX_VECTOR_LENGTH
from community_gql.matching.recipe import (
    JOURNALING,
    MAX_LENGTH,
    MOST_DAYS,
    Key,
    Made,
    NoPlace,
    Recipe,
    as_json,
    normalised,
)


def recipe(people: int = 100, **habits: int) -> Recipe:
    counts: dict[Key, int] = {1: 2, 2: 50}
    counts.update(habits)
    return Recipe.of(1, people, counts)


def test_limits_are_those_of_the_api() -> None:
    assert MAX_LENGTH == MAX_VECTOR_LENGTH
    assert MOST_DAYS == MAX_JOURNALING_FREQUENCY


def test_a_vector_by_hand() -> None:
    made = recipe(walk=4)
    (row,) = made.vectors([Made({1: (True, 4), 2: (False, 9)}, frozenset(["walk"]), 0)])
    rare, common, habit = (math.log(100 / n) ** 1.5 for n in (2, 50, 4))
    parts = [rare * (1 + 0.5 * 2), 0.3 * habit, common * 0.5 * 3]
    length = math.hypot(*parts) + 1
    assert row[:JOURNALING].tolist() == [200, 0]
    assert row[JOURNALING : JOURNALING + 3].tolist() == [round(1000 * p / length) for p in parts]
    assert not row[JOURNALING + 3 :].any()


def test_whom_a_habit_is_of_alone_gives_it_no_place_and_a_tag_does() -> None:
    made = Recipe.of(1, 10, {1: 1, "walk": 1, "run": 2})
    assert made.places.keys() == {1, "run"}


def test_the_commonest_are_left_out_when_places_are_short() -> None:
    made = Recipe.of(1, 10_000, {tag: tag for tag in range(1, 6000)})
    kept = sorted(made.places)
    assert made.length == MAX_LENGTH
    assert kept == list(range(1, len(kept) + 1))
    assert made.free == (MAX_LENGTH - JOURNALING) // 10


def test_a_tenth_is_kept_free_and_then_there_is_no_place() -> None:
    made = Recipe.of(1, 1000, dict.fromkeys(range(200), 2))
    assert made.free == 20
    before = made.vectors([Made({5: (True, 0)})])
    for tag in range(200, 220):
        made.add(tag, 1)
    assert (made.vectors([Made({5: (True, 0)})]) == before).all()
    with pytest.raises(NoPlace):
        made.add(999, 1)


def test_no_score_is_above_one_but_for_journaling() -> None:
    made = Recipe.of(1, 100_000, dict.fromkeys(range(50), 2))
    (row,) = made.vectors([Made(dict.fromkeys(range(50), (True, 100)), journaling=3)]).tolist()
    assert sum(value * value for value in row) <= 1_040_000 + 50_000 < 2**24
    (one,) = made.vectors([Made({1: (True, 0)})]).tolist()
    assert max(one) < 990, "one common tag is a perfect match"


@pytest.mark.parametrize(("one", "other", "product"), [(3, 3, 40), (0, 7, 0), (None, 3, 0)])
def test_journaling(one: int | None, other: int | None, product: int) -> None:
    rows = recipe().vectors([Made({}, journaling=one), Made({}, journaling=other)])
    assert abs(int(rows[0] @ rows[1]) / 1000 - product) < 1


def test_a_recipe_survives_json() -> None:
    made = recipe(walk=4)
    text = json.dumps(made.to_json())
    again = Recipe.from_json(1, made.people, made.length, json.loads(text))
    assert again == made
    person = Made({1: (True, 2)}, frozenset(["walk"]), 5)
    assert (again.vectors([person]) == made.vectors([person])).all()


def test_json_of_a_vector_is_exact() -> None:
    row = np.array([0, 200, -1, 999, 1000], np.int32)
    assert json.loads(as_json(row)) == [0, 0.2, -0.001, 0.999, 1]
    assert np.rint(np.array(json.loads(as_json(row))) * 1000).astype(int).tolist() == row.tolist()


def test_vectors_of_others_get_length_1() -> None:
    assert normalised(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[600, 800], [0, 0]]
