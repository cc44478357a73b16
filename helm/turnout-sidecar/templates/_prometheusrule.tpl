{{/* The PrometheusRule of the sidecars of a release, a manifest of its own. Nothing unless it is enabled. */}}
{{- define "turnout-sidecar.prometheusRule" -}}
{{- $scope := include "turnout-sidecar.checked" . | fromYaml -}}
{{- $rule := $scope.values.metrics.prometheusRule -}}
{{- if $rule.enabled -}}
{{- $labels := list (printf "namespace=%q" $scope.namespace) (printf "pod=~%q" (default (printf "%s-.+" $scope.release) $rule.pods)) -}}
{{- if $rule.container -}}
{{- $labels = append $labels (printf "container=%q" $rule.container) -}}
{{- end -}}
{{- $known := dict
  "@SELECTOR@" (join "," $labels)
  "@RELEASE@" $scope.release
  "@MAX_UNSERVED_RATIO@" (toString $rule.maxUnservedRatio)
  "@MAX_FAILURE_RATIO@" (toString $rule.maxFailureRatio)
  "@MAX_OVERHEAD_SECONDS@" (toString $rule.maxOverheadSeconds)
  "@MAX_ERROR_RATIO@" (toString $rule.maxErrorRatio)
  "@MAX_DELAY_SECONDS@" (toString $rule.maxDelaySeconds)
  "@BUDGET_LEFT_RATIO@" (toString $rule.budgetLeftRatio)
  "@LATENCY_SECONDS@" (toString $rule.latency.thresholdSeconds)
  "@LATENCY_OBJECTIVE@" (toString $rule.latency.objective)
  "@RUNBOOKS@" (default "docs/operations.md" $scope.values.metrics.runbookUrl) -}}
{{- $alerts := list -}}
{{- range $alert := include "turnout-sidecar.alerts" . | fromYamlArray -}}
{{- if not (has $alert.alert (default list $rule.disabled)) -}}
{{- range $mark, $value := $known -}}
{{- $_ := set $alert "expr" (replace $mark $value $alert.expr) -}}
{{- range $key, $text := $alert.annotations -}}
{{- $_ := set $alert.annotations $key (replace $mark $value $text) -}}
{{- end -}}
{{- end -}}
{{- $alerts = append $alerts $alert -}}
{{- end -}}
{{- end -}}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {{ printf "%s-turnout" ($scope.release | trunc 55 | trimSuffix "-") | quote }}
  namespace: {{ $scope.namespace | quote }}
  labels:
    {{- $own := dict "app.kubernetes.io/name" "turnout-sidecar" "app.kubernetes.io/instance" $scope.release "app.kubernetes.io/managed-by" $scope.managedBy }}
    {{- toYaml (merge $own (default dict $rule.labels)) | nindent 4 }}
spec:
  groups:
    - name: {{ printf "%s-turnout" $scope.release | quote }}
      rules:
        {{- toYaml $alerts | nindent 8 }}
{{- end -}}
{{- end -}}
