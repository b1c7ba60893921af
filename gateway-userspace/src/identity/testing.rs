//! What the tests of this folder share.

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use serde_json::{Value, json};

use super::{
    CgroupRoot, EndReason, Host, Job, JobLedger, Jobs, KernelJobs, LocalHost, StartError, Starter,
    Tokens, jwks::IssuerKeys,
};
use crate::{
    config::{CgroupPath, Config, Issuer, JwksSource, TokenExpiry},
    intercept::InterceptedConn,
};

pub(super) const ISSUER: &str = "https://issuer.test";
pub(super) const AUDIENCE: &str = "cordon-test";

/// A parent cgroup of one test, removed with everything below when the test is over.
pub(crate) struct TestParent {
    pub(crate) root: CgroupRoot,
    pub(crate) path: CgroupPath,
}

impl TestParent {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "cordon-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let root = CgroupRoot::find().unwrap();
        let path = CgroupPath::new(&name).unwrap();
        std::fs::create_dir(root.folder(&path))
            .expect("these tests make cgroups, so they run as root");
        Self { root, path }
    }

    /// What does things for the jobs below it.
    pub(crate) fn host(&self, kernel: Arc<dyn KernelJobs>) -> LocalHost {
        LocalHost::at(self.root.clone(), self.path.clone(), kernel)
    }
}

/// A registry that tells the recorder all.
pub(crate) fn jobs(config: &Config, recorder: &Arc<Recorder>) -> std::io::Result<Arc<Jobs>> {
    let host = LocalHost::new(config, recorder.clone())?;
    Jobs::new(config, Arc::new(host), recorder.clone())
}

fn no_jobs() -> LocalHost {
    let path = CgroupPath::new("cordon-test-none").unwrap();
    LocalHost::at(CgroupRoot::find().unwrap(), path, Recorder::new())
}

/// What sees processes.
pub(crate) fn host() -> Arc<dyn Host> {
    Arc::new(no_jobs())
}

fn reader_of(issuer: &Issuer) -> Arc<dyn Host> {
    match &issuer.jwks {
        JwksSource::File(path) => Arc::new(no_jobs().with_key_set(path.clone())),
        JwksSource::Discovery | JwksSource::Url(_) => host(),
    }
}

/// Verifies the tokens of one issuer.
pub(super) fn tokens(issuer: Issuer) -> Tokens {
    let host = reader_of(&issuer);
    Tokens::new(&[issuer], &host)
}

/// An issuer's keys.
pub(super) fn keys_of(issuer: &Issuer) -> IssuerKeys {
    IssuerKeys::new(issuer, &reader_of(issuer))
}

impl Drop for TestParent {
    fn drop(&mut self) {
        let Ok(cgroup) = self.root.open(&self.path) else {
            return;
        };
        let _ = cgroup.kill();
        // Killed processes leave a moment later.
        for _ in 0..1000 {
            if cgroup.remove().is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A process that does nothing until it is killed.
pub(crate) struct Sleeper(Child);

impl Sleeper {
    pub(crate) fn start() -> Self {
        let mut command = Command::new("sleep");
        // Nothing of the test's own, which whoever reads it would wait for.
        command
            .arg("1000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().unwrap();
        // The command line appears a moment after the process does.
        while std::fs::read(format!("/proc/{}/cmdline", child.id()))
            .unwrap()
            .is_empty()
        {
            std::thread::yield_now();
        }
        Self(child)
    }
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        self.wait();
    }
    pub(crate) fn wait(&mut self) {
        self.0.wait().unwrap();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the kernel would have recorded for a connect of this process, just now.
pub(crate) fn conn(pid: u32, job_cgroup_id: Option<u64>) -> InterceptedConn {
    InterceptedConn {
        original: SocketAddr::from(([127, 0, 0, 1], 5432)),
        cgroup_id: job_cgroup_id.unwrap_or(1),
        job_cgroup_id,
        pid,
        uid: 0,
        comm: "test".to_owned(),
        cookie: 1,
        netns_cookie: 1,
        boot_ns: u64::MAX,
    }
}

/// A signing key of a test issuer.
pub(crate) enum TestKey {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

impl TestKey {
    pub(crate) fn es256() -> Self {
        let random = SystemRandom::new();
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self::Es256(
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
                .unwrap(),
        )
    }

    /// A key made for these tests only: ring cannot make RSA keys.
    pub(super) fn rs256() -> Self {
        use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
        let key =
            PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("testdata/rsa-2048.pem")).unwrap();
        Self::Rs256(RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap())
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::Rs256(_) => "RS256",
        }
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Es256(key) => {
                let point = key.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "x": b64(&point[1..33]), "y": b64(&point[33..]) })
            }
            Self::Rs256(key) => {
                let public: ring::signature::RsaPublicKeyComponents<Vec<u8>> = key.public().into();
                json!({ "kty": "RSA", "alg": "RS256", "kid": kid, "n": b64(&public.n), "e": b64(&public.e) })
            }
        }
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!(
            "{}.{}",
            b64(header.to_string().as_bytes()),
            b64(claims.to_string().as_bytes())
        );
        let signature = match self {
            Self::Es256(key) => key
                .sign(&SystemRandom::new(), message.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    message.as_bytes(),
                    &mut signature,
                )
                .unwrap();
                signature
            }
        };
        format!("{message}.{}", b64(&signature))
    }

