//! `cordon evidence`: checks the log offline, and proves to others what is in it.

mod keep;
mod prove;

use std::{
    fs,
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    client::ControlArgs,
    sessions::EVIDENCE_DIR,
    style::{Output, Style},
    table::{Cell, Table},
};
use crate::audit::{
    Progress, Report, VerifyOptions, Witness, check_cosignatures, latest_checkpoint,
    latest_cosigned, verify,
};

/// Verify the evidence log.
#[derive(Args, Clone, Debug)]
pub struct EvidenceArgs {
    #[command(subcommand)]
    command: EvidenceCommand,
    /// The evidence folder.
    #[arg(long, global = true, value_name = "FOLDER", env = "CORDON_EVIDENCE", default_value = EVIDENCE_DIR)]
    dir: PathBuf,
    /// The log's public key, or a file that holds it: a copy of `keys/log.pub` kept elsewhere.
    #[arg(long, global = true, value_name = "KEY|FILE")]
    public_key: Option<String>,
    /// Print JSON, on a terminal too.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum EvidenceCommand {
    /// Check every entry, checkpoint and side file; exits with 1 at the first that is bad.
    Verify {
        /// A checkpoint kept elsewhere, in a file, that the log must still contain.
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        #[command(flatten)]
        witnesses: WitnessArgs,
    },
    /// Print the last signed checkpoint, to be kept elsewhere.
    Checkpoint {
        /// The last one that witnesses have cosigned, with their signatures.
        #[arg(long)]
        cosigned: bool,
        #[command(flatten)]
        witnesses: WitnessArgs,
    },
    /// Print a proof that an entry is in the log, or that an older checkpoint's log is its beginning.
    Prove(prove::ProveArgs),
    /// Check such a proof, with nothing but the public key; exits with 1 if it shows nothing.
    Check(prove::CheckArgs),
    /// Remove segments and recordings that are older; the log says so, and what is left verifies.
    /// The daemon must be stopped; `evidence.keep` in its configuration does it while it runs.
    Prune {
        /// How old: 90d.
        #[arg(long, value_name = "TIME")]
        older_than: String,
    },
    /// Sign with a new key from now on; the old one vouches for it. A daemon that writes the log does
    /// it while it runs.
    RotateKey(ControlArgs),
    /// Fetch what was shipped into a folder, to verify it without the host.
    Fetch {
        /// The daemon's configuration, which names the store.
        #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
        config: PathBuf,
        /// A new folder.
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
    },
    /// Write the log in another form.
    Export {
        #[command(subcommand)]
        command: prove::ExportCommand,
    },
}

/// Whose cosignatures are checked.
#[derive(Args, Clone, Debug, Default)]
struct WitnessArgs {
    /// The public key of a witness, or a file that holds it; may be given several times.
    #[arg(long, value_name = "KEY|FILE")]
    witness: Vec<String>,
    /// How many of them must have cosigned a checkpoint; without it, all.
    #[arg(long, value_name = "N", requires = "witness")]
    quorum: Option<usize>,
}

impl WitnessArgs {
    fn keys(&self) -> anyhow::Result<Vec<Witness>> {
        let mut keys = Vec::with_capacity(self.witness.len());
        for given in &self.witness {
            keys.push(Witness::parse(&key_text(given)?).map_err(anyhow::Error::msg)?);
        }
        Ok(keys)
    }
}

