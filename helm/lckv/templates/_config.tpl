{{/* The file that a service reads with --config: its flags' long names. What the chart decides comes last and wins. */}}
{{- define "lckv.config" -}}
{{- $root := .root -}}
{{- $host := $root.Values.listenHost -}}
{{- $port := dict "gateway" 8080 "worker" 8081 "cache-node" 8082 -}}
{{- $config := dict "listen" (printf "%s:%d" $host (int (index $port .component))) "metrics-listen" (printf "%s:9090" $host) -}}
{{- if ne .component "cache-node" -}}
{{- $_ := set $config "cache-node" (printf "%s:8082" (include "lckv.cacheNodeHost" $root)) -}}
{{- end -}}
{{- if $root.Values.tls.enabled -}}
{{- $_ := set $config "tls-cert" "/etc/lckv/tls/tls.crt" -}}
{{- $_ := set $config "tls-key" "/etc/lckv/tls/tls.key" -}}
{{- $_ := set $config "tls-ca" "/etc/lckv/tls/ca.crt" -}}
{{- end -}}
{{- if eq .component "gateway" -}}
{{- $_ := set $config "worker-service" (printf "%s:8081" (include "lckv.workerHost" $root)) -}}
{{- if $root.Values.gateway.tls.enabled -}}
{{- $_ := set $config "public-tls-cert" "/etc/lckv/public-tls/tls.crt" -}}
{{- $_ := set $config "public-tls-key" "/etc/lckv/public-tls/tls.key" -}}
{{- if $root.Values.gateway.tls.requireClientCertificate -}}
{{- $_ := set $config "public-tls-ca" "/etc/lckv/public-tls/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- if and $root.Values.tls.enabled (not $root.Values.gateway.tls.enabled) -}}
{{- $_ := set $config "public-plain" true -}}
{{- end -}}
{{- if $root.Values.auth.apiKeys.enabled -}}
{{- $_ := set $config "api-keys" (printf "/etc/lckv/api-keys/%s" $root.Values.auth.apiKeys.key) -}}
{{- end -}}
{{- else if eq .component "worker" -}}
{{- if eq $root.Values.model.source "random" -}}
{{- $_ := set $config "random-weights" "/etc/lckv/config/model.json" -}}
{{- with $root.Values.model.random.seed }}{{- $_ := set $config "random-seed" . -}}{{- end -}}
{{- else -}}
{{- $_ := set $config "model" (printf "/model/%s" $root.Values.model.path | trimSuffix "/") -}}
{{- end -}}
{{- else -}}
{{- $_ := set $config "data" "/var/lib/lckv/store" -}}
{{- end -}}
{{- range $flag, $value := .values.config -}}
{{- if not (hasKey $config $flag) -}}{{- $_ := set $config $flag $value -}}{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* The ConfigMap of a service, and what its pods are restarted for. */}}
{{- define "lckv.configMapData" -}}
config.yaml: |
  {{- include "lckv.config" . | nindent 2 }}
{{- if and (eq .component "worker") (eq .root.Values.model.source "random") }}
model.json: {{ toJson .root.Values.model.random.config | quote }}
{{- end }}
{{- end -}}

{{- define "lckv.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "lckv.componentName" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "lckv.labels" . | nindent 4 }}
data:
  {{- include "lckv.configMapData" . | nindent 2 }}
{{- end -}}
