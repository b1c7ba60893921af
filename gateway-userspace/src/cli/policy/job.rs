//! The job that a policy is asked about: described by hand, by a token, or on record.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use crate::{
    audit::JobStarted,
    config::Config,
    identity::{Assurance, JobIdentity},
};

/// How well the identity is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AssuranceWord {
    /// The runner said so.
    RunnerAsserted,
    /// A verified token said so.
    OidcVerified,
}

impl From<AssuranceWord> for Assurance {
    fn from(word: AssuranceWord) -> Self {
        match word {
            AssuranceWord::RunnerAsserted => Self::RunnerAsserted,
            AssuranceWord::OidcVerified => Self::OidcVerified,
        }
    }
}

/// A job described on the command line.
#[derive(Args, Clone, Debug)]
pub struct JobArgs {
    /// The issuer of its token, as the configuration names it.
    #[arg(long, value_name = "NAME")]
    pub issuer: Option<String>,
    /// A claim of its token; the same claim several times is a list.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    pub claims: Vec<String>,
    /// One of its groups.
    #[arg(long = "group", value_name = "NAME")]
    pub groups: Vec<String>,
    /// How well its identity is proven.
    #[arg(long, value_enum, default_value = "oidc-verified")]
    pub assurance: AssuranceWord,
    /// Take the claims from this token. It is read, not verified.
    #[arg(long, value_name = "FILE")]
    pub token: Option<PathBuf>,
}

/// A job, and where it is known from.
#[derive(Clone, Debug)]
pub struct KnownJob {
    /// Who it is.
    pub identity: JobIdentity,
    /// What is to be said about where this is known from.
    pub note: Option<String>,
}

/// A job as it is printed.
#[derive(Clone, Debug, Serialize)]
pub struct JobLine {
    issuer: String,
    assurance: Assurance,
    groups: Vec<String>,
    claims: BTreeMap<String, Value>,
    /// What is to be said about where it is known from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl From<&KnownJob> for JobLine {
    fn from(job: &KnownJob) -> Self {
        Self {
            issuer: job.identity.issuer().to_owned(),
            assurance: job.identity.assurance(),
            groups: job.identity.groups().to_vec(),
            claims: job.identity.claims().clone(),
            note: job.note.clone(),
        }
    }
}

impl JobLine {
    /// In one line.
    pub fn text(&self) -> String {
        let assurance = match self.assurance {
            Assurance::RunnerAsserted => "runner-asserted",
            Assurance::OidcVerified => "oidc-verified",
        };
        let mut parts = vec![format!("{} ({assurance})", self.issuer)];
        parts.extend(self.groups.iter().map(|group| format!("group {group}")));
        parts.extend(self.claims.iter().map(|(claim, value)| match value {
            Value::String(text) => format!("{claim}={text}"),
            other => format!("{claim}={other}"),
        }));
        parts.join(", ")
    }
}

impl JobArgs {
    /// The job; the configuration, if it can be read, knows issuers by their tokens.
    pub fn job(&self, config: &Path) -> anyhow::Result<KnownJob> {
        let mut claims = BTreeMap::new();
        let mut groups = self.groups.clone();
        let mut issuer = self.issuer.clone();
        let mut note = None;
        if let Some(file) = &self.token {
            claims = payload(file)?;
            let config = Config::load(config);
            let url = claims
                .get("iss")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let known = config
                .as_ref()
                .ok()
                .and_then(|config| config.issuers.iter().find(|issuer| issuer.url == url));
            let groups_claim = known.map_or("groups", |known| known.groups_claim.as_str());
            groups.extend(texts(claims.get(groups_claim)));
            if issuer.is_none() {
                issuer = known.map(|known| known.name.clone());
            }
            ensure!(
                issuer.is_some(),
                "the token's issuer {url:?} is not in the configuration; name it with --issuer"
            );
            note = Some(
                "the claims are those of a token that was not verified: it may be forged or over"
                    .to_owned(),
            );
        }
        let issuer = issuer.context(
            "say whose job it is: --issuer NAME with --claim NAME=VALUE, --token FILE, --session ID or --job ID",
        )?;
        for claim in &self.claims {
            let (name, value) = claim
                .split_once('=')
                .with_context(|| format!("`{claim}` is no claim; write --claim name=value"))?;
            add(&mut claims, name, value, self.token.is_some());
        }
        Ok(KnownJob {
            identity: JobIdentity::supposed(issuer, self.assurance.into(), groups, claims),
            note,
        })
    }
}

