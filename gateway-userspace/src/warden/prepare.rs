//! The daemon's folders: which are the gateway's, and which it cannot enter.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::Keys;
use crate::{
    audit::FileLogKeys,
    config::{Config, GATEWAY_USER, GatewayUser},
    transport::AuthorityFiles,
};

/// Deepest nesting of the folders of the evidence.
const MAX_DEPTH: u32 = 16;

/// Where the state of a daemon of one process is, and where it belongs.
const MOVED: [(&str, &str); 5] = [
    ("evidence/keys/log.key", "keys/log.key"),
    ("evidence/keys/next.key", "keys/next.key"),
    ("approvals.db", "gateway/approvals.db"),
    ("approvals.db-wal", "gateway/approvals.db-wal"),
    ("used-tokens", "gateway/used-tokens"),
];

/// The user of the gateway.
///
/// # Errors
/// If there is none.
pub fn gateway_user(config: &Config) -> anyhow::Result<GatewayUser> {
    match config.user {
        Some(user) => Ok(user),
        None => bail!(
            "there is no user {GATEWAY_USER} on this host, as which databases and jobs are spoken with: run `useradd --system --no-create-home --shell /usr/sbin/nologin {GATEWAY_USER}`, or name another user of its own with `user:` in the configuration"
        ),
    }
}

/// Makes the folders of the state, gives the gateway its own, and opens the private keys, which it
/// cannot reach. No gateway may run meanwhile: it could turn its folders into links to others'.
///
/// # Errors
/// If it could not get to its folders, or a key is damaged.
pub fn prepare(config: &Config, user: GatewayUser) -> anyhow::Result<Keys> {
    let state = &config.state_dir;
    // To be passed through on the way to its own folders, not to be listed.
    make(state, 0o711)?;
    allow_passing(state)?;
    make(&config.keys_dir(), 0o700)?;
    make(&config.gateway_dir(), 0o700)?;
    for (from, to) in MOVED {
        move_over(&state.join(from), &state.join(to))?;
    }
    for dir in [config.gateway_dir(), config.evidence_dir()] {
        make(&dir, 0o700)?;
        give(&dir, user, MAX_DEPTH).with_context(|| {
            format!(
                "the folder {} cannot be given to the gateway",
                dir.display()
            )
        })?;
    }
    reachable(&config.evidence_dir(), user)?;
    make(&config.runtime_dir, 0o755)?;
    let keys = Keys {
        log: FileLogKeys::new(config.keys_dir()),
        authority: AuthorityFiles::open(&state.join("ca"))
            .context("the certificate authority cannot be opened")?,
    };
    write_public(&config.ca_file(), &keys.authority.certificate_pem())?;
    Ok(keys)
}

fn make(dir: &Path, mode: u32) -> anyhow::Result<()> {
    if !dir.is_dir() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(dir)
            .with_context(|| format!("the folder {} cannot be made", dir.display()))?;
    }
    Ok(())
}

/// Moves a file that is there to where there is none.
fn move_over(from: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() || !from.exists() {
        return Ok(());
    }
    tracing::info!(from = %from.display(), to = %to.display(), "moved");
    fs::rename(from, to)
        .with_context(|| format!("{} cannot be moved to {}", from.display(), to.display()))
}

fn allow_passing(dir: &Path) -> anyhow::Result<()> {
    let passing = || -> io::Result<()> {
        let mode = fs::metadata(dir)?.mode();
        if mode & 0o001 == 0 {
            fs::set_permissions(dir, fs::Permissions::from_mode(mode & 0o7777 | 0o011))?;
        }
        Ok(())
    };
    passing().with_context(|| format!("the folder {} cannot be opened up", dir.display()))
}

/// Gives a folder and what is in it to the gateway. Commands that root runs on it, and daemons of
/// earlier versions, leave files of root's there. Links are not followed, and files with several
/// names not given away: they could be others'.
fn give(path: &Path, user: GatewayUser, depth: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let several = metadata.is_file() && metadata.nlink() > 1;
    if (metadata.uid(), metadata.gid()) != (user.uid, user.gid) && !several {
        lchown(path, Some(user.uid), Some(user.gid))?;
    }
    if metadata.is_dir() {
        let below = depth
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("folders are nested too deeply"))?;
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user, below)?;
        }
    }
    Ok(())
}

/// Whether the gateway's user can get there: folders above must let others pass.
fn reachable(dir: &Path, user: GatewayUser) -> anyhow::Result<()> {
    let mut above: Vec<PathBuf> = dir.ancestors().skip(1).map(Path::to_owned).collect();
    above.reverse();
    for folder in above {
        let metadata = fs::metadata(&folder)
            .with_context(|| format!("the folder {} cannot be looked at", folder.display()))?;
        let bit = if metadata.uid() == user.uid {
            0o100
        } else if metadata.gid() == user.gid {
            0o010
        } else {
            0o001
        };
        if metadata.mode() & bit == 0 {
            bail!(
                "the user of the gateway (uid {}) cannot pass through {1} to the evidence; run `chmod o+x {1}`, or put `state_dir` elsewhere",
                user.uid,
                folder.display()
            );
        }
    }
    Ok(())
}

/// Replaces a file that everyone may read.
fn write_public(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(0o644)))
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("the file {} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const USER: GatewayUser = GatewayUser {
        uid: 64_700,
        gid: 64_700,
    };

    #[test]
    fn a_folder_is_given_away_but_for_what_may_be_others() {
        let dir = tempfile::tempdir().unwrap();
        let (own, others) = (dir.path().join("own"), dir.path().join("others"));
        fs::create_dir_all(own.join("below")).unwrap();
        fs::write(&others, "").unwrap();
        fs::write(own.join("below/file"), "").unwrap();
        symlink(&others, own.join("link")).unwrap();
        fs::hard_link(&others, own.join("second-name")).unwrap();
        give(&own, USER, MAX_DEPTH).unwrap();
        let uid = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        assert_eq!(uid(&own.join("below/file")), USER.uid);
        assert_eq!(uid(&own), USER.uid);
        assert_eq!(uid(&others), 0);
    }

    #[test]
    fn a_folder_that_nobody_can_pass_to_is_told_with_its_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let evidence = dir.path().join("evidence");
        fs::create_dir(&evidence).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let error = reachable(&evidence, USER).unwrap_err().to_string();
        assert!(error.contains("chmod o+x"), "{error}");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        reachable(&evidence, USER).unwrap();
    }
}
