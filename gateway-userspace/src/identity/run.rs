//! Where people find a job in its CI system, and which of its steps a process belongs to.

use super::{Host, JobIdentity, ProcessEvidence, process};

/// Longest step shown, in bytes.
const MAX_STEP: usize = 200;

/// Variables that name a step, by CI system: GitHub Actions, GitLab, Buildkite, `CircleCI`, Jenkins.
const STEP_VARIABLES: [&[&str]; 5] = [
    &["GITHUB_WORKFLOW", "GITHUB_JOB", "GITHUB_ACTION"],
    &["CI_JOB_STAGE", "CI_JOB_NAME"],
    &["BUILDKITE_PIPELINE_SLUG", "BUILDKITE_LABEL"],
    &["CIRCLE_JOB"],
    &["JOB_NAME", "STAGE_NAME"],
];

/// The page of the job's run, made of claims that the issuer signed: of GitHub Actions, GitLab and
/// Buildkite. `None` where the claims do not tell.
pub fn run_url(job: &JobIdentity) -> Option<String> {
    let claim = |name: &str| {
        let value = match job.claims().get(name)? {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => return None,
        };
        is_path(&value).then_some(value)
    };
    let issuer = job.claims().get("iss")?.as_str()?;
    let (scheme, host) = issuer.split_once("://")?;
    let host = host.split('/').next()?;
    let safe_host = host
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':'));
    if !safe_host || !matches!(scheme, "https" | "http") {
        return None;
    }
    if let (Some(repository), Some(run)) = (claim("repository"), claim("run_id")) {
        let host = if host == "token.actions.githubusercontent.com" {
            "github.com"
        } else {
            host
        };
        let attempt = claim("run_attempt").map_or(String::new(), |n| format!("/attempts/{n}"));
        return Some(format!(
            "{scheme}://{host}/{repository}/actions/runs/{run}{attempt}"
        ));
    }
    if let (Some(project), Some(number)) = (claim("project_path"), claim("job_id")) {
        return Some(format!("{scheme}://{host}/{project}/-/jobs/{number}"));
    }
    if host == "agent.buildkite.com" {
        let (organization, pipeline) = (claim("organization_slug")?, claim("pipeline_slug")?);
        let (build, job) = (claim("build_number")?, claim("job_id")?);
        return Some(format!(
            "https://buildkite.com/{organization}/{pipeline}/builds/{build}#{job}"
        ));
    }
    None
}

/// Only what can stand in a URL's path as it is.
fn is_path(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    !text.is_empty()
        && text.len() <= 300
        && text.chars().all(fits)
        && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// The step that a process belongs to, as its own environment says: nobody vouches for that.
/// `None` if the process is gone or does not say. Blocks on `/proc`.
pub fn step(host: &dyn Host, process: &ProcessEvidence) -> Option<String> {
    let started = process.start_time?;
    let environment = host.environment(process.pid).ok()?;
    if process::start_time(process.pid) != Some(started) {
        return None;
    }
    step_in(&environment)
}

fn step_in(environment: &[u8]) -> Option<String> {
    let variable = |name: &str| {
        let found = environment
            .split(|byte| *byte == 0)
            .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        let text = String::from_utf8_lossy(found).into_owned();
        (!text.is_empty()).then_some(text)
    };
    let mut step = STEP_VARIABLES.iter().find_map(|names| {
        let parts: Vec<String> = names.iter().filter_map(|name| variable(name)).collect();
        (!parts.is_empty()).then(|| parts.join(" / "))
    })?;
    if step.len() > MAX_STEP {
        let mut end = MAX_STEP;
        while !step.is_char_boundary(end) {
            end -= 1;
        }
        step.truncate(end);
    }
    Some(step)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::Assurance;

    fn url(claims: &serde_json::Value) -> Option<String> {
        let claims = serde_json::from_value(claims.clone()).unwrap();
        run_url(&JobIdentity::fixture(
            "ci",
            Assurance::OidcVerified,
            Vec::new(),
            claims,
        ))
    }

    #[test]
    fn the_page_of_a_run_is_made_of_its_claims() {
        for (claims, expected) in [
            (
                json!({"iss": "https://token.actions.githubusercontent.com", "repository": "acme/shop", "run_id": "42", "run_attempt": "2"}),
                Some("https://github.com/acme/shop/actions/runs/42/attempts/2"),
            ),
            (
                json!({"iss": "https://ghe.acme.example/_services/token", "repository": "acme/shop", "run_id": "42"}),
                Some("https://ghe.acme.example/acme/shop/actions/runs/42"),
            ),
            (
                json!({"iss": "https://gitlab.example", "project_path": "group/sub/shop", "job_id": "7"}),
                Some("https://gitlab.example/group/sub/shop/-/jobs/7"),
            ),
            (
                json!({"iss": "https://agent.buildkite.com", "organization_slug": "acme", "pipeline_slug": "shop", "build_number": 9, "job_id": "0184-x"}),
                Some("https://buildkite.com/acme/shop/builds/9#0184-x"),
            ),
            (json!({"iss": "https://ci.example", "sub": "x"}), None),
            (json!({"repository": "acme/shop", "run_id": "42"}), None),
        ] {
            assert_eq!(url(&claims).as_deref(), expected, "{claims}");
        }
    }

    #[test]
    fn claims_cannot_lead_to_another_page() {
        for repository in [
            "../evil",
            "acme/shop?x",
            "acme//shop",
            "a b",
            "acme/shop#",
            "\u{430}cme/shop",
            "",
        ] {
            let claims = json!({"iss": "https://token.actions.githubusercontent.com", "repository": repository, "run_id": "42"});
            assert_eq!(url(&claims), None, "{repository}");
        }
        for issuer in ["javascript://x", "https://evil@github.com", "github.com"] {
            let claims = json!({"iss": issuer, "repository": "acme/shop", "run_id": "42"});
            assert_eq!(url(&claims), None, "{issuer}");
        }
    }

    #[test]
    fn the_step_is_read_from_the_environment() {
        let github = b"PATH=/bin\0GITHUB_JOB=test\0GITHUB_WORKFLOW=ci\0GITHUB_ACTION=__run_2\0";
        assert_eq!(step_in(github).as_deref(), Some("ci / test / __run_2"));
        assert_eq!(
            step_in(b"CI_JOB_NAME=migrate\0X=1").as_deref(),
            Some("migrate")
        );
        assert_eq!(step_in(b"MY_GITHUB_JOB=x\0CI_JOB_NAME=\0"), None);
        assert_eq!(step_in(b""), None);
        let long = format!("CIRCLE_JOB={}", "\u{e9}".repeat(400));
        assert!(step_in(long.as_bytes()).unwrap().len() <= MAX_STEP);
    }
}
