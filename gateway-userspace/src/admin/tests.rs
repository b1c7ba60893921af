//! The control socket, over a real socket with real peers: other users, processes inside of jobs.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::*;
use crate::{
    config::{Config, Evidence, Intercept, JobLimits, Scope},
    identity::{
        EndReason, Jobs,
        testing::{Recorder, Sleeper, TestKey, TestParent, claims, issuer, jobs},
    },
    sql::SavedCatalog,
};

const NOBODY: u32 = 65534;
const RUNNER: u32 = 61001;

/// What the control plane was asked to decide.
#[derive(Default)]
struct Plane {
    decided: Mutex<Vec<String>>,
}

fn approval() -> ApprovalView {
    ApprovalView {
        estimated_rows: Some(41),
        warnings: vec!["a transaction is open".into()],
        run_url: Some("https://ci.example/1".into()),
        step: None,
        statement_number: 3,
        before: vec![EarlierView {
            number: 2,
            statement: "SELECT 1".into(),
        }],
        why: "deleting needs approval".into(),
        on_hold: "wait".into(),
        answers: Vec::new(),
        used: None,
        ended: None,
        ended_because: None,
        id: "apr-0123456789ab".to_owned(),
        state: "pending".to_owned(),
        session: String::new(),
        job: String::new(),
        requester: String::new(),
        process: String::new(),
        database: String::new(),
        statement: "DELETE FROM orders".to_owned(),
        parameters: Vec::new(),
        parameter_types: Vec::new(),
        effects: Vec::new(),
        rule: String::new(),
        needs: vec![NeedView {
            group: None,
            count: 1,
            approved: 0,
        }],
        approved_by: Vec::new(),
        created: String::new(),
        expires: String::new(),
    }
}

impl ControlPlane for Plane {
    fn approvals(&self) -> Vec<ApprovalView> {
        vec![approval()]
    }
    fn approval(&self, id: &str) -> Result<ApprovalView, String> {
        if approval().id.starts_with(id) {
            Ok(approval())
        } else {
            Err(format!("there is no {id:?}"))
        }
    }
    fn decide(
        &self,
        id: &str,
        peer: &Peer,
        approve: bool,
        _reason: Option<String>,
    ) -> Result<ApprovalView, String> {
        self.decided
            .lock()
            .unwrap()
            .push(format!("{id} {} {approve}", peer.uid));
        self.approval(id)
    }
    fn rotate_key(&self, current: &str) -> Result<String, String> {
        Err(format!("no key {current:?}"))
    }
    fn catalog(&self, database: &str, _login: Option<&str>) -> Result<SavedCatalog, String> {
        Err(format!("no database {database:?}"))
    }
    fn check_databases(&self) -> Vec<DatabaseCheckView> {
        Vec::new()
    }
    fn status(&self) -> StatusView {
        StatusView {
            version: "0".to_owned(),
            pid: 1,
            policy: String::new(),
            policy_since: String::new(),
            policy_error: Some(PolicyErrorView {
                at: String::new(),
                problems: vec!["p.yaml:1:1: wrong".to_owned()],
            }),
            observing: vec!["watch".to_owned()],
            jobs: 0,
            sessions: 0,
            held: 0,
            disagreements: 0,
            evidence_entries: 0,
            evidence_witnessed: 0,
            witnesses: Vec::new(),
            databases: [].into(),
        }
    }
}

