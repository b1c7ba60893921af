//! The users that jobs run as.

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::config::Config;

/// Groups whose members can become root: by an engine, by `sudo`, by the disks or the log-in
/// secrets themselves.
const STRONG: [&str; 9] = [
    "root",
    "docker",
    "podman",
    "lxd",
    "incus-admin",
    "sudo",
    "wheel",
    "disk",
    "shadow",
];

/// A user that jobs may run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runner {
    /// User name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Groups: id, and name if it has one.
    pub groups: Vec<(u32, String)>,
}

impl Runner {
    /// Groups of it that are as good as root.
    pub fn strong_groups(&self) -> Vec<&str> {
        self.groups
            .iter()
            .map(|(_, name)| name.as_str())
            .filter(|name| STRONG.contains(name))
            .collect()
    }
}

/// The configured runners. Without one, jobs are started by root as anybody: then somebody without
/// any rights stands for them.
pub fn of(config: &Config) -> Result<Vec<Runner>, String> {
    if config.jobs.runners.is_empty() {
        return Ok(vec![Runner {
            name: "any user".to_owned(),
            uid: u32::MAX - 1,
            groups: Vec::new(),
        }]);
    }
    config.jobs.runners.iter().map(|uid| runner(*uid)).collect()
}

fn runner(uid: u32) -> Result<Runner, String> {
    let failed = |error: nix::Error| format!("cannot look up the user {uid}: {error}");
    let Some(user) = User::from_uid(Uid::from_raw(uid)).map_err(failed)? else {
        return Ok(Runner {
            name: uid.to_string(),
            uid,
            groups: Vec::new(),
        });
    };
    let name = std::ffi::CString::new(user.name.as_str()).map_err(|error| error.to_string())?;
    let gids = getgrouplist(&name, user.gid).map_err(failed)?;
    Ok(Runner {
        name: user.name,
        uid,
        groups: gids.into_iter().map(group).collect(),
    })
}

fn group(gid: Gid) -> (u32, String) {
    let name = Group::from_gid(gid)
        .ok()
        .flatten()
        .map_or_else(|| gid.to_string(), |group| group.name);
    (gid.as_raw(), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_are_as_good_as_root_are_told() {
        let runner = Runner {
            name: "ci".to_owned(),
            uid: 1000,
            groups: vec![(1000, "ci".to_owned()), (998, "docker".to_owned())],
        };
        assert_eq!(runner.strong_groups(), ["docker"]);
    }
}
