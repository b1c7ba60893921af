//! The attested actor of a session.

use std::{collections::BTreeMap, sync::Arc};

use super::{Life, VerifiedToken};

/// How well a job's identity is proven. Ordered: later is stronger.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Assurance {
    /// The runner said so.
    RunnerAsserted,
    /// A token signed by the issuer said so.
    OidcVerified,
}

/// Claims that name a person: GitHub's, GitLab's, those of `OpenID` Connect itself.
const PERSON_CLAIMS: [&str; 6] = [
    "actor",
    "user_login",
    "user_email",
    "preferred_username",
    "email",
    "upn",
];

/// A job's identity: the claims of its verified token. Built only by [`crate::identity`].
#[derive(Clone, Debug)]
pub struct JobIdentity {
    pub(super) id: String,
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) assurance: Assurance,
    pub(super) groups: Vec<String>,
    pub(super) claims: BTreeMap<String, serde_json::Value>,
}

impl JobIdentity {
    pub(super) fn from_token(id: String, token: VerifiedToken) -> Self {
        Self {
            id,
            issuer: token.issuer,
            subject: token.subject,
            assurance: Assurance::OidcVerified,
            groups: token.groups,
            claims: token.claims,
        }
    }

    /// The runner's word for it.
    pub(super) fn asserted(
        id: String,
        issuer: String,
        claims: BTreeMap<String, serde_json::Value>,
    ) -> Self {
        Self {
            id,
            issuer,
            subject: "(asserted by its runner)".to_owned(),
            assurance: Assurance::RunnerAsserted,
            groups: Vec::new(),
            claims,
        }
    }

    /// An identity that nobody attested, to ask a policy about. It opens nothing: what connects
    /// is a [`Principal`], which is made of a live job.
    pub(crate) fn supposed(
        issuer: String,
        assurance: Assurance,
        groups: Vec<String>,
        claims: BTreeMap<String, serde_json::Value>,
    ) -> Self {
        Self {
            id: "job-supposed".to_owned(),
            subject: String::new(),
            issuer,
            assurance,
            groups,
            claims,
        }
    }

    /// An identity for tests of other modules.
    #[cfg(test)]
    pub(crate) fn fixture(
        issuer: &str,
        assurance: Assurance,
        groups: Vec<String>,
        claims: BTreeMap<String, serde_json::Value>,
    ) -> JobIdentity {
        Self {
            id: "job-00000000000000aa".to_owned(),
            issuer: issuer.to_owned(),
            subject: "fixture".to_owned(),
            assurance,
            groups,
            claims,
        }
    }

    /// Cordon's id of the job: `job-` and 16 hex digits, never reused.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// The configured name of the issuer (`github`), not its URL.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
    /// The token's `sub`, for display only; policy matches single claims.
    pub fn subject(&self) -> &str {
        &self.subject
    }
    /// How well it is proven.
    pub fn assurance(&self) -> Assurance {
        self.assurance
    }
    /// Values of the `groups` claim.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }
    /// Names of the person whose doing the job is, as far as the token tells: its subject, and
    /// the claims in which CI systems name who started it.
    pub fn people(&self) -> Vec<String> {
        let claims = PERSON_CLAIMS.iter().filter_map(|claim| {
            let value = self.claims.get(*claim)?.as_str()?;
            (!value.is_empty()).then(|| value.to_owned())
        });
        std::iter::once(self.subject.clone())
            .chain(claims)
            .collect()
    }
    /// All claims of the token.
    pub fn claims(&self) -> &BTreeMap<String, serde_json::Value> {
        &self.claims
    }
}

/// The process that connected, for the evidence and the approver.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProcessEvidence {
    /// Process id on the host.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Command name as the kernel saw it at connect.
    pub comm: String,
    /// Executable path, if it could still be read.
    pub executable: Option<String>,
    /// Command line, if it could still be read; at most 4 KiB.
    pub command_line: Option<String>,
    /// Start time in clock ticks since boot.
    pub start_time: Option<u64>,
}

/// The attested actor of one connection: a live job and the process that dialled.
#[derive(Clone, Debug)]
pub struct Principal {
    pub(super) job: Arc<JobIdentity>,
    pub(super) process: ProcessEvidence,
    pub(super) life: Life,
}

impl Principal {
    /// A principal that nobody attested, for benchmarks, fuzz targets and tests.
    #[cfg(any(test, fuzzing, feature = "bench"))]
    pub(crate) fn supposed(job: JobIdentity) -> Self {
        Self {
            job: Arc::new(job),
            process: ProcessEvidence::default(),
            life: Life::new(),
        }
    }

    /// The job.
    pub fn job(&self) -> &Arc<JobIdentity> {
        &self.job
    }
    /// The process.
    pub fn process(&self) -> &ProcessEvidence {
        &self.process
    }
    /// The life of the job: sessions end with it.
    pub fn life(&self) -> &Life {
        &self.life
    }
}
