#!/bin/sh
# GitHub Actions: ACTIONS_RUNNER_HOOK_JOB_STARTED=/usr/share/cordon/hooks/github/job-started.sh
# in the runner's .env file. Runs on the host before any step, as the runner's user.
#
# Makes the Runner.Worker above it a job of Cordon, with everything below. A hook that fails opens
# nothing: without a job, connects to protected databases are refused.
#
#   CORDON            the program (/usr/bin/cordon)
#   CORDON_AUDIENCE   the issuer's `audience` (cordon)
#   CORDON_ASSERTED   name of an issuer with `asserted: true`, for jobs that may not request a token
set -eu
cordon=${CORDON:-/usr/bin/cordon}
if [ -n "${ACTIONS_ID_TOKEN_REQUEST_URL:-}" ]; then
    exec "$cordon" job start --worker --github-token "${CORDON_AUDIENCE:-cordon}"
fi
if [ -n "${CORDON_ASSERTED:-}" ]; then
    exec "$cordon" job start --worker --asserted "$CORDON_ASSERTED"
fi
echo "cordon: this job has no access to protected databases, since it may not request a token;" \
    "give it 'permissions: { id-token: write }' in its workflow"
