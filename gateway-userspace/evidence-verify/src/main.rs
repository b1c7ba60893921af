//! `cordon-verify FOLDER`: checks a folder of evidence, and says what the first bad entry is.

use std::{path::PathBuf, process::ExitCode};

use cordon_verify::{Report, VerifyOptions, Witness, verify};

const USAGE: &str = "\
Checks a folder of Cordon's evidence offline: every entry, checkpoint, side file and recording.

usage: cordon-verify [--key KEY|FILE] [--checkpoint FILE] [--witness KEY|FILE ...] [--quorum N]
                     [--json] FOLDER

  --key KEY|FILE     the log's public key, from a copy kept elsewhere; without it the key
                     beside the log is trusted, and whoever rewrote the log may have replaced it
  --checkpoint FILE  a checkpoint kept elsewhere, which the log must still contain
  --witness KEY|FILE the public key of a witness that must have cosigned; may be given several times
  --quorum N         how many of them must have cosigned a checkpoint; without it, all
  --json             print the report as JSON

exit status: 0 the evidence is whole, 1 it is not, 2 it cannot be checked";

struct Arguments {
    dir: PathBuf,
    key: Option<String>,
    checkpoint: Option<String>,
    witnesses: Vec<Witness>,
    quorum: Option<usize>,
    json: bool,
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("cordon-verify: {wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let options = VerifyOptions {
        public_key: arguments.key.as_deref(),
        checkpoint: arguments.checkpoint.as_deref(),
        witnesses: arguments.witnesses,
        quorum: arguments.quorum,
        progress: None,
    };
    let report = verify(&arguments.dir, options);
    if arguments.json {
        match serde_json::to_string(&report) {
            Ok(json) => println!("{json}"),
            Err(error) => {
                eprintln!("cordon-verify: {error}");
                return ExitCode::from(2);
            }
        }
    } else {
        print(&report);
    }
    match report.problem {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    }
}

/// `None`: help is wanted.
fn arguments(mut given: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let (mut dir, mut key, mut checkpoint, mut json) = (None, None, None, false);
    let (mut witnesses, mut quorum) = (Vec::new(), None);
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--json" => json = true,
            "--key" => key = Some(key_text(value()?)?),
            "--checkpoint" => checkpoint = Some(read(&value()?)?),
            "--witness" => witnesses.push(Witness::parse(&key_text(value()?)?)?),
            "--quorum" => {
                let number = value()?;
                quorum = Some(
                    number
                        .parse()
                        .map_err(|error| format!("{number}: {error}"))?,
                );
            }
            flag if flag.starts_with('-') => return Err(format!("there is no {flag}")),
            _ if dir.is_some() => return Err("give one folder".to_owned()),
            _ => dir = Some(PathBuf::from(argument)),
        }
    }
    let dir = dir.ok_or("give the evidence folder")?;
    Ok(Some(Arguments {
        dir,
        key,
        checkpoint,
        witnesses,
        quorum,
        json,
    }))
}

/// A key stands for itself; anything else is a file's name.
fn key_text(given: String) -> Result<String, String> {
    if given.matches('+').count() >= 2 {
        Ok(given)
    } else {
        read(&given)
    }
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))
}

fn print(report: &Report) {
    match &report.problem {
        None => println!("the evidence is whole"),
        Some(problem) => println!("the evidence is NOT whole: {problem}"),
    }
    println!("log         {}", report.origin);
    let trusted = if report.key_from_log {
        " (taken from beside the log: whoever rewrote it may have replaced it)"
    } else {
        ""
    };
    println!("key         {}{trusted}", report.key_id);
    println!(
        "entries     {} in {} segments, {} checkpoints, {} side files",
        report.entries, report.segments, report.checkpoints, report.blobs
    );
    println!(
        "recordings  {} parts of {} sessions, {} without an end",
        report.recorded_parts, report.recorded_sessions, report.unended_recordings
    );
    println!("root        {}", report.root);
    let told = |number: u64, what: &str| {
        if number > 0 {
            println!("note        {number} {what}");
        }
    };
    told(
        report.unsigned_entries,
        "entries that no checkpoint covers yet",
    );
    told(report.torn_bytes, "torn bytes behind the last entry");
    told(
        report.unrecorded_bytes,
        "bytes in recordings that are not on record: a crash",
    );
    told(
        report.removed_recordings,
        "recordings removed, as the log says",
    );
    told(report.unclean_restarts, "restarts without a close");
    told(report.clock_set_back, "times the wall clock went back");
    told(report.gap_count, "declared gaps");
    for gap in &report.gaps {
        println!(
            "gap         entry {} at {}: {} ({} bytes cut off, {} events lost)",
            gap.entry, gap.time, gap.reason, gap.cut_bytes, gap.lost_events
        );
    }
    for witness in &report.witnesses {
        match &witness.time {
            Some(time) => println!(
                "witness     {} ({}) has cosigned {} entries at {time}",
                witness.name, witness.key_id, witness.entries
            ),
            None => println!(
                "witness     {} ({}) has cosigned nothing",
                witness.name, witness.key_id
            ),
        }
    }
    if report.quorum > 0 {
        told(
            report.entries.saturating_sub(report.witnessed_entries),
            "entries that no quorum of witnesses has seen yet",
        );
    } else {
        told(
            report.cosigned_checkpoints,
            "checkpoints cosigned by witnesses that were not checked: give --witness",
        );
    }
    if let Some(pruned) = &report.pruned {
        println!(
            "pruned      {} entries before entry {}, as entry {} says: {}",
            pruned.first, pruned.first, pruned.entry, pruned.reason
        );
    }
}
