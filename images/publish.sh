#!/usr/bin/env bash
# images/publish.sh REGISTRY TAG IMAGE...: puts what `make images` built into a registry as REGISTRY/sightline/IMAGE,
# signs each by its digest and attests its bill of materials. Prints REGISTRY/sightline/IMAGE@sha256:..., a line each,
# and leaves the same in build/images/digests.txt, and as sha256sum writes it in checksums.txt.
#
# Signatures are keyless: cosign asks for an identity, in a GitHub workflow the workflow's own, by hand a browser's;
# with COSIGN_KEY they are by that key. Needs skopeo, cosign, and a login to the registry.
set -euo pipefail
cd "$(dirname "$0")/.."

registry=${1:-} tag=${2:-}
if [ -z "$registry" ] || [ -z "$tag" ] || [ $# -lt 3 ]; then
  echo "publish: expected REGISTRY TAG IMAGE..., as in make publish REGISTRY=... TAG=..." >&2
  exit 1
fi
shift 2
[ -d build/images ] || { echo "publish: nothing is built: make images" >&2; exit 1; }
key=()
[ -n "${COSIGN_KEY:-}" ] && key=(--key "$COSIGN_KEY")

: >build/images/digests.txt
: >build/images/checksums.txt
for image in "$@"; do
  layout=build/images/$image
  [ -f "$layout/index.json" ] || { echo "publish: $layout is not there: make images IMAGES=$image" >&2; exit 1; }
  name=$registry/sightline/$image
  skopeo copy --quiet --all --digestfile "$layout.digest" "oci:$layout" "docker://$name:$tag" >&2
  digest=$(cat "$layout.digest")
  pinned=$name@$digest
  cosign sign --yes "${key[@]}" "$pinned" >&2
  for bill in "$layout".*.cdx.json; do
    cosign attest --yes "${key[@]}" --type cyclonedx --predicate "$bill" "$pinned" >&2
  done
  echo "${digest#sha256:}  $name" >>build/images/checksums.txt
  echo "$pinned" | tee -a build/images/digests.txt
done
