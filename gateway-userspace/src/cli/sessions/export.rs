//! `cordon sessions export`: a session in a file, read and written item by item.

use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::Context as _;

use super::{html, line::Line};
use crate::audit::Transcript;

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A JSON object a line.
    Jsonl,
    /// One page that needs nothing else.
    Html,
}

/// Writes the session to a file, or to standard output.
pub fn export(dir: &Path, id: &str, format: Format, to: Option<&Path>) -> anyhow::Result<()> {
    let mut transcript = Transcript::open(dir, id)?;
    match to {
        None => write(&mut transcript, format, &mut io::stdout().lock()),
        Some(path) => {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)
                .with_context(|| format!("{} cannot be written", path.display()))?;
            write(&mut transcript, format, &mut BufWriter::new(file))
                .with_context(|| format!("writing {}", path.display()))
        }
    }
}

fn write(transcript: &mut Transcript, format: Format, out: &mut impl Write) -> anyhow::Result<()> {
    match format {
        Format::Html => html::write(transcript, out)?,
        Format::Jsonl => {
            while let Some(item) = transcript.read()? {
                serde_json::to_writer(&mut *out, &Line::of(&item))?;
                out.write_all(b"\n")?;
            }
        }
    }
    out.flush()?;
    Ok(())
}
