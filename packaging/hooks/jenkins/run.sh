#!/bin/sh
# Jenkins has no hook on the agent's host. Either start agents that build once through this script
# (the launch command of the agent; an issuer with `preset: jenkins` and `asserted: true`):
#
#   CORDON_ASSERTED=jenkins JOB_URL=.. BUILD_NUMBER=.. run.sh java -jar agent.jar ..
#
# or run single commands of a pipeline with a token of the plugin oidc-provider:
#
#   withCredentials([string(credentialsId: 'cordon', variable: 'CORDON_TOKEN')]) { sh 'run.sh make test' }
set -eu
cordon=${CORDON:-/usr/bin/cordon}
if [ -n "${CORDON_TOKEN:-}" ]; then
    exec "$cordon" job run -- "$@"
fi
exec "$cordon" job run --asserted "${CORDON_ASSERTED:-jenkins}" -- "$@"
