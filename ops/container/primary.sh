#!/bin/bash
# Runs once, when the primary's data is made: a role for the replica, statistics, and
# what the application's role needs behind PgBouncer (docs/operations.md).
set -euo pipefail
psql -v ON_ERROR_STOP=1 -v password="$REPLICATION_PASSWORD" -v user="$POSTGRES_USER" -U "$POSTGRES_USER" "$POSTGRES_DB" <<'SQL'
CREATE ROLE replica LOGIN REPLICATION PASSWORD :'password';
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
ALTER ROLE :"user" SET jit = off;
ALTER ROLE :"user" SET statement_timeout = '14s';
ALTER ROLE :"user" SET lock_timeout = '5s';
ALTER ROLE :"user" SET idle_in_transaction_session_timeout = '14s';
ALTER ROLE :"user" SET plan_cache_mode = force_generic_plan;
SQL
echo "host replication replica all scram-sha-256" >> "$PGDATA/pg_hba.conf"
