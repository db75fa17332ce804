#!/bin/bash
# In the place of docker.io/edoburu/pgbouncer: its configuration comes from the environment.
set -euo pipefail
{
  echo "[databases]"
  echo "$DB_NAME = host=$DB_HOST port=${DB_PORT:-5432} auth_user=$DB_USER"
  echo "[pgbouncer]"
  echo "listen_addr = 0.0.0.0"
  echo "unix_socket_dir ="
  echo "auth_file = /etc/pgbouncer/userlist.txt"
  for name in LISTEN_PORT AUTH_TYPE POOL_MODE DEFAULT_POOL_SIZE MAX_CLIENT_CONN \
    MAX_PREPARED_STATEMENTS IGNORE_STARTUP_PARAMETERS; do
    echo "${name,,} = ${!name}"
  done
} > /etc/pgbouncer/pgbouncer.ini
echo "\"$DB_USER\" \"$DB_PASSWORD\"" > /etc/pgbouncer/userlist.txt
exec pgbouncer /etc/pgbouncer/pgbouncer.ini
