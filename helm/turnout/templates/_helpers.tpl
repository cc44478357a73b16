{{/* Names and labels. Those in turnout.selectorLabels never change: a Deployment's selector cannot. */}}

{{- define "turnout.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | regexFind ".*[a-z0-9]" -}}
{{- end -}}

{{- define "turnout.fullname" -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]" $full) -}}
{{- /* A Service's name may begin with a digit from Kubernetes 1.36 on only. */ -}}
{{- $full = printf "turnout-%s" $full -}}
{{- end -}}
{{- /* 54: "-headless" still fits into the 63 characters of a Service's name, which has no dots, as releases may. */ -}}
{{- $full | replace "." "-" | trunc 54 | regexFind ".*[a-z0-9]" -}}
{{- end -}}

{{- define "turnout.selectorLabels" -}}
app.kubernetes.io/name: {{ include "turnout.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: router
{{- end -}}

{{/* Of Pods: without the chart's version, so that a change of the chart alone replaces none. */}}
{{- define "turnout.podLabels" -}}
{{ include "turnout.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "turnout.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "turnout.podLabels" . }}
{{- end -}}

{{- define "turnout.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "turnout.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "turnout.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The seconds that a stopping Pod has: to be forgotten by callers, to drain, and 5 to write down what it knows. */}}
{{- define "turnout.graceSeconds" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- $drain := dig "drain_seconds" 25.0 .Values.config -}}
{{- add .Values.preStopSleepSeconds (ceil $drain) 5 -}}
{{- else -}}
{{- .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}
