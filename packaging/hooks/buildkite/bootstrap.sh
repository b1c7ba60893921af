#!/bin/sh
# Buildkite: bootstrap-script="/usr/share/cordon/hooks/buildkite/bootstrap.sh" in buildkite-agent.cfg.
# Runs each job's bootstrap as a job of Cordon, from its first instruction to its last process.
#
#   CORDON, CORDON_AUDIENCE   as for GitHub
#   BUILDKITE_AGENT           the agent's program (buildkite-agent)
#   CORDON_BOOTSTRAP          another bootstrap than the agent's own
set -eu
cordon=${CORDON:-/usr/bin/cordon}
agent=${BUILDKITE_AGENT:-buildkite-agent}
CORDON_TOKEN=$("$agent" oidc request-token --audience "${CORDON_AUDIENCE:-cordon}")
export CORDON_TOKEN
if [ -n "${CORDON_BOOTSTRAP:-}" ]; then
    exec "$cordon" job run -- "$CORDON_BOOTSTRAP" "$@"
fi
exec "$cordon" job run -- "$agent" bootstrap "$@"
