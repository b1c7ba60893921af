//! The daemon's side of the control socket.

use std::{
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};

use super::{
    ApprovalView, DatabaseCheckView, Peer, Request, Response, StatusView,
    authorize::authorize,
    job_view,
    line::{self, Line, MAX_REQUEST},
    peer::Credentials,
};
use crate::{
    config::Config,
    identity::{EndReason, Environment, Job, Jobs, Proof, Start, StartError, Target},
    sql::SavedCatalog,
};

/// Connections of root, runners and approvers from outside of jobs. Each bound job holds one.
const MAX_TRUSTED: usize = 4096;
/// Connections of everybody else, jobs included, so that they cannot keep the others out.
const MAX_OTHERS: usize = 64;
/// How long a client may take to ask.
const REQUEST_PATIENCE: Duration = Duration::from_secs(30);
/// How long a client may take to read its answer.
const RESPONSE_PATIENCE: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the daemon does beyond jobs. Whether the peer may ask at all is decided before;
/// whether it may answer this very statement is decided here.
pub trait ControlPlane: Send + Sync {
    /// Held statements, oldest first.
    fn approvals(&self) -> Vec<ApprovalView>;
    /// One held statement, by id or unambiguous prefix.
    fn approval(&self, id: &str) -> Result<ApprovalView, String>;
    /// Answers a held statement as this peer.
    fn decide(
        &self,
        id: &str,
        peer: &Peer,
        approve: bool,
        reason: Option<String>,
    ) -> Result<ApprovalView, String>;
    /// State of the daemon.
    fn status(&self) -> StatusView;
    /// Has a new key sign the evidence, if this one does now; gives the new one.
    fn rotate_key(&self, current: &str) -> Result<String, String>;
    /// Reads the catalog of a protected database, with one of its logins.
    fn catalog(&self, database: &str, login: Option<&str>) -> Result<SavedCatalog, String>;
    /// Logs in to every database with each login.
    fn check_databases(&self) -> Vec<DatabaseCheckView>;
}

