# shellcheck shell=bash
# Sourced by test-deploy.sh: what a person does with a deployment, step by step, and what has to come of it.
# Uses its compose(), $WORK, $PSQL, ports and PGL_ADMIN_PASSWORD.

CHECK_SECONDS=20
SHOP_QUERY="select country, count(*) from customers group by country order by country"

# api METHOD PATH [JSON]: prints the answer; fails on any status but 2xx.
api() {
  local method=$1 path=$2
  shift 2
  curl -sS --max-time 10 --fail-with-body -u "admin:$PGL_ADMIN_PASSWORD" -X "$method" \
    ${1:+-H 'content-type: application/json' -d "$1"} "http://127.0.0.1:$PGLENS_API_PORT$path"
}

# field EXPRESSION: of the JSON object on stdin, named `it`
field() { python3 -c 'import json, sys; it = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }

# as_alice SQL: through the proxy, as a user would
as_alice() {
  PGPASSWORD=$ALICE_PASSWORD PGCONNECT_TIMEOUT=10 "$PSQL" -X -q -A -t -h 127.0.0.1 -p "$PGLENS_PROXY_PORT" -U alice -d shop -c "$1"
}

# eventually WHAT COMMAND…: until it succeeds, for CHECK_SECONDS
eventually() {
  local what=$1 deadline=$((SECONDS + CHECK_SECONDS))
  shift
  until "$@" >"$WORK/last" 2>&1; do
    if ((SECONDS > deadline)); then
      cat "$WORK/last" >&2
      fail "$what"
    fi
    sleep 0.2
  done
}

run_checks() {
  ALICE_PASSWORD=$(python3 -c 'import secrets; print(secrets.token_urlsafe(15))')
  check_secrets_stay_where_they_belong
  make_user_database_grant
  check_queries_through_both_planes
  check_writes_are_refused
  check_the_record
  check_one_plane_serves_alone
  check_the_chart_runs
  check_revoke_ends_the_session
  check_a_second_up_changes_nothing
}

check_secrets_stay_where_they_belong() {
  local shown
  shown=$(compose ps -q --all | xargs docker inspect --format '{{json .Config.Env}}{{json .Config.Cmd}}')
  if grep -Eq 'PGL_DSN=|PGL_KEY=|PRIVATE KEY' <<<"$shown"; then fail "a secret shows in docker inspect"; fi
  if compose exec -T data-plane-1 test -e /run/pglens/keys; then fail "a data plane can read the encryption key"; fi
  if compose exec -T data-plane-1 bash -c 'exec 3<>/dev/tcp/storage/5432' 2>/dev/null; then fail "a data plane reaches the storage"; fi
  if compose exec -T control-plane touch /written 2>/dev/null; then fail "the root file system can be written"; fi
}

make_user_database_grant() {
  local user database
  user=$(api POST /api/users "{\"username\": \"alice\", \"password\": \"$ALICE_PASSWORD\", \"is_admin\": false}" | field 'it["id"]')
  database=$(api POST /api/databases '{"name": "shop", "description": "The sample shop", "host": "sample", "port": 5432,
    "database_name": "shop", "username": "shop", "password": "shop", "ssl_mode": "disable",
    "read_username": "shop_reader", "read_password": "shop-reader"}' | field 'it["id"]')
  GRANT=$(api POST /api/grants "$(python3 - "$user" "$database" <<'PYTHON'
import datetime, json, sys
now = datetime.datetime.now(datetime.timezone.utc)
at = lambda minutes: (now + datetime.timedelta(minutes=minutes)).isoformat(timespec="seconds").replace("+00:00", "Z")
print(json.dumps({"user_id": int(sys.argv[1]), "database_id": int(sys.argv[2]), "access_level": "read",
                  "starts_at": at(-1), "expires_at": at(60)}))
PYTHON
)" | field 'it["id"]')
  say "user $user, database $database, grant $GRANT are made"
}

check_queries_through_both_planes() {
  local expected seen
  expected=$(compose exec -T sample psql -X -q -A -t -h 127.0.0.1 "postgres://shop:shop@127.0.0.1/shop" -c "$SHOP_QUERY")
  [[ -n $expected ]] || fail "the sample database is empty"
  for _ in 1 2 3 4 5 6; do
    seen=$(as_alice "$SHOP_QUERY") || fail "a query through the proxy failed"
    [[ $seen == "$expected" ]] || fail "through the proxy: $seen; directly: $expected"
  done
  for plane in data-plane-1 data-plane-2; do
    eventually "$plane has not served a session" served_by "$plane"
  done
  say "both data planes served the same answer as the sample database itself"
}

served_by() { compose logs --no-color proxy | grep -q "postgresql data_planes/$1 "; }

check_writes_are_refused() {
  local answer
  if answer=$(as_alice "delete from orders" 2>&1); then fail "a read grant deleted rows"; fi
  [[ $answer == *ERROR* ]] || fail "the refusal of a write says: $answer"
  say "a write under the read grant: $answer"
}

# What the API shows of the last run of SHOP_QUERY.
check_the_record() {
  eventually "the record does not show the queries" recorded_six_times
  local query
  query=$(api GET "/api/queries?limit=100" | field "[q['id'] for q in it['queries'] if q['sql'].startswith('select country')][0]")
  api GET "/api/queries/$query" >"$WORK/query"
  [[ $(field 'it["row_count"] == len(it["result_rows"]) > 5' <"$WORK/query") == True ]] \
    || { cat "$WORK/query" >&2; fail "the record of query $query lacks its rows"; }
  say "the record shows query $query with $(field 'it["row_count"]' <"$WORK/query") rows"
}

recorded_six_times() {
  [[ $(api GET "/api/queries?limit=100" | field "sum(q['sql'].startswith('select country') for q in it['queries'])") == 6 ]]
}

check_one_plane_serves_alone() {
  compose stop -t 30 data-plane-1 >/dev/null 2>&1
  eventually "with one data plane stopped, the other does not serve" as_alice "select 1"
  compose up --detach --no-build --wait --wait-timeout 60 data-plane-1 >/dev/null 2>&1 || fail "data-plane-1 does not start again"
  say "with one data plane stopped the other served"
}

# The Deployments of the Helm chart, run here in place of those of compose.yaml, over the same storage.
check_the_chart_runs() {
  local helm venv
  if ! helm=$(helm4) || ! venv=$(kubernetes_validate_venv); then
    printf 'skipped: the chart was not run: helm or its tools cannot be installed\n' >&2
    if [[ ${CI_STRICT:-0} == 1 ]]; then exit 1; fi
    return
  fi
  printf 'storage: { dsn: "postgres://pglens:%s@storage:5432/pglens?sslmode=disable" }\nencryptionKey: { value: "%s" }
dataPlane: { settings: { proxyProtocolNetworks: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16] } }\n' \
    "$(compose exec -T storage cat /run/secrets/storage/password)" "$(compose exec -T control-plane cat /run/pglens/keys)" >"$WORK/values.yaml"
  "$helm" template pglens "$ROOT/helm/pglens" --namespace access -f "$WORK/values.yaml" >"$WORK/chart.yaml"
  mkdir "$WORK/chart"
  "$venv/python" "$ROOT/scripts/helm_as_compose.py" "$WORK/chart.yaml" "$WORK/chart" >"$WORK/override.yaml"
  chmod -R a+rX "$WORK/chart"
  compose -f "$WORK/override.yaml" up --detach --no-build --wait --wait-timeout 120 >"$WORK/up" 2>&1 \
    || { cat "$WORK/up" >&2; fail "the planes do not become healthy with the chart's settings"; }
  [[ $(compose exec -T control-plane printenv PGL_GRPC_TLS_CERT) == /etc/pglens/fleet/tls.crt ]] || fail "not the chart's settings"
  [[ $(as_alice "select 'through the chart'") == "through the chart" ]] || fail "no query goes through the chart's planes"
  compose up --detach --no-build --wait --wait-timeout 120 >"$WORK/up" 2>&1 || { cat "$WORK/up" >&2; fail "no way back from the chart"; }
  say "the chart's Deployments served a query"
}

