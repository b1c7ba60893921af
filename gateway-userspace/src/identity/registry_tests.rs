//! The life of jobs, on real cgroups with real processes.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
};

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::{
    config::{Evidence, Intercept, JobLimits, Scope},
    identity::{
        Environment, IdentityRefusal, KernelJobs as _, resolve,
        testing::{Recorder, Sleeper, TestKey, TestParent, claims, conn, issuer, jobs},
    },
};

struct Host {
    parent: TestParent,
    folder: TempDir,
    key: TestKey,
    recorder: Arc<Recorder>,
    jobs: Arc<Jobs>,
}

impl Host {
    fn new() -> Self {
        Self::with_max_duration(Duration::from_hours(1))
    }

    fn with(change: impl FnOnce(&mut crate::config::Issuer)) -> Self {
        let mut host = Self::new();
        let mut config = config(
            &host.parent,
            &host.folder,
            &host.key,
            Duration::from_hours(1),
        );
        change(&mut config.issuers[0]);
        host.jobs = jobs(&config, &host.recorder).unwrap();
        host
    }

    fn with_max_duration(max_duration: Duration) -> Self {
        let parent = TestParent::new();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("gateway")).unwrap();
        let key = TestKey::es256();
        let recorder = Recorder::new();
        let jobs = daemon(&parent, &folder, &key, &recorder, max_duration);
        Self {
            parent,
            folder,
            key,
            recorder,
            jobs,
        }
    }

    fn restart(&mut self) {
        self.jobs = daemon(
            &self.parent,
            &self.folder,
            &self.key,
            &self.recorder,
            Duration::from_hours(1),
        );
    }

    fn token(&self) -> String {
        self.key.token(&claims(SystemTime::now()))
    }

    async fn start(&self, sleeper: &Sleeper, bound: bool) -> Result<Arc<Job>, StartError> {
        let target = Target::open(sleeper.pid()).unwrap();
        self.begin(&self.token(), &target, bound).await
    }

    async fn begin(
        &self,
        token: &str,
        target: &Target,
        bound: bool,
    ) -> Result<Arc<Job>, StartError> {
        self.jobs
            .start(&Start {
                proof: Proof::Token(token),
                target,
                starter: &starter(),
                bound,
                worker: false,
                environment: &Environment::default(),
            })
            .await
    }

    /// Waits until the cgroup of an ended job is cleaned up.
    async fn gone(&self, job: &Job) {
        let mut pause = tokio::time::interval(Duration::from_millis(2));
        while self.parent.root.id(job.cgroup().path()).is_ok() {
            pause.tick().await;
        }
    }
}

fn starter() -> Starter {
    Starter {
        uid: 0,
        user: "root".to_owned(),
        pid: Some(1),
        inside_job: None,
    }
}

fn daemon(
    parent: &TestParent,
    folder: &TempDir,
    key: &TestKey,
    recorder: &Arc<Recorder>,
    max_duration: Duration,
) -> Arc<Jobs> {
    let config = config(parent, folder, key, max_duration);
    jobs(&config, recorder).unwrap()
}

fn config(parent: &TestParent, folder: &TempDir, key: &TestKey, max_duration: Duration) -> Config {
    Config {
        state_dir: folder.path().to_owned(),
        runtime_dir: folder.path().to_owned(),
        user: None,
        intercept: Intercept {
            namespaces: crate::config::Namespaces::Refuse,
            scope: Scope::Host,
            pin_dir: PathBuf::new(),
            port: 1,
            recognise: crate::config::Recognise::default(),
            unix_sockets: UnixSockets::default(),
        },
        jobs: JobLimits {
            cgroup: parent.path.clone(),
            runners: [].into(),
            max_duration,
            worker: "Runner.Worker".to_owned(),
        },
        issuers: vec![issuer(folder.path(), &[key.jwk("key-1")])],
        databases: Vec::new(),
        policy_dir: PathBuf::new(),
        approvers: BTreeMap::new(),
        evidence: Evidence::default(),
        notify: crate::config::Notify::default(),
        console: None,
    }
}

