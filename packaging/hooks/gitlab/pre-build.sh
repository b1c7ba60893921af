# GitLab Runner, shell executor, to be sourced. In config.toml:
#
#   [[runners]]
#     pre_build_script = ". /usr/share/cordon/hooks/gitlab/pre-build.sh"
#
# and in .gitlab-ci.yml, with the issuer's `audience`:
#
#   id_tokens: { CORDON_ID_TOKEN: { aud: cordon } }
#
# Makes the shell that runs the job's script a job of Cordon, and what that starts. Without a token
# the script runs on, and connects to protected databases are refused.
if [ -n "${CORDON_ID_TOKEN:-}" ]; then
    "${CORDON:-/usr/bin/cordon}" job start --token-env CORDON_ID_TOKEN --pid "$$" || exit 1
    unset CORDON_ID_TOKEN
else
    echo "cordon: this job has no access to protected databases; declare CORDON_ID_TOKEN among its id_tokens"
fi
