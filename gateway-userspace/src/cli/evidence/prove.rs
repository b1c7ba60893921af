//! `cordon evidence prove`, `check` and `export`: what others can check without the log.

use std::{
    fs,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Output, ProgressLine, key_text, read_text};
use crate::audit::{
    Claim, Progress, Proven, ReadError, check_proof, export_entries, export_tiles,
    latest_checkpoint, note_size, ocsf_events, prove_entry, prove_growth,
};

/// What to prove.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct Subject {
    /// Prove that this entry is in the log.
    #[arg(long, value_name = "INDEX")]
    entry: Option<u64>,
    /// Prove that the log of this older checkpoint, in a file, is the beginning of the log.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
}

/// Arguments of `cordon evidence prove`.
#[derive(Args, Clone, Debug)]
pub struct ProveArgs {
    #[command(flatten)]
    subject: Subject,
    /// Also write the entry's bytes to this file: whoever checks the proof needs them.
    #[arg(long, value_name = "FILE", requires = "entry")]
    entry_file: Option<PathBuf>,
}

/// Arguments of `cordon evidence check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The proof, as `cordon evidence prove` printed it.
    proof: PathBuf,
    #[command(flatten)]
    claim: ClaimArgs,
}

/// What a proof is said to show.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct ClaimArgs {
    /// The file with the entry's bytes.
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
    /// The file with the older checkpoint.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
}

/// What to write.
#[derive(Clone, Debug, Subcommand)]
pub enum ExportCommand {
    /// Every entry that a checkpoint covers as a line of JSON, on standard output.
    Jsonl {
        /// Begin with this entry.
        #[arg(long, value_name = "INDEX", default_value_t = 0)]
        from: u64,
    },
    /// OCSF events of class 6005 (Datastore Activity), a line each, on standard output: sessions,
    /// statements and refusals.
    Ocsf,
    /// Files in the C2SP tlog-tiles form, which other tools for transparency logs read.
    Tiles {
        /// The folder; made if it is not there.
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
    },
}

fn head(dir: &Path, key: Option<&str>) -> Result<(String, u64)> {
    let note = latest_checkpoint(dir, key)
        .map_err(|problem| anyhow::anyhow!("there is no good checkpoint: {problem}"))?;
    let size = note_size(&note).context("the checkpoint has no size")?;
    Ok((note, size))
}

/// Prints a proof for the last signed checkpoint. The proof is the product, in a pipe too: JSON
/// only if it was asked for.
pub(super) fn prove(
    output: &mut Output<io::StdoutLock<'static>>,
    dir: &Path,
    key: Option<&str>,
    args: &ProveArgs,
    json: bool,
) -> Result<ExitCode> {
    let (note, size) = head(dir, key)?;
    let proof = if let Some(path) = &args.subject.since {
        let old = read_text(path)?;
        let old =
            note_size(&old).with_context(|| format!("{} is no checkpoint", path.display()))?;
        if old > size {
            bail!("that checkpoint has {old} entries, the last one of this log {size}");
        }
        prove_growth(dir, old, size, &note)?
    } else {
        let index = args.subject.entry.unwrap_or_default();
        if index >= size {
            bail!(
                "the last signed checkpoint covers {size} entries, the first of which is 0; \
                 an entry is signed about a second after it was written"
            );
        }
        let (proof, entry) = prove_entry(dir, index, size, &note)?;
        if let Some(path) = &args.entry_file {
            fs::write(path, entry)
                .with_context(|| format!("{} cannot be written", path.display()))?;
        }
        proof
    };
    if json && args.subject.entry.is_some() {
        output.json(&json!({ "entry": args.subject.entry, "size": size, "proof": proof }))?;
    } else if json {
        output.json(&json!({ "size": size, "proof": proof }))?;
    } else {
        output.line(proof.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks a proof; the exit code is 1 if it shows nothing.
pub(super) fn check(
    output: &mut Output<io::StdoutLock<'static>>,
    dir: &Path,
    key: Option<&str>,
    args: &CheckArgs,
) -> Result<ExitCode> {
    let key = match key {
        Some(key) => key.to_owned(),
        None => key_text(&dir.join("keys/log.pub").display().to_string())
            .context("give the log's public key with --public-key")?,
    };
    let proof = format!("{}\n", read_text(&args.proof)?.trim_end());
    let outcome = if let Some(path) = &args.claim.since {
        check_proof(&proof, Claim::Since(&read_text(path)?), &key)
    } else {
        let path = args.claim.entry.as_deref().unwrap_or(Path::new(""));
        let entry = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        check_proof(&proof, Claim::Entry(&entry), &key)
    };
    let (ok, what) = match outcome {
        Ok(Proven::Entry { index, size }) => (
            true,
            format!("proven: it is entry {index} of the log of {size} entries"),
        ),
        Ok(Proven::Growth { old, size }) => (
            true,
            format!("proven: the log of {size} entries begins with those {old}"),
        ),
        Err(problem) => (false, format!("NOT proven: {problem}")),
    };
    if output.is_json() {
        output.json(&json!({ "ok": ok, "result": what }))?;
    } else {
        output.line(&crate::approval::visible_line(&what))?;
    }
    Ok(if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Writes what the last signed checkpoint covers in another form.
pub(super) fn export(
    output: &mut Output<io::StdoutLock<'static>>,
    dir: &Path,
    key: Option<&str>,
    command: &ExportCommand,
) -> Result<ExitCode> {
    let (note, size) = head(dir, key)?;
    match command {
        ExportCommand::Jsonl { from } => {
            let mut lines = BufWriter::with_capacity(256 * 1024, io::stdout());
            export_entries(dir, size, *from, &mut lines)?;
            lines.flush()?;
        }
        ExportCommand::Ocsf => {
            let mut lines = BufWriter::with_capacity(256 * 1024, io::stdout());
            ocsf_events(dir, size, |event| {
                writeln!(lines, "{event}").map_err(ReadError::io(Path::new("the output")))
            })?;
            lines.flush()?;
        }
        ExportCommand::Tiles { to } => {
            let mut bar = ProgressLine::new();
            let written = export_tiles(dir, size, &note, to, |entries| {
                bar.show(Progress {
                    bytes: entries,
                    total_bytes: size,
                    entries,
                });
            })?;
            bar.clear();
            if output.is_json() {
                output.json(&json!({
                    "entries": written.entries,
                    "files": written.files,
                    "folder": to,
                }))?;
            } else {
                output.line(&format!(
                    "{} entries in {} files below {}",
                    written.entries,
                    written.files,
                    to.display()
                ))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
