#!/bin/sh
# sample relay|server SECONDS [PID]: stacks of a running program on standard output, one a line, for a flame graph.
# Needs nothing but the program's own user: no capability, a read-only root, /tmp to write to.
set -eu
what=$1 seconds=$2 pid=${3:-}
case $what in
  relay)
    # The relay is PID 1 of the process namespace that `kubectl debug --target` shares.
    py-spy record --pid "${pid:-1}" --duration "$seconds" --format raw --output /tmp/profile.txt >&2
    cat /tmp/profile.txt
    rm /tmp/profile.txt
    ;;
  server)
    pid=${pid:-$(pgrep -o -f tensorflow_model_server)}
    if perf record -q -F 99 -g -p "$pid" -o /tmp/perf.data -- sleep "$seconds" 2>/dev/null; then
      perf script -i /tmp/perf.data
      rm /tmp/perf.data
    else
      # perf_event_open is shut by the runtime's seccomp profile, as it should be. Each stack stops the program for
      # some milliseconds: no figure taken meanwhile means anything.
      echo "perf is not allowed here: stacks by eu-stack, about two a second" >&2
      end=$(($(date +%s) + seconds))
      while [ "$(date +%s)" -lt "$end" ]; do
        eu-stack -p "$pid" || exit 1
        sleep 0.5
      done
    fi
    ;;
  *)
    echo "expected relay or server, got $what" >&2
    exit 2
    ;;
esac
