{{/* turnout.yaml: `config`, with what the chart decides laid over it. */}}

{{/* "true" where providers are configured in any way that the chart can see. */}}
{{- define "turnout.hasProviders" -}}
{{- $found := or .Values.config.providers .Values.keys.existingSecret .Values.extraEnvFrom -}}
{{- range .Values.extraEnv -}}
{{- if or (hasSuffix "_API_KEY" .name) (hasPrefix "TURNOUT_PROVIDERS__" .name) (has .name (list "GOOGLE_AI_API_KEY" "OLLAMA_HOST")) -}}
{{- $found = true -}}
{{- end -}}
{{- end -}}
{{- if $found }}true{{ end -}}
{{- end -}}

{{- define "turnout.simulated" -}}
{{- if and .Values.simulated.enabled (not (include "turnout.hasProviders" .)) }}true{{ end -}}
{{- end -}}

{{- define "turnout.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $listen := deepCopy (default dict $config.listen) -}}
{{- $_ := set $listen "address" (printf "%s:%v" .Values.listener.host (int .Values.listener.port)) -}}
{{- with .Values.listener.tls -}}
{{- if .existingSecret -}}
{{- $tls := dict "cert_file" "/run/turnout-tls/tls.crt" "key_file" "/run/turnout-tls/tls.key" -}}
{{- if .clientCaSecret -}}
{{- $_ := set $tls "client_ca_file" (printf "/run/turnout-client-ca/%s" .clientCaKey) -}}
{{- end -}}
{{- $_ := set $listen "tls" $tls -}}
{{- else -}}
{{- $_ := set $listen "insecure_listen" true -}}
{{- end -}}
{{- end -}}
{{- if .Values.listener.tokens -}}
{{- $tokens := list -}}
{{- range .Values.listener.tokens -}}
{{- $token := dict "token_file" (printf "/run/turnout-tokens/%s/%s" .secret .key) "role" (default "call" .role) -}}
{{- if .tenant -}}{{- $_ := set $token "tenant" .tenant -}}{{- end -}}
{{- $tokens = append $tokens $token -}}
{{- end -}}
{{- $_ := set $listen "auth" (dict "tokens" $tokens) -}}
{{- end -}}
{{- $_ := set $config "listen" $listen -}}
{{- $_ := set $config "health" (dict "address" (printf "%s:%v" .Values.listener.host (int .Values.health.port))) -}}
{{- $_ := set $config "metrics" (dict "address" (printf "%s:%v" .Values.listener.host (int .Values.metrics.port))) -}}
{{- with .Values.webhook -}}
{{- if .existingSecret -}}
{{- $alerts := set (deepCopy (default dict $config.alerts)) "webhook_secret_file" (printf "/run/turnout-webhook/%s" .key) -}}
{{- $_ := set $config "alerts" $alerts -}}
{{- end -}}
{{- end -}}
{{- if include "turnout.simulated" . -}}
{{- $_ := set $config "providers" (.Files.Get "files/simulated.yaml" | fromYaml) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* The folders that Turnout writes into, without those that extraVolumeMounts mounts, as a list in YAML. */}}
{{- define "turnout.scratch" -}}
{{- $files := list
  (dig "state" "snapshot_file" "" .Values.config)
  (dig "listen" "socket" "" .Values.config)
  (dig "telemetry" "request_log" "file" "" .Values.config) -}}
{{- $folders := list -}}
{{- range $files -}}
{{- if . -}}
{{- $folder := clean (dir .) -}}
{{- $mounted := has $folder $folders -}}
{{- range $.Values.extraVolumeMounts -}}
{{- /* A folder within one that is mounted is on that volume. */ -}}
{{- $mounted = or $mounted (hasPrefix (printf "%s/" (clean .mountPath)) (printf "%s/" $folder)) -}}
{{- end -}}
{{- if not $mounted -}}
{{- $folders = append $folders $folder -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $folders -}}
{{- end -}}

{{/* "true" where the snapshot is on a volume that outlives Pods: no two of them may have it, not even for a moment. */}}
{{- define "turnout.lastingSnapshot" -}}
{{- $file := dig "state" "snapshot_file" "" .Values.config -}}
{{- $lasting := false -}}
{{- range $mount := .Values.extraVolumeMounts -}}
{{- range $.Values.extraVolumes -}}
{{- if and $file (eq .name $mount.name) (hasPrefix (printf "%s/" (clean $mount.mountPath)) (clean $file)) (not (or (hasKey . "emptyDir") (hasKey . "ephemeral"))) -}}
{{- $lasting = true -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $lasting }}true{{ end -}}
{{- end -}}
