{{- define "turnout.container" -}}
- name: turnout
  image: {{ include "turnout.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [serve, -c, /etc/turnout/turnout.yaml]
  {{- include "turnout.env" . | nindent 2 }}
  ports:
    - {name: grpc, containerPort: {{ .Values.listener.port }}, protocol: TCP}
    - {name: health, containerPort: {{ .Values.health.port }}, protocol: TCP}
    - {name: metrics, containerPort: {{ .Values.metrics.port }}, protocol: TCP}
  startupProbe:
    grpc: {port: {{ .Values.health.port }}}
    {{- toYaml .Values.startupProbe | nindent 4 }}
  readinessProbe:
    grpc: {port: {{ .Values.health.port }}}
    {{- toYaml .Values.readinessProbe | nindent 4 }}
  livenessProbe:
    grpc: {port: {{ .Values.health.port }}}
    {{- toYaml .Values.livenessProbe | nindent 4 }}
  {{- if .Values.preStopSleepSeconds }}
  lifecycle:
    preStop:
      {{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
      sleep: {seconds: {{ .Values.preStopSleepSeconds }}}
      {{- else }}
      exec: {command: [sleep, {{ .Values.preStopSleepSeconds | quote }}]}
      {{- end }}
  {{- end }}
  {{- with .Values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - {name: config, mountPath: /etc/turnout, readOnly: true}
    {{- if and .Values.keys.existingSecret (eq .Values.keys.as "files") }}
    - {name: keys, mountPath: /run/secrets/turnout, readOnly: true}
    {{- end }}
    {{- if .Values.listener.tls.existingSecret }}
    - {name: tls, mountPath: /run/turnout-tls, readOnly: true}
    {{- end }}
    {{- if .Values.listener.tls.clientCaSecret }}
    - {name: client-ca, mountPath: /run/turnout-client-ca, readOnly: true}
    {{- end }}
    {{- if .Values.listener.tokens }}
    - {name: tokens, mountPath: /run/turnout-tokens, readOnly: true}
    {{- end }}
    {{- if .Values.webhook.existingSecret }}
    - {name: webhook, mountPath: /run/turnout-webhook, readOnly: true}
    {{- end }}
    {{- range $place, $folder := include "turnout.scratch" . | fromYamlArray }}
    - {name: scratch-{{ $place }}, mountPath: {{ $folder | quote }}}
    {{- end }}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "turnout.env" -}}
env:
  # Whoever runs a command in the container reaches this Pod.
  - {name: TURNOUT_ADDRESS, value: "localhost:{{ .Values.listener.port }}"}
  {{- with include "turnout.otlpEnv" . | fromYamlArray }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $secret := and .Values.keys.existingSecret (eq .Values.keys.as "env") -}}
{{- if or $secret .Values.extraEnvFrom }}
envFrom:
  {{- if $secret }}
  - secretRef: {name: {{ .Values.keys.existingSecret | quote }}}
  {{- end }}
  {{- with .Values.extraEnvFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* OpenTelemetry's variables; nothing where nothing is said of it. */}}
{{- define "turnout.otlpEnv" -}}
{{- $own := dict -}}
{{- if .Values.otlp.endpoint -}}
{{- $_ := set $own "OTEL_EXPORTER_OTLP_ENDPOINT" .Values.otlp.endpoint -}}
{{- $_ := set $own "OTEL_SERVICE_NAME" (include "turnout.fullname" .) -}}
{{- $_ := set $own "OTEL_RESOURCE_ATTRIBUTES" (printf "k8s.namespace.name=%s,k8s.deployment.name=%s,k8s.pod.name=$(POD_NAME),service.instance.id=$(POD_NAME)" .Release.Namespace (include "turnout.fullname" .)) -}}
{{- end -}}
{{- $given := default dict .Values.otlp.env -}}
{{- range $name, $value := $given -}}
{{- if and (eq $name "OTEL_RESOURCE_ATTRIBUTES") (hasKey $own $name) -}}
{{- $value = printf "%s,%s" (get $own $name) $value -}}
{{- end -}}
{{- $_ := set $own $name $value -}}
{{- end -}}
{{- if .Values.otlp.endpoint }}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- end }}
{{- range $name, $value := $own }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- with .Values.otlp.headersSecret }}
{{- if .name }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom: {secretKeyRef: {name: {{ .name | quote }}, key: {{ .key | quote }}}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "turnout.volumes" -}}
- name: config
  configMap: {name: {{ include "turnout.fullname" . | quote }}}
{{- if and .Values.keys.existingSecret (eq .Values.keys.as "files") }}
- name: keys
  secret: {secretName: {{ .Values.keys.existingSecret | quote }}, defaultMode: 0440}
{{- end }}
{{- with .Values.listener.tls }}
{{- if .existingSecret }}
- name: tls
  secret: {secretName: {{ .existingSecret | quote }}, defaultMode: 0440}
{{- end }}
{{- if .clientCaSecret }}
- name: client-ca
  # The authorities alone: their Secret often holds the key that signs, too.
  secret: {secretName: {{ .clientCaSecret | quote }}, items: [{key: {{ .clientCaKey | quote }}, path: {{ .clientCaKey | quote }}}], defaultMode: 0440}
{{- end }}
{{- end }}
{{- if .Values.listener.tokens }}
- name: tokens
  projected:
    defaultMode: 0440
    sources:
      {{- range .Values.listener.tokens }}
      - secret: {name: {{ .secret | quote }}, items: [{key: {{ .key | quote }}, path: {{ printf "%s/%s" .secret .key | quote }}}]}
      {{- end }}
{{- end }}
{{- with .Values.webhook }}
{{- if .existingSecret }}
- name: webhook
  secret: {secretName: {{ .existingSecret | quote }}, items: [{key: {{ .key | quote }}, path: {{ .key | quote }}}], defaultMode: 0440}
{{- end }}
{{- end }}
{{- range $place, $folder := include "turnout.scratch" . | fromYamlArray }}
- name: scratch-{{ $place }}
  emptyDir: {sizeLimit: {{ $.Values.scratchSizeLimit }}}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Starts before Turnout and ends after it, so that calls that drain are answered to their end. */}}
{{- define "turnout.simulatedContainer" -}}
- name: simulated-providers
  image: {{ include "turnout.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always
  # On loopback: nobody but Turnout in the same Pod reaches it.
  args: [sim, --port, "50160"]
  startupProbe:
    # From inside, since a kubelet does not reach loopback; isolated mode, since it runs every second.
    exec: {command: [python3, -ISc, "import socket; socket.create_connection(('127.0.0.1', 50160), 1)"]}
    periodSeconds: 1
    timeoutSeconds: 5
    failureThreshold: 60
  {{- with .Values.simulated.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
