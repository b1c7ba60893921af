//! The hooks that are shipped for runners, run as their runners run them.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use cordon_tests::{
    Output, Setup, Stand,
    host::{self, eventually},
    issuer::{AUDIENCE, TOKEN_BEARER},
    policies, tools,
};
use serde_json::{Value, json};

/// The user that the tests' configuration lists as a runner.
const RUNNER: &str = "daemon";

fn stand(issuer_keys: &str, policy: &str) -> Result<Stand> {
    let stand = Stand::start(&Setup {
        policy: policy.to_owned(),
        issuer_keys: issuer_keys.to_owned(),
        ..Setup::default()
    })?;
    // Where every user can run them.
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/hooks");
    for system in ["github", "gitlab", "buildkite", "circleci", "jenkins"] {
        for entry in fs::read_dir(hooks.join(system))? {
            let entry = entry?;
            let name = format!("{system}-{}", entry.file_name().to_string_lossy());
            stand
                .daemon
                .scratch()
                .share(&name, &fs::read(entry.path())?)?;
        }
    }
    Ok(stand)
}

/// A shell of the runner's user whose executable has this name, outside of every job.
fn runner(stand: &Stand, name: &str, script: &str, env: &[(&str, &str)]) -> Result<Command> {
    let program = stand.daemon.scratch().path().join(name);
    if !program.exists() {
        fs::copy("/bin/sh", &program)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    let user = host::user(RUNNER)?;
    let mut command = Command::new("/bin/sh");
    // Into the cgroup that the configuration puts in scope, as a runner's service is.
    command
        .args(["-c", "echo $$ > \"$1\" && shift && exec setpriv --reuid \"$1\" --regid \"$2\" --clear-groups \"$3\" -c \"$4\"", "sh"])
        .arg(stand.daemon.runner_cgroup().procs())
        .args([user.uid.to_string(), user.gid.to_string()])
        .arg(&program)
        .arg(script)
        .env_clear()
        .envs(stand.cluster.client_env("app", cordon_tests::cluster::PLACEHOLDER))
        .env("CORDON", stand.daemon.scratch().path().join("cordon"))
        .env("CORDON_CONTROL", stand.daemon.control())
        .env("CORDON_AUDIENCE", AUDIENCE)
        .env("HOOKS", stand.daemon.scratch().path())
        .env("PSQL", tools::postgres("psql")?)
        .envs(env.iter().copied())
        .current_dir("/")
        .process_group(0);
    Ok(command)
}

fn hook(stand: &Stand, name: &str) -> PathBuf {
    stand.daemon.scratch().path().join(name)
}

fn jobs(stand: &Stand) -> Result<Vec<Value>> {
    let output =
        Output::from(stand.daemon.cli(&["job", "status", "--json"]).output()?).success()?;
    Ok(output
        .json()?
        .as_array()
        .context("no list of jobs")?
        .clone())
}

fn no_jobs(stand: &Stand) -> Result<()> {
    eventually("the job to end", || {
        Ok(jobs(stand)?.is_empty().then_some(()))
    })
}

const GITHUB: &[(&str, &str)] = &[
    ("GITHUB_REPOSITORY_ID", "123456"),
    ("GITHUB_REPOSITORY_OWNER_ID", "4242"),
    ("GITHUB_RUN_ID", "4242"),
    ("GITHUB_RUN_ATTEMPT", "1"),
    ("GITHUB_REF", "refs/heads/main"),
    ("GITHUB_EVENT_NAME", "push"),
];

fn github_claims(run: &str) -> Value {
    json!({ "repository_owner_id": "4242", "run_id": run, "run_attempt": "1", "event_name": "push" })
}

/// What a job of GitHub's runner does: hook, step in a shell of its own, hook.
const GITHUB_JOB: &str = r#"
"$HOOKS/github-job-started.sh" || echo "hook failed"
sh -c '"$PSQL" -X -A -t -c "SELECT count(*) FROM public.orders" 2>&1'
sh -c '"$CORDON" job start --worker --asserted test 2>&1 && echo "registered twice"'
"$HOOKS/github-job-completed.sh"
sh -c '"$PSQL" -X -A -t -c "SELECT count(*) FROM public.orders" 2>&1'
true
"#;

#[test]
fn github_hooks_make_the_worker_a_job_once_and_end_it() -> Result<()> {
    let stand = stand("    preset: github\n", policies::SHOP)?;
    let url = format!("{}/job-token?api-version=2.0", stand.issuer.url());
    let env = [
        GITHUB,
        &[
            ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", TOKEN_BEARER),
        ],
    ]
    .concat();
    stand
        .issuer
        .offer(stand.issuer.issue(&github_claims("4242"))?);
    let output = Output::from(runner(&stand, "Runner.Worker", GITHUB_JOB, &env)?.output()?);
    ensure!(
        output.stdout.lines().any(|line| line == "5"),
        "the step was not served: {}",
        output.all()
    );
    ensure!(
        !output.stdout.contains("registered twice") && !output.stdout.contains("hook failed"),
        "{}",
        output.all()
    );
    ensure!(
        output.stdout.contains("has ended"),
        "served after the hook of its end: {}",
        output.all()
    );
    no_jobs(&stand)?;
    // The second registration is on record as an attempt from inside.
    let evidence = stand.daemon.evidence_text()?;
    ensure!(
        evidence.contains("\"job-refused\"") && evidence.contains("\"inside_job\":\"job-"),
        "the second registration is not on record"
    );
    ensure!(
        !evidence.contains(TOKEN_BEARER) && !stand.daemon.log()?.contains(TOKEN_BEARER),
        "the bearer is on record"
    );
    Ok(())
}

#[test]
fn h9_a_token_of_another_run_does_not_make_a_job_of_this_one() -> Result<()> {
    let stand = stand("    preset: github\n", policies::SHOP)?;
    let url = format!("{}/job-token?api-version=2.0", stand.issuer.url());
    let env = [
        GITHUB,
        &[
            ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", TOKEN_BEARER),
        ],
    ]
    .concat();
    stand
        .issuer
        .offer(stand.issuer.issue(&github_claims("4243"))?);
    let output = Output::from(runner(&stand, "Runner.Worker", GITHUB_JOB, &env)?.output()?);
    ensure!(
        output.stderr.contains("run_id is `4243`")
            && output.stderr.contains("GITHUB_RUN_ID is `4242`"),
        "{}",
        output.all()
    );
    ensure!(
        !output.stdout.lines().any(|line| line == "5"),
        "served: {}",
        output.all()
    );
    Ok(())
}

#[test]
fn h9_a_hook_that_is_not_below_the_runners_worker_starts_nothing() -> Result<()> {
    let stand = stand("    preset: github\n", policies::SHOP)?;
    let url = format!("{}/job-token?api-version=2.0", stand.issuer.url());
    let env = [
        GITHUB,
        &[
            ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", TOKEN_BEARER),
        ],
    ]
    .concat();
    stand
        .issuer
        .offer(stand.issuer.issue(&github_claims("4242"))?);
    let script = "\"$HOOKS/github-job-started.sh\"";
    let output = Output::from(runner(&stand, "impostor", script, &env)?.output()?);
    ensure!(
        output.code != Some(0)
            && output
                .stderr
                .contains("there is no process Runner.Worker above"),
        "{}",
        output.all()
    );
    ensure!(jobs(&stand)?.is_empty(), "a job was started");
    Ok(())
}

#[test]
fn h9_a_github_job_ends_with_its_worker_and_what_it_leaves_has_no_access() -> Result<()> {
    let policy = policies::SHOP.replace("oidc-verified", "runner-asserted");
    let stand = stand("    preset: github\n    asserted: true\n", &policy)?;
    let left = stand.daemon.scratch().share("left.txt", b"")?;
    let pid = stand.daemon.scratch().share("pid.txt", b"")?;
    fs::set_permissions(&pid, fs::Permissions::from_mode(0o666))?;
    // The leftover runs as long as this is there.
    let runs = stand.daemon.scratch().share("runs.txt", b"")?;
    fs::set_permissions(&left, fs::Permissions::from_mode(0o666))?;
    // No token at all: the runner's word. A step leaves a process behind, which tries again and again.
    let script = format!(
        r#"
"$HOOKS/github-job-started.sh" || exit 9
setsid sh -c 'echo $$ > {2}; while [ -e {1} ]; do "$PSQL" -X -A -t -c "SELECT 1" > {0} 2>&1; done' &
while ! grep -qx 1 {0}; do :; done
"#,
        left.display(),
        runs.display(),
        pid.display()
    );
    let env = [GITHUB, &[("CORDON_ASSERTED", "test")]].concat();
    let mut child = runner(&stand, "Runner.Worker", &script, &env)?.spawn()?;
    let status = child.wait()?;
    ensure!(status.success(), "{status}");
    no_jobs(&stand)?;
    eventually("the leftover to be refused", || {
        let seen = fs::read_to_string(&left)?;
        Ok(seen.contains("has ended").then_some(()))
    })?;
    fs::remove_file(&runs)?;
    let leftover = format!("/proc/{}", fs::read_to_string(&pid)?.trim());
    eventually("the leftover to exit", || {
        Ok((!Path::new(&leftover).exists()).then_some(()))
    })?;
    Ok(())
}

const ORDERS: &str = "\"$PSQL\" -X -A -t -c 'SELECT count(*) FROM public.orders'";

#[test]
fn gitlab_makes_the_shell_of_the_script_a_job() -> Result<()> {
    let stand = stand("    preset: gitlab\n", &gitlab_policy())?;
    let token = stand.issuer.issue(&json!({
        "project_id": "20", "job_project_id": "20", "namespace_id": "72", "pipeline_id": "574", "job_id": "302",
        "ref_protected": "false",
    }))?;
    // As the shell executor does: variables are exported by the text that the shell reads.
    let script = format!(
        "export CI_JOB_ID=302 CI_PIPELINE_ID=574 CI_PROJECT_ID=20 CORDON_ID_TOKEN={token}\n. \"$HOOKS/gitlab-pre-build.sh\" > /dev/null\necho \"token: ${{CORDON_ID_TOKEN:-gone}}\"\n{ORDERS}"
    );
    let output = Output::from(runner(&stand, "bash", &script, &[])?.output()?).success()?;
    ensure!(output.lines() == ["token: gone", "5"], "{}", output.all());
    let other = stand.issuer.issue(&json!({
        "project_id": "20", "job_project_id": "20", "namespace_id": "72", "pipeline_id": "574", "job_id": "303",
        "ref_protected": "false",
    }))?;
    let script = script.replace(&token, &other);
    let output = Output::from(runner(&stand, "bash", &script, &[])?.output()?);
    ensure!(
        output.code != Some(0)
            && output.stderr.contains("CI_JOB_ID is `302`")
            && !output.stdout.contains('5'),
        "{}",
        output.all()
    );
    Ok(())
}

fn gitlab_policy() -> String {
    policies::SHOP.replace(
        "claims: { repository_id: \"123456\", ref: [\"refs/heads/main\", \"refs/heads/agent/*\"] }",
        "claims: { project_id: \"20\", job_project_id: \"20\" }",
    )
}

#[test]
fn buildkite_runs_its_bootstrap_as_a_job() -> Result<()> {
    let policy = policies::SHOP.replace(
        "claims: { repository_id: \"123456\", ref: [\"refs/heads/main\", \"refs/heads/agent/*\"] }",
        "claims: { organization_slug: acme, pipeline_slug: shop }",
    );
    let stand = stand("    preset: buildkite\n", &policy)?;
    let token = stand.issuer.issue(&json!({
        "organization_slug": "acme", "pipeline_slug": "shop", "build_number": 42, "job_id": "0184", "agent_id": "0185",
    }))?;
    // The agent, as far as the hook asks it: for a token, and to work on the job.
    let agent = format!(
        "#!/bin/sh\ncase \"$1 $2\" in\n'oidc request-token') [ \"$4\" = {AUDIENCE} ] && echo {token} ;;\n'bootstrap --phases') {ORDERS}; echo \"token: ${{CORDON_TOKEN:-gone}}\" ;;\nesac\n"
    );
    let agent = stand
        .daemon
        .scratch()
        .share("buildkite-agent", agent.as_bytes())?;
    let env = [
        ("BUILDKITE_AGENT", agent.to_str().context("a path")?),
        ("BUILDKITE_ORGANIZATION_SLUG", "acme"),
        ("BUILDKITE_PIPELINE_SLUG", "shop"),
        ("BUILDKITE_BUILD_NUMBER", "42"),
        ("BUILDKITE_JOB_ID", "0184"),
        ("BUILDKITE_AGENT_ID", "0185"),
    ];
    let script = "\"$HOOKS/buildkite-bootstrap.sh\" --phases all";
    let output = Output::from(runner(&stand, "agent", script, &env)?.output()?).success()?;
    ensure!(output.lines() == ["5", "token: gone"], "{}", output.all());
    no_jobs(&stand)
}

#[test]
fn circleci_and_jenkins_run_their_commands_as_jobs_by_the_runners_word() -> Result<()> {
    for (preset, claim, script, env) in [
        (
            "circleci",
            "oidc.circleci.com/project-id: 8e2d",
            "circleci-command-prefix.sh",
            &[
                ("CIRCLE_PROJECT_ID", "8e2d"),
                ("CIRCLE_WORKFLOW_JOB_ID", "5f0c"),
            ][..],
        ),
        (
            "jenkins",
            "sub: 'https://jenkins.test/job/shop/'",
            "jenkins-run.sh",
            &[
                ("JOB_URL", "https://jenkins.test/job/shop/"),
                ("BUILD_NUMBER", "7"),
            ][..],
        ),
    ] {
        let policy = policies::SHOP
            .replace(
                "claims: { repository_id: \"123456\", ref: [\"refs/heads/main\", \"refs/heads/agent/*\"] }",
                &format!("claims: {{ {claim} }}"),
            )
            .replace("oidc-verified", "runner-asserted");
        let stand = stand(
            &format!("    preset: {preset}\n    asserted: true\n"),
            &policy,
        )?;
        let hook = hook(&stand, script).display().to_string();
        let line = format!("{hook} sh -c \"$STEP\"; echo \"exit $?\"");
        let step = format!("{ORDERS}; exit 7");
        let env = [env, &[("CORDON_ASSERTED", "test"), ("STEP", step.as_str())]].concat();
        let output = Output::from(runner(&stand, "launcher", &line, &env)?.output()?);
        ensure!(
            output.lines() == ["5", "exit 7"],
            "{preset}: {}",
            output.all()
        );
        no_jobs(&stand)?;
    }
    Ok(())
}

#[test]
fn without_a_token_a_hook_says_what_is_missing_and_opens_nothing() -> Result<()> {
    let stand = stand("    preset: github\n", policies::SHOP)?;
    let script = "\"$HOOKS/github-job-started.sh\"; \"$PSQL\" -X -A -t -c 'SELECT 1'";
    let output = Output::from(runner(&stand, "Runner.Worker", script, GITHUB)?.output()?);
    ensure!(
        output.stdout.contains("id-token: write") && !output.stdout.lines().any(|line| line == "1"),
        "{}",
        output.all()
    );
    Ok(())
}
