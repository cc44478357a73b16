{{/* What the schema cannot say, because it is about several values at once. All of it is told at once. */}}
{{- define "turnout.validate" -}}
{{- $faults := list -}}
{{- $real := include "turnout.hasProviders" . -}}
{{- $tls := .Values.listener.tls.existingSecret -}}
{{- if and $real (not $tls) (not .Values.listener.insecure) -}}
{{- $faults = append $faults "listener: real providers are configured, and calls to them cost money: name a certificate in listener.tls.existingSecret, or set listener.insecure: true to serve without TLS whatever the network policy lets through" -}}
{{- end -}}
{{- if and $tls .Values.listener.insecure -}}
{{- $faults = append $faults "listener.insecure: there is TLS, so nothing is insecure; remove one of listener.insecure and listener.tls.existingSecret" -}}
{{- end -}}
{{- if and .Values.listener.tls.clientCaSecret (not $tls) -}}
{{- $faults = append $faults "listener.tls.clientCaSecret: client certificates need TLS; name the server's own in listener.tls.existingSecret" -}}
{{- end -}}
{{- if and .Values.listener.tokens (not $tls) -}}
{{- $faults = append $faults "listener.tokens: tokens would cross the network in the clear; name a certificate in listener.tls.existingSecret" -}}
{{- end -}}
{{- if and (ne .Values.service.type "ClusterIP") (not $tls) -}}
{{- $faults = append $faults (printf "service.type: %s reaches beyond the cluster, which needs TLS; name a certificate in listener.tls.existingSecret, or leave it at ClusterIP" .Values.service.type) -}}
{{- end -}}
{{- if and .Values.keys.existingSecret (eq .Values.keys.as "files") (not .Values.config.providers) -}}
{{- $faults = append $faults "keys.as: files are used by the providers that name them; add config.providers.NAME.api_key_file: /run/secrets/turnout/ENTRY, or set keys.as: env" -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if regexMatch "^TURNOUT_(CONFIG|ADDRESS|(HEALTH|METRICS)__.*|LISTEN__(ADDRESS|INSECURE_LISTEN|TLS__.*|AUTH__.*|TLS|AUTH))$" .name -}}
{{- $faults = append $faults (printf "extraEnv: %s would change what the chart decides, and ports, probes or what protects them would no longer fit; use listener, health and metrics" .name) -}}
{{- end -}}
{{- if eq .name "TURNOUT_DRAIN_SECONDS" -}}
{{- $faults = append $faults "extraEnv: TURNOUT_DRAIN_SECONDS would not be counted in what a stopping Pod is given; use config.drain_seconds" -}}
{{- end -}}
{{- end -}}
{{- /* A list with two of one name is refused by the API server, or one of the two is dropped by it. */ -}}
{{- $decided := list -}}
{{- range include "turnout.otlpEnv" . | fromYamlArray -}}{{- $decided = append $decided .name -}}{{- end -}}
{{- if and .Values.otlp.headersSecret.name (hasKey (default dict .Values.otlp.env) "OTEL_EXPORTER_OTLP_HEADERS") -}}
{{- $faults = append $faults "otlp.env: OTEL_EXPORTER_OTLP_HEADERS: otlp.headersSecret sets it; leave one of the two out" -}}
{{- end -}}
{{- $faults = concat $faults (include "turnout.twice" (list "extraEnv" "name" .Values.extraEnv $decided "the chart sets it for otlp; leave one of the two out") | fromYamlArray) -}}
{{- $own := dict "Values" (omit (merge dict .Values) "extraVolumes") "Release" .Release "Chart" .Chart -}}
{{- $volumes := include "turnout.volumes" $own | fromYamlArray -}}
{{- $volumeNames := list -}}
{{- range $volumes -}}{{- $volumeNames = append $volumeNames .name -}}{{- end -}}
{{- $faults = concat $faults (include "turnout.twice" (list "extraVolumes" "name" .Values.extraVolumes $volumeNames "the chart has a volume of that name; choose another") | fromYamlArray) -}}
{{- range .Values.extraVolumes -}}{{- $volumeNames = append $volumeNames .name -}}{{- end -}}
{{- $folders := list "/etc/turnout" -}}
{{- if and .Values.keys.existingSecret (eq .Values.keys.as "files") -}}{{- $folders = append $folders "/run/secrets/turnout" -}}{{- end -}}
{{- if $tls -}}{{- $folders = append $folders "/run/turnout-tls" -}}{{- end -}}
{{- if .Values.listener.tls.clientCaSecret -}}{{- $folders = append $folders "/run/turnout-client-ca" -}}{{- end -}}
{{- if .Values.listener.tokens -}}{{- $folders = append $folders "/run/turnout-tokens" -}}{{- end -}}
{{- if .Values.webhook.existingSecret -}}
{{- $folders = append $folders "/run/turnout-webhook" -}}
{{- if not (dig "alerts" "webhook_url" "" .Values.config) -}}
{{- $faults = append $faults "webhook.existingSecret: signs nothing; say where alarms are posted to in config.alerts.webhook_url" -}}
{{- end -}}
{{- if dig "alerts" "webhook_secret_file" "" .Values.config -}}
{{- $faults = append $faults "config.alerts.webhook_secret_file: the key is that of webhook.existingSecret; leave one of them out" -}}
{{- end -}}
{{- end -}}
{{- $faults = concat $faults (include "turnout.twice" (list "extraVolumeMounts" "mountPath" .Values.extraVolumeMounts $folders "the chart mounts something there; choose another folder") | fromYamlArray) -}}
{{- range .Values.extraVolumeMounts -}}
{{- if not (has .name $volumeNames) -}}
{{- $faults = append $faults (printf "extraVolumeMounts: there is no volume %s; add it to extraVolumes" .name) -}}
{{- end -}}
{{- end -}}
{{- $ports := dict -}}
{{- range $name, $port := dict "listener.port" .Values.listener.port "health.port" .Values.health.port "metrics.port" .Values.metrics.port -}}
{{- $key := toString (int $port) -}}
{{- if hasKey $ports $key -}}
{{- $faults = append $faults (printf "%s: port %s is also that of %s; each needs its own" $name $key (get $ports $key)) -}}
{{- end -}}
{{- $_ := set $ports $key $name -}}
{{- end -}}
{{- if and (include "turnout.simulated" .) (hasKey $ports "50160") -}}
{{- $faults = append $faults (printf "%s: port 50160 is that of the simulated providers; choose another" (get $ports "50160")) -}}
{{- end -}}
{{- range $path, $file := dict "config.state.snapshot_file" (dig "state" "snapshot_file" "" .Values.config) "config.listen.socket" (dig "listen" "socket" "" .Values.config) "config.telemetry.request_log.file" (dig "telemetry" "request_log" "file" "" .Values.config) -}}
{{- if and $file (or (not (isAbs $file)) (eq (clean (dir $file)) "/")) -}}
{{- $faults = append $faults (printf "%s: write an absolute path in a folder of its own, as in /var/lib/turnout/%s; got %s" $path (base $file) $file) -}}
{{- end -}}
{{- end -}}
{{- if and (include "turnout.lastingSnapshot" .) (or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1)) -}}
{{- $faults = append $faults "config.state.snapshot_file: is on a volume of extraVolumes that all Pods would share, and a second Turnout does not start there; use one Pod (replicaCount: 1, no autoscaling), or a volume of type emptyDir or ephemeral" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- $faults = append $faults "autoscaling.minReplicas: is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (kindIs "invalid" .Values.autoscaling.targetCPUUtilizationPercentage) (not .Values.autoscaling.metrics) -}}
{{- $faults = append $faults "autoscaling: nothing to scale by; set autoscaling.targetCPUUtilizationPercentage or autoscaling.metrics" -}}
{{- end -}}
{{- $needed := add .Values.preStopSleepSeconds (ceil (dig "drain_seconds" 25.0 .Values.config)) -}}
{{- if and (not (kindIs "invalid" .Values.terminationGracePeriodSeconds)) (lt (int64 .Values.terminationGracePeriodSeconds) $needed) -}}
{{- $faults = append $faults (printf "terminationGracePeriodSeconds: %v would cut calls off: preStopSleepSeconds and config.drain_seconds together are %v" .Values.terminationGracePeriodSeconds $needed) -}}
{{- end -}}
{{- if $faults -}}
{{- fail (printf "\n\nThe values cannot be used:\n- %s\n" (join "\n- " $faults)) -}}
{{- end -}}
{{- end -}}

{{/* Faults of a list whose items are known by one key, as a list in YAML: [path, key, items, what is taken, why]. */}}
{{- define "turnout.twice" -}}
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
