"""Seeding: a made-up community for development, demonstrations and load tests."""

from community_gql.dev.seeding.founders import permissions_of
from community_gql.dev.seeding.loading import (
    UNTIL,
    Person,
    SeedError,
    SeedReport,
    is_empty,
    known_people,
    seed,
)

__all__ = [
    "UNTIL",
    "Person",
    "SeedError",
    "SeedReport",
    "is_empty",
    "known_people",
    "permissions_of",
    "seed",
]