#[tokio::test]
async fn a_started_job_is_recorded_registered_and_holds_its_process() {
    let host = Host::new();
    let sleeper = Sleeper::start();
    let job = host.start(&sleeper, true).await.unwrap();
    assert!(job.is_live());
    assert!(
        job.id().starts_with("job-") && job.id().len() == 20,
        "{}",
        job.id()
    );
    assert!(job.cgroup().holds(sleeper.pid()));
    assert!(host.recorder.is_registered(job.cgroup().id()));
    assert_eq!(host.recorder.events(), ["kernel add", "started"]);
    assert_eq!(
        job.identity().claims().get("repository_id"),
        Some(&Value::from("123456"))
    );
    assert_eq!(job.identity().groups(), ["builders"]);
    assert_eq!(
        host.jobs.inside(sleeper.pid()).unwrap().as_deref(),
        Some(job.id())
    );
    assert_eq!(host.jobs.inside(std::process::id()).unwrap(), None);
    let principal = resolve(&conn(sleeper.pid(), Some(job.cgroup().id())), &host.jobs).unwrap();
    assert_eq!(principal.job().id(), job.id());
    assert_eq!(principal.process().pid, sleeper.pid());
    assert!(principal.process().executable.is_some());
}

#[tokio::test]
async fn a_job_ends_when_its_last_process_exits_and_its_cgroup_is_removed() {
    let host = Host::new();
    let mut sleeper = Sleeper::start();
    let job = host.start(&sleeper, false).await.unwrap();
    sleeper.kill();
    assert_eq!(job.ended().await, EndReason::Empty);
    host.gone(&job).await;
    assert!(host.jobs.list().is_empty());
    assert!(!host.recorder.is_registered(job.cgroup().id()));
    assert_eq!(
        host.recorder.events(),
        ["kernel add", "started", "kernel remove", "ended: Empty"]
    );
}

#[tokio::test]
async fn what_is_left_of_a_bound_job_is_killed_when_it_ends() {
    let host = Host::new();
    let mut sleeper = Sleeper::start();
    let job = host.start(&sleeper, true).await.unwrap();
    assert!(host.jobs.end(job.id(), EndReason::ConnectionClosed));
    assert!(!job.is_live(), "the job has ended when the call returns");
    host.gone(&job).await;
    sleeper.wait();
    assert!(
        !host.jobs.end(job.id(), EndReason::Requested),
        "a job ends once"
    );
}

#[tokio::test]
async fn leftovers_of_an_ended_job_have_no_access_and_cannot_become_a_job_again() {
    let host = Host::new();
    let mut sleeper = Sleeper::start();
    let job = host.start(&sleeper, false).await.unwrap();
    let id = job.cgroup().id();
    host.jobs.end(job.id(), EndReason::Requested);
    for job_cgroup_id in [None, Some(id)] {
        let conn = crate::intercept::InterceptedConn {
            cgroup_id: id,
            job_cgroup_id,
            ..conn(sleeper.pid(), None)
        };
        let refused = resolve(&conn, &host.jobs).unwrap_err();
        assert!(
            matches!(&refused, IdentityRefusal::Ended { job: ended, reason: EndReason::Requested, .. } if ended == job.id()),
            "{refused}"
        );
    }
    let error = host.start(&sleeper, false).await.unwrap_err();
    assert!(
        matches!(&error, StartError::InJob { job: ended, .. } if ended.contains(job.id()) && ended.contains("ended")),
        "{error}"
    );
    assert!(
        host.recorder
            .events()
            .last()
            .unwrap()
            .starts_with("refused: ")
    );
    sleeper.kill();
    host.gone(&job).await;
}

#[tokio::test]
async fn a_process_of_a_live_job_cannot_be_started_a_second_time() {
    let host = Host::new();
    let sleeper = Sleeper::start();
    let job = host.start(&sleeper, true).await.unwrap();
    let error = host.start(&sleeper, true).await.unwrap_err();
    assert_eq!(
        error,
        StartError::InJob {
            pid: sleeper.pid(),
            job: format!("the job {}", job.id())
        }
    );
    assert!(job.is_live());
    assert!(job.cgroup().holds(sleeper.pid()));
}

