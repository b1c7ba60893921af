//! The state of the evidence, and its check.

use std::{fs, path::Path, sync::Arc, time::SystemTime};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::{
    admin::rfc3339,
    audit::{
        Report, ShipState, VerifyOptions, WitnessStates, latest_checkpoint, note_size, verify,
    },
    console::{
        app::App,
        guard::{Changer, Reader},
        person::Role,
        refused::Refused,
        shown::Shown,
    },
};

/// The last check of the evidence that was asked for here.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Verification {
    /// None since the daemon started.
    #[default]
    None,
    /// It goes on.
    Running {
        /// When it began, RFC 3339.
        began: String,
        /// Who asked for it.
        by: String,
    },
    /// It is done.
    Done {
        /// When it ended, RFC 3339.
        ended: String,
        /// Who asked for it.
        by: String,
        /// Whether nothing is wrong.
        ok: bool,
        /// The first thing wrong.
        problem: Option<String>,
        /// What was found.
        report: Box<Report>,
    },
}

#[derive(Serialize)]
pub struct EvidenceState {
    folder: String,
    entries: u64,
    /// Bytes of all files.
    bytes: u64,
    /// Why nothing can be recorded, if nothing can.
    fault: Option<String>,
    checkpoint: Option<Signed>,
    /// Why there is no checkpoint to show.
    checkpoint_problem: Option<String>,
    /// How shipping off the host goes, if it is shipped.
    shipping: Option<ShipState>,
    /// How far witnesses have cosigned it, if some are asked.
    witnesses: Option<WitnessStates>,
    verification: Verification,
}

#[derive(Serialize)]
struct Signed {
    /// What is signed: the log's name, its entries, its root.
    text: String,
    entries: Option<u64>,
    /// When the file of checkpoints was last written, RFC 3339.
    written: Option<String>,
}

/// Size, last checkpoint, last check.
pub async fn state(
    State(app): State<Arc<App>>,
    reader: Reader,
) -> Result<Shown<EvidenceState>, Refused> {
    reader.asker.needs(Role::Auditor)?;
    let dir = app.evidence.clone();
    let (bytes, checkpoint, written) = spawn_blocking(move || {
        let written = fs::metadata(dir.join("checkpoints")).and_then(|meta| meta.modified());
        (size(&dir), latest_checkpoint(&dir, None), written.ok())
    })
    .await
    .map_err(|error| Refused::fault(error.to_string()))?;
    let (checkpoint, checkpoint_problem) = match checkpoint {
        Ok(note) => (
            Some(Signed {
                entries: note_size(&note),
                text: note.lines().take(3).collect::<Vec<_>>().join("\n"),
                written: written.map(rfc3339),
            }),
            None,
        ),
        Err(problem) => (None, Some(problem.to_string())),
    };
    Ok(Shown(EvidenceState {
        folder: app.evidence.display().to_string(),
        entries: app.gate.log().entries(),
        bytes,
        fault: app.gate.log().fault().map(|fault| fault.to_string()),
        checkpoint,
        checkpoint_problem,
        shipping: app.gate.shipping(),
        witnesses: app.gate.witnesses(),
        verification: app.verification.lock().await.clone(),
    }))
}

/// The last checkpoint with its signatures, byte for byte, to be kept elsewhere.
pub async fn checkpoint(State(app): State<Arc<App>>, reader: Reader) -> Result<Response, Refused> {
    reader.asker.needs(Role::Auditor)?;
    let dir = app.evidence.clone();
    let note = spawn_blocking(move || latest_checkpoint(&dir, None))
        .await
        .map_err(|error| Refused::fault(error.to_string()))?
        .map_err(|problem| Refused::fault(problem.to_string()))?;
    let head = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"checkpoint\"",
        ),
    ];
    Ok((head, note).into_response())
}

/// Checks all of the evidence, against the key beside it.
pub async fn verify_now(
    State(app): State<Arc<App>>,
    changer: Changer,
) -> Result<Shown<Verification>, Refused> {
    changer.asker.needs(Role::Auditor)?;
    let by = changer.asker.person.name.clone();
    let running = Verification::Running {
        began: rfc3339(SystemTime::now()),
        by: by.clone(),
    };
    {
        let mut last = app.verification.lock().await;
        if matches!(*last, Verification::Running { .. }) {
            return Err(Refused::conflict("a check is running; wait for its end"));
        }
        *last = running.clone();
    }
    tokio::spawn(async move {
        let dir = app.evidence.clone();
        let report = spawn_blocking(move || verify(&dir, VerifyOptions::default())).await;
        let done = match report {
            Ok(report) => Verification::Done {
                ended: rfc3339(SystemTime::now()),
                by,
                ok: report.ok(),
                problem: report.problem.as_ref().map(ToString::to_string),
                report: Box::new(report),
            },
            Err(error) => {
                tracing::error!(%error, "the check of the evidence ended early");
                Verification::None
            }
        };
        *app.verification.lock().await = done;
    });
    Ok(Shown(running))
}

/// Bytes of all files below a folder.
fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            Some(if meta.is_dir() {
                size(&entry.path())
            } else {
                meta.len()
            })
        })
        .sum()
}
