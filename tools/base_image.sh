#!/bin/sh
# Makes a base image for the Dockerfile where none can be pulled: `tools/base_image.sh NAME` puts it into buildah's
# storage under NAME. It is Debian with Python 3.11 laid out as in the official python:3.11-slim-bookworm: commands in
# /usr/local/bin, pip, no bytecode. Needs root, debootstrap and buildah; takes a minute.
#
# TURNOUT_BASE_CACHE names a folder where the unpacked system is kept as a tar file, for the next time.
set -eu
name=${1:?a name for the image}
cache=${TURNOUT_BASE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/turnout}
tar=$cache/python-base-bookworm-1.tar
export BUILDAH_ISOLATION=chroot

if [ ! -f "$tar" ]; then
  mkdir -p "$cache"
  work=$(mktemp -d)
  trap 'rm -rf "$work" "$tar.$$"' EXIT
  trap 'exit 130' INT TERM
  PATH=$PATH:/usr/sbin:/sbin debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$work/root" >"$work/log" 2>&1 || {
    tail -n 3 "$work/log" >&2
    exit 1
  }
  rm -rf "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/* "$work"/root/usr/share/doc/* "$work"/root/usr/share/man/* \
    "$work"/root/usr/share/locale/* "$work"/root/var/log/* "$work"/root/usr/lib/python3.11/EXTERNALLY-MANAGED
  find "$work/root" -name '*.pyc' -delete
  for command in python python3; do ln -s /usr/bin/python3.11 "$work/root/usr/local/bin/$command"; done
  for command in pip pip3; do ln -s /usr/bin/pip3 "$work/root/usr/local/bin/$command"; done
  # Devices cannot be unpacked everywhere, and a container gets its own.
  tar -C "$work/root" --exclude=./dev/* --exclude=./proc/* --exclude=./sys/* -cf "$tar.$$" .
  mv "$tar.$$" "$tar"
fi

container=$(buildah from scratch)
buildah add --quiet "$container" "$tar" /
buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin --env LANG=C.UTF-8 --cmd python3 "$container"
buildah commit --quiet --rm "$container" "$name"
