#!/bin/sh
# GitHub Actions: ACTIONS_RUNNER_HOOK_JOB_COMPLETED. Ends the job a moment sooner; it ends with its
# Runner.Worker in any case.
"${CORDON:-/usr/bin/cordon}" job end --own || echo "cordon: the job ends with its runner's process"
