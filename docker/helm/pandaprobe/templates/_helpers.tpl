{{- define "pandaprobe.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* 50 characters, because the names of a component and of a job's pods are longer. */}}
{{- define "pandaprobe.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "pandaprobe.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels that select the pods of a component: (dict "root" $ "component" "api"). */}}
{{- define "pandaprobe.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pandaprobe.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "pandaprobe.labels" -}}
{{ include "pandaprobe.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The image, with a tag of a component if it has one: (dict "root" $ "tag" ""). */}}
{{- define "pandaprobe.image" -}}
{{- $image := .root.Values.image }}
{{- if and $image.digest (not .tag) }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (.tag | default $image.tag | default .root.Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- define "pandaprobe.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "pandaprobe.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "pandaprobe.secretName" -}}
{{- .Values.secrets.existingSecret | default (include "pandaprobe.fullname" .) }}
{{- end }}

{{/* Names of the secrets that serve and work have, as a JSON array. Fails if one is missing. */}}
{{- define "pandaprobe.secretKeys" -}}
{{- $keys := list }}
{{- if .Values.secrets.existingSecret }}
{{- if .Values.secrets.create }}
{{- fail "set secrets.existingSecret or secrets.create, not both" }}
{{- end }}
{{- $keys = .Values.secrets.keys }}
{{- else }}
{{- $keys = keys .Values.secrets.create | sortAlpha }}
{{- end }}
{{- range list "PANDAPROBE_DATABASE_URL" "PANDAPROBE_REDIS_URL" }}
{{- if not (has . $keys) }}
{{- fail (printf "%s is missing: put it into a Secret and name that in secrets.existingSecret, or set secrets.create.%s" . .) }}
{{- end }}
{{- end }}
{{- toJson $keys }}
{{- end }}

{{/* A setting as text. Helm reads numbers as floats, which it would print as 8.64e+04. */}}
{{- define "pandaprobe.settingText" -}}
{{- if kindIs "float64" . }}
{{- if eq . (floor .) }}{{ printf "%.0f" . }}{{ else }}{{ . }}{{ end }}
{{- else if kindIs "slice" . }}{{ toJson . }}
{{- else if kindIs "bool" . }}{{ ternary "on" "off" . }}
{{- else }}{{ . }}
{{- end }}
{{- end }}

{{/* How all pods run; the pod's securityContext comes with it. */}}
{{- define "pandaprobe.podDefaults" -}}
automountServiceAccountToken: false
# A Service named pandaprobe-worker would set PANDAPROBE_WORKER_PORT to tcp://….
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end }}

{{/* Environment of serve, work and doctor. */}}
{{- define "pandaprobe.environment" -}}
envFrom:
  - configMapRef:
      name: {{ include "pandaprobe.fullname" . }}
env:
  {{- range include "pandaprobe.secretKeys" . | fromJsonArray }}
  - name: {{ . }}_FILE
    value: /run/secrets/pandaprobe/{{ . }}
  {{- end }}
{{- end }}

{{- define "pandaprobe.volumeMounts" -}}
- name: secrets
  mountPath: /run/secrets/pandaprobe
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "pandaprobe.volumes" -}}
- name: secrets
  secret:
    secretName: {{ include "pandaprobe.secretName" . }}
    defaultMode: 0440
    items:
      {{- range include "pandaprobe.secretKeys" . | fromJsonArray }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
{{ include "pandaprobe.otherVolumes" . }}
{{- end }}

{{- define "pandaprobe.otherVolumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 256Mi
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Pods start again when a setting or a secret of the chart changes. */}}
{{- define "pandaprobe.checksums" -}}
checksum/settings: {{ include (print .Template.BasePath "/configmap.yaml") . | sha256sum }}
checksum/secrets: {{ toJson .Values.secrets.create | sha256sum }}
{{- end }}

{{/* Where pods of a component run: (dict "root" $ "component" "api"). */}}
{{- define "pandaprobe.placement" -}}
topologySpreadConstraints:
  {{- if .root.Values.topologySpreadConstraints }}
  {{- toYaml .root.Values.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "pandaprobe.selectorLabels" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
  {{- end }}
{{ include "pandaprobe.nodes" (index .root.Values .component) }}
{{- end }}

{{/* On which nodes pods run, by the values of their component. */}}
{{- define "pandaprobe.nodes" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Labels and annotations of a pod: (dict "root" $ "component" "api"). */}}
{{- define "pandaprobe.podMetadata" -}}
{{- $values := index .root.Values .component -}}
labels:
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- include "pandaprobe.selectorLabels" . | nindent 2 }}
annotations:
  {{- include "pandaprobe.checksums" .root | nindent 2 }}
  {{- with $values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Number of replicas at most: (dict "root" $ "component" "api"). */}}
{{- define "pandaprobe.replicasMax" -}}
{{- $values := index .root.Values .component }}
{{- if $values.autoscaling.enabled }}{{ $values.autoscaling.maxReplicas }}{{ else }}{{ $values.replicas }}{{ end }}
{{- end }}
