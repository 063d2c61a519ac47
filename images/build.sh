#!/usr/bin/env bash
# images/build.sh IMAGE...: builds images of the Dockerfile to OCI layouts, build/images/IMAGE. They are its stages
# relay, server-bare, export, loadtest and debug; relay-rollout is the relay with what compares two versions; server-v1,
# server-v2, model-v1 and model-v2 hold a model of that version.
#
# Docker builds them where its daemon runs, else buildah (apt-get install buildah), which needs none. From the
# environment:
#   PLATFORMS           linux/amd64,linux/arm64 for both; default: this machine's
#   WEIGHTS             of the models, demo if none
#   STORAGE_DRIVER      buildah's; vfs where the kernel lends it no overlay
#   STAND_INS           1: on the bases that images/stand-ins.sh made, where no registry is to be reached
#   STAND_IN_PYTHON311  1: and the exporter on the older Python
set -euo pipefail
cd "$(dirname "$0")/.."

machine=linux/$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
# One commit, one image: files bear the commit's time.
epoch=$(git log -1 --format=%ct 2>/dev/null || echo 0)
options=(--file Dockerfile --platform "${PLATFORMS:-$machine}")
label() { [ -z "$2" ] || options+=(--label "org.opencontainers.image.$1=$2"); }
label version "$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)"
label revision "$(git rev-parse HEAD 2>/dev/null)"
label source "$(git remote get-url origin 2>/dev/null | sed -E 's#//[^/@]*@#//#')" # without a password

buildah() { command buildah ${STORAGE_DRIVER:+--storage-driver "$STORAGE_DRIVER"} "$@"; }

stand_ins() { # IMAGE: the bases to build it on, and what this machine has in place of registries
  local runtime=python-runtime builder=python-builder
  case $1 in export | model-* | server-v*)
    [ -n "${STAND_IN_PYTHON311:-}" ] && runtime=python311-runtime builder=python311-builder ;;
  esac
  printf -- '--build-arg\n%s\n' PYTHON_BASE=localhost/stand-in/$builder PYTHON_RUNTIME=localhost/stand-in/$runtime \
    CC_RUNTIME=localhost/stand-in/cc SERVING_AMD64=localhost/stand-in/serving PIP_EXTRA_INDEX_URL=
  if [ -d "${PIP_FIND_LINKS:-}" ]; then
    printf -- '%s\n' --build-arg "PIP_FIND_LINKS=$PIP_FIND_LINKS" --volume "$PIP_FIND_LINKS:$PIP_FIND_LINKS:ro"
  fi
}

stage() { # IMAGE: its stage, and its build arguments
  case $1 in
    relay-rollout) printf '%s\n' --target relay --build-arg RELAY_EXTRA=scipy ;;
    *-v1) printf '%s\n' --target "${1%-v1}" --build-arg MODEL_VERSION=1 --build-arg PRECISION=fp32 ;;
    # Slow on a CPU without bf16 in hardware (AVX512-BF16, AMX).
    *-v2) printf '%s\n' --target "${1%-v2}" --build-arg MODEL_VERSION=2 --build-arg PRECISION=bf16 ;;
    *) printf '%s\n' --target "$1" ;;
  esac
  [ -z "${WEIGHTS:-}" ] || printf '%s\n' --build-arg "WEIGHTS=$WEIGHTS"
}

mkdir -p build/images
for image in "$@"; do
  out=build/images/$image
  rm -rf "$out"
  mapfile -t arguments < <(stage "$image"; [ -z "${STAND_INS:-}" ] || stand_ins "$image")
  if [ -z "${STAND_INS:-}" ] && docker info >/dev/null 2>&1; then
    docker buildx build "${options[@]}" "${arguments[@]}" --build-arg "SOURCE_DATE_EPOCH=$epoch" \
      --output "type=oci,tar=false,dest=$out,rewrite-timestamp=true" .
  else
    list=localhost/sightline-$image
    buildah manifest rm "$list" >/dev/null 2>&1 || true
    buildah bud --isolation chroot --format oci --layers --timestamp "$epoch" "${options[@]}" "${arguments[@]}" \
      --manifest "$list" .
    buildah manifest push --all "$list" "oci:$out:latest"
  fi
  echo "built $out"
done
