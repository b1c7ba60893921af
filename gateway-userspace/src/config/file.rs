//! The configuration as written. Unknown keys are refused; nothing is resolved yet.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{
    ConfigError, Fsync, Preset, Recording, TlsMode, TokenExpiry, error::did_you_mean,
    notify::NotifyFile, witness::WitnessFile,
};

const MAX_FILE: u64 = 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) version: Option<Spanned<u32>>,
    pub(super) state_dir: Option<Spanned<PathBuf>>,
    pub(super) runtime_dir: Option<Spanned<PathBuf>>,
    pub(super) user: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) intercept: Intercept,
    #[serde(default)]
    pub(super) jobs: Jobs,
    pub(super) issuers: Spanned<Vec<Spanned<Issuer>>>,
    pub(super) databases: Spanned<Vec<Spanned<Database>>>,
    pub(super) policy_dir: Spanned<PathBuf>,
    #[serde(default)]
    pub(super) approvers: BTreeMap<String, Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) evidence: Evidence,
    #[serde(default)]
    pub(super) notify: NotifyFile,
    pub(super) console: Option<Spanned<Console>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Console {
    pub(super) socket: Option<Spanned<PathBuf>>,
    pub(super) address: Option<Spanned<String>>,
    pub(super) url: Option<Spanned<String>>,
    pub(super) certificate_file: Option<Spanned<PathBuf>>,
    pub(super) key_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub(super) auditors: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) viewers: Vec<Spanned<String>>,
    pub(super) login: Option<Spanned<ConsoleLogin>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsoleLogin {
    pub(super) issuer: Spanned<String>,
    pub(super) client_id: Spanned<String>,
    pub(super) client_secret_file: Option<Spanned<PathBuf>>,
    pub(super) ca_file: Option<Spanned<PathBuf>>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) groups_claim: Option<String>,
    pub(super) max_token_lifetime: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) approvers: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub(super) auditors: Vec<String>,
    #[serde(default)]
    pub(super) viewers: Vec<String>,
    pub(super) idle: Option<Spanned<String>>,
    pub(super) max_duration: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Intercept {
    pub(super) scope: Option<Scope>,
    pub(super) pin_dir: Option<Spanned<PathBuf>>,
    pub(super) port: Option<Spanned<u16>>,
    #[serde(default)]
    pub(super) recognise: Recognise,
    pub(super) namespaces: Option<super::Namespaces>,
    pub(super) unix_sockets: Option<super::UnixSockets>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recognise {
    pub(super) action: Option<super::RecogniseAction>,
    pub(super) host: Option<bool>,
    #[serde(default)]
    pub(super) except: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Scope {
    Host,
    Cgroups(Spanned<Vec<Spanned<String>>>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Jobs {
    pub(super) cgroup: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) runners: Vec<Spanned<String>>,
    pub(super) max_duration: Option<Spanned<String>>,
    pub(super) worker: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Issuer {
    pub(super) name: Spanned<String>,
    pub(super) preset: Option<Preset>,
    pub(super) url: Option<Spanned<String>>,
    pub(super) audience: Spanned<String>,
    pub(super) jwks: Option<Spanned<String>>,
    pub(super) max_lifetime: Option<Spanned<String>>,
    pub(super) leeway: Option<Spanned<String>>,
    pub(super) groups_claim: Option<String>,
    pub(super) forks: Option<Forks>,
    pub(super) asserted: Option<Spanned<bool>>,
    pub(super) token_expiry: Option<TokenExpiry>,
    pub(super) ca_file: Option<Spanned<PathBuf>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Forks {
    Refuse,
    Allow,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    pub(super) name: Spanned<String>,
    pub(super) dbname: Option<Spanned<String>>,
    pub(super) address: Spanned<String>,
    #[serde(default)]
    pub(super) aliases: Vec<Spanned<String>>,
    pub(super) tls: Option<TlsMode>,
    pub(super) ca_file: Option<Spanned<PathBuf>>,
    pub(super) client_password: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) logins: Vec<Login>,
    pub(super) admin: Option<Spanned<Admin>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    pub(super) user: Spanned<String>,
    pub(super) password_file: Option<Spanned<PathBuf>>,
    pub(super) password_env: Option<Spanned<String>>,
    pub(super) password_credential: Option<Spanned<String>>,
    pub(super) password_command: Option<Spanned<Vec<String>>>,
}

/// Serde cannot flatten and refuse unknown keys at once, so the keys of a login stand here again.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) user: Spanned<String>,
    pub(super) password_file: Option<Spanned<PathBuf>>,
    pub(super) password_env: Option<Spanned<String>>,
    pub(super) password_credential: Option<Spanned<String>>,
    pub(super) password_command: Option<Spanned<Vec<String>>>,
    pub(super) procedures: Option<bool>,
    pub(super) connections: Option<Spanned<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Evidence {
    pub(super) fsync: Option<Fsync>,
    pub(super) recording: Option<Recording>,
    pub(super) recorded_result: Option<Spanned<String>>,
    pub(super) keep: Option<Spanned<String>>,
    pub(super) ship: Option<Ship>,
    pub(super) witnesses: Option<Spanned<Vec<WitnessFile>>>,
    pub(super) witness_quorum: Option<Spanned<usize>>,
    pub(super) witness_every: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ship {
    pub(super) endpoint: Option<Spanned<String>>,
    pub(super) region: Option<String>,
    pub(super) bucket: Spanned<String>,
    pub(super) prefix: Option<Spanned<String>>,
    pub(super) access_key_file: Spanned<PathBuf>,
    pub(super) secret_key_file: Spanned<PathBuf>,
    pub(super) every: Option<Spanned<String>>,
    pub(super) backlog: Option<Spanned<String>>,
}

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let wrong = |error: std::io::Error| {
        ConfigError::whole(path, format!("cannot read the configuration: {error}"))
    };
    let size = std::fs::metadata(path).map_err(wrong)?.len();
    if size > MAX_FILE {
        return Err(ConfigError::whole(
            path,
            format!("the file is larger than {MAX_FILE} bytes"),
        ));
    }
    std::fs::read_to_string(path).map_err(wrong)
}

/// Parses the text.
pub(super) fn parse(text: &str, path: &Path) -> Result<File, ConfigError> {
    serde_saphyr::from_str(text).map_err(|error| refused(&error, path))
}

fn refused(error: &serde_saphyr::Error, path: &Path) -> ConfigError {
    let error = error.without_snippet();
    let location = error.location().unwrap_or(serde_saphyr::Location::UNKNOWN);
    match error {
        serde_saphyr::Error::SerdeUnknownField {
            field, expected, ..
        } => ConfigError::at(path, location, format!("unknown key `{field}`"))
            .suggest(did_you_mean(field, expected.iter().copied()).or_else(|| known(expected))),
        serde_saphyr::Error::SerdeUnknownVariant {
            variant, expected, ..
        } => ConfigError::at(path, location, format!("unknown value `{variant}`"))
            .suggest(did_you_mean(variant, expected.iter().copied()).or_else(|| known(expected))),
        serde_saphyr::Error::SerdeMissingField { field, .. } => {
            ConfigError::at(path, location, format!("the key `{field}` is missing"))
        }
        other => {
            // The library's own text ends with the position, which is shown already.
            let text = other.to_string();
            let message = text
                .split(" at line ")
                .next()
                .unwrap_or(&text)
                .lines()
                .next()
                .unwrap_or("not valid YAML");
            ConfigError::at(
                path,
                location,
                message.trim_start_matches("error: ").to_owned(),
            )
        }
    }
}

fn known(expected: &[&str]) -> Option<String> {
    (!expected.is_empty()).then(|| format!("known here: {}", expected.join(", ")))
}
