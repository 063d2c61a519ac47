#!/usr/bin/env bash
# Bases for a machine without a registry, made from Debian's packages as distroless itself is made: unpacked, not
# installed. They have what the real ones have, so what runs on them misses no library there; they are no
# substitute for them, and only `make images` with STAND_INS=1 uses them.
#
#   localhost/stand-in/python-builder      python:3.13-slim-trixie
#   localhost/stand-in/cc                  gcr.io/distroless/cc-debian13:nonroot
#   localhost/stand-in/python-runtime      gcr.io/distroless/python3-debian13:nonroot
#   localhost/stand-in/python311-builder   the same with Debian 12's Python 3.11, for a machine whose only torch
#   localhost/stand-in/python311-runtime   without CUDA is for that one
#   localhost/stand-in/serving             tensorflow/serving, with a program that only tells its version
# The last two only with STAND_IN_PYTHON311=1.
#
# Needs: root, buildah, mmdebstrap, g++, Debian's archive in apt's sources.
set -euo pipefail

# shellcheck disable=SC2016 # apt's variables, not the shell's
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$') ||
  { echo "stand-ins: apt knows no Debian archive: apt-get update" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
buildah() { command buildah ${STORAGE_DRIVER:+--storage-driver "$STORAGE_DRIVER"} "$@"; }

# Lists as in distroless' own build files (base, cc, python3); the names are each Debian's.
base='base-files,netbase,tzdata,libc6,zlib1g,libzstd1'
cc=libgomp1,libstdc++6,libgcc-s1
python=libbz2-1.0,libexpat1,liblzma5,libsqlite3-0,libuuid1,libncursesw6,libtinfo6,libcom-err2,libcrypt1
python+=,libgssapi-krb5-2,libk5crypto3,libkeyutils1,libkrb5-3,libkrb5support0,libnsl2,libffi8
trixie=$base,$cc,libssl3t64
bookworm=$base,$cc,libssl3

# What distroless adds to the packages, less what only comes by their dependencies.
runtime_files() {
  local root=$1
  rm -rf "$root"/usr/bin/{debconf*,dpkg*,mawk} "$root"/usr/sbin/dpkg-* "$root"/usr/share/{debconf,doc,man,perl5}
  rm -rf "$root"/var/lib/dpkg/{info,status,status.d/debconf,status.d/dpkg,status.d/mawk}
  printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' \
    >"$root/etc/passwd"
  printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
  install -d -o 65532 -g 65532 -m 700 "$root/home/nonroot"
  chmod 1777 "$root/tmp"
}

image() { # NAME FOLDER USER
  local name=localhost/stand-in/$1 container
  container=$(buildah from scratch)
  buildah add -q "$container" "$2" / >/dev/null
  buildah config --user "$3" --env PATH=/usr/local/bin:/usr/bin:/bin --env LANG=C.UTF-8 "$container"
  buildah commit -q --rm "$container" "$name" >/dev/null
  echo "$name"
}

# shellcheck disable=SC2016 # mmdebstrap's shell expands the hook
runtime() { # NAME SUITE PACKAGES PYTHON
  # As in distroless, a file for each package says what it is; the bill of materials is made from them.
  mmdebstrap --quiet --variant=extract --include="$3" "$2" "$work/$1" "$mirror" --extract-hook='
    mkdir "$1/var/lib/dpkg/status.d"
    for deb in "$1"/var/cache/apt/archives/*.deb; do
      dpkg-deb --field "$deb" >"$1/var/lib/dpkg/status.d/$(dpkg-deb --field "$deb" Package)"
    done'
  runtime_files "$work/$1"
  if [ -n "$4" ]; then ln -s "$4" "$work/$1/usr/bin/python3" && ln -s "$4" "$work/$1/usr/bin/python"; fi
  image "$1" "$work/$1" 65532
}

builder() { # NAME SUITE PYTHON
  mmdebstrap --quiet --variant=minbase --include=python3-venv,python3-pip,ca-certificates "$2" "$work/$1" "$mirror"
  ln -s "/usr/bin/$3" "$work/$1/usr/local/bin/python"
  # The machine's own trust store: a closed network's registry may have a certificate of its own.
  cp /etc/ssl/certs/ca-certificates.crt "$work/$1/etc/ssl/certs/"
  printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$work/$1/etc/pip.conf"
  image "$1" "$work/$1" 0
}

serving() {
  install -d "$work/serving/usr/bin"
  cat >"$work/server.cc" <<'CC'
#include <iostream>
#include <string>
int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--version") {
    std::cout << "TensorFlow ModelServer: stand-in, serves nothing" << std::endl;
    return 0;
  }
  std::cerr << "stand-in for tensorflow_model_server: it serves nothing" << std::endl;
  return 1;
}
CC
  g++ -O1 -o "$work/serving/usr/bin/tensorflow_model_server" "$work/server.cc"
  image serving "$work/serving" 0
}

runtime cc trixie "$trixie" ""
runtime python-runtime trixie \
  "$trixie,$python,libdb5.3t64,libreadline8t64,libtirpc3t64,python3.13-minimal,libpython3.13-stdlib" python3.13
builder python-builder trixie python3.13
serving
if [ -n "${STAND_IN_PYTHON311:-}" ]; then
  runtime python311-runtime bookworm \
    "$bookworm,$python,libdb5.3,libreadline8,libtirpc3,python3.11-minimal,libpython3.11-stdlib" python3.11
  builder python311-builder bookworm python3.11
fi
