//! `cordon evidence prune` and `rotate-key`, which change a log, and `fetch`.

use std::{io::Write, path::Path, process::ExitCode, time::Duration};

use anyhow::Context as _;

use super::super::{
    client,
    gateway::{host_name, store_config},
    style::Output,
};
use crate::{
    admin::{Request, Response},
    audit::{self, Fsync, Log, LogConfig, OpenError, Store},
    config::{Config, parse_duration},
};

/// Removes what is older.
pub(super) fn prune<W: Write>(
    output: &mut Output<W>,
    dir: &Path,
    older_than: &str,
) -> anyhow::Result<ExitCode> {
    let keep = parse_duration(older_than).map_err(anyhow::Error::msg)?;
    anyhow::ensure!(
        keep >= Duration::from_hours(1),
        "the evidence of the last hour stays"
    );
    let log = open(dir, false)?;
    let removed = log.prune(keep)?;
    close(&log, "evidence was pruned")?;
    if output.is_json() {
        output.json(&removed)?;
    } else {
        output.line(&format!(
            "removed {} segments, {} recordings and {} side files; the log begins with entry {}",
            removed.segments, removed.recordings, removed.side_files, removed.first
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Has a new key take over: the daemon's doing, if one writes the log.
pub(super) fn rotate_key<W: Write>(
    output: &mut Output<W>,
    dir: &Path,
    control: &Path,
) -> anyhow::Result<ExitCode> {
    let public = dir.join("keys/log.pub");
    let read = || {
        std::fs::read_to_string(&public)
            .with_context(|| format!("{} cannot be read", public.display()))
    };
    let key = match open(dir, true) {
        Ok(log) => {
            close(&log, "the signing key was changed")?;
            read()?
        }
        Err(error) if matches!(error.downcast_ref(), Some(OpenError::Locked(_))) => {
            let request = Request::EvidenceRotateKey {
                current: read()?.trim().to_owned(),
            };
            match client::ask(control, &request)? {
                Response::EvidenceKey { public_key } => public_key,
                Response::Done
                | Response::Job(_)
                | Response::Jobs { .. }
                | Response::Approvals { .. }
                | Response::Requests { .. }
                | Response::Status(_)
                | Response::DatabaseChecks { .. }
                | Response::Catalog(_)
                | Response::Error { .. } => return Err(client::unexpected()),
            }
        }
        Err(error) => return Err(error),
    };
    if output.is_json() {
        output.json(&serde_json::json!({ "public_key": key.trim() }))?;
    } else {
        output
            .line("the log is signed with a new key from now on; keep a copy of it elsewhere, and give it to the witnesses:")?;
        output.line(key.trim())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Fetches what was shipped.
pub(super) fn fetch<W: Write>(
    output: &mut Output<W>,
    config: &Path,
    to: &Path,
) -> anyhow::Result<ExitCode> {
    let config = Config::load(config)?;
    let ship = config
        .evidence
        .ship
        .context("the configuration ships nothing; write `evidence.ship`")?;
    let taken = to.read_dir().is_ok_and(|mut items| items.next().is_some());
    anyhow::ensure!(!taken, "{} is not empty", to.display());
    // The default for libraries that ask for one.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let store = Store::new(&store_config(&ship))?;
    let fetched = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(audit::fetch(&store, to))?;
    if output.is_json() {
        output.json(&fetched)?;
    } else {
        output.line(&format!(
            "{} objects, {} bytes; now verify it with a key kept elsewhere: cordon-verify --key KEY {}",
            fetched.objects,
            fetched.bytes,
            to.display()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn open(dir: &Path, rotate_key: bool) -> anyhow::Result<std::sync::Arc<Log>> {
    anyhow::ensure!(
        dir.join("segments").is_dir(),
        "{} is no folder of evidence",
        dir.display()
    );
    let config = LogConfig {
        rotate_key,
        ..LogConfig::new(dir, Fsync::Always, host_name())
    };
    let (log, _) = Log::open(config).context("the evidence log cannot be opened")?;
    Ok(log)
}

fn close(log: &Log, reason: &str) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(log.close(reason))
        .context("the evidence log cannot be closed")
}
