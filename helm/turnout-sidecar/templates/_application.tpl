{{/* Where the application finds Turnout, items of its containers' `env`. */}}
{{- define "turnout-sidecar.env" -}}
{{- $scope := include "turnout-sidecar.checked" . | fromYaml -}}
{{- with $scope.values.listener -}}
- name: TURNOUT_ADDRESS
  value: {{ if .socket.enabled }}unix:///run/turnout/turnout.sock{{ else }}127.0.0.1:{{ int .port }}{{ end }}
{{- end -}}
{{- end -}}

{{/* What the application mounts, items of its containers' `volumeMounts`: the socket's folder, or nothing. */}}
{{- define "turnout-sidecar.volumeMounts" -}}
{{- $scope := include "turnout-sidecar.checked" . | fromYaml -}}
{{- if $scope.values.listener.socket.enabled -}}
# Connecting needs no right to write into the folder, so that nobody but Turnout may remove the socket.
- {name: turnout-socket, mountPath: /run/turnout, readOnly: true}
{{- end -}}
{{- end -}}

{{/*
What the Pod's `securityContext` needs for the socket: the group that Turnout runs in, so that an application of another
user may connect (its mode is 0660). Nothing without a socket. A Pod that has an `fsGroup` needs it not: the socket's
folder then gives its group to what is made in it.
*/}}
{{- define "turnout-sidecar.podSecurityContext" -}}
{{- $scope := include "turnout-sidecar.checked" . | fromYaml -}}
{{- if $scope.values.listener.socket.enabled -}}
supplementalGroups: [{{ int (dig "runAsGroup" 65532 (default dict $scope.values.securityContext)) }}]
{{- end -}}
{{- end -}}
