//! Values that must not be printed, and the files they come from.

use std::{fmt, fs::File, io::Read, os::unix::fs::MetadataExt, path::Path};

use zeroize::Zeroizing;

/// A secret text: zeroed on drop, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

const MAX_SECRET: u64 = 64 * 1024;

/// Reads a secret from a file that others on the host cannot read or write. One line break at
/// the end is not part of the secret.
pub(super) fn read(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let file = File::open(path)
        .map_err(|error| format!("cannot read the secret file {shown}: {error}"))?;
    // The opened file is judged, not its name, so it cannot be exchanged in between.
    let meta = file
        .metadata()
        .map_err(|error| format!("cannot read the secret file {shown}: {error}"))?;
    if !meta.is_file() {
        return Err(format!("{shown} is not a regular file"));
    }
    if meta.mode() & 0o007 != 0 {
        return Err(format!(
            "every user of this host has access to the secret file {shown} (mode {:04o}); run `chmod 0600 {shown}`",
            meta.mode() & 0o7777
        ));
    }
    let own = rustix::process::geteuid().as_raw();
    if meta.uid() != 0 && meta.uid() != own {
        return Err(format!(
            "the secret file {shown} belongs to uid {}, who can change it; run `chown root {shown}`",
            meta.uid()
        ));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_SECRET + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot read the secret file {shown}: {error}"))?;
    if text.len() as u64 > MAX_SECRET {
        return Err(format!(
            "the secret file {shown} is larger than {MAX_SECRET} bytes"
        ));
    }
    let secret = text.strip_suffix('\n').map_or(text.as_str(), |line| {
        line.strip_suffix('\r').unwrap_or(line)
    });
    if secret.is_empty() {
        return Err(format!("the secret file {shown} is empty"));
    }
    if secret.contains('\0') {
        return Err(format!("the secret file {shown} contains a NUL byte"));
    }
    Ok(Secret::new(secret.to_owned()))
}
