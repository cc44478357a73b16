{{/*
What the templates work on. Each takes the root context of the chart that uses it (`.`), and reads
`.Values.turnout-sidecar`; or, for a second sidecar or under an alias, a dict of `root` and `values`, which are laid over
those. Gives YAML of {values, release, namespace, kubeVersion, appVersion}.
*/}}
{{- define "turnout-sidecar.scope" -}}
{{- $root := . -}}
{{- $over := dict -}}
{{- if and (hasKey . "root") (hasKey . "values") -}}
{{- $root = .root -}}
{{- $over = default dict .values -}}
{{- end -}}
{{- $values := mergeOverwrite (deepCopy (default dict (index $root.Values "turnout-sidecar"))) (deepCopy $over) -}}
{{- if not $values.image -}}
{{- fail "\n\nturnout-sidecar: there are no values of the library chart here. Depend on it by its own name, or, under an alias, pass (dict \"root\" . \"values\" .Values.ALIAS).\n" -}}
{{- end -}}
{{- $_ := set $values "config" (default dict $values.config) -}}
{{- toYaml (dict
  "values" $values
  "release" $root.Release.Name
  "namespace" $root.Release.Namespace
  "managedBy" $root.Release.Service
  "kubeVersion" $root.Capabilities.KubeVersion.Version
  "configMap" (include "turnout-sidecar.configMapName" (dict "values" $values "release" $root.Release.Name))
) -}}
{{- end -}}

{{/* Name of the ConfigMap with turnout.yaml, or nothing where there is none. Takes a dict of values and release. */}}
{{- define "turnout-sidecar.configMapName" -}}
{{- if .values.existingConfigMap -}}
{{- .values.existingConfigMap -}}
{{- else if .values.config -}}
{{- default (printf "%s-turnout" (.release | trunc 55 | trimSuffix "-")) .values.configMapName -}}
{{- end -}}
{{- end -}}

{{/* "true" where Turnout is a native sidecar. Takes a scope. */}}
{{- define "turnout-sidecar.native" -}}
{{- if eq .values.nativeSidecar "always" -}}
true
{{- else if and (eq .values.nativeSidecar "auto") (semverCompare ">=1.29.0-0" .kubeVersion) -}}
true
{{- end -}}
{{- end -}}

{{/* The image, by digest or tag. Takes a scope. */}}
{{- define "turnout-sidecar.image" -}}
{{- with .values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default "0.1.0" .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}