struct Daemon {
    _parent: TestParent,
    folder: TempDir,
    key: TestKey,
    recorder: Arc<Recorder>,
    jobs: Arc<Jobs>,
    plane: Arc<Plane>,
    socket: PathBuf,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn config(parent: &TestParent, folder: &TempDir, key: &TestKey) -> Config {
    Config {
        state_dir: folder.path().to_owned(),
        runtime_dir: folder.path().join("run"),
        user: None,
        intercept: Intercept {
            namespaces: crate::config::Namespaces::Refuse,
            scope: Scope::Host,
            pin_dir: PathBuf::new(),
            port: 1,
            recognise: crate::config::Recognise::default(),
            unix_sockets: crate::config::UnixSockets::default(),
        },
        jobs: JobLimits {
            cgroup: parent.path.clone(),
            runners: [RUNNER].into(),
            max_duration: Duration::from_hours(1),
            worker: "Runner.Worker".to_owned(),
        },
        issuers: vec![issuer(folder.path(), &[key.jwk("key-1")])],
        databases: Vec::new(),
        policy_dir: PathBuf::new(),
        approvers: [("dba".to_owned(), [NOBODY].into())].into(),
        evidence: Evidence::default(),
        notify: crate::config::Notify::default(),
        console: None,
    }
}

impl Daemon {
    fn start() -> Self {
        let parent = TestParent::new();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("gateway")).unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let key = TestKey::es256();
        let recorder = Recorder::new();
        let config = Arc::new(config(&parent, &folder, &key));
        let jobs = jobs(&config, &recorder).unwrap();
        let plane = Arc::new(Plane::default());
        let socket = config.control_socket();
        let listener = tokio::net::UnixListener::from_std(bind(&socket).unwrap()).unwrap();
        let server = tokio::spawn(serve(listener, jobs.clone(), config, plane.clone()));
        Self {
            _parent: parent,
            folder,
            key,
            recorder,
            jobs,
            plane,
            socket,
            server,
        }
    }

    fn client(&self) -> Client {
        Client::connect(&self.socket).unwrap()
    }

    fn start_request(&self, pid: u32, bound: bool) -> Request {
        Request::JobStart {
            asserted: None,
            worker: false,
            token: self.key.token(&claims(SystemTime::now())),
            pid,
            bound,
        }
    }

    async fn start_job(&self, client: &mut Client, pid: u32, bound: bool) -> JobView {
        match client.call(&self.start_request(pid, bound)).await.unwrap() {
            Response::Job(job) => job,
            other => panic!("not a job: {other:?}"),
        }
    }

    /// A client of its own process and user.
    async fn other(&self, uid: u32) -> Other {
        Other::start(&self.socket, uid).await
    }
}

const OTHER: &str = r#"
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); f = s.makefile("rw")
print("connected", flush=True)
for line in sys.stdin:
    f.write(line); f.flush(); print(f.readline(), end="", flush=True)
"#;

struct Other {
    child: Child,
    to: ChildStdin,
    from: Option<BufReader<ChildStdout>>,
}

