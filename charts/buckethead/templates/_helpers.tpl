{{- define "buckethead.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* They can never change: a Deployment's selector is immutable. */ -}}
{{- define "buckethead.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "buckethead.labels" -}}
{{ include "buckethead.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The metadata of what others look for by labels of their choice, in a namespace of theirs. Takes a list: the root, its
name after that of the release, what values say of it. */ -}}
{{- define "buckethead.foundMetadata" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
name: {{ include "buckethead.fullname" $root }}{{ index . 1 }}
namespace: {{ default $root.Release.Namespace $values.namespace }}
labels:
  {{- mergeOverwrite (include "buckethead.labels" $root | fromYaml) $values.labels | toYaml | nindent 2 }}
{{- with $values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "buckethead.serviceAccount" -}}
{{- default (ternary (include "buckethead.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "buckethead.image" -}}
{{- $image := .Values.image -}}
{{- $registry := default $image.registry (.Values.global).imageRegistry -}}
{{ with $registry }}{{ . }}/{{ end }}{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}{{ with $image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{- /* The Secret of the certificate; empty without TLS. */ -}}
{{- define "buckethead.tlsSecret" -}}
{{- $made := printf "%s-tls" (include "buckethead.fullname" . | trunc 59 | trimSuffix "-") -}}
{{- default (ternary $made "" .Values.tls.certManager.enabled) .Values.tls.secretName -}}
{{- end -}}

{{- /* What the port speaks. */ -}}
{{- define "buckethead.scheme" -}}
{{- ternary "http" "https" (empty (include "buckethead.tlsSecret" .)) -}}
{{- end -}}

{{- /* The name that a certificate has in any case. */ -}}
{{- define "buckethead.host" -}}
{{ include "buckethead.fullname" . }}.{{ .Release.Namespace }}.svc
{{- end -}}

{{- /* The port that a URL need not name. */ -}}
{{- define "buckethead.schemePort" -}}
{{- ternary 443 80 (eq (include "buckethead.scheme" .) "https") -}}
{{- end -}}

{{- define "buckethead.servicePort" -}}
{{- default (include "buckethead.schemePort" .) .Values.service.port -}}
{{- end -}}

{{- define "buckethead.publicUrl" -}}
{{- $port := include "buckethead.servicePort" . -}}
{{- $rest := ternary "" (printf ":%s" $port) (eq $port (include "buckethead.schemePort" .)) -}}
{{- default (printf "%s://%s%s" (include "buckethead.scheme" .) (include "buckethead.host" .) $rest) .Values.publicUrl -}}
{{- end -}}

{{- /* What a run of gc is made of: our own image, and what gcJob says. */ -}}
{{- define "buckethead.gcJob" -}}
{{- $image := dict "image" (include "buckethead.image" .) "imagePullPolicy" .Values.image.pullPolicy "imagePullSecrets" .Values.imagePullSecrets -}}
{{- mergeOverwrite (deepCopy .Values.gcJob) $image | toJson -}}
{{- end -}}

{{- /* How Prometheus asks for what is counted, at the named port. Takes a list: the root, the port's name, what values say of the monitor. */ -}}
{{- define "buckethead.scrape" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
- port: {{ index . 1 }}
  path: /metrics
  # The labels `namespace` and `name` are those of databases.
  honorLabels: true
  scheme: {{ include "buckethead.scheme" $root }}
  {{- with $values.interval }}
  interval: {{ . }}
  {{- end }}
  {{- with $values.scrapeTimeout }}
  scrapeTimeout: {{ . }}
  {{- end }}
  {{- with include "buckethead.tlsSecret" $root }}
  {{- $tls := dict "serverName" (include "buckethead.host" $root) }}
  {{- $key := $root.Values.tls.authorityKey }}
  {{- /* A monitor can name Secrets of its own namespace alone. */}}
  {{- if and $key (eq $root.Release.Namespace (default $root.Release.Namespace $values.namespace)) }}
  {{- $_ := set $tls "ca" (dict "secret" (dict "name" . "key" $key)) }}
  {{- end }}
  tlsConfig:
    {{- mergeOverwrite $tls $values.tlsConfig | toYaml | nindent 4 }}
  {{- end }}
  {{- with $values.relabelings }}
  relabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- /* What the operator asks of the API server, and no more; written by `make rights`. What concerns no namespace needs the whole cluster. */ -}}
{{- define "buckethead.rules" -}}
{{ .Files.Get "files/rights/namespaces.yaml" | trim }}
{{- if empty .Values.watchNamespaces }}
{{ .Files.Get "files/rights/cluster.yaml" | trim }}
{{- end }}
{{- end -}}
