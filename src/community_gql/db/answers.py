"""The settings of PostgreSQL that decide what an answer says."""

from __future__ import annotations

ANSWERS = {
    "bytea_output": "hex",
    "datestyle": "ISO, MDY",
    "default_text_search_config": "pg_catalog.simple",
    "default_transaction_deferrable": "off",
    "default_transaction_isolation": "read committed",
    "extra_float_digits": "1",
    "gin_fuzzy_search_limit": "0",
    "intervalstyle": "postgres",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "quote_all_identifiers": "off",
    "row_security": "on",
    "search_path": "public",
    "standard_conforming_strings": "on",
    "timezone": "UTC",
    "transform_null_equals": "off",
    "xmlbinary": "base64",
    "xmloption": "content",
}
"""Settings that could change an answer. Sent at connect, they win over the server's, the
database's and the role's."""
TRACKED = ("datestyle", "standard_conforming_strings", "timezone")
"""Those of ANSWERS that every PgBouncer takes at connect and keeps for each client."""