    /// A token with a right header.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(
            &json!({ "alg": self.algorithm(), "typ": "JWT", "kid": "key-1" }),
            claims,
        )
    }
}

pub(super) fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Claims of a token that is right in every respect, issued at `now`.
pub(crate) fn claims(now: SystemTime) -> Value {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "repo:acme/shop", "iat": now, "nbf": now, "exp": now + 300,
        "jti": format!("jti-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
        "repository_id": "123456", "groups": ["builders"],
    })
}

/// An issuer whose keys are in a file.
pub(crate) fn issuer(folder: &Path, keys: &[Value]) -> Issuer {
    let path = folder.join("jwks.json");
    std::fs::write(&path, json!({ "keys": keys }).to_string()).unwrap();
    issuer_at(ISSUER, JwksSource::File(path))
}

pub(super) fn issuer_at(url: &str, jwks: JwksSource) -> Issuer {
    Issuer {
        name: "test".to_owned(),
        url: url.to_owned(),
        audience: AUDIENCE.to_owned(),
        jwks,
        max_lifetime: Duration::from_mins(10),
        leeway: Duration::from_secs(30),
        groups_claim: "groups".to_owned(),
        preset: None,
        forks: false,
        asserted: false,
        token_expiry: TokenExpiry::Ignore,
        roots: None,
    }
}

/// Remembers what was registered, and what happened in which order.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) events: Mutex<Vec<String>>,
    pub(crate) refuse_start: Mutex<Option<String>>,
    registered: Mutex<HashSet<u64>>,
}

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }
    pub(crate) fn push(&self, event: impl Into<String>) {
        self.events.lock().unwrap().push(event.into());
    }
    pub(crate) fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }
    pub(crate) fn is_registered(&self, id: u64) -> bool {
        self.registered.lock().unwrap().contains(&id)
    }
}

impl KernelJobs for Recorder {
    fn add(&self, cgroup_id: u64) -> std::io::Result<()> {
        self.push("kernel add");
        self.registered.lock().unwrap().insert(cgroup_id);
        Ok(())
    }
    fn remove(&self, cgroup_id: u64) -> std::io::Result<()> {
        if self.registered.lock().unwrap().remove(&cgroup_id) {
            self.push("kernel remove");
        }
        Ok(())
    }
}

impl JobLedger for Recorder {
    fn started(&self, job: &Job) -> Result<(), String> {
        assert!(job.is_live());
        self.push("started");
        match self.refuse_start.lock().unwrap().clone() {
            None => Ok(()),
            Some(reason) => Err(reason),
        }
    }
    fn ended(&self, job: &Job, reason: EndReason) {
        assert!(!job.is_live(), "sessions close before the end is recorded");
        self.push(format!("ended: {reason:?}"));
    }
    fn refused(&self, _starter: &Starter, _pid: u32, error: &StartError) {
        self.push(format!("refused: {error}"));
    }
}

/// A web server on loopback that gives the answer it is told to, and counts requests.
pub(super) struct Web {
    pub(super) address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    requests: Arc<AtomicU32>,
}

impl Web {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::new(AtomicU32::new(0));
        let (shared, counter) = (Arc::clone(&answer), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let answer = shared.lock().unwrap().clone();
                serve(stream.unwrap(), &answer, &counter);
            }
        });
        Self {
            address,
            answer,
            requests,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers with this body and status 200 from now on.
    pub(super) fn body(&self, body: &str) {
        self.raw(&format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ));
    }

    pub(super) fn raw(&self, answer: &str) {
        *self.answer.lock().unwrap() = answer.as_bytes().to_vec();
    }

    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }
}

fn serve(mut stream: TcpStream, answer: &[u8], requests: &AtomicU32) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(n) => request.extend_from_slice(&buffer[..n]),
        }
    }
    // Before the answer, so that whoever has the answer sees it counted.
    requests.fetch_add(1, Ordering::Relaxed);
    // Whoever refuses a long answer hangs up.
    let _ = stream.write_all(answer);
}