impl Other {
    async fn start(socket: &std::path::Path, uid: u32) -> Self {
        let mut command = Command::new("python3");
        command
            .args(["-c", OTHER])
            .arg(socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .uid(uid)
            .gid(uid);
        let mut child = command.spawn().expect("these tests need python3");
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let mut other = Self {
            child,
            to,
            from: Some(from),
        };
        assert_eq!(other.line().await, "connected\n");
        other
    }

    /// Reads without holding up the server, which shares this test's thread.
    async fn line(&mut self) -> String {
        let mut from = self.from.take().unwrap();
        let (from, line) = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            from.read_line(&mut line).unwrap();
            (from, line)
        })
        .await
        .unwrap();
        self.from = Some(from);
        line
    }

    async fn ask(&mut self, request: &Request) -> Response {
        self.to
            .write_all(format!("{}\n", serde_json::to_string(request).unwrap()).as_bytes())
            .unwrap();
        serde_json::from_str(&self.line().await).unwrap()
    }

    async fn refusal(&mut self, request: &Request) -> String {
        refusal(self.ask(request).await)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn refusal(response: Response) -> String {
    match response {
        Response::Error { message } => message,
        other => panic!("not refused: {other:?}"),
    }
}

fn decide() -> Request {
    Request::ApprovalDecide {
        id: "apr-0".to_owned(),
        approve: true,
        reason: None,
    }
}

#[tokio::test]
async fn a_job_is_started_listed_and_ended_over_the_socket() {
    let daemon = Daemon::start();
    let sleeper = Sleeper::start();
    let mut client = daemon.client();
    let job = daemon.start_job(&mut client, sleeper.pid(), false).await;
    assert_eq!(
        (job.issuer.as_str(), job.processes, job.sessions),
        ("test", 1, 0)
    );
    assert_eq!(job.claims["repository_id"], "123456");
    let Response::Jobs { jobs } = client
        .call(&Request::JobStatus { job: None })
        .await
        .unwrap()
    else {
        panic!()
    };
    assert_eq!(
        jobs.iter().map(|job| &job.id).collect::<Vec<_>>(),
        [&job.id]
    );
    let end = Request::JobEnd {
        job: job.id.clone(),
    };
    assert!(matches!(client.call(&end).await.unwrap(), Response::Done));
    assert!(daemon.jobs.list().is_empty());
    assert!(refusal(client.call(&end).await.unwrap()).contains("no live job"));
}

#[tokio::test]
async fn a_bound_job_ends_with_its_connection_and_an_unbound_one_does_not() {
    let daemon = Daemon::start();
    let (bound, unbound) = (Sleeper::start(), Sleeper::start());
    let mut client = daemon.client();
    let kept = daemon.start_job(&mut client, unbound.pid(), false).await;
    let gone = daemon.start_job(&mut client, bound.pid(), true).await;
    let gone = daemon.jobs.get(&gone.id).unwrap();
    client.finish().await;
    assert_eq!(
        gone.life().end_reason(),
        Some(EndReason::ConnectionClosed),
        "ended when the client sees the end"
    );
    assert!(daemon.jobs.get(&kept.id).is_some());
    // A client that is killed cannot say goodbye.
    let again = Sleeper::start();
    let mut client = daemon.client();
    let job = daemon.start_job(&mut client, again.pid(), true).await;
    let job = daemon.jobs.get(&job.id).unwrap();
    drop(client);
    assert_eq!(job.ended().await, EndReason::ConnectionClosed);
}

#[tokio::test]
async fn the_connection_of_a_bound_job_closes_when_the_job_ends() {
    let daemon = Daemon::start();
    let mut sleeper = Sleeper::start();
    let mut client = daemon.client();
    daemon.start_job(&mut client, sleeper.pid(), true).await;
    assert!(
        refusal(client.call(&daemon.start_request(1, true)).await.unwrap())
            .contains("bound to a job already")
    );
    sleeper.kill();
    client.closed().await;
    assert!(daemon.jobs.list().is_empty());
}

#[tokio::test]
async fn nobody_inside_of_a_job_can_start_end_or_approve() {
    let daemon = Daemon::start();
    let (mut insider, victim, fresh) = (daemon.other(0).await, Sleeper::start(), Sleeper::start());
    // It connected while it was outside; what counts is where it is now.
    let mut client = daemon.client();
    let own = daemon.start_job(&mut client, insider.pid(), false).await;
    let other = daemon.start_job(&mut client, victim.pid(), false).await;
    for request in [
        daemon.start_request(fresh.pid(), false),
        daemon.start_request(insider.pid(), true),
        Request::JobEnd {
            job: other.id.clone(),
        },
        Request::JobEnd {
            job: own.id.clone(),
        },
        Request::EvidenceRotateKey {
            current: String::new(),
        },
        Request::ApprovalList,
        Request::ApprovalShow {
            id: "apr-0".to_owned(),
        },
        decide(),
    ] {
        let message = insider.refusal(&request).await;
        assert!(
            message.contains("inside of a job") && message.contains(&own.id),
            "{message}"
        );
    }
    let Response::Jobs { jobs } = insider.ask(&Request::JobStatus { job: None }).await else {
        panic!()
    };
    assert_eq!(jobs.len(), 1, "a job sees itself only");
    assert!(
        insider
            .refusal(&Request::JobStatus {
                job: Some(other.id.clone())
            })
            .await
            .contains("no live job")
    );
    let Response::Status(status) = insider.ask(&Request::Status).await else {
        panic!()
    };
    assert!(
        status.policy_error.is_none() && status.observing.is_empty(),
        "a job is not told what is wrong with the policy, nor where it is not enforced"
    );
    assert_eq!(daemon.jobs.list().len(), 2);
    assert!(daemon.plane.decided.lock().unwrap().is_empty());
    let recorded = daemon
        .recorder
        .events()
        .iter()
        .filter(|event| event.starts_with("refused: a process inside"))
        .count();
    assert_eq!(recorded, 2, "forged starts are recorded");
}

#[tokio::test]
async fn a_user_who_is_no_runner_cannot_start_or_end_jobs_but_sees_the_state() {
    let daemon = Daemon::start();
    let mut nobody = daemon.other(NOBODY).await;
    let sleeper = Sleeper::start();
    let job = daemon
        .start_job(&mut daemon.client(), sleeper.pid(), false)
        .await;
    let own = daemon.start_request(nobody.pid(), false);
    assert!(nobody.refusal(&own).await.contains("runners"));
    assert!(
        nobody
            .refusal(&Request::JobEnd { job: job.id })
            .await
            .contains("runners")
    );
    assert!(matches!(
        nobody.ask(&Request::JobStatus { job: None }).await,
        Response::Jobs { .. }
    ));
    let Response::Status(status) = nobody.ask(&Request::Status).await else {
        panic!()
    };
    assert!(status.policy_error.is_some() && status.observing == ["watch"]);
}

#[tokio::test]
async fn a_runner_starts_own_processes_only_and_ends_own_jobs_only() {
    let daemon = Daemon::start();
    let (mut runner, own) = (daemon.other(RUNNER).await, daemon.other(RUNNER).await);
    let (of_root, of_nobody) = (Sleeper::start(), daemon.other(NOBODY).await);
    for pid in [of_root.pid(), of_nobody.pid(), std::process::id()] {
        let message = runner.refusal(&daemon.start_request(pid, false)).await;
        assert!(message.contains("own processes only"), "{message}");
    }
    let roots = daemon
        .start_job(&mut daemon.client(), of_root.pid(), false)
        .await;
    assert!(
        runner
            .refusal(&Request::JobEnd {
                job: roots.id.clone()
            })
            .await
            .contains("only they and root")
    );
    assert!(
        runner
            .refusal(&daemon.start_request(of_root.pid(), false))
            .await
            .contains("own processes only")
    );
    let Response::Job(job) = runner.ask(&daemon.start_request(own.pid(), false)).await else {
        panic!()
    };
    let message = runner
        .refusal(&daemon.start_request(own.pid(), false))
        .await;
    assert!(message.contains("belongs to the job"), "{message}");
    assert!(matches!(
        runner.ask(&Request::JobEnd { job: job.id }).await,
        Response::Done
    ));
    assert!(daemon.jobs.get(&roots.id).is_some());
}

#[tokio::test]
async fn approvals_are_answered_by_listed_approvers_only() {
    let daemon = Daemon::start();
    let (mut approver, mut runner) = (daemon.other(NOBODY).await, daemon.other(RUNNER).await);
    let mut root = daemon.client();
    assert!(matches!(
        root.call(&Request::ApprovalList).await.unwrap(),
        Response::Approvals { .. }
    ));
    assert!(refusal(root.call(&decide()).await.unwrap()).contains("only where it is listed"));
    assert!(
        runner
            .refusal(&Request::ApprovalList)
            .await
            .contains("approvers")
    );
    assert!(runner.refusal(&decide()).await.contains("approvers"));
    assert!(daemon.plane.decided.lock().unwrap().is_empty());
    assert!(matches!(
        approver.ask(&decide()).await,
        Response::Approvals { .. }
    ));
    assert_eq!(
        *daemon.plane.decided.lock().unwrap(),
        [format!("apr-0 {NOBODY} true")]
    );
    assert!(
        approver
            .refusal(&Request::ApprovalShow {
                id: "apr-f".to_owned()
            })
            .await
            .contains("there is no")
    );
}

#[tokio::test]
async fn a_peer_that_exited_is_not_taken_for_one_outside_of_jobs() {
    let daemon = Daemon::start();
    // The process that connected is gone; its child speaks on.
    let program = "import os,socket,sys,time\n\
                   s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n\
                   if os.fork(): os._exit(0)\n\
                   sys.stdin.readline(); s.sendall(sys.argv[2].encode()+b'\\n'); print(s.makefile().readline(), end='')\n";
    let sleeper = Sleeper::start();
    let request = serde_json::to_string(&daemon.start_request(sleeper.pid(), false)).unwrap();
    let mut first = Command::new("python3")
        .args(["-c", program])
        .arg(&daemon.socket)
        .arg(request)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut to, mut from) = (
        first.stdin.take().unwrap(),
        BufReader::new(first.stdout.take().unwrap()),
    );
    first.wait().unwrap();
    to.write_all(b"go\n").unwrap();
    let answer = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        line
    });
    let message = refusal(serde_json::from_str(&answer.await.unwrap()).unwrap());
    assert!(message.contains("cannot be told"), "{message}");
    assert!(daemon.jobs.list().is_empty());
}

