"""The words of people's names, as the triggers keep them in ``name_words``."""

from __future__ import annotations

# unscoped: everyone may see people and the tags that they chose; shown to nobody from here
NAME_WORDS = """
    SELECT named.tag_id, w.word, named.public_id, w.previous, named.created_at, named.name_key
    FROM (
      SELECT 0 AS tag_id, public_id, created_at, name_key FROM users WHERE name_key <> ''
      UNION ALL
      SELECT tag_id, public_id, users.created_at, name_key
      FROM user_tags JOIN users ON auth0_sub = user_id WHERE name_key <> ''
    ) AS named
    CROSS JOIN LATERAL (
      SELECT word, coalesce(lag(word) OVER (ORDER BY word), '') AS previous
      FROM unnest(tsvector_to_array(to_tsvector('simple', named.name_key)) COLLATE "C")
        AS words (word)
    ) AS w
"""
"""All rows that it should have."""
FILL_NAME_WORDS = f"INSERT INTO name_words {NAME_WORDS} ORDER BY 1, 2, 3"
"""Writes them, while the triggers rest."""
