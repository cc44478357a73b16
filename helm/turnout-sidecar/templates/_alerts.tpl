{{/*
Made from helm/turnout/files/alerts.yaml; `make generate` writes it anew. The alerts, with @…@ for what
turnout-sidecar.prometheusRule knows.
*/}}
{{- define "turnout-sidecar.alerts" -}}
# Alerts, with @…@ for what the release knows. In descriptions {{ "{{" }} }} is Prometheus's.
# Counters are asked for by `rate` before they are added up, so that a Pod that starts anew takes nothing away; gauges of
# Pods that come and go are looked at over some minutes, so that a start is no recovery. Where Pods know things each for
# itself (breakers, budgets, how late they are), an alert says whether it is about one Pod or about all.
- alert: TurnoutGone
  expr: absent(turnout_overhead_duration_seconds_count{@SELECTOR@})
  for: 5m
  labels: {severity: critical}
  annotations:
    summary: No Turnout Pod of @RELEASE@ is scraped.
    description: Either none runs, or Prometheus does not reach port metrics. Look at the Pods and at the monitor's target list.
    runbook_url: "@RUNBOOKS@#alert-turnout-gone"
- alert: TurnoutNoTargetUsable
  expr: max(max_over_time(turnout_target_breaker{@SELECTOR@,state="CLOSED"}[2m])) == 0
  for: 2m
  labels: {severity: critical}
  annotations:
    summary: The breakers of all targets of @RELEASE@ are open.
    description: Calls fail until a provider answers again. "turnout status" tells what each target failed with; if all failed at once, look at the cluster's own way out.
    runbook_url: "@RUNBOOKS@#alert-turnout-no-target-usable"