/// Makes the control socket. A socket that nobody listens on any more is replaced.
pub fn bind(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)?;
        let meta = std::fs::metadata(folder)?;
        if meta.mode() & 0o022 != 0 {
            let message = format!(
                "others can write to {0}, so they could replace the control socket; run `chmod 0755 {0}`",
                folder.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => {
            let message = format!(
                "another daemon listens on {}; stop it first",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => std::fs::remove_file(path)?,
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    // Open to all on purpose: every request is authorised by the kernel's word on who makes it,
    // and jobs may ask for their own state.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Serves the control socket until the task is dropped.
pub async fn serve(
    listener: UnixListener,
    jobs: Arc<Jobs>,
    config: Arc<Config>,
    control: Arc<dyn ControlPlane>,
) {
    let server = Arc::new(Server {
        jobs,
        config,
        control,
    });
    let trusted = Arc::new(Semaphore::new(MAX_TRUSTED));
    let others = Arc::new(Semaphore::new(MAX_OTHERS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(error = %error, "cannot accept on the control socket");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(credentials) = Credentials::of(&stream) else {
            continue;
        };
        let peer = server.look(&credentials);
        let places = if server.is_trusted(&peer) {
            &trusted
        } else {
            &others
        };
        // Full: the client sees the connection close.
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            continue;
        };
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            Connection {
                server,
                credentials,
                bound: None,
            }
            .run(stream)
            .await;
            drop(place);
        });
    }
}

/// What a request to start a job asks for.
struct Asked<'a> {
    token: &'a str,
    asserted: Option<&'a str>,
    pid: u32,
    bound: bool,
    worker: bool,
}

struct Server {
    jobs: Arc<Jobs>,
    config: Arc<Config>,
    control: Arc<dyn ControlPlane>,
}

impl Server {
    fn look(&self, credentials: &Credentials) -> Peer {
        credentials.look(&self.config, &self.jobs)
    }

    fn is_trusted(&self, peer: &Peer) -> bool {
        let known = peer.uid == 0
            || self.config.jobs.runners.contains(&peer.uid)
            || !peer.groups.is_empty();
        known && peer.inside_job.is_none()
    }

    async fn start(&self, peer: &Peer, asked: &Asked<'_>) -> Result<Arc<Job>, StartError> {
        let starter = peer.starter();
        let (target, environment) = match self.targets(peer, asked) {
            Ok(found) => found,
            Err(error) => {
                self.jobs.refuse(&starter, asked.pid, &error);
                return Err(error);
            }
        };
        self.jobs
            .start(&Start {
                proof: match asked.asserted {
                    Some(issuer) => Proof::Asserted(issuer),
                    None => Proof::Token(asked.token),
                },
                target: &target,
                starter: &starter,
                bound: asked.bound,
                worker: asked.worker,
                environment: &environment,
            })
            .await
    }

    /// The process that is to become a job, and what its runner has told it.
    fn targets(&self, peer: &Peer, asked: &Asked<'_>) -> Result<(Target, Environment), StartError> {
        let target = Self::target(peer, asked.pid)?;
        // Who asks has what the runner has said, even where the process that becomes the job was
        // started before.
        let environment = Environment::of(&**self.jobs.host(), peer.pid.unwrap_or(asked.pid));
        if !asked.worker {
            return Ok((target, environment));
        }
        let worker = Target::worker_above(&**self.jobs.host(), &target, &self.config.jobs.worker)
            .map_err(StartError::Process)?;
        let worker = Self::target(peer, worker.pid())?;
        Ok((worker, environment))
    }

    fn target(peer: &Peer, pid: u32) -> Result<Target, StartError> {
        let target = Target::open(pid).map_err(|error| StartError::Process(error.to_string()))?;
        if peer.uid != 0 && !target.belongs_to(peer.uid) {
            let message = format!(
                "process {pid} does not belong to the user {}, who may start jobs for own processes only",
                peer.user
            );
            return Err(StartError::NotAllowed(message));
        }
        if [std::process::id(), std::os::unix::process::parent_id()].contains(&pid) {
            return Err(StartError::NotAllowed(
                "the daemon itself cannot become a job".to_owned(),
            ));
        }
        Ok(target)
    }

    fn end(&self, peer: &Peer, id: &str) -> Response {
        let Some(job) = self.jobs.get(id) else {
            return refused(format!(
                "there is no live job {id:?}; `cordon job status` lists them"
            ));
        };
        if peer.uid != 0 && job.starter().uid != peer.uid {
            return refused(format!(
                "the job {id} was started by {}, and only they and root may end it",
                job.starter().user
            ));
        }
        if self.jobs.end(id, EndReason::Requested) {
            Response::Done
        } else {
            refused(format!("the job {id} has just ended"))
        }
    }

    /// Ends the job that the peer is in.
    fn end_own(&self, peer: &Peer) -> Response {
        match &peer.inside_job {
            Some(job) if self.jobs.end(job, EndReason::Completed) => Response::Done,
            Some(job) => refused(format!("the job {job} has ended")),
            None => refused("this process is in no job".to_owned()),
        }
    }

    /// A job sees what it has asked for, approvers and root see all, others nothing.
    fn requests(&self, peer: &Peer, id: Option<&str>) -> Response {
        if peer.inside_job.is_none() && peer.groups.is_empty() && peer.uid != 0 {
            return refused(format!(
                "the user {} may not see held statements from outside of the job that sent them",
                peer.user
            ));
        }
        let own =
            |view: &ApprovalView| peer.inside_job.as_deref().is_none_or(|job| job == view.job);
        let asked = |view: &ApprovalView| match id {
            None => true,
            Some(id) => {
                let id = id.strip_prefix("apr-").unwrap_or(id);
                !id.is_empty()
                    && view
                        .id
                        .strip_prefix("apr-")
                        .is_some_and(|known| known.starts_with(id))
            }
        };
        let mut found = self.control.approvals();
        found.retain(|view| own(view) && asked(view));
        match (id, found.len()) {
            (Some(id), 0) => {
                let place = if peer.inside_job.is_some() {
                    " of this job"
                } else {
                    ""
                };
                refused(format!("there is no request for approval {id}{place}"))
            }
            (Some(id), 2..) => {
                refused(format!("{id} is the start of several ids; give more of it"))
            }
            (None, _) | (Some(_), 1) => Response::Requests {
                requests: found.into_iter().map(Into::into).collect(),
            },
        }
    }

    fn status(&self, peer: &Peer, id: Option<&str>) -> Response {
        let jobs: Vec<_> = self
            .jobs
            .list()
            .iter()
            .filter(|job| id.is_none_or(|id| job.id() == id))
            // What is in the claims of other jobs is no job's business.
            .filter(|job| peer.inside_job.as_deref().is_none_or(|own| own == job.id()))
            .map(|job| job_view(job))
            .collect();
        match id {
            Some(id) if jobs.is_empty() => refused(format!(
                "there is no live job {id:?}; `cordon job status` lists them"
            )),
            Some(_) | None => Response::Jobs { jobs },
        }
    }
}

fn refused(message: String) -> Response {
    Response::Error { message }
}

struct Connection {
    server: Arc<Server>,
    credentials: Credentials,
    bound: Option<Arc<Job>>,
}

impl Connection {
    async fn run(mut self, stream: UnixStream) {
        let mut stream = BufReader::new(stream);
        loop {
            let next = line::read(&mut stream, MAX_REQUEST);
            let line = match &self.bound {
                None => timeout(REQUEST_PATIENCE, next)
                    .await
                    .unwrap_or(Ok(Line::End)),
                // As long as the job lives, silence is fine. When it ends, the closed connection
                // tells the client.
                Some(job) => tokio::select! {
                    line = next => line,
                    _ = job.ended() => Ok(Line::End),
                },
            };
            let (response, last) = match line {
                Ok(Line::Complete(line)) => (self.answer(&line).await, false),
                Ok(Line::TooLong) => (
                    refused(format!("a request may be {MAX_REQUEST} bytes long")),
                    true,
                ),
                Ok(Line::End) | Err(_) => break,
            };
            if !send(stream.get_mut(), &response).await || last {
                break;
            }
        }
        // The job ends before the connection is seen to close.
        drop(self);
    }

    async fn answer(&mut self, line: &[u8]) -> Response {
        let request: Request = match serde_json::from_slice(line) {
            Ok(request) => request,
            // The parser's own text could repeat a token.
            Err(error) => {
                return refused(format!(
                    "the request is not understood (column {}); are the daemon and the client of the same version?",
                    error.column()
                ));
            }
        };
        let peer = self.server.look(&self.credentials);
        if let Err(message) = authorize(&request, &peer, &self.server.config) {
            tracing::warn!(
                uid = peer.uid,
                pid = peer.pid,
                reason = message,
                "request on the control socket refused"
            );
            if let Request::JobStart { pid, .. } = request {
                self.server.jobs.refuse(
                    &peer.starter(),
                    pid,
                    &StartError::NotAllowed(message.clone()),
                );
            }
            return refused(message);
        }
        match request {
            Request::JobStart {
                token,
                asserted,
                worker,
                pid,
                bound,
            } => {
                let token = zeroize::Zeroizing::new(token);
                let asked = Asked {
                    token: &token,
                    asserted: asserted.as_deref(),
                    pid,
                    bound,
                    worker,
                };
                self.start(&peer, &asked).await
            }
            Request::JobEndOwn => self.server.end_own(&peer),
            Request::JobEnd { job } => self.server.end(&peer, &job),
            Request::JobStatus { job } => self.server.status(&peer, job.as_deref()),
            Request::ApprovalList => Response::Approvals {
                approvals: self.server.control.approvals(),
            },
            Request::ApprovalShow { id } => one(self.server.control.approval(&id)),
            Request::ApprovalStatus { id } => self.server.requests(&peer, id.as_deref()),
            Request::ApprovalDecide {
                id,
                approve,
                reason,
            } => one(self.server.control.decide(&id, &peer, approve, reason)),
            Request::Status => {
                let mut status = self.server.control.status();
                if peer.inside_job.is_some() {
                    // What the policy says, and where it is not enforced, is not the job's to know.
                    status.policy_error = None;
                    status.observing.clear();
                    status.witnesses.clear();
                }
                Response::Status(status)
            }
            Request::EvidenceRotateKey { current } => {
                match self.server.control.rotate_key(&current) {
                    Ok(public_key) => Response::EvidenceKey { public_key },
                    Err(message) => refused(message),
                }
            }
            Request::Catalog { database, login } => {
                match self.server.control.catalog(&database, login.as_deref()) {
                    Ok(catalog) => Response::Catalog(Box::new(catalog)),
                    Err(message) => refused(message),
                }
            }
            Request::CheckDatabases => Response::DatabaseChecks {
                checks: self.server.control.check_databases(),
            },
        }
    }

    async fn start(&mut self, peer: &Peer, asked: &Asked<'_>) -> Response {
        if asked.bound && self.bound.is_some() {
            return refused(
                "this connection is bound to a job already; use another one".to_owned(),
            );
        }
        match self.server.start(peer, asked).await {
            Ok(job) => {
                let view = job_view(&job);
                if asked.bound {
                    self.bound = Some(job);
                }
                Response::Job(view)
            }
            Err(error) => refused(error.to_string()),
        }
    }
}

impl Drop for Connection {
    /// However the connection ends, a job bound to it ends too.
    fn drop(&mut self) {
        if let Some(job) = &self.bound {
            self.server.jobs.end(job.id(), EndReason::ConnectionClosed);
        }
    }
}

fn one(found: Result<ApprovalView, String>) -> Response {
    match found {
        Ok(approval) => Response::Approvals {
            approvals: vec![approval],
        },
        Err(message) => refused(message),
    }
}

async fn send(stream: &mut UnixStream, response: &Response) -> bool {
    let mut line = serde_json::to_vec(response).unwrap_or_else(|error| {
        tracing::error!(error = %error, "cannot write an answer as JSON");
        br#"{"response":"error","message":"the daemon cannot write its answer; see its log"}"#
            .to_vec()
    });
    line.push(b'\n');
    matches!(
        timeout(RESPONSE_PATIENCE, stream.write_all(&line)).await,
        Ok(Ok(()))
    )
}
