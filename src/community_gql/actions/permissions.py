"""What a token may permit beyond one's own rows, and the check of it.

The identity provider puts permissions into tokens (docs/identity.md). In development
``dev/seeding/founders.py`` says who has which. A mutation that needs one names it here, and checks
it first.
"""

from __future__ import annotations

from community_gql.errors import Code, Rejected, UserError
from community_gql.graph.visibility import Viewer

MANAGE_TAGS = "manage:tags"
"""Change the vocabulary: for moderators."""
WRITE_FEATURES = "write:features"
"""Save the feature vectors of people: for programs."""
WRITE_MATCHES = "write:matches"
"""Save batches of matches: for programs."""


def require_permission(viewer: Viewer, permission: str) -> None:
    """Raises Rejected with FORBIDDEN unless the viewer's token carries ``permission``."""
    if permission not in viewer.permissions:
        raise Rejected(UserError(Code.FORBIDDEN, f"This needs the permission {permission}."))
