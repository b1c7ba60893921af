//! The folder of policy files: whether it has changed, and what it holds.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use ring::digest::{Context as Digest, SHA256};
use serde::{Deserialize, Serialize};

use super::load::{Sources, is_policy_file};

/// A folder of policy files, which may be in the keeping of another process.
///
/// # Errors
/// If that process cannot be asked. What is wrong with the files is part of the answers.
pub trait PolicyFolder: Send + Sync {
    /// Another one whenever the files change.
    fn stamp(&self) -> io::Result<Stamp>;
    /// The files.
    fn sources(&self) -> io::Result<Sources>;
    /// SHA-256 over names, lengths and contents; `None` if one cannot be read.
    fn digest(&self) -> io::Result<Option<[u8; 32]>>;
}

/// A folder that this process reads.
#[derive(Clone, Debug)]
pub struct LocalFolder(pub PathBuf);

impl PolicyFolder for LocalFolder {
    fn stamp(&self) -> io::Result<Stamp> {
        Ok(Stamp::of(&self.0))
    }

    fn sources(&self) -> io::Result<Sources> {
        Ok(Sources::read(&self.0))
    }

    fn digest(&self) -> io::Result<Option<[u8; 32]>> {
        Ok(digest(&self.0))
    }
}

/// What the file system says of the folder and of each of its files: another one whenever a file
/// is written, replaced, added or removed, or a link on the way to it is turned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    files: Vec<(PathBuf, FileStamp)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum FileStamp {
    File {
        device: u64,
        inode: u64,
        size: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    },
    Unreadable(String),
}

impl Stamp {
    /// What it says now.
    pub fn of(dir: &Path) -> Self {
        let mut files = vec![(dir.to_owned(), FileStamp::of(dir))];
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            files.push((path.clone(), FileStamp::of(&path)));
        }
        files.sort_by(|one, other| one.0.cmp(&other.0));
        Self { files }
    }
}

impl FileStamp {
    fn of(path: &Path) -> Self {
        // Follows links: what counts is what would be read.
        match fs::metadata(path) {
            Ok(metadata) => Self::File {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            },
            Err(error) => Self::Unreadable(error.kind().to_string()),
        }
    }
}

/// SHA-256 over names, lengths and contents of the policy's files; `None` if one cannot be
/// read.
fn digest(dir: &Path) -> Option<[u8; 32]> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_policy_file(path))
        .collect();
    files.sort();
    let mut digest = Digest::new(&SHA256);
    for file in files {
        let name = file.file_name()?.as_encoded_bytes();
        let content = fs::read(&file).ok()?;
        for part in [name, &content] {
            digest.update(&(part.len() as u64).to_be_bytes());
            digest.update(part);
        }
    }
    digest.finish().as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn every_way_to_change_a_file_changes_the_stamp() {
        let dir = folder(&[("a.yaml", "one"), ("b.yaml", "two")]);
        let path = |name: &str| dir.path().join(name);
        let mut before = Stamp::of(dir.path());
        assert_eq!(before, Stamp::of(dir.path()));
        let mut changed = |what: &str| {
            let now = Stamp::of(dir.path());
            assert_ne!(now, before, "{what}");
            before = now;
        };
        fs::write(path("a.yaml"), "longer").unwrap();
        changed("written in place");
        fs::write(path(".new"), "longer").unwrap();
        changed("a file beside it");
        fs::rename(path(".new"), path("a.yaml")).unwrap();
        changed("replaced by one of the same content");
        fs::write(path("c.yaml"), "").unwrap();
        changed("added");
        fs::remove_file(path("c.yaml")).unwrap();
        changed("removed");
        // As a configuration map is mounted: the files are links through a link that is turned.
        for version in ["1", "2"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("m.yaml"), "same").unwrap();
        }
        symlink("1", path("..data")).unwrap();
        symlink("..data/m.yaml", path("m.yaml")).unwrap();
        changed("linked");
        symlink("2", path("..tmp")).unwrap();
        fs::rename(path("..tmp"), path("..data")).unwrap();
        changed("the link turned");
    }

    #[test]
    fn the_folder_may_be_a_link_that_is_turned() {
        let one = folder(&[("a.yaml", "x")]);
        let two = folder(&[("a.yaml", "x")]);
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("policy.d");
        symlink(one.path(), &link).unwrap();
        let before = Stamp::of(&link);
        fs::remove_file(&link).unwrap();
        let gone = Stamp::of(&link);
        symlink(two.path(), &link).unwrap();
        let after = Stamp::of(&link);
        assert!(before != after && before != gone && gone != after);
    }

    #[test]
    fn the_digest_of_files_tells_them_apart() {
        let one = digest(folder(&[("a.yaml", "12"), ("b.yaml", "3")]).path());
        assert!(one.is_some());
        assert_eq!(
            one,
            digest(folder(&[("a.yaml", "12"), ("b.yaml", "3"), (".x", "")]).path())
        );
        assert_ne!(
            one,
            digest(folder(&[("a.yaml", "1"), ("b.yaml", "23")]).path())
        );
    }
}