#[tokio::test]
async fn two_starts_of_one_process_at_once_make_one_job() {
    let host = Host::new();
    let sleeper = Sleeper::start();
    let (one, two) = tokio::join!(host.start(&sleeper, true), host.start(&sleeper, true));
    assert_eq!(
        [one.is_ok(), two.is_ok()].iter().filter(|ok| **ok).count(),
        1
    );
    assert_eq!(host.jobs.list().len(), 1);
}

#[tokio::test]
async fn a_token_starts_one_job_only_even_after_a_restart_of_the_daemon() {
    let mut host = Host::new();
    let token = host.token();
    let (first, second) = (Sleeper::start(), Sleeper::start());
    let second_target = Target::open(second.pid()).unwrap();
    host.begin(&token, &Target::open(first.pid()).unwrap(), true)
        .await
        .unwrap();
    assert_eq!(
        host.begin(&token, &second_target, true).await.unwrap_err(),
        StartError::Replayed
    );
    host.jobs.shutdown();
    host.restart();
    assert_eq!(
        host.begin(&token, &second_target, true).await.unwrap_err(),
        StartError::Replayed
    );
    assert_eq!(host.jobs.inside(second.pid()).unwrap(), None);
}

#[tokio::test]
async fn a_job_whose_start_cannot_be_recorded_does_not_live() {
    let host = Host::new();
    *host.recorder.refuse_start.lock().unwrap() = Some("disk full".to_owned());
    let sleeper = Sleeper::start();
    let error = host.start(&sleeper, true).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("record the job's start: disk full"),
        "{error}"
    );
    assert!(host.jobs.list().is_empty());
    assert_eq!(host.jobs.inside(sleeper.pid()).unwrap(), None);
    assert!(
        host.parent
            .root
            .children(&host.parent.path)
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        host.recorder.events()[..3],
        ["kernel add", "started", "kernel remove"]
    );
}

#[tokio::test]
async fn a_process_that_exits_before_it_is_moved_makes_no_job() {
    let host = Host::new();
    let mut sleeper = Sleeper::start();
    let target = Target::open(sleeper.pid()).unwrap();
    sleeper.kill();
    let error = host.begin(&host.token(), &target, true).await.unwrap_err();
    assert!(matches!(error, StartError::Process(_)), "{error}");
    assert!(host.jobs.list().is_empty());
}

#[tokio::test]
async fn a_job_ends_at_its_longest_duration() {
    let host = Host::with_max_duration(Duration::from_millis(1));
    let mut sleeper = Sleeper::start();
    let job = host.start(&sleeper, true).await.unwrap();
    assert_eq!(job.ended().await, EndReason::MaxDuration);
    sleeper.wait();
    host.gone(&job).await;
}

