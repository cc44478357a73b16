{{/* What is said twice of injection: by the policy that changes Pods, and by the one that refuses what it cannot use. */}}

{{/* Policies belong to the whole cluster, so their names say whose they are. */}}
{{- define "turnout.injection.name" -}}
{{- printf "%s.%s.turnout.dev" (include "turnout.fullname" .) .Release.Namespace -}}
{{- end -}}

{{- define "turnout.injection.validate" -}}
{{- $faults := list -}}
{{- if semverCompare "<1.36.0-0" .Capabilities.KubeVersion.Version -}}
{{- $faults = append $faults (printf "injection.enabled: Kubernetes %s has no MutatingAdmissionPolicy of version v1, which injection needs; use 1.36 or newer, or the library chart turnout-sidecar, which needs none" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- $ports := dict -}}
{{- range $name := list "port" "healthPort" "metricsPort" -}}
{{- $key := toString (int (get $.Values.injection $name)) -}}
{{- if hasKey $ports $key -}}
{{- $faults = append $faults (printf "injection.%s: port %s is also that of injection.%s; each needs its own" $name $key (get $ports $key)) -}}
{{- end -}}
{{- $_ := set $ports $key $name -}}
{{- end -}}
{{- range $name, $_ := .Values.injection.env -}}
{{- if regexMatch "^TURNOUT_(CONFIG|ADDRESS|(HEALTH|METRICS)__.*|LISTEN__(ADDRESS|SOCKET))$" $name -}}
{{- $faults = append $faults (printf "injection.env: %s would change what the policy decides, and probes and applications would no longer find Turnout; use the other values of injection, or annotations" $name) -}}
{{- end -}}
{{- end -}}
{{- if hasKey (default dict .Values.injection.env) "TURNOUT_STATE__SNAPSHOT_FILE" | and .Values.injection.snapshot.enabled -}}
{{- $faults = append $faults "injection.env: TURNOUT_STATE__SNAPSHOT_FILE is set already; set injection.snapshot.enabled: false to say it yourself" -}}
{{- end -}}
{{- if $faults -}}
{{- fail (printf "\n\nThe values cannot be used:\n- %s\n" (join "\n- " $faults)) -}}
{{- end -}}
{{- end -}}

{{- define "turnout.injection.image" -}}
{{- default (include "turnout.image" .) .Values.injection.image -}}
{{- end -}}

{{/*
The variables of both policies. An annotation that cannot be used counts as absent here: the second policy refuses the
Pod afterwards, in words, where the first, or the API server's own validation, would only name a field that nobody wrote.
*/}}
{{- define "turnout.injection.variables" -}}
{{- $injection := .Values.injection -}}
{{- /* Empty: none, whatever the default is. */}}
{{- $name := "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$" -}}
- name: annotations
  expression: object.metadata.?annotations.orValue({})
{{- range list
  (dict "variable" "image" "pattern" "^[^\\s]+$" "default" (include "turnout.injection.image" .))
  (dict "variable" "config" "pattern" $name "default" $injection.config)
  (dict "variable" "secret" "pattern" $name "default" $injection.keys.existingSecret)
  (dict "variable" "secretAs" "pattern" "^(env|files)$" "default" $injection.keys.as)
  (dict "variable" "socket" "pattern" "^(true|false)$" "default" "false") }}
{{- $annotation := printf "'turnout.dev/%s'" (kebabcase .variable) }}
- name: {{ .variable }}Usable
  expression: >-
    !({{ $annotation }} in variables.annotations) || variables.annotations[{{ $annotation }}].matches(r'{{ .pattern }}')
- name: {{ .variable }}
  expression: >-
    variables.{{ .variable }}Usable ? variables.annotations[?{{ $annotation }}].orValue({{ .default | toJson }}) : {{ .default | toJson }}
{{- end }}
{{- range $variable, $default := dict "port" $injection.port "healthPort" $injection.healthPort "metricsPort" $injection.metricsPort }}
{{- $annotation := printf "'turnout.dev/%s'" (kebabcase $variable) }}
- name: {{ $variable }}Usable
  expression: >-
    !({{ $annotation }} in variables.annotations) || variables.annotations[{{ $annotation }}].matches('^[0-9]{4,5}$')
    && int(variables.annotations[{{ $annotation }}]) >= 1024 && int(variables.annotations[{{ $annotation }}]) <= 65535
- name: {{ $variable }}
  expression: >-
    variables.{{ $variable }}Usable && {{ $annotation }} in variables.annotations
    ? int(variables.annotations[{{ $annotation }}]) : {{ int $default }}
{{- end }}
{{- range $resource := list "cpu" "memory" }}
{{- range $bound := list "request" "limit" }}
{{- $annotation := printf "'turnout.dev/%s-%s'" $resource $bound }}
- name: {{ $resource }}{{ title $bound }}Usable
  expression: >-
    !({{ $annotation }} in variables.annotations) || isQuantity(variables.annotations[{{ $annotation }}])
    && sign(quantity(variables.annotations[{{ $annotation }}])) > 0
- name: {{ $resource }}{{ title $bound }}Asked
  expression: "variables.{{ $resource }}{{ title $bound }}Usable ? variables.annotations[?{{ $annotation }}].orValue('') : ''"
{{- end }}
{{- /* What is asked for wins, and takes the default of the other bound along where that would contradict it. */}}
{{- $requestAsked := printf "variables.%sRequestAsked" $resource }}
{{- $limitAsked := printf "variables.%sLimitAsked" $resource }}
{{- $request := dig "requests" $resource "" $injection.resources | toString }}
{{- $limit := dig "limits" $resource "" $injection.resources | toString }}
- name: {{ $resource }}Fits
  expression: >-
    {{ $requestAsked }} == '' || {{ $limitAsked }} == '' || !quantity({{ $requestAsked }}).isGreaterThan(quantity({{ $limitAsked }}))
- name: {{ $resource }}Request
  expression: >-
    {{ $requestAsked }} != '' ? (variables.{{ $resource }}Fits ? {{ $requestAsked }} : {{ $limitAsked }})
    {{- if $request }} : {{ $limitAsked }} != '' && quantity({{ $limitAsked }}).isLessThan(quantity({{ $request | toJson }})) ? {{ $limitAsked }}{{ end }}
    : {{ $request | toJson }}
- name: {{ $resource }}Limit
  expression: >-
    {{ $limitAsked }} != '' ? {{ $limitAsked }}
    {{- if $limit }} : {{ $requestAsked }} != '' && quantity({{ $requestAsked }}).isGreaterThan(quantity({{ $limit | toJson }})) ? {{ $requestAsked }}{{ end }}
    : {{ $limit | toJson }}
{{- end }}
{{- end -}}

{{/* The annotations that say how a Pod gets its sidecar, as a list in CEL, `turnout.dev/` left out. */}}
{{- define "turnout.injection.known" -}}
['image', 'config', 'secret', 'secret-as', 'socket', 'port', 'health-port', 'metrics-port', 'cpu-request', 'cpu-limit', 'memory-request', 'memory-limit']
{{- end -}}
