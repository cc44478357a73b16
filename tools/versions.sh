# shellcheck shell=sh disable=SC2034
# The pinned versions of what tests use besides Python packages. buf, hadolint, pip-audit and the like are pinned in
# requirements-dev.lock.
GHZ=v0.121.0
GRPCURL=v1.9.4
HELM_UNITTEST=v1.1.2
# helm-unittest needs its own fork of this one, which `go install` would not take from its go.mod.
HELM_UNITTEST_JSONPATH=v0.4.0
JAEGER=v1.76.0 # the module's version; the program calls itself 2.13.0
KUBERNETES=v1.36.3
PROTOC_GEN_GO=v1.36.12
PROTOC_GEN_GO_GRPC=v1.6.2
TOXIPROXY=v2.12.0
# helm 4.2.3 and kubectl 1.36.3 come in the wheel that tools/helm.lock names, with its hash.
