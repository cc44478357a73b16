{{/* The ConfigMap of `config`, a manifest of its own. Nothing where there is none, or one of yours. */}}
{{- define "turnout-sidecar.configMap" -}}
{{- $scope := include "turnout-sidecar.checked" . | fromYaml -}}
{{- if and $scope.values.config (not $scope.values.existingConfigMap) -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $scope.configMap | quote }}
  labels:
    app.kubernetes.io/name: turnout-sidecar
    app.kubernetes.io/instance: {{ $scope.release | quote }}
    app.kubernetes.io/managed-by: {{ $scope.managedBy }}
data:
  turnout.yaml: |
    {{- toYaml $scope.values.config | nindent 4 }}
{{- end -}}
{{- end -}}