- alert: TurnoutErrors
  expr: |
    sum(rate(rpc_server_call_duration_seconds_count{@SELECTOR@,rpc_method=~"turnout.v1.RouterService/(Route|Execute|ExecuteStream)",rpc_status_code=~"DATA_LOSS|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|UNKNOWN"}[5m]))
      / sum(rate(rpc_server_call_duration_seconds_count{@SELECTOR@,rpc_method=~"turnout.v1.RouterService/(Route|Execute|ExecuteStream)"}[5m])) > @MAX_ERROR_RATIO@
  for: 5m
  labels: {severity: critical}
  annotations:
    summary: "{{ "{{" }} $value | humanizePercentage }} of calls to @RELEASE@ fail."
    description: Callers get errors that are not their own doing, after all that was tried. "turnout decisions" lists the latest calls, turnout_attempts_total what their attempts met.
    runbook_url: "@RUNBOOKS@#alert-turnout-errors"
- alert: TurnoutCallsUnserved
  expr: |
    sum(rate(turnout_decisions_total{@SELECTOR@,chosen=""}[5m]))
      / sum(rate(turnout_decisions_total{@SELECTOR@}[5m])) > @MAX_UNSERVED_RATIO@
  for: 5m
  labels: {severity: critical}
  annotations:
    summary: "{{ "{{" }} $value | humanizePercentage }} of decisions of @RELEASE@ find no target."
    description: "turnout_rejections_total says by reason why; \"turnout decisions\" lists the latest ones."
    runbook_url: "@RUNBOOKS@#alert-turnout-calls-unserved"
# Burn rates over two windows each, as in Google's SRE workbook, chapter 5, table 5-8, for a budget of 30 days: at 14.4
# times the rate that uses it up in that time 2 % of it are gone within an hour, at 6 times 5 % within six hours, at 3 and
# 1 times 10 % within one and three days. The shorter window ends the alert soon after its cause. Fewer than twenty attempts
# say nothing.
- alert: TurnoutLatencyBudgetBurnsFast
  expr: |
    (
    (
      1 - sum(rate(gen_ai_client_operation_duration_seconds_bucket{@SELECTOR@,le="@LATENCY_SECONDS@"}[1h])) / sum(rate(gen_ai_client_operation_duration_seconds_count{@SELECTOR@}[1h]))
        > 14.4 * (1 - @LATENCY_OBJECTIVE@)
      and 1 - sum(rate(gen_ai_client_operation_duration_seconds_bucket{@SELECTOR@,le="@LATENCY_SECONDS@"}[5m])) / sum(rate(gen_ai_client_operation_duration_seconds_count{@SELECTOR@}[5m]))
        > 14.4 * (1 - @LATENCY_OBJECTIVE@)
    )
    or
    (
      1 - sum(rate(gen_ai_client_operation_duration_seconds_bucket{@SELECTOR@,le="@LATENCY_SECONDS@"}[6h])) / sum(rate(gen_ai_client_operation_duration_seconds_count{@SELECTOR@}[6h]))
        > 6 * (1 - @LATENCY_OBJECTIVE@)
      and 1 - sum(rate(gen_ai_client_operation_duration_seconds_bucket{@SELECTOR@,le="@LATENCY_SECONDS@"}[30m])) / sum(rate(gen_ai_client_operation_duration_seconds_count{@SELECTOR@}[30m]))
        > 6 * (1 - @LATENCY_OBJECTIVE@)
    )
    )
    and sum(increase(gen_ai_client_operation_duration_seconds_count{@SELECTOR@}[1h])) >= 20
  for: 2m
  labels: {severity: critical}
  annotations:
    summary: "{{ "{{" }} $value | humanizePercentage }} of attempts of @RELEASE@ take longer than @LATENCY_SECONDS@ s."
    description: If it goes on, a month's share of slow answers is used up within days. gen_ai_client_operation_duration_seconds says by provider which are slow; turnout_overhead_duration_seconds whether Turnout is.
    runbook_url: "@RUNBOOKS@#alert-turnout-latency-budget-burns-fast"
- alert: TurnoutLatencyBudgetBurns
  expr: |
    (
    (
      1 - sum(rate(gen_ai_client_operation_duration_seconds_bucket{@SELECTOR@,le="@LATENCY_SECONDS@"}[1d])) / sum(rate(gen_ai_client_operation_duration_seconds_count{@SELECTOR@}[1d]))
        > 3 * (1 - @LATENCY_OBJECTIVE@)
      and 1 - sum(rate(gen_ai_client_operation_duration_seconds_bucket{@SELECTOR@,le="@LATENCY_SECONDS@"}[2h])) / sum(rate(gen_ai_client_operation_duration_seconds_count{@SELECTOR@}[2h]))
        > 3 * (1 - @LATENCY_OBJECTIVE@)
    )
    or
    (
      1 - sum(rate(gen_ai_client_operation_duration_seconds_bucket{@SELECTOR@,le="@LATENCY_SECONDS@"}[3d])) / sum(rate(gen_ai_client_operation_duration_seconds_count{@SELECTOR@}[3d]))
        > 1 * (1 - @LATENCY_OBJECTIVE@)
      and 1 - sum(rate(gen_ai_client_operation_duration_seconds_bucket{@SELECTOR@,le="@LATENCY_SECONDS@"}[6h])) / sum(rate(gen_ai_client_operation_duration_seconds_count{@SELECTOR@}[6h]))
        > 1 * (1 - @LATENCY_OBJECTIVE@)
    )
    )
    and sum(increase(gen_ai_client_operation_duration_seconds_count{@SELECTOR@}[6h])) >= 20
  for: 1h
  labels: {severity: warning}
  annotations:
    summary: "{{ "{{" }} $value | humanizePercentage }} of attempts of @RELEASE@ take longer than @LATENCY_SECONDS@ s, for hours now."
    description: More are slow than were meant to be in a month. gen_ai_client_operation_duration_seconds says by provider which are slow.
    runbook_url: "@RUNBOOKS@#alert-turnout-latency-budget-burns"
- alert: TurnoutProviderDown
  expr: |
    max by (provider) (
      label_replace(max_over_time(turnout_target_breaker{@SELECTOR@,state="CLOSED"}[2m]), "provider", "$1", "target", "([^/]+)/.*")
    ) == 0
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: "No target of {{ "{{" }} $labels.provider }} has been usable for 5 minutes in any Pod of @RELEASE@."
    description: Others stand in for it. "turnout status" tells what it fails with; most vendors have a page that says whether they know.
    runbook_url: "@RUNBOOKS@#alert-turnout-provider-down"
- alert: TurnoutTargetDown
  expr: max by (target) (max_over_time(turnout_target_breaker{@SELECTOR@,state="CLOSED"}[2m])) == 0
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: "{{ "{{" }} $labels.target }} has not been usable for 10 minutes in any Pod of @RELEASE@."
    description: Others stand in for it. "turnout status" tells what it fails with.
    runbook_url: "@RUNBOOKS@#alert-turnout-target-down"
- alert: TurnoutBreakerOpen
  expr: count by (target) (max_over_time(turnout_target_breaker{@SELECTOR@,state="CLOSED"}[2m]) == 0) > 0
  for: 5m
  labels: {severity: info}
  annotations:
    summary: "{{ "{{" }} $labels.target }} has not been usable for 5 minutes in some of the Pods of @RELEASE@: {{ "{{" }} $value }}."
    description: In one of many Pods alone it is rather that Pod's network, or a key of its own. "turnout events" tells when its breaker opened and why.
    runbook_url: "@RUNBOOKS@#alert-turnout-breaker-open"
- alert: TurnoutTargetFailing
  expr: |
    sum by (target) (rate(turnout_attempts_total{@SELECTOR@,outcome=~"CONNECTION|OVERLOADED|PROTOCOL|SERVER_ERROR|STALLED|TIMEOUT|TRUNCATED"}[10m]))
      / sum by (target) (rate(turnout_attempts_total{@SELECTOR@}[10m])) > @MAX_FAILURE_RATIO@
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: "{{ "{{" }} $value | humanizePercentage }} of attempts at {{ "{{" }} $labels.target }} fail by the provider's fault."
    description: Others stand in for it, for the price of the attempts that failed before.
    runbook_url: "@RUNBOOKS@#alert-turnout-target-failing"
# A key is left alone for up to an hour once it was refused: the one refusal begins its series, which no rate sees.
- alert: TurnoutKeyRefused
  expr: |
    sum by (target) (rate(turnout_attempts_total{@SELECTOR@,outcome=~"AUTHENTICATION|PERMISSION_DENIED|QUOTA_EXHAUSTED"}[15m])) > 0
      or sum by (target) (
        turnout_attempts_total{@SELECTOR@,outcome=~"AUTHENTICATION|PERMISSION_DENIED|QUOTA_EXHAUSTED"}
          unless turnout_attempts_total{@SELECTOR@,outcome=~"AUTHENTICATION|PERMISSION_DENIED|QUOTA_EXHAUSTED"} offset 15m
      ) > 0
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: "{{ "{{" }} $labels.target }} refuses a key of @RELEASE@, or its quota is used up."
    description: "\"turnout status\" names the key; \"turnout check --live\" tries all of them."
    runbook_url: "@RUNBOOKS@#alert-turnout-key-refused"
# A key is left alone for a model for ten minutes once it was told that there is no such model, so that there are few such
# answers; the one that begins a series counts too. Where others are served meanwhile, the model is there.
- alert: TurnoutModelNotFound
  expr: |
    (
      sum by (target) (rate(turnout_attempts_total{@SELECTOR@,outcome="MODEL_NOT_FOUND"}[15m])) > 0
        or sum by (target) (
          turnout_attempts_total{@SELECTOR@,outcome="MODEL_NOT_FOUND"}
            unless turnout_attempts_total{@SELECTOR@,outcome="MODEL_NOT_FOUND"} offset 15m
        ) > 0
    )
    unless sum by (target) (rate(turnout_attempts_total{@SELECTOR@,outcome="ok"}[15m])) > 0
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: "The provider of {{ "{{" }} $labels.target }} tells @RELEASE@ that there is no such model, whenever it is asked."
    description: The model was retired, its name is misspelt, or no key may see it. "turnout check --live" asks every provider for its models.
    runbook_url: "@RUNBOOKS@#alert-turnout-model-not-found"
- alert: TurnoutRetryBudgetEmpty
  expr: min(avg_over_time(turnout_retry_budget_remaining{@SELECTOR@}[5m])) < 1
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: A Pod of @RELEASE@ retries no more, since it has to retry too much.
    description: So many attempts fail that trying again would add to it; calls still move on to other targets. turnout_attempts_total says by outcome what they meet.
    runbook_url: "@RUNBOOKS@#alert-turnout-retry-budget-empty"
- alert: TurnoutShedding
  expr: sum(rate(turnout_overload_shed_total{@SELECTOR@}[5m])) > 0
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: Turnout @RELEASE@ turns away calls because it has too many.
    description: Add Pods, or raise config.limits and the Pods' memory with them.
    runbook_url: "@RUNBOOKS@#alert-turnout-shedding"
- alert: TurnoutOverloaded
  expr: |
    histogram_quantile(0.95, sum by (le, pod) (rate(turnout_loop_delay_seconds_bucket{@SELECTOR@}[10m])))
      > @MAX_DELAY_SECONDS@
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: "{{ "{{" }} $labels.pod }} of @RELEASE@ comes to its work {{ "{{" }} $value | humanizeDuration }} late."
    description: It has more to do than it has CPU for, or is throttled. Add Pods, or give them more CPU.
    runbook_url: "@RUNBOOKS@#alert-turnout-overloaded"
- alert: TurnoutSlow
  expr: |
    histogram_quantile(0.99, sum by (le) (rate(turnout_overhead_duration_seconds_bucket{@SELECTOR@}[10m])))
      > @MAX_OVERHEAD_SECONDS@
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: "Turnout @RELEASE@ itself takes {{ "{{" }} $value | humanizeDuration }} for one call in a hundred."
    description: Its Pods most likely get too little CPU; look for throttling.
    runbook_url: "@RUNBOOKS@#alert-turnout-slow"
- alert: TurnoutBudgetNearlySpent
  expr: (min by (budget) (turnout_budget_remaining_usd{@SELECTOR@} / turnout_budget_limit_usd{@SELECTOR@}) < @BUDGET_LEFT_RATIO@) > 0
  for: 1m
  labels: {severity: info}
  annotations:
    summary: "{{ "{{" }} $value | humanizePercentage }} of the budget {{ "{{" }} $labels.budget }} of @RELEASE@ are left for one of those it is for."
    description: "\"turnout budgets\" tells for whom, and what is likely spent by the end of the period."
    runbook_url: "@RUNBOOKS@#alert-turnout-budget-nearly-spent"
# A call is reserved for at its worst case: calls are refused while a little is left, and what is left may be nothing for as
# long as one call runs.
- alert: TurnoutBudgetSpent
  expr: |
    min by (budget) (turnout_budget_remaining_usd{@SELECTOR@}) <= 0
      or min by (budget) (
        turnout_budget_remaining_usd{@SELECTOR@} / turnout_budget_limit_usd{@SELECTOR@} < @BUDGET_LEFT_RATIO@
          and on (namespace, pod) sum by (namespace, pod) (increase(turnout_rejections_total{@SELECTOR@,reason="BUDGET"}[5m])) > 0
      )
  for: 2m
  labels: {severity: warning}
  annotations:
    summary: "The budget {{ "{{" }} $labels.budget }} of @RELEASE@ is spent for one of those it is for."
    description: "\"turnout budgets\" tells for whom; their calls are refused or go to cheaper targets, as the budget says."
    runbook_url: "@RUNBOOKS@#alert-turnout-budget-spent"
- alert: TurnoutPriceUnknown
  expr: sum by (target) (rate(turnout_price_unknown_total{@SELECTOR@}[1h])) > 0
  for: 1h
  labels: {severity: info}
  annotations:
    summary: "What {{ "{{" }} $labels.target }} costs is not known."
    description: Budgets and costs leave it out. Give it a price in config.providers.NAME.models.
    runbook_url: "@RUNBOOKS@#alert-turnout-price-unknown"
- alert: TurnoutTelemetryDropped
  expr: sum by (signal) (rate(turnout_telemetry_dropped_total{@SELECTOR@}[15m])) > 0
  for: 15m
  labels: {severity: warning}
  annotations:
    summary: "Turnout @RELEASE@ gives up {{ "{{" }} $labels.signal }} that nobody takes."
    description: Calls are not affected. The collector, the disk or the receiver of this signal is down, or too slow; the log names it.
    runbook_url: "@RUNBOOKS@#alert-turnout-telemetry-dropped"
- alert: TurnoutOutcomesMissing
  expr: |
    sum(rate(turnout_outcomes_total{@SELECTOR@,result="missing"}[1h]))
      / sum(rate(turnout_outcomes_total{@SELECTOR@}[1h])) > 0.5
  for: 1h
  labels: {severity: info}
  annotations:
    summary: Applications seldom tell @RELEASE@ how their own calls went.
    description: Of what Route advised, more than half was never reported, so health and latency are known too late.
    runbook_url: "@RUNBOOKS@#alert-turnout-outcomes-missing"
- alert: TurnoutConfigurationRefused
  expr: max(max_over_time(turnout_config_refused{@SELECTOR@}[2m])) > 0
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: Turnout @RELEASE@ does not take its changed configuration.
    description: It goes on under the one before; a Pod that starts anew will not start. Its log names every fault.
    runbook_url: "@RUNBOOKS@#alert-turnout-configuration-refused"
- alert: TurnoutCertificateEnds
  expr: min(turnout_listener_certificate_expiry_timestamp_seconds{@SELECTOR@}) - time() < 7 * 86400
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: "The certificate that Turnout @RELEASE@ serves with ends in {{ "{{" }} $value | humanizeDuration }}."
    description: Put a new one into the Secret of listener.tls; it is taken by itself.
    runbook_url: "@RUNBOOKS@#alert-turnout-certificate-ends"
- alert: TurnoutStateNotWritten
  expr: sum(increase(turnout_snapshot_failures_total{@SELECTOR@}[15m])) > 0
  labels: {severity: warning}
  annotations:
    summary: Turnout @RELEASE@ cannot write its state to disk.
    description: A Pod that starts anew forgets what was not written. Its log says what is in the way.
    runbook_url: "@RUNBOOKS@#alert-turnout-state-not-written"
{{- end -}}
