#!/bin/bash
# Runs once, when the primary's data is made: a role for the replica, and statistics.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -v password="$REPLICATION_PASSWORD" -U "$POSTGRES_USER" "$POSTGRES_DB" <<'SQL'
CREATE ROLE replica LOGIN REPLICATION PASSWORD :'password';
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
SQL
echo "host replication replica all scram-sha-256" >> "$PGDATA/pg_hba.conf"
