#!/bin/sh
# Profile a running pod: k8s/debug/profile.sh relay|server POD [SECONDS] > stacks.txt
#
# An ephemeral container under the `restricted` profile; the pod goes on and needs no tool of its own. DEBUG_IMAGE names
# the image made from the Dockerfile beside this file, by digest. See README.md.
set -eu
what=${1:-} pod=${2:-} seconds=${3:-20}
case $what in
  relay) container=relay ;;
  server) container=tf-serving ;;
  *)
    echo "usage: profile.sh relay|server POD [SECONDS]" >&2
    exit 2
    ;;
esac
if [ -z "$pod" ] || [ -z "${DEBUG_IMAGE:-}" ]; then
  echo "profile.sh: expected a pod's name, and DEBUG_IMAGE=registry.example.com/sightline/debug@sha256:..." >&2
  exit 2
fi
namespace=object-detection
name=profile-$(date +%s)
kubectl debug -n "$namespace" "$pod" --profile=restricted --custom="$(dirname "$0")/container.yaml" \
  --target="$container" --container="$name" --image="$DEBUG_IMAGE" --attach=false --quiet -- \
  /usr/local/bin/sample "$what" "$seconds" >&2
state="{.status.ephemeralContainerStatuses[?(@.name==\"$name\")].state"
tries=$((seconds + 120)) # pulling the image takes its time too
until code=$(kubectl get pod -n "$namespace" "$pod" -o jsonpath="$state.terminated.exitCode}") && [ -n "$code" ]; do
  tries=$((tries - 1))
  if [ "$tries" -le 0 ]; then
    echo "profile.sh: $name did not end: $(kubectl get pod -n "$namespace" "$pod" -o jsonpath="$state}")" >&2
    exit 1
  fi
  sleep 1
done
kubectl logs -n "$namespace" "$pod" -c "$name"
exit "$code"
