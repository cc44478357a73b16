#!/bin/sh
# Writes the Go stubs below clients/go/turnoutv1, or compares them: `tools/go_stubs.sh write` or `check`.
#
# The plugins are taken from the folder that TURNOUT_TOOLS names, from .tools/, or from the PATH, of exactly the versions
# in versions.sh. Where they are not there nothing is done, and the reason is told: no other target needs Go.
set -eu
how=${1:?write or check}
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/versions.sh
. "$root/tools/versions.sh"
PATH="${TURNOUT_TOOLS:+$TURNOUT_TOOLS:}$root/.tools:$PATH"

# Prints where a plugin of a version is: `plugin NAME VERSION`.
plugin() {
  found=$(command -v "$1") || {
    echo "Go stubs: $1 is not on this machine; 'tools/get.sh protoc-gen-go' gets it" >&2
    return 1
  }
  case $("$found" --version 2>&1) in
  *" ${2#v}" | *" $2") echo "$found" ;;
  *)
    echo "Go stubs: $found is not version $2; 'tools/get.sh protoc-gen-go' gets that one" >&2
    return 1
    ;;
  esac
}

if ! messages=$(plugin protoc-gen-go "$PROTOC_GEN_GO") || ! services=$(plugin protoc-gen-go-grpc "$PROTOC_GEN_GO_GRPC"); then
  echo "Go stubs: left out ($how)" >&2
  exit 0
fi
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
"$root/.venv/bin/python" -m grpc_tools.protoc --proto_path="$root/protos" \
  --plugin="protoc-gen-go=$messages" --go_out="$new" --go_opt=module=turnout.dev/go \
  --plugin="protoc-gen-go-grpc=$services" --go-grpc_out="$new" --go-grpc_opt=module=turnout.dev/go \
  turnout/v1/router.proto turnout/v1/admin.proto turnout/v1/session.proto
if [ "$how" = write ]; then
  mkdir -p "$root/clients/go/turnoutv1"
  cp "$new"/turnoutv1/*.go "$root/clients/go/turnoutv1/"
else
  diff -r "$new/turnoutv1" "$root/clients/go/turnoutv1"
fi
