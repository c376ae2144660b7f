{{/*
Parts that the pods of all three services share.

How an upgrade loses no session: Helm applies everything at once, so the order is made of times.
1. The cache node restarts first: its pod waits for nothing (preStopSeconds 0). Workers meanwhile run their turns from hot KV,
   and a turn that ends waits for its commit (worker.config.commit-timeout).
2. Workers go one by one, the highest ordinal first. preStop keeps the first one serving until the cache node is back
   (worker.preStopSeconds); then SIGTERM makes it drain: running turns finish or move, every session is handed over. The grace
   period is longer than the drain can take. Its successor has to be ready before the next one goes, for minReadySeconds
   where Kubernetes is new (older controllers do not count them with podManagementPolicy Parallel); the next one serves on
   through its preStop anyway.
3. Gateways are replaced one more at a time (maxSurge 1, maxUnavailable 0); an old one ends its streams (gateway.config.grace).
*/}}

{{/*
Restarted when the configuration changes; not for a new chart version alone, and not for keys and certificates: the services
read those again when the files change.
*/}}
{{- define "lckv.podMetadata" -}}
labels:
  {{- include "lckv.selectorLabels" . | nindent 2 }}
  {{- with .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/config: {{ include "lckv.configMapData" . | sha256sum }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Who runs where, without rights. */}}
{{- define "lckv.podSettings" -}}
serviceAccountName: {{ include "lckv.serviceAccountName" . }}
automountServiceAccountToken: false
# Kubernetes' variables for Services begin with the release's name, and a service reads those that begin with LCKV_.
enableServiceLinks: false
{{- with concat (default list .root.Values.global.imagePullSecrets) (default list .root.Values.imagePullSecrets) | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "lckv.podSecurity" .values | nindent 2 }}
# Service names have more dots than this, so they are looked up as they are, not under every search domain first.
dnsConfig:
  options:
    - name: ndots
      value: "2"
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Given constraints, or: spread over nodes where there are several, but never stay unscheduled for it. */}}
{{- define "lckv.spread" -}}
topologySpreadConstraints:
  {{- if .values.topologySpreadConstraints }}
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "lckv.selectorLabels" . | nindent 8 }}
  {{- end }}
{{- end -}}

{{- define "lckv.podSecurity" -}}
{{- $context := dict "runAsNonRoot" true "runAsUser" 10001 "runAsGroup" 10001 "fsGroup" 10001 "fsGroupChangePolicy" "OnRootMismatch" "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- mergeOverwrite $context (deepCopy (default dict .podSecurityContext)) | toYaml -}}
{{- end -}}

{{- define "lckv.containerSecurity" -}}
{{- $context := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "runAsNonRoot" true "capabilities" (dict "drop" (list "ALL")) "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- mergeOverwrite $context (deepCopy (default dict .securityContext)) | toYaml -}}
{{- end -}}

{{/* Image, command line, environment: the container's first half. */}}
{{- define "lckv.containerStart" -}}
name: {{ .component }}
image: {{ include "lckv.image" . }}
imagePullPolicy: {{ include "lckv.imagePullPolicy" . }}
args:
  - {{ .component }}
  - --config=/etc/lckv/config/config.yaml
  {{- with .values.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "lckv.tracingEnv" -}}
{{- with .root.Values.tracing.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: OTEL_SERVICE_NAME
  value: {{ printf "lckv-%s" $.component }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- $attributes := list (printf "k8s.namespace.name=%s" $.root.Release.Namespace) "k8s.pod.name=$(POD_NAME)" }}
{{- range $name, $value := $.root.Values.tracing.attributes }}
{{- $attributes = append $attributes (printf "%s=%s" $name $value) }}
{{- end }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ join "," $attributes | quote }}
{{- with $.root.Values.tracing.env }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
Health of a service: {port: its number, tls, startupSeconds}. "liveness" serves as long as the process does, "ready" while it
admits work. The kubelet's gRPC probe speaks no TLS: there the metrics port answers the same questions.
*/}}
{{- define "lckv.probes" -}}
{{- $ready := dict "grpc" (dict "port" .port "service" "ready") -}}
{{- $alive := dict "grpc" (dict "port" .port "service" "liveness") -}}
{{- if .tls -}}
{{- $ready = dict "httpGet" (dict "path" "/readyz" "port" "metrics") -}}
{{- $alive = dict "httpGet" (dict "path" "/livez" "port" "metrics") -}}
{{- end -}}
# A model takes its time to load, a store to recover: nothing else is asked before.
startupProbe:
  {{- toYaml $ready | nindent 2 }}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: {{ div (add .startupSeconds 1) 2 }}
readinessProbe:
  {{- toYaml $ready | nindent 2 }}
  periodSeconds: 3
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  {{- toYaml $alive | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* A wait before SIGTERM. The kubelet can wait by itself from 1.30 on; before, the image's sleep does. */}}
{{- define "lckv.preStop" -}}
{{- if gt (int .seconds) 0 -}}
lifecycle:
  preStop:
    {{- if semverCompare ">=1.30.0-0" .root.Capabilities.KubeVersion.Version }}
    sleep:
      seconds: {{ .seconds }}
    {{- else }}
    exec:
      command: ["sleep", {{ .seconds | toString | quote }}]
    {{- end }}
{{- end -}}
{{- end -}}

{{/* Seconds from the pod's deletion to SIGKILL: the wait, the longest orderly end of the process, and some to spare. */}}
{{- define "lckv.gracePeriod" -}}
{{- $config := default dict .values.config -}}
{{- $seconds := 0 -}}
{{- if eq .component "gateway" -}}
{{- $seconds = include "lckv.seconds" (index $config "grace" | default "30s") | int -}}
{{- else if eq .component "worker" -}}
{{- /* Running turns end, then 12 s to hand over: kHandoverTime and Worker::grace in services/worker/worker.cc. */ -}}
{{- $seconds = add (include "lckv.seconds" (index $config "drain-grace" | default "15s") | int) 12 -}}
{{- else -}}
{{- $seconds = include "lckv.seconds" (index $config "grace" | default "10s") | int -}}
{{- end -}}
{{- add .values.preStopSeconds $seconds 10 -}}
{{- end -}}

{{- define "lckv.volumeMounts" -}}
- name: config
  mountPath: /etc/lckv/config
  readOnly: true
{{- if .root.Values.tls.enabled }}
- name: tls
  mountPath: /etc/lckv/tls
  readOnly: true
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "lckv.volumes" -}}
- name: config
  configMap:
    name: {{ include "lckv.componentName" . }}
{{- if .root.Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ include "lckv.tlsSecret" . }}
    defaultMode: 0440
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
