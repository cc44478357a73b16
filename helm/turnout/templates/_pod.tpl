{{/* The Pod: Turnout, and beside it simulated providers while there are no others. */}}
{{- define "turnout.pod" -}}
metadata:
  annotations:
    {{- $own := dict
      "kubectl.kubernetes.io/default-container" "turnout"
      "checksum/restart" (include "turnout.restartText" . | sha256sum | trunc 16) }}
    {{- toYaml (merge $own (default dict .Values.podAnnotations)) | nindent 4 }}
  labels:
    {{- toYaml (merge (include "turnout.podLabels" . | fromYaml) (default dict .Values.podLabels)) | nindent 4 }}
spec:
  serviceAccountName: {{ include "turnout.serviceAccountName" . | quote }}
  automountServiceAccountToken: false
  # Variables that Kubernetes makes for Services would begin with TURNOUT_, like those of the configuration.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "turnout.graceSeconds" . }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if include "turnout.simulated" . }}
  initContainers:
    {{- include "turnout.simulatedContainer" . | nindent 4 }}
  {{- end }}
  containers:
    {{- include "turnout.container" . | nindent 4 }}
  volumes:
    {{- include "turnout.volumes" . | nindent 4 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- $own := dict "matchLabels" (include "turnout.selectorLabels" $ | fromYaml) }}
    {{- range . }}
    - {{ toYaml (set (deepCopy .) "labelSelector" (default $own .labelSelector)) | nindent 6 | trim }}
    {{- end }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
{{- end -}}

{{/* What has to change for Pods to be replaced: what is read at start only, or all where that is asked for. */}}
{{- define "turnout.restartText" -}}
{{- if .Values.restartOnConfigChange -}}
{{- include "turnout.config" . -}}
{{- else -}}
{{- $config := include "turnout.config" . | fromYaml -}}
{{- range $path := .Files.Lines "files/read-at-start.txt" -}}
{{- if and $path (not (hasPrefix "#" $path)) -}}
{{- $value := $config -}}
{{- range $key := splitList "." $path -}}
{{- $value = ternary (get (default dict $value) $key) "" (kindIs "map" $value) -}}
{{- end -}}
{{- printf "%s=%s\n" $path (toJson $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
