{{/* Names. 40 characters leave room for the longest suffix and for what controllers append. */}}
{{- define "lckv.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "lckv.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "lckv.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "lckv.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Components are dicts {root, component: gateway|worker|cache-node, values}. */}}
{{- define "lckv.componentName" -}}
{{- printf "%s-%s" (include "lckv.fullname" .root) .component -}}
{{- end -}}

{{/* Selectors never change in the life of a release: they carry no version. */}}
{{- define "lckv.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lckv.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "lckv.labels" -}}
{{ include "lckv.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: lckv
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "lckv.serviceAccountName" -}}
{{- if .values.serviceAccount.create -}}
{{- default (include "lckv.componentName" .) .values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/*
registry/repository:tag, or @digest where one is given. A component's image may differ in any part. A digest is of one image: a
component with a repository or tag of its own does not take over the digest of the common one.
*/}}
{{- define "lckv.image" -}}
{{- $common := .root.Values.image -}}
{{- $own := default dict .values.image -}}
{{- if or $own.repository $own.tag -}}
{{- $common = omit $common "digest" -}}
{{- end -}}
{{- $image := merge (dict) $own $common -}}
{{- $registry := default $image.registry .root.Values.global.imageRegistry -}}
{{- $name := ternary $image.repository (printf "%s/%s" $registry $image.repository) (empty $registry) -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "lckv.imagePullPolicy" -}}
{{- default .root.Values.image.pullPolicy (default dict .values.image).pullPolicy -}}
{{- end -}}

{{/* Seconds of a duration such as 250ms, 30s, 10m or 1h, rounded up. */}}
{{- define "lckv.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int -}}
{{- if hasSuffix "ms" . -}}
{{- div (add $number 999) 1000 -}}
{{- else if hasSuffix "s" . -}}
{{- $number -}}
{{- else if hasSuffix "m" . -}}
{{- mul $number 60 -}}
{{- else -}}
{{- mul $number 3600 -}}
{{- end -}}
{{- end -}}

{{/* The port of the traces' collector: given, or the endpoint's; without one in it, what the services take. */}}
{{- define "lckv.tracingPort" -}}
{{- $port := regexFind ":[0-9]+/?$" .Values.tracing.endpoint | trimPrefix ":" | trimSuffix "/" -}}
{{- default (default "4317" $port) .Values.tracing.port -}}
{{- end -}}

{{/* What one service calls another: full, so that the name is in the certificates and found without the search list. */}}
{{- define "lckv.host" -}}
{{- printf "%s.%s.svc.%s" .name .root.Release.Namespace .root.Values.clusterDomain -}}
{{- end -}}

{{- define "lckv.gatewayHost" -}}
{{- include "lckv.host" (dict "root" . "name" (printf "%s-gateway" (include "lckv.fullname" .))) -}}
{{- end -}}

{{- define "lckv.workerHost" -}}
{{- include "lckv.host" (dict "root" . "name" (printf "%s-worker" (include "lckv.fullname" .))) -}}
{{- end -}}

{{- define "lckv.cacheNodeHost" -}}
{{- include "lckv.host" (dict "root" . "name" (printf "%s-cache-node" (include "lckv.fullname" .))) -}}
{{- end -}}

{{/* Secrets: the given one, or the one that the chart or cert-manager makes. */}}
{{- define "lckv.tlsSecret" -}}
{{- $key := ternary "cacheNode" .component (eq .component "cache-node") -}}
{{- default (printf "%s-tls" (include "lckv.componentName" .)) (index .root.Values.tls.existingSecrets $key) -}}
{{- end -}}

{{- define "lckv.publicTlsSecret" -}}
{{- default (printf "%s-public-tls" (include "lckv.fullname" .)) .Values.gateway.tls.existingSecret -}}
{{- end -}}

{{- define "lckv.apiKeysSecret" -}}
{{- default (printf "%s-api-keys" (include "lckv.fullname" .)) .Values.auth.apiKeys.existingSecret -}}
{{- end -}}
