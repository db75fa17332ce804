"""The statements of a run. ``$1`` and so on are what the names in ``running`` say."""

from __future__ import annotations

from community_gql.graph.exclusions import EXCLUDED, PUT_MATCHES

NEWEST = """
    SELECT greatest(
      (SELECT coalesce(max(version), 0) FROM match_recipes),
      (SELECT coalesce(max(version), 0) FROM user_features)
    )
"""
FOREIGN = """
    SELECT version, count(*) AS people FROM user_features f
    WHERE NOT EXISTS (SELECT FROM match_recipes r WHERE r.version = f.version AND r.recipe > 0)
      AND NOT EXISTS (SELECT FROM stale_features s WHERE s.user_id = f.user_id)
    GROUP BY version ORDER BY 2 DESC LIMIT 1
"""
MACHINES = """
    SELECT version FROM user_features f
    WHERE NOT EXISTS (SELECT FROM match_recipes r WHERE r.version = f.version AND r.recipe > 0)
    GROUP BY version ORDER BY count(*) DESC, version DESC LIMIT 1
"""
PUT = f"SELECT done_at FROM housekeeping WHERE job = '{PUT_MATCHES}'"
FORGET_PUT = f"""
    WITH forgotten AS (DELETE FROM housekeeping WHERE job = '{PUT_MATCHES}')
    INSERT INTO stale_lists (user_id)
    SELECT DISTINCT user_id FROM match_results ORDER BY user_id
    ON CONFLICT (user_id) DO UPDATE SET at = excluded.at
"""
FORGET_VERSIONS = """
    DELETE FROM match_recipes r
    WHERE version < $1 AND NOT EXISTS (SELECT FROM user_features f WHERE f.version = r.version)
"""
# Who is marked already keeps that mark: nobody but this run takes marks away, and does so later.
ALL_FEATURES = """
    INSERT INTO stale_features (user_id, at)
    SELECT auth0_sub, clock_timestamp() FROM users ORDER BY auth0_sub
    ON CONFLICT (user_id) DO NOTHING
"""
ALL_LISTS = """
    INSERT INTO stale_lists (user_id, at, vector_changed)
    SELECT user_id, clock_timestamp(), $2 FROM user_features WHERE version = $1 ORDER BY user_id
    ON CONFLICT (user_id) DO UPDATE SET
      at = excluded.at, vector_changed = stale_lists.vector_changed OR excluded.vector_changed
"""
ANY_LISTS = "SELECT EXISTS (SELECT FROM match_results)"
COUNT_FEATURES = "SELECT count(*) FROM user_features"
MARKED_FEATURES = "SELECT clock_timestamp(), count(*) FROM stale_features"
MARKED_LISTS = "SELECT count(*) FROM stale_lists WHERE NOT vector_changed"
SOME_FEATURES = """
    SELECT user_id, at FROM stale_features WHERE at <= $1 AND user_id > $2
    ORDER BY user_id LIMIT $3
"""
# One statement, so that the process can make the next vectors while PostgreSQL is at it. Choices
# are looked at once more, under the lock: they may have changed since they were read.
SAVE_VECTORS = """
    WITH saved AS (
      INSERT INTO user_features AS stored (user_id, vector, version, updated_at)
      SELECT given.user_id, given.vector::jsonb, $4, clock_timestamp()
      FROM unnest($1::varchar[], $2::text[], $3::bool[]) AS given (user_id, vector, habits)
      JOIN users ON auth0_sub = given.user_id
      LEFT JOIN match_choices c ON c.user_id = given.user_id
      WHERE coalesce(c.wanted, true) AND coalesce(c.habits, false) = given.habits
      ORDER BY given.user_id
      ON CONFLICT (user_id) DO UPDATE SET
        vector = excluded.vector, version = excluded.version, updated_at = excluded.updated_at
      WHERE (stored.vector, stored.version) IS DISTINCT FROM (excluded.vector, excluded.version)
      RETURNING user_id, updated_at
    ), gone AS (
      DELETE FROM user_features WHERE user_id = ANY ($5) RETURNING user_id
    ), changed AS (
      SELECT user_id, updated_at FROM saved UNION ALL SELECT user_id, NULL FROM gone
    ), concerned AS (
      INSERT INTO stale_lists (user_id, at, vector_changed)
      SELECT user_id, clock_timestamp(), true FROM changed ORDER BY user_id
      ON CONFLICT (user_id) DO UPDATE SET at = excluded.at, vector_changed = true
    ), unmarked AS (
      DELETE FROM stale_features s
      USING unnest($6::varchar[], $7::timestamptz[]) AS done (user_id, at)
      WHERE s.user_id = done.user_id AND s.at = done.at
    )
    SELECT user_id, updated_at FROM changed
"""
# Who is marked already keeps that mark: nobody makes lists while these run. So `at` tells the lists
# that nothing else concerns.
MARK_CONCERNED = """
    INSERT INTO stale_lists (user_id, at)
    SELECT auth0_sub, $2 FROM users WHERE auth0_sub = ANY ($1) ORDER BY auth0_sub
    ON CONFLICT (user_id) DO NOTHING
"""
MARK_HOLDING = """
    INSERT INTO stale_lists (user_id, at)
    SELECT user_id, $2 FROM match_results WHERE target_user_id = ANY ($1)
    GROUP BY user_id ORDER BY user_id
    ON CONFLICT (user_id) DO NOTHING
"""
MARKED_VECTORS = "SELECT count(*) FROM stale_lists WHERE vector_changed"
CHANGED_VECTORS = "SELECT user_id, at FROM stale_lists WHERE vector_changed ORDER BY user_id"
# All at once, where most vectors changed. What is marked by vectors that are committed later stays
# marked so, and the vectors of all others are loaded after this.
MARK_ALL = """
    WITH seen AS (
      UPDATE stale_lists SET vector_changed = false WHERE vector_changed RETURNING user_id
    )
    INSERT INTO stale_lists (user_id, at)
    SELECT user_id, clock_timestamp() FROM (
      SELECT user_id FROM user_features WHERE version = $1
      UNION
      SELECT user_id FROM match_results WHERE target_user_id IN (SELECT user_id FROM seen)
    ) AS concerned
    ORDER BY user_id
    ON CONFLICT (user_id) DO NOTHING
"""
SEEN = """
    UPDATE stale_lists s SET vector_changed = false
    FROM unnest($1::varchar[], $2::timestamptz[]) AS seen (user_id, at)
    WHERE s.user_id = seen.user_id AND s.at = seen.at
"""
# Few rows of large tables, which have no statistics during a first run: guessing, the planner reads
# such a table as a whole for each block of lists.
BY_INDEX = """
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off
"""
CLAIM = """
    SELECT user_id, at FROM stale_lists WHERE user_id > $1 AND NOT vector_changed
    ORDER BY user_id LIMIT $2 FOR UPDATE SKIP LOCKED
"""
CLAIM_OF = """
    SELECT user_id, at FROM stale_lists WHERE user_id = ANY ($1) AND NOT vector_changed
    ORDER BY user_id LIMIT $2 FOR UPDATE SKIP LOCKED
"""
ANY_CHANGED = """
    SELECT EXISTS (SELECT FROM stale_features)
        OR EXISTS (SELECT FROM stale_lists WHERE vector_changed)
"""
EXCLUDED_FROM = f"SELECT user_id, other_id FROM {EXCLUDED} WHERE user_id = ANY ($1)"
UNMARK_LISTS = """
    DELETE FROM stale_lists s
    USING unnest($1::varchar[], $2::timestamptz[]) AS done (user_id, at)
    WHERE s.user_id = done.user_id AND s.at = done.at AND NOT s.vector_changed
"""
