{{/* Where the model comes from: volumes, what fills them, and claims of each worker's own. */}}
{{- define "lckv.modelVolumes" -}}
{{- $model := .Values.model -}}
{{- if eq $model.source "claim" }}
- name: model
  persistentVolumeClaim:
    claimName: {{ $model.claim.name }}
    readOnly: true
{{- else if eq $model.source "volume" }}
- name: model
  image:
    reference: {{ $model.volume.reference }}
    pullPolicy: {{ $model.volume.pullPolicy }}
{{- else if and (eq $model.source "init") (not $model.init.perWorkerClaim) }}
- name: model
  emptyDir:
    sizeLimit: {{ $model.init.size }}
{{- end }}
{{- end -}}

{{- define "lckv.modelInit" -}}
{{- $init := .Values.model.init -}}
- name: model
  image: {{ $init.image }}
  imagePullPolicy: {{ $init.pullPolicy }}
  {{- with $init.command }}
  command:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $init.args }}
  args:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $init.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $init.envFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  resources:
    {{- toYaml $init.resources | nindent 4 }}
  securityContext:
    {{- include "lckv.containerSecurity" .Values.worker | nindent 4 }}
  volumeMounts:
    - name: model
      mountPath: /model
    - name: cache
      mountPath: /tmp
      subPath: init
{{- end -}}

{{/* Of the worker's container: a GPU is asked for as a limit, which is its request too. */}}
{{- define "lckv.workerResources" -}}
{{- $resources := deepCopy (default dict .resources) -}}
{{- if .gpu.enabled -}}
{{- $limits := default dict $resources.limits -}}
{{- $_ := set $limits .gpu.resource 1 -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- define "lckv.workerTolerations" -}}
{{- $tolerations := .tolerations -}}
{{- if and .gpu.enabled .gpu.toleration -}}
{{- $tolerations = append $tolerations (dict "key" .gpu.resource "operator" "Exists" "effect" "NoSchedule") -}}
{{- end -}}
{{- with $tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "lckv.workerEnv" -}}
{{- $limits := default dict (default dict .values.resources).limits -}}
# Where the model's checksum is remembered, so that a restarted container need not read all weights for it.
- name: XDG_CACHE_HOME
  value: /var/cache/lckv
{{- if not (hasKey (default dict .values.config) "threads") }}
# As many threads as processors the container may use, not as many as the node has.
- name: LCKV_THREADS
  valueFrom:
    resourceFieldRef:
      containerName: worker
      resource: {{ ternary "limits.cpu" "requests.cpu" (hasKey $limits "cpu") }}
      divisor: "1"
{{- end }}
{{ include "lckv.tracingEnv" . }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