/// Runs the command. The exit code is 1 if the log is not what it should be.
///
/// # Errors
/// If the given key or checkpoint cannot be read, or nothing can be printed.
pub fn run(args: EvidenceArgs) -> anyhow::Result<ExitCode> {
    let EvidenceArgs {
        command,
        dir,
        public_key,
        json,
    } = args;
    let key = public_key.map(|given| key_text(&given)).transpose()?;
    let mut output = Output::stdout(json);
    match command {
        EvidenceCommand::Verify {
            checkpoint,
            witnesses,
        } => {
            let checkpoint = checkpoint.map(|path| read_text(&path)).transpose()?;
            let mut bar = ProgressLine::new();
            let mut tell = |progress| bar.show(progress);
            let report = verify(
                &dir,
                VerifyOptions {
                    public_key: key.as_deref(),
                    checkpoint: checkpoint.as_deref(),
                    witnesses: witnesses.keys()?,
                    quorum: witnesses.quorum,
                    progress: Some(&mut tell),
                },
            );
            bar.clear();
            print_report(&mut output, &report)?;
            Ok(if report.ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        EvidenceCommand::Prune { older_than } => keep::prune(&mut output, &dir, &older_than),
        EvidenceCommand::RotateKey(ControlArgs { control }) => {
            keep::rotate_key(&mut output, &dir, &control)
        }
        EvidenceCommand::Fetch { config, to } => keep::fetch(&mut output, &config, &to),
        EvidenceCommand::Prove(args) => {
            prove::prove(&mut output, &dir, key.as_deref(), &args, json)
        }
        EvidenceCommand::Check(args) => prove::check(&mut output, &dir, key.as_deref(), &args),
        EvidenceCommand::Export { command } => {
            prove::export(&mut output, &dir, key.as_deref(), &command)
        }
        EvidenceCommand::Checkpoint {
            cosigned,
            witnesses,
        } => {
            let cosigned = cosigned || !witnesses.witness.is_empty();
            let note = if cosigned {
                latest_cosigned(&dir, key.as_deref())
            } else {
                latest_checkpoint(&dir, key.as_deref())
            };
            let note =
                note.map_err(|problem| anyhow::anyhow!("there is no good checkpoint: {problem}"))?;
            let by = check_cosignatures(&note, &witnesses.keys()?, witnesses.quorum)
                .map_err(anyhow::Error::msg)?;
            if json {
                let by: Vec<_> = by
                    .iter()
                    .map(|(witness, time)| serde_json::json!({ "witness": witness, "time": time }))
                    .collect();
                output.json(&serde_json::json!({ "checkpoint": note, "cosigned_by": by }))?;
            } else {
                // The note is the product, in a pipe too.
                output.line(note.trim_end())?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A key stands for itself; anything else is a file's name.
fn key_text(given: &str) -> anyhow::Result<String> {
    if given.matches('+').count() >= 2 && !Path::new(given).exists() {
        return Ok(given.to_owned());
    }
    read_text(Path::new(given))
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// The report with its verdict, for programs.
#[derive(Serialize)]
struct Verdict<'a> {
    ok: bool,
    #[serde(flatten)]
    report: &'a Report,
}

fn print_report<W: Write>(output: &mut Output<W>, report: &Report) -> io::Result<()> {
    if output.is_json() {
        return output.json(&Verdict {
            ok: report.ok(),
            report,
        });
    }
    let mut table = Table::pairs();
    let warn =
        |bad: bool, text: String| Cell::new(if bad { Style::Warning } else { Style::Plain }, text);
    table.pair("log", &report.origin);
    table.pair(
        "key",
        warn(
            report.key_from_log,
            if report.key_from_log {
                format!(
                    "{} (from beside the log; give --public-key with a copy kept elsewhere)",
                    report.key_id
                )
            } else {
                report.key_id.clone()
            },
        ),
    );
    table.pair("entries", report.entries.to_string());
    if let (Some(first), Some(last)) = (&report.first_time, &report.last_time) {
        table.pair("from", first);
        table.pair("to", last);
    }
    table.pair("segments", report.segments.to_string());
    table.pair("checkpoints", report.checkpoints.to_string());
    table.pair("side files", report.blobs.to_string());
    if report.ok() {
        table.pair(
            "closed",
            if report.closed {
                "in order"
            } else {
                "no: it is being written, or a crash ended it"
            },
        );
        table.pair(
            "not signed yet",
            warn(
                report.unsigned_entries > 0,
                format!("{} entries", report.unsigned_entries),
            ),
        );
        table.pair(
            "torn end",
            warn(
                report.torn_bytes > 0,
                format!("{} bytes", report.torn_bytes),
            ),
        );
    }
    if report.cosigned_checkpoints > 0 || !report.witnesses.is_empty() {
        let unchecked = report.witnesses.is_empty();
        table.pair(
            "cosigned checkpoints",
            warn(
                unchecked,
                if unchecked {
                    format!(
                        "{} (by witnesses that were not checked; give --witness)",
                        report.cosigned_checkpoints
                    )
                } else {
                    report.cosigned_checkpoints.to_string()
                },
            ),
        );
    }
    for witness in &report.witnesses {
        let seen = match &witness.time {
            Some(time) => format!("{} entries at {time}", witness.entries),
            None => "nothing".to_owned(),
        };
        let label = format!("witness {}", witness.name);
        table.pair(&label, warn(witness.time.is_none(), seen));
    }
    if report.ok() && report.quorum > 0 {
        let rest = report.entries.saturating_sub(report.witnessed_entries);
        table.pair(
            "not witnessed yet",
            warn(rest > 0, format!("{rest} entries")),
        );
    }
    table.pair(
        "restarts after a crash",
        warn(
            report.unclean_restarts > 0,
            report.unclean_restarts.to_string(),
        ),
    );
    table.pair(
        "clock set back",
        warn(
            report.clock_set_back > 0,
            format!("{} times", report.clock_set_back),
        ),
    );
    table.pair(
        "declared gaps",
        warn(report.gap_count > 0, report.gap_count.to_string()),
    );
    if report.ok() {
        table.pair("root", &report.root);
    }
    output.table(&table)?;
    if !report.events.is_empty() {
        output.line("")?;
        let mut events = Table::new(&["EVENT", "ENTRIES"]);
        for (kind, count) in &report.events {
            events.row([kind.into(), count.to_string().into()]);
        }
        output.table(&events)?;
    }
    if !report.gaps.is_empty() {
        output.line("")?;
        let mut gaps = Table::new(&["GAP AT", "TIME", "BYTES CUT", "EVENTS LOST", "WHY"]);
        for gap in &report.gaps {
            gaps.row([
                gap.entry.to_string().into(),
                Cell::from(&gap.time),
                gap.cut_bytes.to_string().into(),
                gap.lost_events.to_string().into(),
                Cell::from(&gap.reason),
            ]);
        }
        output.table(&gaps)?;
    }
    output.line("")?;
    let verdict = match &report.problem {
        None => output.paint(Style::Good, "verified: every entry is as it was signed"),
        Some(problem) => {
            let problem = crate::approval::visible_line(&problem.to_string());
            output.paint(Style::Bad, &format!("NOT verified: {problem}"))
        }
    };
    output.line(&verdict)
}

/// One line on standard error that shows how far a long check is; nothing if that is no terminal.
struct ProgressLine {
    terminal: bool,
    shown: bool,
}

impl ProgressLine {
    fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            shown: false,
        }
    }

    fn show(&mut self, progress: Progress) {
        let done = progress.bytes.saturating_mul(100) / progress.total_bytes.max(1);
        if self.terminal && (self.shown || done < 100) {
            self.shown = true;
            eprint!("\r{done:3}%  {} entries", progress.entries);
        }
    }

    fn clear(&mut self) {
        if self.shown {
            eprint!("\r\u{1b}[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Fsync, Log, LogConfig, Problem};

    fn printed(report: &Report, json: bool) -> String {
        let mut output = Output::new(Vec::new(), json, false, 120);
        print_report(&mut output, report).unwrap();
        String::from_utf8(output.into_inner()).unwrap()
    }

    #[test]
    fn the_first_bad_entry_is_named_for_people_and_programs() {
        let problem = Problem {
            entry: Some(17),
            file: "segments/0.log".into(),
            offset: 99,
            what: "it is changed".into(),
        };
        let report = Report {
            problem: Some(problem),
            ..Report::default()
        };
        assert!(
            printed(&report, false)
                .contains("NOT verified: entry 17: it is changed (segments/0.log, byte 99)")
        );
        let value: serde_json::Value = serde_json::from_str(&printed(&report, true)).unwrap();
        assert_eq!(
            (value["ok"].as_bool(), value["problem"]["entry"].as_u64()),
            (Some(false), Some(17))
        );
    }

    #[tokio::test]
    async fn a_good_log_prints_its_totals_and_a_bad_one_exits_with_1() {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(LogConfig::new(dir.path(), Fsync::Risky, "host")).unwrap();
        log.close("test").await.unwrap();
        let text = printed(&verify(dir.path(), VerifyOptions::default()), false);
        assert!(
            text.contains("verified: every entry") && text.contains("log-opened"),
            "{text}"
        );
        let args = |command| EvidenceArgs {
            command,
            dir: dir.path().to_owned(),
            public_key: None,
            json: true,
        };
        let verification = || EvidenceCommand::Verify {
            checkpoint: None,
            witnesses: WitnessArgs::default(),
        };
        let code = |args| format!("{:?}", run(args).unwrap());
        assert_eq!(
            code(args(verification())),
            format!("{:?}", ExitCode::SUCCESS)
        );
        let checkpoint = EvidenceCommand::Checkpoint {
            cosigned: false,
            witnesses: WitnessArgs::default(),
        };
        assert_eq!(code(args(checkpoint)), format!("{:?}", ExitCode::SUCCESS));
        fs::remove_file(dir.path().join("checkpoints")).unwrap();
        assert_eq!(
            code(args(verification())),
            format!("{:?}", ExitCode::FAILURE)
        );
    }
}
