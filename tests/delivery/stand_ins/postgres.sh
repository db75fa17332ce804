#!/bin/bash
# In the place of docker.io/library/postgres, as far as compose.yaml relies on it: the account
# `postgres`, PGDATA, POSTGRES_* for the first start, and the scripts of /docker-entrypoint-initdb.d.
set -euo pipefail
if [ "${1:-}" != postgres ]; then exec "$@"; fi
mkdir -p "$PGDATA"
if [ "$(id -u)" = 0 ]; then
  chown -R postgres: /var/lib/postgresql
  exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --no-sync --encoding=UTF8 --locale=C.UTF-8 --username="$POSTGRES_USER" --pwfile=<(echo "$POSTGRES_PASSWORD") --auth-local=trust
  echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  pg_ctl -w start -o "$(printf '%q ' "${@:2}") -c listen_addresses=''"
  createdb -U "$POSTGRES_USER" "$POSTGRES_DB"
  for script in /docker-entrypoint-initdb.d/*.sh; do
    if [ -x "$script" ]; then "$script"; else . "$script"; fi
  done
  pg_ctl -w -m fast stop
fi
exec "$@"
