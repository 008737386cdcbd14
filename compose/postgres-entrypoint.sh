#!/bin/bash
# The part of the official image's entrypoint that compose.yaml relies on: a first start makes the cluster and the
# database, and runs /docker-entrypoint-initdb.d/*.sql.
set -euo pipefail

: "${POSTGRES_USER:=postgres}"
: "${POSTGRES_DB:=$POSTGRES_USER}"
if [[ -n ${POSTGRES_PASSWORD_FILE:-} ]]; then
  POSTGRES_PASSWORD=$(<"$POSTGRES_PASSWORD_FILE")
fi

if [[ ! -s $PGDATA/PG_VERSION ]]; then
  # What fails half-way begins anew at the next start.
  trap 'rm -rf "${PGDATA:?}"/*' ERR
  initdb -U "$POSTGRES_USER" --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD:?is required}") \
    --auth-local=trust --auth-host=scram-sha-256 -E UTF8
  printf 'host all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  # Only on its socket while the cluster is being filled: nobody sees half a database.
  pg_ctl -w start -o "-c listen_addresses=''"
  if [[ $POSTGRES_DB != postgres ]]; then
    createdb -U "$POSTGRES_USER" --maintenance-db=postgres "$POSTGRES_DB"
  fi
  for file in /docker-entrypoint-initdb.d/*.sql; do
    if [[ -f $file ]]; then
      psql -v ON_ERROR_STOP=1 -X -q -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f "$file"
    fi
  done
  pg_ctl -w stop -m fast
  trap - ERR
fi
unset POSTGRES_PASSWORD

exec "$@" -c listen_addresses='*'
