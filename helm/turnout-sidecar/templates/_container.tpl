{{/*
Turnout as a native sidecar, an item of `initContainers`: put it before those that call it. Nothing where it is an
ordinary container.
*/}}
{{- define "turnout-sidecar.initContainer" -}}
{{- $scope := include "turnout-sidecar.checked" . | fromYaml -}}
{{- if include "turnout-sidecar.native" $scope -}}
{{- include "turnout-sidecar.anyContainer" $scope -}}
{{- end -}}
{{- end -}}

{{/* Turnout as an ordinary container, an item of `containers`. Nothing where it is a native sidecar. */}}
{{- define "turnout-sidecar.container" -}}
{{- $scope := include "turnout-sidecar.checked" . | fromYaml -}}
{{- if not (include "turnout-sidecar.native" $scope) -}}
{{- include "turnout-sidecar.anyContainer" $scope -}}
{{- end -}}
{{- end -}}

{{- define "turnout-sidecar.anyContainer" -}}
- name: turnout
  image: {{ include "turnout-sidecar.image" . | quote }}
  imagePullPolicy: {{ .values.image.pullPolicy }}
  {{- if include "turnout-sidecar.native" . }}
  # An init container that goes on running: the application starts once the startup probe has passed.
  restartPolicy: Always
  {{- end }}
  args: [serve]
  env:
    {{- if .configMap }}
    - {name: TURNOUT_CONFIG, value: /etc/turnout/turnout.yaml}
    {{- end }}
    # These beat the file, so that probes and the application find Turnout whatever it says.
    {{- if .values.listener.socket.enabled }}
    - {name: TURNOUT_LISTEN__ADDRESS, value: ""}
    - {name: TURNOUT_LISTEN__SOCKET, value: /run/turnout/turnout.sock}
    {{- else }}
    - {name: TURNOUT_LISTEN__ADDRESS, value: "127.0.0.1:{{ int .values.listener.port }}"}
    {{- end }}
    - {name: TURNOUT_HEALTH__ADDRESS, value: "{{ .values.host }}:{{ int .values.health.port }}"}
    - {name: TURNOUT_METRICS__ADDRESS, value: {{ if .values.metrics.port }}"{{ .values.host }}:{{ int .values.metrics.port }}"{{ else }}""{{ end }}}
    {{- if and .values.snapshot.enabled (not (dig "state" "snapshot_file" "" .values.config)) }}
    - {name: TURNOUT_STATE__SNAPSHOT_FILE, value: /var/lib/turnout/snapshot}
    {{- end }}
    {{- with .values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $secret := and .values.keys.existingSecret (eq .values.keys.as "env") }}
  {{- if or $secret .values.extraEnvFrom }}
  envFrom:
    {{- if $secret }}
    - secretRef: {name: {{ .values.keys.existingSecret | quote }}}
    {{- end }}
    {{- with .values.extraEnvFrom }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  ports:
    - {name: turnout-health, containerPort: {{ int .values.health.port }}, protocol: TCP}
    {{- if .values.metrics.port }}
    - {name: turnout-metrics, containerPort: {{ int .values.metrics.port }}, protocol: TCP}
    {{- end }}
  startupProbe:
    grpc: {port: {{ int .values.health.port }}}
    {{- toYaml (merge (deepCopy .values.startupProbe) (dict "periodSeconds" 1 "timeoutSeconds" 2)) | nindent 4 }}
  livenessProbe:
    grpc: {port: {{ int .values.health.port }}}
    {{- toYaml (merge (deepCopy .values.livenessProbe) (dict "timeoutSeconds" 5)) | nindent 4 }}
  {{- if and .values.preStopSleepSeconds (not (include "turnout-sidecar.native" .)) }}
  # The application is told to stop at the same moment, and calls while it ends.
  lifecycle:
    preStop:
      exec: {command: [sleep, {{ int .values.preStopSleepSeconds | quote }}]}
  {{- end }}
  {{- with .values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - {name: turnout-scratch, mountPath: /var/lib/turnout}
    {{- if .configMap }}
    - {name: turnout-config, mountPath: /etc/turnout, readOnly: true}
    {{- end }}
    {{- if and .values.keys.existingSecret (eq .values.keys.as "files") }}
    - {name: turnout-keys, mountPath: /run/secrets/turnout, readOnly: true}
    {{- end }}
    {{- if .values.listener.socket.enabled }}
    - {name: turnout-socket, mountPath: /run/turnout}
    {{- end }}
    {{- with .values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
