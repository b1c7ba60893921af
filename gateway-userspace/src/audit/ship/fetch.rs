//! Puts what was shipped together again, so that it can be verified without the host.

use std::{
    fs::{self, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path as FilePath,
};

use futures_util::TryStreamExt as _;
use object_store::{ObjectStore as _, ObjectStoreExt as _, path::Path};

use super::store::{Store, StoreError, failed};

/// What was fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Fetched {
    /// Objects.
    pub objects: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Writes the shipped evidence to `to`, an empty or new folder.
///
/// # Errors
/// If the store fails, or the folder cannot be written.
pub async fn fetch(store: &Store, to: &FilePath) -> Result<Fetched, StoreError> {
    let mut fetched = Fetched::default();
    let local = |error: io::Error| StoreError::Setup(format!("{}: {error}", to.display()));
    for folder in ["keys", "segments", "recordings", "blobs"] {
        fs::create_dir_all(to.join(folder)).map_err(local)?;
    }
    for folder in ["keys", "segments", "parts", "checkpoints", "cosigned"] {
        let prefix = store.key(folder);
        let objects = store.store.list(Some(&prefix));
        let mut keys: Vec<Path> = objects
            .map_ok(|object| object.location)
            .try_collect()
            .await
            .map_err(|error| failed(&prefix, &error))?;
        keys.sort();
        for key in keys {
            let object = store.store.get(&key).await;
            let object = object.map_err(|error| failed(&key, &error))?;
            let bytes = object.bytes().await.map_err(|error| failed(&key, &error))?;
            fetched.objects += 1;
            fetched.bytes += bytes.len() as u64;
            let names: Vec<String> = key.parts().map(|part| part.as_ref().to_owned()).collect();
            let malformed = |problem| StoreError::Malformed {
                key: key.to_string(),
                problem,
            };
            let number = |text: Option<&String>| -> Result<u64, StoreError> {
                text.filter(|text| text.len() == 20)
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| malformed("its name is none of ours"))
            };
            match folder {
                "keys" => {
                    let name = names.last().map(String::as_str);
                    let name = name.filter(|name| matches!(*name, "log.pub" | "rotations"));
                    let name = name.ok_or_else(|| malformed("its name is none of ours"))?;
                    fs::write(to.join("keys").join(name), &bytes).map_err(local)?;
                }
                "checkpoints" | "cosigned" => {
                    number(names.last())?;
                    write_at(&to.join(folder), None, &bytes).map_err(local)?;
                }
                "segments" => {
                    let offset = number(names.last())?;
                    let first = number(names.iter().rev().nth(1))?;
                    let path = to.join(format!("segments/{first:020}.log"));
                    write_at(&path, Some(offset), &bytes).map_err(local)?;
                }
                _ => {
                    for (name, offset, part) in
                        parts(&bytes).ok_or_else(|| malformed("its parts cannot be told apart"))?
                    {
                        write_at(&to.join(name), Some(offset), part).map_err(local)?;
                    }
                }
            }
        }
    }
    Ok(fetched)
}

fn write_at(path: &FilePath, offset: Option<u64>, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    match offset {
        Some(offset) => file.seek(SeekFrom::Start(offset))?,
        None => file.seek(SeekFrom::End(0))?,
    };
    file.write_all(bytes)
}

/// Name, offset and bytes of each part.
fn parts(mut bytes: &[u8]) -> Option<Vec<(String, u64, &[u8])>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = bytes.split_at_checked(end + 1)?;
        let line = std::str::from_utf8(line).ok()?.trim_end();
        let mut words = line.split(' ');
        let (name, offset, length) = (words.next()?, words.next()?, words.next()?);
        let (folder, file) = name.split_once('/')?;
        // What the store says must not lead out of the folder.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        if !matches!(folder, "recordings" | "blobs")
            || file.starts_with('.')
            || !file.bytes().all(plain)
        {
            return None;
        }
        let (part, behind) = rest.split_at_checked(length.parse().ok()?)?;
        parts.push((name.to_owned(), offset.parse().ok()?, part));
        bytes = behind;
    }
    Some(parts)
}