#[tokio::test]
async fn garbage_costs_an_answer_and_oversize_the_connection_but_not_the_daemon() {
    let daemon = Daemon::start();
    let stream = UnixStream::connect(&daemon.socket).await.unwrap();
    let mut stream = tokio::io::BufReader::new(stream);
    for garbage in [
        "",
        "SECRET",
        "{\"request\":\"job-start\",\"token\":\"SECRET\"}",
        "{\"request\":\"job-start\",\"token\":\"SECRET\",\"pid\":-1,\"bound\":true}",
        "{\"request\":\"job-start\",\"token\":[\"SECRET\"],\"pid\":1,\"bound\":true}",
        "{\"request\":\"job-end\",\"job\":\"x\",\"SECRET\":1}",
        "{\"request\":\"SECRET\"}",
        "[]",
    ] {
        stream
            .get_mut()
            .write_all(format!("{garbage}\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["response"], json!("error"));
        assert!(!answer.to_string().contains("SECRET"), "{answer}");
    }
    stream
        .get_mut()
        .write_all(&vec![b'x'; 64 * 1024 + 1])
        .await
        .unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("65536"), "{rest}");
    assert!(matches!(
        daemon.client().call(&Request::Status).await.unwrap(),
        Response::Status(_)
    ));
}

#[tokio::test]
async fn strangers_cannot_use_up_the_connections_of_those_who_run_jobs() {
    let daemon = Daemon::start();
    let mut crowd = daemon.other(61002).await;
    // As many again as are allowed, all from a process that nobody listed.
    let mut more = Command::new("python3");
    more.args(["-c", "import socket,sys\nk=[]\nfor _ in range(200):\n s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); k.append(s)\nprint('full',flush=True); sys.stdin.read()"]);
    let mut more = more
        .arg(&daemon.socket)
        .uid(61002)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut from = BufReader::new(more.stdout.take().unwrap());
    tokio::task::spawn_blocking(move || from.read_line(&mut String::new()))
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(
        daemon.client().call(&Request::Status).await.unwrap(),
        Response::Status(_)
    ));
    assert!(
        matches!(crowd.ask(&Request::Status).await, Response::Status(_)),
        "who was served before is still"
    );
    more.kill().unwrap();
    more.wait().unwrap();
}

#[tokio::test]
async fn the_socket_is_open_to_all_in_a_folder_that_only_its_owner_writes() {
    let daemon = Daemon::start();
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&daemon.socket), 0o666);
    assert_eq!(mode(daemon.socket.parent().unwrap()), 0o755);
    let second = bind(&daemon.socket).unwrap_err();
    assert_eq!(
        second.kind(),
        std::io::ErrorKind::AddrInUse,
        "a second daemon does not take over"
    );
    let stale = daemon.folder.path().join("stale/control.sock");
    drop(bind(&stale).unwrap());
    drop(bind(&stale).expect("a socket that nobody listens on is replaced"));
    let open = daemon.folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(
        bind(&open.join("control.sock"))
            .unwrap_err()
            .to_string()
            .contains("chmod")
    );
}

#[tokio::test]
async fn a_client_without_a_daemon_says_how_to_find_it() {
    let error = Client::connect(std::path::Path::new("/nonexistent/control.sock")).unwrap_err();
    assert!(error.to_string().contains("is it running?"), "{error}");
}
