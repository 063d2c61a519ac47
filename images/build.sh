#!/usr/bin/env bash
# images/build.sh IMAGE...: builds the Dockerfile's stages of these names to OCI layouts, build/images/IMAGE.
#
# Docker builds them where its daemon runs, else buildah (apt-get install buildah), which needs none. From the
# environment:
#   PLATFORMS       linux/amd64,linux/arm64 for both; default: this machine's
#   STAND_INS       1: on the bases that images/stand-ins.sh made, where no registry is to be reached
#   STAND_IN_PYTHON311   1: the exporter on the older Python
#   STORAGE_DRIVER  buildah's, vfs where the kernel lends it no overlay
#   WEIGHTS, PRECISION, MODEL_VERSION   of the model in `model` and `server`; default: demo, fp32, 1
set -euo pipefail
cd "$(dirname "$0")/.."

machine=linux/$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
options=(--file Dockerfile --platform "${PLATFORMS:-$machine}")
for name in WEIGHTS PRECISION MODEL_VERSION; do
  [ -n "${!name:-}" ] && options+=(--build-arg "$name=${!name}")
done
label() { [ -z "$2" ] || options+=(--label "org.opencontainers.image.$1=$2"); }
label version "$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)"
label revision "$(git rev-parse HEAD 2>/dev/null)"
label source "$(git remote get-url origin 2>/dev/null | sed -E 's#//[^/@]*@#//#')" # without a password
# One commit, one image: files and labels bear the commit's time.
epoch=$(git log -1 --format=%ct 2>/dev/null || echo 0)

stand_ins() { # IMAGE: the bases to build it on here
  local runtime=python-runtime builder=python-builder
  case $1 in export | model | server)
    [ -n "${STAND_IN_PYTHON311:-}" ] && runtime=python311-runtime builder=python311-builder ;;
  esac
  printf -- '--build-arg\n%s\n' "PYTHON_BASE=localhost/stand-in/$builder" "PYTHON_RUNTIME=localhost/stand-in/$runtime" \
    CC_RUNTIME=localhost/stand-in/cc SERVING_AMD64=localhost/stand-in/serving PIP_EXTRA_INDEX_URL=
  # Wheels that lie on this machine, and its trust store over the base's.
  [ -d "${PIP_FIND_LINKS:-}" ] && printf '%s\n' --build-arg "PIP_FIND_LINKS=$PIP_FIND_LINKS" \
    --volume "$PIP_FIND_LINKS:$PIP_FIND_LINKS:ro"
  return 0
}

buildah() { command buildah ${STORAGE_DRIVER:+--storage-driver "$STORAGE_DRIVER"} "$@"; }

for image in "$@"; do
  out=build/images/$image
  rm -rf "$out" && mkdir -p build/images
  extra=()
  [ -n "${STAND_INS:-}" ] && mapfile -t extra < <(stand_ins "$image")
  if [ -z "${STAND_INS:-}" ] && docker info >/dev/null 2>&1; then
    docker buildx build "${options[@]}" --target "$image" --build-arg "SOURCE_DATE_EPOCH=$epoch" \
      --output "type=oci,tar=false,dest=$out,rewrite-timestamp=true" .
  else
    tag=localhost/sightline-$image
    buildah manifest rm "$tag" >/dev/null 2>&1 || true
    buildah bud --isolation chroot --format oci --layers --timestamp "$epoch" "${options[@]}" "${extra[@]}" \
      --target "$image" --manifest "$tag" .
    buildah manifest push --all "$tag" "oci:$out:latest"
  fi
  echo "built $out"
done