/// A second value makes a list; one given by hand replaces that of a token.
fn add(claims: &mut BTreeMap<String, Value>, name: &str, value: &str, replace: bool) {
    let value = Value::String(value.to_owned());
    match claims.get_mut(name) {
        Some(Value::Array(values)) if !replace => values.push(value),
        Some(have) if !replace => *have = Value::Array(vec![have.clone(), value]),
        Some(_) | None => {
            claims.insert(name.to_owned(), value);
        }
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(values)) => values
            .iter()
            .filter_map(|value| value.as_str().map(str::to_owned))
            .collect(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
            Vec::new()
        }
    }
}

/// The claims of a token in compact serialisation. Errors never repeat the token.
fn payload(file: &Path) -> anyhow::Result<BTreeMap<String, Value>> {
    let token = zeroize::Zeroizing::new(
        fs::read_to_string(file)
            .with_context(|| format!("the token {} cannot be read", file.display()))?,
    );
    let parts: Vec<&str> = token.trim().split('.').collect();
    let [_, payload, _] = parts.as_slice() else {
        bail!("{} holds no signed token (JWT)", file.display());
    };
    URL_SAFE_NO_PAD
        .decode(payload)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .with_context(|| format!("the token in {} has no readable claims", file.display()))
}

/// A job on record.
pub fn recorded(job: &JobStarted) -> KnownJob {
    let assurance = if job.assurance == "oidc-verified" {
        Assurance::OidcVerified
    } else {
        Assurance::RunnerAsserted
    };
    KnownJob {
        identity: JobIdentity::supposed(
            job.issuer.clone(),
            assurance,
            job.groups.clone(),
            job.claims.clone(),
        ),
        note: Some(format!("on record as {}", job.job)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> JobArgs {
        JobArgs {
            issuer: Some("github".to_owned()),
            claims: vec!["ref=a".to_owned(), "env=x".to_owned(), "env=y=z".to_owned()],
            groups: vec!["g".to_owned()],
            assurance: AssuranceWord::OidcVerified,
            token: None,
        }
    }

    #[test]
    fn claims_given_twice_are_a_list() {
        let job = args().job(Path::new("/nowhere")).expect("a job");
        assert_eq!(job.identity.claims()["ref"], "a");
        assert_eq!(
            job.identity.claims()["env"],
            serde_json::json!(["x", "y=z"])
        );
        assert_eq!(
            JobLine::from(&job).text(),
            r#"github (oidc-verified), group g, env=["x","y=z"], ref=a"#
        );
    }

    #[test]
    fn a_token_is_read_without_its_signature_and_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        let body = URL_SAFE_NO_PAD.encode(r#"{"iss":"https://x","ref":"b","groups":["team"]}"#);
        fs::write(&file, format!("e30.{body}.sig\n")).expect("writable");
        let with_token = JobArgs {
            token: Some(file.clone()),
            claims: vec!["ref=c".to_owned()],
            ..args()
        };
        let job = with_token.job(Path::new("/nowhere")).expect("a job");
        assert_eq!(
            job.identity.claims()["ref"],
            "c",
            "what is said by hand counts"
        );
        assert_eq!(job.identity.groups(), ["g", "team"]);
        assert!(job.note.expect("a note").contains("not verified"));
        let unnamed = JobArgs {
            issuer: None,
            ..with_token
        };
        let error = unnamed.job(Path::new("/nowhere")).expect_err("no issuer");
        assert!(error.to_string().contains("--issuer"), "{error}");
        fs::write(&file, "no token at all").expect("writable");
        let error = unnamed.job(Path::new("/nowhere")).expect_err("no token");
        assert!(!error.to_string().contains("at all"), "{error}");
    }
}
