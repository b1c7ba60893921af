//! What is particular about the tokens of each CI system: which claims they must have, which name
//! the job, what in the runner's environment says the same, and which jobs are not what they seem.
//!
//! Sources: the vendors' documentation of their ID tokens, and GitLab's `Ci::JwtV2`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Environment;
use crate::config::Preset;

/// The shape of a CI system's tokens.
struct Shape {
    /// Claims without which a token is not one of a job, all texts (numbers for Jenkins).
    required: &'static [&'static str],
    /// Claims, and the variables of a job's environment that hold the same value.
    ties: &'static [(&'static str, &'static str)],
    /// Which of the variables name the job: without them there is no telling which job it is.
    names: &'static [&'static str],
}

fn shape(preset: Preset) -> Shape {
    match preset {
        Preset::Github => Shape {
            required: &[
                "repository_id",
                "repository_owner_id",
                "run_id",
                "run_attempt",
                "ref",
                "event_name",
            ],
            ties: &[
                ("repository_id", "GITHUB_REPOSITORY_ID"),
                ("repository_owner_id", "GITHUB_REPOSITORY_OWNER_ID"),
                ("repository", "GITHUB_REPOSITORY"),
                ("run_id", "GITHUB_RUN_ID"),
                ("run_attempt", "GITHUB_RUN_ATTEMPT"),
                ("sha", "GITHUB_SHA"),
                ("ref", "GITHUB_REF"),
                ("event_name", "GITHUB_EVENT_NAME"),
                ("actor_id", "GITHUB_ACTOR_ID"),
                ("workflow_ref", "GITHUB_WORKFLOW_REF"),
            ],
            names: &[
                "GITHUB_REPOSITORY_ID",
                "GITHUB_RUN_ID",
                "GITHUB_RUN_ATTEMPT",
            ],
        },
        Preset::Gitlab => Shape {
            required: &[
                "project_id",
                "namespace_id",
                "pipeline_id",
                "job_id",
                "ref",
                "ref_protected",
            ],
            ties: &[
                ("job_id", "CI_JOB_ID"),
                ("pipeline_id", "CI_PIPELINE_ID"),
                ("pipeline_source", "CI_PIPELINE_SOURCE"),
                ("user_login", "GITLAB_USER_LOGIN"),
                ("sha", "CI_COMMIT_SHA"),
            ],
            names: &["CI_JOB_ID"],
        },
        Preset::Buildkite => Shape {
            required: &[
                "organization_slug",
                "pipeline_slug",
                "build_number",
                "job_id",
                "agent_id",
            ],
            ties: &[
                ("organization_slug", "BUILDKITE_ORGANIZATION_SLUG"),
                ("pipeline_slug", "BUILDKITE_PIPELINE_SLUG"),
                ("build_number", "BUILDKITE_BUILD_NUMBER"),
                ("build_branch", "BUILDKITE_BRANCH"),
                ("job_id", "BUILDKITE_JOB_ID"),
                ("agent_id", "BUILDKITE_AGENT_ID"),
            ],
            names: &["BUILDKITE_JOB_ID"],
        },
        Preset::Circleci => Shape {
            required: &["oidc.circleci.com/project-id"],
            ties: &[
                ("oidc.circleci.com/project-id", "CIRCLE_PROJECT_ID"),
                ("oidc.circleci.com/workflow-id", "CIRCLE_WORKFLOW_ID"),
                ("oidc.circleci.com/job-id", "CIRCLE_WORKFLOW_JOB_ID"),
                ("oidc.circleci.com/pipeline-id", "CIRCLE_PIPELINE_ID"),
            ],
            names: &["CIRCLE_WORKFLOW_JOB_ID"],
        },
        Preset::Jenkins => Shape {
            required: &["build_number"],
            ties: &[("sub", "JOB_URL"), ("build_number", "BUILD_NUMBER")],
            names: &["JOB_URL", "BUILD_NUMBER"],
        },
    }
}

