"""What is asked: the queries, and the people and variables with which each is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.database import Database

VARIANTS = 16
"""So many pairs of viewer and variables take turns in one measurement."""


@dataclass(frozen=True)
class Person:
    """Someone who may ask, or be asked for."""

    sub: str
    email: str
    key: str
    """``public_id``: what the API's ids are made of."""


@dataclass(frozen=True)
class Query:
    """One thing to ask every system for."""

    name: str
    about: str
    """For the report."""
    document: str
    """In this project's own schema."""
    pages: bool = False
    """Whether the variants are consecutive pages, found by following ``endCursor``."""
    everywhere: bool = True
    """Whether all systems are asked, or the hand-written endpoint alone for comparison."""
    writes: bool = False


PERSON = Query(
    "small",
    "one person with profile and garden",
    """
query Small($id: ID!) {
  user(id: $id) {
    id
    createdAt
    profile { displayName bio }
    garden { name theme }
  }
}
""",
)
NESTED = Query(
    "nested",
    "20 people, each with profile, garden and their 5 newest stories",
    """
query Nested($after: String) {
  users(first: 20, after: $after) {
    nodes {
      id
      profile { displayName }
      garden { name theme }
      stories(first: 5) {
        nodes { id title visibility createdAt tagNames }
      }
    }
    pageInfo { hasNextPage endCursor }
  }
}
""",
    pages=True,
)
GRAPH = Query(
    "graph",
    "10 stories with their tags, each with its author, whose 3 newest stories have their tags; "
    "and the viewer's 5 best matches",
    """
query Graph($after: String) {
  stories(first: 10, after: $after) {
    nodes {
      id
      title
      tags { id name }
      author {
        id
        profile { displayName }
        stories(first: 3) {
          nodes { id title tags { id name } }
        }
      }
    }
    pageInfo { hasNextPage endCursor }
  }
  viewer {
    user {
      matches(first: 5) {
        nodes {
          score
          user { id profile { displayName } }
        }
      }
    }
  }
}
""",
    pages=True,
)
LIST = Query(
    "list",
    "100 stories, flat, with the author's name",
    """
query List($after: String) {
  stories(first: 100, after: $after) {
    nodes {
      id
      title
      visibility
      createdAt
      author { profile { displayName } }
    }
    pageInfo { hasNextPage endCursor }
  }
}
""",
    pages=True,
)
FEED = Query(
    "feed",
    "the 20 newest stories with one of two tags and a word in title or text, with excerpts",
    """
query Feed($tags: [String!], $search: String) {
  stories(first: 20, filter: { tagsAny: $tags, search: $search }) {
    nodes {
      id
      title
      excerpt(length: 200)
      createdAt
      tagNames
      author { profile { displayName } }
    }
    pageInfo { hasNextPage endCursor }
  }
}
""",
    everywhere=False,
)
CREATE = Query(
    "createStory",
    "a story of some 300 characters with two tags; one transaction, committed to disk",
    """
mutation Create($title: String!, $content: String!, $tags: [String!]!) {
  createStory(input: {
    title: $title, content: $content, tags: $tags, visibility: PUBLIC
  }) {
    story { id title visibility createdAt tagNames }
    userErrors { code }
  }
}
""",
    everywhere=False,
    writes=True,
)
DEEP = Query(
    "page",
    "5 stories of the feed, first page or far behind",
    """
query Page($after: String) {
  stories(first: 5, after: $after) {
    nodes { id title createdAt }
    pageInfo { hasNextPage endCursor }
  }
}
""",
    pages=True,
    everywhere=False,
)

QUERIES = (PERSON, NESTED, GRAPH, LIST, FEED, CREATE)

PROSE = (
    "The first frost came early this year, and I have covered the beds with straw. What is left "
    "of the beans goes to the compost, the kale stays where it is. I sat on the step for a while, "
    "wrote down what I want to sow in spring, and listened to the geese. *Patience*, I wrote, and "
    "underlined it twice."
)


@dataclass(frozen=True)
class Variant:
    """One request's viewer (None: nobody is signed in) and values."""

    viewer: Person | None
    values: dict[str, Any] = field(default_factory=dict)


def viewers(database: Database, count: int = VARIANTS) -> list[Person]:
    """People with matches, spread over the whole community, the founders first."""
    rows = database.rows(
        f"""
        SELECT auth0_sub AS sub, email::text AS email, public_id AS key FROM users
        WHERE auth0_sub IN (SELECT user_id FROM match_results)
        ORDER BY auth0_sub NOT IN ('auth0|ada', 'auth0|grace'),
          md5(auth0_sub)
        LIMIT {count}
        """
    )
    return [Person(**row) for row in rows]


def variants(query: Query, database: Database, people: Sequence[Person]) -> list[Variant]:
    """The variants of a query that needs no cursors; ``people`` ask for each other."""
    match query.name:
        case "small":
            others = [*people[1:], people[0]]
            pairs = zip(people, others, strict=True)
            return [Variant(viewer, {"key": other.key}) for viewer, other in pairs]
        case "feed":
            found = database.rows(
                "SELECT name FROM tags JOIN story_tags ON tag_id = id "
                "GROUP BY id ORDER BY count(*) DESC, name LIMIT 20"
            )
            names = [row["name"] for row in found]
            words = ("garden", "morning", "rain", "friend", "walk", "tea", "letter", "night")
            return [
                Variant(
                    viewer,
                    {
                        "tags": [names[i % len(names)], names[(i * 7 + 3) % len(names)]],
                        "search": words[i % len(words)],
                    },
                )
                for i, viewer in enumerate(people)
            ]
        case "createStory":
            return [
                Variant(
                    viewer,
                    {
                        "title": f"Straw and kale {i}",
                        "content": PROSE,
                        "tags": ["gardening", "growth"],
                    },
                )
                for i, viewer in enumerate(people)
            ]
    return [Variant(viewer) for viewer in people]