check_revoke_ends_the_session() {
  local session started
  as_alice "select pg_sleep(120)" >"$WORK/sleeper" 2>&1 &
  session=$!
  eventually "the sleeping session does not run" compose exec -T sample psql -X -q -A -t "postgres://shop:shop@127.0.0.1/shop" \
    -c "select 1 / count(*) from pg_stat_activity where query = 'select pg_sleep(120)' and state = 'active'"
  started=$SECONDS
  api DELETE "/api/grants/$GRANT" >/dev/null
  if wait "$session"; then fail "the session outlived its grant"; fi
  ((SECONDS - started <= 5)) || fail "revoking took $((SECONDS - started)) s to end the session"
  grep -q FATAL "$WORK/sleeper" || fail "the revoked session was told: $(cat "$WORK/sleeper")"
  if as_alice "select 1" >/dev/null 2>&1; then fail "a revoked grant lets in"; fi
  say "revoking ended the session: $(grep FATAL "$WORK/sleeper")"
}

check_a_second_up_changes_nothing() {
  local before after
  before=$(fingerprints)
  compose up --detach --no-build --force-recreate --wait --wait-timeout 120 >"$WORK/up" 2>&1 \
    || { cat "$WORK/up" >&2; fail "a second start does not become healthy"; }
  after=$(fingerprints)
  [[ $before == "$after" ]] || fail "a second start made new keys or certificates"
  [[ $(api GET /api/users | field '"alice" in [u["username"] for u in it["users"]]') == True ]] || fail "a second start lost the data"
  say "a second start kept keys, certificates and data"
}

fingerprints() {
  compose exec -T control-plane sha256sum /run/pglens/keys /run/pglens/control-plane.pem /run/pglens/ca.pem
  compose exec -T data-plane-2 sha256sum /run/pglens/data-plane-2.pem
}