#[tokio::test]
async fn a_stop_of_the_daemon_ends_jobs_but_spares_their_processes() {
    let mut host = Host::new();
    let sleeper = Sleeper::start();
    let job = host.start(&sleeper, true).await.unwrap();
    host.jobs.shutdown();
    assert_eq!(job.ended().await, EndReason::Shutdown);
    assert!(
        host.recorder
            .events()
            .contains(&"ended: Shutdown".to_owned())
    );
    // What a crashed daemon leaves in the kernel is unregistered by the next one.
    host.recorder.add(job.cgroup().id()).unwrap();
    host.restart();
    assert!(!host.recorder.is_registered(job.cgroup().id()));
    assert!(Target::open(sleeper.pid()).unwrap().is_alive());
    let refused = resolve(&conn(sleeper.pid(), Some(job.cgroup().id())), &host.jobs).unwrap_err();
    assert!(
        matches!(
            refused,
            IdentityRefusal::Ended {
                reason: EndReason::Shutdown,
                ..
            }
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn connections_without_a_live_job_are_refused_with_what_would_help() {
    let host = Host::new();
    let (inside, outside) = (Sleeper::start(), Sleeper::start());
    let job = host.start(&inside, true).await.unwrap();
    let no_job = resolve(&conn(outside.pid(), None), &host.jobs).unwrap_err();
    assert!(no_job.to_string().contains("cordon job run"), "{no_job}");
    let unknown = resolve(&conn(outside.pid(), Some(u64::MAX)), &host.jobs).unwrap_err();
    assert!(
        matches!(unknown, IdentityRefusal::UnknownJob { .. }),
        "{unknown}"
    );
    let left = resolve(&conn(outside.pid(), Some(job.cgroup().id())), &host.jobs).unwrap_err();
    assert!(matches!(left, IdentityRefusal::LeftJob { .. }), "{left}");
}

#[tokio::test]
async fn a_process_that_is_gone_is_attributed_by_the_kernels_record() {
    let host = Host::new();
    let (stays, mut leaves) = (Sleeper::start(), Sleeper::start());
    let job = host.start(&stays, true).await.unwrap();
    let conn = conn(leaves.pid(), Some(job.cgroup().id()));
    leaves.kill();
    assert_eq!(resolve(&conn, &host.jobs).unwrap().job().id(), job.id());
}

#[tokio::test]
async fn sessions_are_counted_while_open_and_not_opened_after_the_end() {
    let host = Host::new();
    let sleeper = Sleeper::start();
    let job = host.start(&sleeper, true).await.unwrap();
    let session = job.life().open_session().unwrap();
    assert_eq!(job.life().sessions(), 1);
    drop(session);
    host.jobs.end(job.id(), EndReason::Requested);
    assert!(job.life().open_session().is_none());
    assert_eq!(job.life().sessions(), 0);
}

#[tokio::test]
async fn a_child_of_a_job_is_in_the_job() {
    let host = Host::new();
    let mut shell = std::process::Command::new("sh")
        .args(["-c", "read start; sleep 1000 & echo $!; wait"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let target = Target::open(shell.id()).unwrap();
    let job = host.begin(&host.token(), &target, true).await.unwrap();
    shell.stdin.take().unwrap().write_all(b"\n").unwrap();
    let mut line = String::new();
    BufReader::new(shell.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let child: u32 = line.trim().parse().unwrap();
    assert_eq!(host.jobs.inside(child).unwrap().as_deref(), Some(job.id()));
    host.jobs.end(job.id(), EndReason::Requested);
    host.gone(&job).await;
    shell.wait().unwrap();
}

/// A runner's worker with a step below it that runs until its input ends.
struct Worker {
    folder: TempDir,
    child: std::process::Child,
    step: u32,
}

impl Worker {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("gateway")).unwrap();
        let program = folder.path().join("Runner.Worker");
        std::fs::copy("/bin/sh", &program).unwrap();
        let mut child = std::process::Command::new(&program)
            .args(["-c", "sleep 1000 & echo $!; read end"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            folder,
            child,
            step: line.trim().parse().unwrap(),
        }
    }

    /// As its hook would ask: from a process below it.
    async fn register(&self, host: &Host, proof: Proof<'_>) -> Result<Arc<Job>, StartError> {
        let hook = Target::open(self.step).unwrap();
        let path = self.folder.path().join("Runner.Worker");
        let target = Target::worker_above(&**host.jobs.host(), &hook, path.to_str().unwrap())
            .map_err(StartError::Process)?;
        let environment = Environment::parsed(
            b"GITHUB_REPOSITORY_ID=123456\0GITHUB_RUN_ID=1\0GITHUB_RUN_ATTEMPT=1",
        );
        host.jobs
            .start(&Start {
                proof,
                target: &target,
                starter: &starter(),
                bound: false,
                worker: true,
                environment: &environment,
            })
            .await
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let step = i32::try_from(self.step)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let _ = rustix::process::kill_process(step.unwrap(), rustix::process::Signal::KILL);
    }
}

#[tokio::test]
async fn a_worker_is_registered_with_all_that_is_below_it_once_in_its_life() {
    let host = Host::new();
    let mut worker = Worker::start();
    let job = worker
        .register(&host, Proof::Token(&host.token()))
        .await
        .unwrap();
    assert!(job.cgroup().holds(worker.child.id()) && job.cgroup().holds(worker.step));
    let again = worker.register(&host, Proof::Token(&host.token())).await;
    assert!(matches!(again, Err(StartError::InJob { .. })), "{again:?}");
    assert!(
        host.recorder
            .events()
            .last()
            .unwrap()
            .starts_with("refused: ")
    );
    assert!(job.is_live());
    // The step lives on, and the job does not: it ends with the worker.
    worker.child.kill().unwrap();
    worker.child.wait().unwrap();
    assert_eq!(job.ended().await, EndReason::WorkerExited);
    let left = resolve(&conn(worker.step, Some(job.cgroup().id())), &host.jobs);
    assert!(
        matches!(left, Err(IdentityRefusal::Ended { .. })),
        "{left:?}"
    );
}

#[tokio::test]
async fn a_worker_whose_step_is_in_a_job_already_is_refused() {
    let host = Host::new();
    let worker = Worker::start();
    let step = Target::open(worker.step).unwrap();
    host.begin(&host.token(), &step, false).await.unwrap();
    let refused = worker.register(&host, Proof::Token(&host.token())).await;
    assert!(
        matches!(refused, Err(StartError::InJob { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_runners_word_starts_a_job_only_where_the_issuer_takes_it() {
    let host = Host::new();
    let worker = Worker::start();
    for issuer in ["test", "unknown"] {
        let refused = worker.register(&host, Proof::Asserted(issuer)).await;
        assert!(
            matches!(refused, Err(StartError::NotAllowed(_))),
            "{refused:?}"
        );
    }
    let host = Host::with(|issuer| {
        issuer.preset = Some(crate::config::Preset::Github);
        issuer.asserted = true;
    });
    let job = worker
        .register(&host, Proof::Asserted("test"))
        .await
        .unwrap();
    assert_eq!(
        job.identity().assurance(),
        crate::identity::Assurance::RunnerAsserted
    );
    assert_eq!(job.identity().claims()["repository_id"], "123456");
    host.jobs.end(job.id(), EndReason::Requested);
}

#[tokio::test]
async fn a_token_of_another_job_than_the_runners_starts_none_and_is_not_used_up() {
    let host = Host::with(|issuer| issuer.preset = Some(crate::config::Preset::Github));
    let token = |run: &str| {
        let mut claims = claims(SystemTime::now());
        for (claim, value) in [
            ("run_id", run),
            ("run_attempt", "1"),
            ("repository_owner_id", "1"),
            ("ref", "refs/heads/main"),
            ("event_name", "push"),
        ] {
            claims[claim] = value.into();
        }
        host.key.token(&claims)
    };
    let worker = Worker::start();
    let refused = worker.register(&host, Proof::Token(&token("2"))).await;
    assert!(
        matches!(&refused, Err(StartError::Environment(text)) if text.contains("run_id is `2`") && text.contains("GITHUB_RUN_ID is `1`")),
        "{refused:?}"
    );
    let job = worker
        .register(&host, Proof::Token(&token("1")))
        .await
        .unwrap();
    host.jobs.end(job.id(), EndReason::Requested);
}

/// The clock of the tests goes on by itself while everybody waits.
#[tokio::test]
async fn r6_a_job_outlives_its_token_or_ends_with_it_as_the_issuer_says() {
    let soon = |host: &Host| {
        let mut claims = claims(SystemTime::now());
        // With the leeway of 30 seconds it has one second left.
        let now = claims["iat"].as_u64().unwrap();
        claims["iat"] = (now - 60).into();
        claims["nbf"] = (now - 60).into();
        claims["exp"] = (now - 29).into();
        host.key.token(&claims)
    };
    let ends = Host::with(|issuer| issuer.token_expiry = crate::config::TokenExpiry::EndJob);
    let stays = Host::new();
    let (one, other) = (Sleeper::start(), Sleeper::start());
    let outlives = stays
        .begin(&soon(&stays), &Target::open(other.pid()).unwrap(), true)
        .await
        .unwrap();
    let job = ends
        .begin(&soon(&ends), &Target::open(one.pid()).unwrap(), true)
        .await
        .unwrap();
    assert_eq!(job.ended().await, EndReason::TokenExpired);
    assert!(outlives.is_live());
    assert!(job.life().open_session().is_none());
}