/// What is wrong with a token or an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// A claim is missing.
    Missing(&'static str),
    /// A claim is not of the type that this CI system gives it.
    Type(&'static str),
    /// A claim and a variable differ.
    Differs {
        claim: &'static str,
        variable: &'static str,
        token: String,
        runner: String,
    },
    /// A variable that names the job is missing.
    Unnamed(&'static str),
    /// The code of the job is somebody else's than the claims suggest, or somebody is inside.
    Suspect(&'static str),
}

/// Texts and numbers, as variables spell them.
fn spelled(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Checks that a token is of the kind that this CI system issues. `suspect`: also those whose code
/// comes from a fork, or that a person is inside of.
pub(super) fn check_claims(
    preset: Preset,
    claims: &BTreeMap<String, Value>,
    suspect: bool,
) -> Result<(), Mismatch> {
    for name in shape(preset).required {
        let value = claims.get(*name).ok_or(Mismatch::Missing(name))?;
        // Only Buildkite and Jenkins give a number.
        let number = *name == "build_number" && value.is_number();
        if !value.is_string() && !number {
            return Err(Mismatch::Type(name));
        }
    }
    let is = |claim: &str, text: &str| claims.get(claim).and_then(Value::as_str) == Some(text);
    let found = match preset {
        // Runs with the rights of the repository, while what it checks out may be the fork's.
        Preset::Github if is("event_name", "pull_request_target") => {
            Some("it is of a `pull_request_target` run, which may work on the code of a fork")
        }
        // `project_*`, `ref` and `sub` describe the fork, whose code runs in the project of `job_project_*`.
        Preset::Gitlab => claims
            .get("job_project_id")
            .is_some_and(|project| Some(project) != claims.get("project_id"))
            .then_some(
                "it is of a merge request from a fork: `job_project_id` and `project_id` differ",
            ),
        Preset::Circleci
            if claims
                .get("oidc.circleci.com/ssh-rerun")
                .is_some_and(|rerun| *rerun == Value::Bool(true) || *rerun == "true") =>
        {
            Some("a person is inside the job: it was started again with SSH")
        }
        Preset::Github | Preset::Buildkite | Preset::Circleci | Preset::Jenkins => None,
    };
    match found {
        Some(what) if !suspect => Err(Mismatch::Suspect(what)),
        Some(_) | None => Ok(()),
    }
}

/// Checks that a token is of the very job whose runner has made this environment. Variables that are
/// not set say nothing, but for those that name the job where `named` asks for them.
pub(super) fn check_environment(
    preset: Preset,
    claims: &BTreeMap<String, Value>,
    environment: &Environment,
    named: bool,
) -> Result<(), Mismatch> {
    let Shape { ties, names, .. } = shape(preset);
    if named && let Some(missing) = names.iter().find(|name| environment.get(name).is_none()) {
        return Err(Mismatch::Unnamed(missing));
    }
    for (claim, variable) in ties {
        if let (Some(token), Some(runner)) = (
            claims.get(*claim).and_then(spelled),
            environment.get(variable),
        ) && token != runner
        {
            return Err(Mismatch::Differs {
                claim,
                variable,
                token,
                runner: runner.to_owned(),
            });
        }
    }
    // The project that the job runs in, however the token calls it.
    if preset == Preset::Gitlab
        && let Some(runner) = environment.get("CI_PROJECT_ID")
    {
        let claim = if claims.contains_key("job_project_id") {
            "job_project_id"
        } else {
            "project_id"
        };
        let token = claims.get(claim).and_then(spelled).unwrap_or_default();
        if token != runner {
            return Err(Mismatch::Differs {
                claim,
                variable: "CI_PROJECT_ID",
                token,
                runner: runner.to_owned(),
            });
        }
    }
    Ok(())
}

/// The claims of a job whose runner says so, and nobody else.
pub(super) fn asserted(
    preset: Preset,
    environment: &Environment,
) -> Result<BTreeMap<String, Value>, Mismatch> {
    let Shape { ties, names, .. } = shape(preset);
    if let Some(missing) = names.iter().find(|name| environment.get(name).is_none()) {
        return Err(Mismatch::Unnamed(missing));
    }
    let mut claims: BTreeMap<String, Value> = ties
        .iter()
        .filter_map(|(claim, variable)| {
            Some(((*claim).to_owned(), Value::from(environment.get(variable)?)))
        })
        .collect();
    if preset == Preset::Gitlab
        && let Some(project) = environment.get("CI_PROJECT_ID")
    {
        claims.insert("job_project_id".to_owned(), project.into());
    }
    Ok(claims)
}

#[cfg(test)]
#[path = "preset_tests.rs"]
mod tests;
