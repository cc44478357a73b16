# shellcheck shell=sh
# What is built by Go from source. Go checks what it downloads against its checksum database, or against the go.sum that
# the tool's own makers ship.

need_go() { command -v go >/dev/null || { echo "needs go, 1.26 or newer"; false; }; }

go_install() { need_go && GOBIN=$to GOFLAGS=-trimpath go install "$@"; }

protoc_plugins() {
  go_install "google.golang.org/protobuf/cmd/protoc-gen-go@$PROTOC_GEN_GO"
  go_install "google.golang.org/grpc/cmd/protoc-gen-go-grpc@$PROTOC_GEN_GO_GRPC"
}

# Both programs have names that say nothing.
toxiproxy() {
  need_go
  mkdir -p "$work/toxiproxy"
  GOBIN=$work/toxiproxy go install -ldflags "-X github.com/Shopify/toxiproxy/v2.Version=${TOXIPROXY#v}" \
    "github.com/Shopify/toxiproxy/v2/cmd/server@$TOXIPROXY" "github.com/Shopify/toxiproxy/v2/cmd/cli@$TOXIPROXY"
  mv "$work/toxiproxy/server" "$to/toxiproxy-server"
  mv "$work/toxiproxy/cli" "$to/toxiproxy-cli"
}

# Builds PACKAGE in the folder we are in, whose go.mod requires it: `go_build NAME PACKAGE [LDFLAGS]`.
go_build() {
  go build -mod=mod -trimpath -ldflags "-s -w ${3:-}" -o "$work/$1.built" "$2"
  mv "$work/$1.built" "$to/$1"
}

helm_unittest() {
  need_go
  mkdir -p "$work/helm-unittest"
  cd "$work/helm-unittest"
  go mod init tools/helm-unittest
  go mod edit -replace "github.com/vmware-labs/yaml-jsonpath@v0.3.2=github.com/helm-unittest/yaml-jsonpath@$HELM_UNITTEST_JSONPATH"
  go get "github.com/helm-unittest/helm-unittest/cmd/helm-unittest@$HELM_UNITTEST"
  go_build helm-unittest github.com/helm-unittest/helm-unittest/cmd/helm-unittest
}

# Programs that no `go install` can build, as their go.mod replaces modules: their go.mod and go.sum are taken over.
# `module_of MODULE@VERSION NAME` prepares that and stays in the folder.
module_of() {
  need_go
  from=$(go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
  [ -d "$from" ]
  mkdir -p "$work/$2"
  cd "$work/$2"
  cp "$from/go.mod" "$from/go.sum" .
  chmod u+w go.mod go.sum
  go mod edit -module "tools/$2" -require "$1"
}

kube_apiserver() {
  module_of "k8s.io/kubernetes@$KUBERNETES" kube-apiserver
  for staged in $(sed -n 's|^\t*\(k8s.io/[a-z-]*\) => ./staging/src/.*|\1|p' go.mod) $(sed -n 's|^replace \(k8s.io/[a-z-]*\) => ./staging/src/.*|\1|p' go.mod); do
    go mod edit -replace "$staged=$staged@v0.${KUBERNETES#v1.}"
  done
  minor=${KUBERNETES#v1.}
  version=k8s.io/component-base/version
  go_build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver \
    "-X $version.gitVersion=$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*}"
}

jaeger() {
  module_of "github.com/jaegertracing/jaeger@$JAEGER" jaeger
  go_build jaeger github.com/jaegertracing/jaeger/cmd/jaeger
}
