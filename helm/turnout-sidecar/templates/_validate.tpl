{{/* The scope of a template, once its values hold together: what all the others begin with. */}}
{{- define "turnout-sidecar.checked" -}}
{{- $scope := include "turnout-sidecar.scope" . -}}
{{- include "turnout-sidecar.faults" ($scope | fromYaml) -}}
{{- $scope -}}
{{- end -}}

{{/*
Fails with everything that is wrong with the values, or gives nothing. The other templates do this too; by itself it is
of use where a chart renders none of them under some condition.
*/}}
{{- define "turnout-sidecar.validate" -}}
{{- include "turnout-sidecar.faults" (include "turnout-sidecar.scope" . | fromYaml) -}}
{{- end -}}

{{/* What the schema cannot say: what depends on the cluster, or is about several values at once. Takes a scope. */}}
{{- define "turnout-sidecar.faults" -}}
{{- $faults := list -}}
{{- $values := .values -}}
{{- if semverCompare "<1.25.0-0" .kubeVersion -}}
{{- $faults = append $faults (printf "Kubernetes %s is too old: the chart needs 1.25 or newer, for probes that speak gRPC" .kubeVersion) -}}
{{- end -}}
{{- if not (has $values.nativeSidecar (list "auto" "always" "never")) -}}
{{- $faults = append $faults (printf "nativeSidecar: must be auto, always or never; got %v" $values.nativeSidecar) -}}
{{- else if and (eq $values.nativeSidecar "always") (semverCompare "<1.28.0-0" .kubeVersion) -}}
{{- $faults = append $faults (printf "nativeSidecar: Kubernetes %s has no native sidecars (1.29 has, 1.28 behind a feature gate); set auto" .kubeVersion) -}}
{{- end -}}
{{- if not (has $values.keys.as (list "env" "files")) -}}
{{- $faults = append $faults (printf "keys.as: must be env or files; got %v" $values.keys.as) -}}
{{- end -}}
{{- if and $values.config $values.existingConfigMap -}}
{{- $faults = append $faults "existingConfigMap: there is config too, and Turnout reads one; remove either" -}}
{{- end -}}
{{- if and $values.keys.existingSecret (eq $values.keys.as "files") (not $values.existingConfigMap) (not $values.config.providers) -}}
{{- $faults = append $faults "keys.as: files are used by the providers that name them; add config.providers.NAME.api_key_file: /run/secrets/turnout/ENTRY, or set keys.as: env" -}}
{{- end -}}
{{- range $path, $instead := dict "listen.address" "listener.port" "listen.socket" "listener.socket.enabled" "health.address" "health.port" "metrics.address" "metrics.port" -}}
{{- $keys := splitList "." $path -}}
{{- if hasKey (default dict (index $values.config (first $keys))) (last $keys) -}}
{{- $faults = append $faults (printf "config.%s: the chart decides it, so that probes and the application find Turnout; set %s" $path $instead) -}}
{{- end -}}
{{- end -}}
{{- $ports := dict -}}
{{- $used := dict "health.port" $values.health.port -}}
{{- if $values.metrics.port -}}{{- $_ := set $used "metrics.port" $values.metrics.port -}}{{- end -}}
{{- if not $values.listener.socket.enabled -}}{{- $_ := set $used "listener.port" $values.listener.port -}}{{- end -}}
{{- range $name, $port := $used -}}
{{- $key := toString (int $port) -}}
{{- if hasKey $ports $key -}}
{{- $faults = append $faults (printf "%s: port %s is also that of %s; each needs its own" $name $key (get $ports $key)) -}}
{{- end -}}
{{- $_ := set $ports $key $name -}}
{{- end -}}
{{- /* What the container has already: a list with two of one name is refused by the API server. */ -}}
{{- $decided := list "TURNOUT_LISTEN__ADDRESS" "TURNOUT_HEALTH__ADDRESS" "TURNOUT_METRICS__ADDRESS" -}}
{{- $volumes := list "turnout-scratch" -}}
{{- $folders := list "/var/lib/turnout" -}}
{{- if and $values.snapshot.enabled (not (dig "state" "snapshot_file" "" $values.config)) -}}
{{- $decided = append $decided "TURNOUT_STATE__SNAPSHOT_FILE" -}}
{{- end -}}
{{- if .configMap -}}
{{- $decided = append $decided "TURNOUT_CONFIG" -}}
{{- $volumes = append $volumes "turnout-config" -}}
{{- $folders = append $folders "/etc/turnout" -}}
{{- end -}}
{{- if $values.listener.socket.enabled -}}
{{- $decided = append $decided "TURNOUT_LISTEN__SOCKET" -}}
{{- $volumes = append $volumes "turnout-socket" -}}
{{- $folders = append $folders "/run/turnout" -}}
{{- end -}}
{{- if and $values.keys.existingSecret (eq $values.keys.as "files") -}}
{{- $volumes = append $volumes "turnout-keys" -}}
{{- $folders = append $folders "/run/secrets/turnout" -}}
{{- end -}}
{{- $faults = concat $faults
  (include "turnout-sidecar.twice" (list "extraEnv" "name" $values.extraEnv $decided "the chart sets it, so that probes and the application find Turnout; use the value for it, or config") | fromYamlArray)
  (include "turnout-sidecar.twice" (list "extraVolumes" "name" $values.extraVolumes $volumes "the chart has a volume of that name; choose another") | fromYamlArray)
  (include "turnout-sidecar.twice" (list "extraVolumeMounts" "mountPath" $values.extraVolumeMounts $folders "the chart mounts something there; choose another folder") | fromYamlArray)
-}}
{{- $mounted := list "/var/lib/turnout" -}}
{{- range $values.extraVolumeMounts -}}{{- $mounted = append $mounted (clean .mountPath) -}}{{- end -}}
{{- range $path, $file := dict "config.state.snapshot_file" (dig "state" "snapshot_file" "" $values.config) "config.telemetry.request_log.file" (dig "telemetry" "request_log" "file" "" $values.config) -}}
{{- if $file -}}
{{- $under := false -}}
{{- range $mounted -}}{{- if hasPrefix (printf "%s/" .) (clean $file) -}}{{- $under = true -}}{{- end -}}{{- end -}}
{{- if not $under -}}
{{- $faults = append $faults (printf "%s: %s is in no folder that Turnout may write to; write /var/lib/turnout/%s, or mount a volume there with extraVolumeMounts" $path $file (base $file)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $faults -}}
{{- fail (printf "\n\nThe values of turnout-sidecar cannot be used:\n- %s\n" (join "\n- " $faults)) -}}
{{- end -}}
{{- end -}}

{{/* Faults of a list whose items are known by one key, as a list in YAML: [path, key, items, what is taken, why]. */}}
{{- define "turnout-sidecar.twice" -}}
{{- $path := index . 0 -}}{{- $key := index . 1 -}}{{- $taken := index . 3 -}}{{- $why := index . 4 -}}
{{- $faults := list -}}
{{- $seen := list -}}
{{- range index . 2 -}}
{{- $name := get . $key -}}
{{- if eq $key "mountPath" -}}{{- $name = clean $name -}}{{- end -}}
{{- if has $name $taken -}}
{{- $faults = append $faults (printf "%s: %s: %s" $path $name $why) -}}
{{- else if has $name $seen -}}
{{- $faults = append $faults (printf "%s: %s: is there twice; leave one out" $path $name) -}}
{{- end -}}
{{- $seen = append $seen $name -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end -}}
