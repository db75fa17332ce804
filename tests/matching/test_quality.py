"""Recipe 1 finds friends that it does not know, in a community where they can be found.

The bounds leave room: the figures of this seed stand beside them.
"""

from __future__ import annotations

import pytest

from benchmarks.planted import Planted, chosen_tags_alone, planted, recipe_1
from community_gql.matching.evaluating import Evaluation, measured

PEOPLE, SEED = 3000, 1


@pytest.fixture(scope="module")
def community() -> Planted:
    return planted(PEOPLE, SEED)


@pytest.fixture(scope="module")
def found(community: Planted) -> Evaluation:
    return measured(recipe_1(community), community.friends, PEOPLE, SEED)


def test_it_finds_more_friends_than_tags_popularity_and_chance(
    community: Planted, found: Evaluation
) -> None:
    tags = measured(chosen_tags_alone(community), community.friends, PEOPLE, SEED).matching
    assert found.matching.ndcg > 2 * tags.ndcg
    assert found.matching.ndcg > 3 * found.popularity.ndcg
    assert found.matching.ndcg > 10 * found.random.ndcg
    assert found.matching.hit_rate > 2 * tags.hit_rate
    assert found.matching.hit_rate > 0.05


def test_it_shows_nearly_everyone_and_nobody_everywhere(found: Evaluation) -> None:
    assert found.never_shown < 0.15
    assert found.most_shown < 0.05 * found.people
