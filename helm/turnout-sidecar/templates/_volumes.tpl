{{/* What Turnout and the application mount, items of `volumes`. */}}
{{- define "turnout-sidecar.volumes" -}}
{{- $scope := include "turnout-sidecar.checked" . | fromYaml -}}
{{- with $scope -}}
- name: turnout-scratch
  emptyDir: {sizeLimit: {{ .values.scratch.sizeLimit }}}
{{- if .configMap }}
- name: turnout-config
  configMap: {name: {{ .configMap | quote }}}
{{- end }}
{{- if and .values.keys.existingSecret (eq .values.keys.as "files") }}
- name: turnout-keys
  # Readable for all, but mounted by Turnout alone: without an fsGroup its files are root's.
  secret: {secretName: {{ .values.keys.existingSecret | quote }}, defaultMode: 0444}
{{- end }}
{{- if .values.listener.socket.enabled }}
- name: turnout-socket
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
{{- end -}}
