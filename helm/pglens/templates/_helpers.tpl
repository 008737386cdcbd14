{{- define "pglens.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 43 | trimSuffix "-" }}
{{- end }}

{{/* At most 43 characters: "-control-plane-grpc" must fit into the 63 of a name. */}}
{{- define "pglens.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 43 | trimSuffix "-" }}
{{- else if contains (include "pglens.name" .) .Release.Name }}
{{- .Release.Name | trunc 43 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "pglens.name" .) | trunc 43 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Takes (dict "root" $ "component" "control-plane"). */}}
{{- define "pglens.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pglens.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "pglens.labels" -}}
{{ include "pglens.selectorLabels" . }}
app.kubernetes.io/part-of: pglens
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Takes (dict "root" $ "image" .Values.dataPlane.image). */}}
{{- define "pglens.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "pglens.serviceAccountName" -}}
{{- if .root.Values.serviceAccount.create -}}
{{ include "pglens.fullname" .root }}-{{ .component }}
{{- else -}}
{{ .root.Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/* Names of the Secrets, whoever made them. */}}
{{- define "pglens.storageSecret" -}}
{{ .Values.storage.existingSecret | default (printf "%s-storage" (include "pglens.fullname" .)) }}
{{- end }}
{{- define "pglens.keySecret" -}}
{{ .Values.encryptionKey.existingSecret | default (printf "%s-encryption-key" (include "pglens.fullname" .)) }}
{{- end }}
{{- define "pglens.adminSecret" -}}
{{ .Values.adminPassword.existingSecret | default (printf "%s-admin" (include "pglens.fullname" .)) }}
{{- end }}
{{- define "pglens.controlPlaneTlsSecret" -}}
{{ .Values.fleetTls.controlPlaneSecret | default (printf "%s-control-plane-tls" (include "pglens.fullname" .)) }}
{{- end }}
{{- define "pglens.dataPlaneTlsSecret" -}}
{{ .Values.fleetTls.dataPlaneSecret | default (printf "%s-data-plane-tls" (include "pglens.fullname" .)) }}
{{- end }}

{{/* Where data planes find the control plane; the generated certificate is made for it. */}}
{{- define "pglens.grpcHost" -}}
{{ include "pglens.fullname" . }}-control-plane-grpc.{{ .Release.Namespace }}.svc
{{- end }}

{{/* A stamp that changes with the secret values given here, so that pods start anew with them. A pod's annotations
     are read by more people than Secrets are: the stamp is a slow hash (scrypt), of no use for guessing. */}}
{{- define "pglens.secretsStamp" -}}
{{- $given := join "\n" (list .Values.storage.dsn .Values.encryptionKey.value .Values.adminPassword.value) }}
{{- derivePassword 1 "long" $given "pglens" (include "pglens.fullname" .) | sha256sum | trunc 16 }}
{{- end }}

{{/* The scheduling fields both planes have. Takes (dict "root" $ "component" "data-plane" "plane" .Values.dataPlane). */}}
{{- define "pglens.scheduling" -}}
{{- with .plane.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .plane.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .plane.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .plane.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if .plane.topologySpreadConstraints }}
  {{- toYaml .plane.topologySpreadConstraints | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "pglens.selectorLabels" . | nindent 8 }}
{{- end }}
{{- end }}

{{/* Annotations of the pods. Takes (dict "root" $ "plane" .Values.dataPlane "port" 9091). */}}
{{- define "pglens.podAnnotations" -}}
pglens/secrets-stamp: {{ include "pglens.secretsStamp" .root | quote }}
{{- if .root.Values.metrics.scrapeAnnotations }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
prometheus.io/path: /metrics
{{- end }}
{{- with .plane.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Three probes with three meanings: has it come up, is it alive, should it get work. The operations server tells
     them apart; a plane without its storage or control plane is not ready, and restarting it would not help. */}}
{{- define "pglens.probes" -}}
startupProbe:
  httpGet: { path: /livez, port: operations }
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /livez, port: operations }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: { path: /readyz, port: operations }
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end }}

{{/* Takes (dict "root" $ "plane" .Values.dataPlane). */}}
{{- define "pglens.lifecycle" -}}
{{- if eq (include "pglens.preStopSeconds" .) "0" -}}
{{- else -}}
lifecycle:
  preStop:
    sleep:
      seconds: {{ include "pglens.preStopSeconds" . }}
{{- end }}
{{- end }}

{{- define "pglens.preStopSeconds" -}}
{{- if semverCompare ">=1.30.0-0" .root.Capabilities.KubeVersion.Version -}}
{{ int .plane.preStopSleepSeconds }}
{{- else -}}
0
{{- end }}
{{- end }}

{{/* The pod may live for its sleep, its own grace and some seconds to say good-bye. */}}
{{- define "pglens.terminationGraceSeconds" -}}
{{ add (include "pglens.preStopSeconds" . | int) (int .plane.settings.shutdownGraceSeconds) 15 }}
{{- end }}

{{/* Pods that keep their spool on a volume of their own have a place each. */}}
{{- define "pglens.dataPlaneKind" -}}
{{ ternary "StatefulSet" "Deployment" .Values.dataPlane.spool.persistence.enabled }}
{{- end }}

{{/* What the schema cannot say. */}}
{{- define "pglens.validate" -}}
{{- if and .Values.storage.dsn .Values.storage.existingSecret }}
{{- fail "storage.dsn and storage.existingSecret are both given: give one" }}
{{- end }}
{{- if not (or .Values.storage.dsn .Values.storage.existingSecret) }}
{{- fail "PgLens needs a PostgreSQL database of its own: give storage.dsn or storage.existingSecret" }}
{{- end }}
{{- if and .Values.encryptionKey.value .Values.encryptionKey.existingSecret }}
{{- fail "encryptionKey.value and encryptionKey.existingSecret are both given: give one" }}
{{- end }}
{{- if and .Values.adminPassword.value .Values.adminPassword.existingSecret }}
{{- fail "adminPassword.value and adminPassword.existingSecret are both given: give one" }}
{{- end }}
{{- if ne (empty .Values.fleetTls.controlPlaneSecret) (empty .Values.fleetTls.dataPlaneSecret) }}
{{- fail "fleetTls.controlPlaneSecret and fleetTls.dataPlaneSecret come together: give both or none" }}
{{- end }}
{{- if and .Values.dataPlane.tls.required (not .Values.dataPlane.tls.existingSecret) }}
{{- fail "dataPlane.tls.required needs a certificate: give dataPlane.tls.existingSecret" }}
{{- end }}
{{- if and (eq .Values.dataPlane.settings.clientAuth "password") (not .Values.dataPlane.tls.existingSecret) }}
{{- fail "dataPlane.settings.clientAuth=password works inside TLS only: give dataPlane.tls.existingSecret" }}
{{- end }}
{{- if and .Values.controlPlane.ingress.enabled (not .Values.controlPlane.ingress.host) }}
{{- fail "controlPlane.ingress.host is needed when the ingress is enabled" }}
{{- end }}
{{- with .Values.controlPlane.feed }}
{{- if and (or .headersSecret .caSecret) (not .endpoint) }}
{{- fail "controlPlane.feed.headersSecret and caSecret are for an endpoint: give controlPlane.feed.endpoint" }}
{{- end }}
{{- if and .caSecret (not (hasPrefix "https://" .endpoint)) }}
{{- fail "controlPlane.feed.caSecret is for an https endpoint" }}
{{- end }}
{{- end }}
{{- if and .Values.dataPlane.spool.persistence.enabled .Values.dataPlane.spool.volume }}
{{- fail "dataPlane.spool.volume and dataPlane.spool.persistence are both given: give one" }}
{{- end }}
{{- if and .Values.dataPlane.autoscaling.enabled (lt (int .Values.dataPlane.autoscaling.maxReplicas) (int .Values.dataPlane.autoscaling.minReplicas)) }}
{{- fail "dataPlane.autoscaling.maxReplicas is less than minReplicas" }}
{{- end }}
{{- end }}
