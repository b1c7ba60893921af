#!/bin/sh
# CircleCI machine runner 3, in its configuration:
#
#   runner: { command_prefix: ["/usr/share/cordon/hooks/circleci/command-prefix.sh"] }
#
# Runs each task as a job of Cordon. The task agent has no token yet, so that the runner's word has
# to be enough: an issuer with `preset: circleci` and `asserted: true`, and grants with
# `assurance: runner-asserted`. A step that has CIRCLE_OIDC_TOKEN_V2 can be run on its own instead:
# `cordon job run --token-env CIRCLE_OIDC_TOKEN_V2 -- COMMAND`.
#
#   CORDON            the program (/usr/bin/cordon)
#   CORDON_ASSERTED   name of the issuer (circleci)
set -eu
exec "${CORDON:-/usr/bin/cordon}" job run --asserted "${CORDON_ASSERTED:-circleci}" -- "$@"
