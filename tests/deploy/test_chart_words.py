"""What the application chart says to people: why it refuses values, and what is to be done after an installation."""

import re

import pytest
import yaml

from tests.deploy.helm_chart import CHART, Helm, Values, helm

__all__ = ["helm"]

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

REAL: Values = {"keys": {"existingSecret": "llm-keys"}, "listener": {"insecure": True}}
TLS: Values = {"listener": {"tls": {"existingSecret": "turnout-tls"}}}
REFUSALS: list[tuple[Values, str]] = [
    ({"replicas": 2}, "additional properties 'replicas' not allowed"),
    ({"replicaCount": "two"}, "at '/replicaCount': got string, want integer"),
    ({"listener": {"port": 443}}, "at '/listener/port': minimum: got 443, want 1,024"),
    ({"listener": {"tls": {"existingsecret": "a"}}}, "at '/listener/tls': additional properties 'existingsecret'"),
    ({"keys": {"as": "file"}}, "at '/keys/as': value must be one of 'env', 'files'"),
    ({"keys": {"anthropic": "sk-ant-api03-abcdefgh"}}, "at '/keys': additional properties 'anthropic' not allowed"),
    ({"config": {"routing": {"polices": {}}}}, "at '/config/routing': additional properties 'polices' not allowed"),
    ({"config": {"limits": {"max_message_mib": 0}}}, "at '/config/limits/max_message_mib': minimum: got 0, want 1"),
    ({"config": {"listen": {"address": "::"}}}, "value must be 'left out: listener.host and listener.port say it'"),
    ({"config": {"metrics": {"address": ""}}}, "at '/config/metrics': value must be 'left out: metrics.port says it'"),
    (
        {"extraEnv": [{"name": "ANTHROPIC_API_KEY", "value": "sk-ant-api03-abcdefgh"}]},
        "at '/extraEnv/0/value': value must be 'something else than a key or password: put that into a Secret",
    ),
    (
        {"config": {"providers": {"openai": {"api_key_env": "sk-proj-abcdefgh"}}}},
        "at '/config/providers/openai/api_key_env': value must be 'something else than a key or password",
    ),
    ({"config": {"providers": {"openai": {}}}}, "- listener: real providers are configured, and calls to them cost"),
    ({**TLS, "keys": REAL["keys"], "listener": {**TLS["listener"], "insecure": True}}, "- listener.insecure: there is"),
    ({"listener": {"tls": {"clientCaSecret": "ca"}}}, "- listener.tls.clientCaSecret: client certificates need TLS"),
    ({"listener": {"tokens": [{"secret": "s", "key": "k"}]}}, "- listener.tokens: tokens would cross the network"),
    ({"webhook": {"existingSecret": "s"}}, "- webhook.existingSecret: signs nothing; say where"),
    (
        {
            "webhook": {"existingSecret": "s"},
            "config": {"alerts": {"webhook_url": "https://a.example/", "webhook_secret_file": "/run/key"}},
        },
        "- config.alerts.webhook_secret_file: the key is that of webhook.existingSecret",
    ),
    ({"listener": {"tokens": [{"key": "k"}]}}, "at '/listener/tokens/0': missing property 'secret'"),
    ({"service": {"type": "NodePort"}}, "- service.type: NodePort reaches beyond the cluster, which needs TLS"),
    ({**REAL, "keys": {"existingSecret": "k", "as": "files"}}, "- keys.as: files are used by the providers that name"),
    ({"metrics": {"port": 50152}}, "- metrics.port: port 50152 is also that of health.port; each needs its own"),
    ({"health": {"port": 50160}}, "- health.port: port 50160 is that of the simulated providers"),
    ({"config": {"state": {"snapshot_file": "s"}}}, "- config.state.snapshot_file: write an absolute path"),
    (
        {"config": {"listen": {"socket": "/s.sock"}}},
        "- config.listen.socket: write an absolute path in a folder of its",
    ),
    ({"autoscaling": {"enabled": True, "minReplicas": 9}}, "- autoscaling.minReplicas: is more than"),
    (
        {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": None}},
        "- autoscaling: nothing to scale by",
    ),
    ({"terminationGracePeriodSeconds": 20}, "- terminationGracePeriodSeconds: 20 would cut calls off"),
    ({"metrics": {"prometheusRule": {"disabled": ["TurnoutGon"]}}}, "at '/metrics/prometheusRule/disabled/0'"),
    ({"scratchSizeLimit": "1 GB"}, "at '/scratchSizeLimit'"),
    ({"extraEnv": [{"name": "TURNOUT_HEALTH__ADDRESS", "value": ":1"}]}, "- extraEnv: TURNOUT_HEALTH__ADDRESS would"),
    (
        {"extraEnv": [{"name": "TURNOUT_LISTEN__TLS__KEY_FILE", "value": "k"}]},
        "- extraEnv: TURNOUT_LISTEN__TLS__KEY_FILE",
    ),
    ({"extraEnv": [{"name": "TURNOUT_CONFIG", "value": "/x.yaml"}]}, "- extraEnv: TURNOUT_CONFIG would"),
    (
        {"extraEnv": [{"name": "TURNOUT_PROVIDERS__OPENAI__REGION", "value": "eu"}]},
        "- listener: real providers are configured",
    ),
    (
        {"extraEnv": [{"name": "TURNOUT_DRAIN_SECONDS", "value": "300"}]},
        "- extraEnv: TURNOUT_DRAIN_SECONDS would not be counted in what a stopping Pod is given",
    ),
    (
        {"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
        "- extraEnv: A: is there twice",
    ),
    (
        {"otlp": {"endpoint": "http://c:4317"}, "extraEnv": [{"name": "OTEL_SERVICE_NAME", "value": "s"}]},
        "- extraEnv: OTEL_SERVICE_NAME: the chart sets it for otlp",
    ),
    (
        {
            "otlp": {"env": {"OTEL_BSP_SCHEDULE_DELAY": "1"}},
            "extraEnv": [{"name": "OTEL_BSP_SCHEDULE_DELAY", "value": "2"}],
        },
        "- extraEnv: OTEL_BSP_SCHEDULE_DELAY: the chart sets it for otlp",
    ),
    (
        {"otlp": {"env": {"OTEL_EXPORTER_OTLP_HEADERS": "a=b"}, "headersSecret": {"name": "collector"}}},
        "- otlp.env: OTEL_EXPORTER_OTLP_HEADERS: otlp.headersSecret sets it",
    ),
    ({"otlp": {"env": {"TURNOUT_STRATEGY": "COST"}}}, "invalid propertyName 'TURNOUT_STRATEGY'"),
    ({"metrics": {"prometheusRule": {"latency": {"thresholdSeconds": 15}}}}, "thresholdSeconds'"),
    (
        {"extraVolumes": [{"name": "config", "emptyDir": {}}]},
        "- extraVolumes: config: the chart has a volume of that name",
    ),
    (
        {
            "extraVolumes": [{"name": "own", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "own", "mountPath": "/etc/turnout/"}],
        },
        "- extraVolumeMounts: /etc/turnout: the chart mounts something there",
    ),
    (
        {"extraVolumeMounts": [{"name": "own", "mountPath": "/own"}]},
        "- extraVolumeMounts: there is no volume own; add it to extraVolumes",
    ),
    (
        {
            "replicaCount": 2,
            "config": {"state": {"snapshot_file": "/data/turnout/state"}},
            "extraVolumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            "extraVolumeMounts": [{"name": "data", "mountPath": "/data"}],
        },
        "- config.state.snapshot_file: is on a volume of extraVolumes that all Pods would share",
    ),
    ({"config": None}, "at '': missing property 'config'"),
    ({"listener": {"tls": None}}, "at '/listener': missing property 'tls'"),
    ({"livenessProbe": None}, "at '': missing property 'livenessProbe'"),
]


@pytest.mark.parametrize(("values", "words"), REFUSALS, ids=[words for _, words in REFUSALS])
def test_a_wrong_value_is_refused_with_what_would_be_right(helm: Helm, values: Values, words: str) -> None:
    refusal = helm.refusal(values)

    assert words in refusal
    assert "sk-" not in refusal


def test_everything_wrong_between_values_is_told_at_once(helm: Helm) -> None:
    refusal = helm.refusal(
        {"keys": {"existingSecret": "k"}, "service": {"type": "NodePort"}, "health": {"port": 50151}}
    )

    assert 3 == len(re.findall(r"^- \w", refusal, re.MULTILINE))


def test_an_older_kubernetes_is_refused(helm: Helm) -> None:
    assert "incompatible with Kubernetes v1.28.0" in helm.template(kubernetes="1.28.0").stderr


@pytest.mark.parametrize(
    ("values", "said", "unsaid"),
    [
        ({}, ["SIMULATED", "WITHOUT TLS", "shop-turnout.llm.svc:50151"], ["NO PROVIDERS", "WITHOUT TOKENS"]),
        ({"simulated": {"enabled": False}}, ["NO PROVIDERS"], ["SIMULATED"]),
        # Without the file it would be the whole catalog.
        ({}, ["turnout models -c /etc/turnout/turnout.yaml"], []),
        (REAL, ["WITHOUT TLS", "The network policy lets"], ["SIMULATED", "NO PROVIDERS", "MORE THAN ONE POD"]),
        ({**REAL, "networkPolicy": {"enabled": False}}, ["everybody in the cluster can call"], []),
        ({**REAL, **TLS}, ["WITHOUT TOKENS"], ["WITHOUT TLS", "turnout ask"]),
        ({**TLS, "service": {"type": "LoadBalancer"}}, ["NETWORK POLICY: the Service reaches beyond"], []),
        (
            {**TLS, "service": {"type": "NodePort"}, "networkPolicy": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}},
            ["WITHOUT TOKENS"],
            ["NETWORK POLICY"],
        ),
        ({"replicaCount": 2}, ["MORE THAN ONE POD", "set service.headless"], []),
        ({"autoscaling": {"enabled": True}, "service": {"headless": True}}, ["MORE THAN ONE POD", "dns:///"], []),
        (
            {"replicaCount": 0, "injection": {"enabled": True}},
            ['the label turnout.dev/inject: "true"', "NOTHING IS SHARED", "WITHOUT A REGISTRY"],
            ["TURNOUT_ADDRESS", "SIMULATED", "WITHOUT TLS", "helm -n llm test"],
        ),
        ({"injection": {"enabled": True}}, ['the label turnout.dev/inject: "true"', "TURNOUT_ADDRESS"], ["NOTHING IS"]),
        ({"replicaCount": 0}, ["NOTHING IS SHARED"], ["SIMULATED", "turnout.dev/inject"]),
        ({}, ["WITHOUT A REGISTRY: nodes look for turnout:"], ["NOTHING IS SHARED", "turnout.dev/inject"]),
        ({"image": {"repository": "registry.example.com/turnout"}}, [], ["WITHOUT A REGISTRY"]),
    ],
)
def test_notes_say_how_to_call_it_and_what_is_missing(
    helm: Helm, values: Values, said: list[str], unsaid: list[str]
) -> None:
    ended = helm.run(
        "install",
        "shop",
        CHART,
        "--namespace",
        "llm",
        "--dry-run=client",
        "-f",
        "-",
        stdin=yaml.safe_dump(dict(values)),
    )
    notes = ended.stdout.partition("NOTES:")[2]

    assert 0 == ended.returncode, ended.stderr
    assert [] == [words for words in said if words not in notes]
    assert [] == [words for words in unsaid if words in notes]
