#!/usr/bin/env bash
# Asks the registries which digest each base image's tag has now, and writes it into the Dockerfile. Needs skopeo.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"

grep -oE '^ARG [A-Z0-9_]+=[^:@ ]+:[a-z0-9][^:@ ]*' Dockerfile | while IFS='=' read -r argument image; do
  digest=$(skopeo inspect --no-tags --format '{{.Digest}}' "docker://$image")
  [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "pins: no digest for $image: $digest" >&2; exit 1; }
  sed -i "s|^$argument=.*|$argument=$image@$digest|" Dockerfile
  echo "$image@$digest"
done
