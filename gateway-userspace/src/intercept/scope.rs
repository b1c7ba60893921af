//! Who is refused for having no job.

use std::path::PathBuf;

use gateway_common::{SCOPE_CGROUPS, SCOPE_HOST};

/// Which processes outside jobs are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every one on the host but the gateway.
    Host,
    /// Those below these cgroups, which count from the cgroup v2 root; others pass untouched.
    Cgroups(Vec<PathBuf>),
}

impl Scope {
    /// The kernel's code for it.
    pub(super) fn code(&self) -> u32 {
        match self {
            Self::Host => SCOPE_HOST,
            Self::Cgroups(_) => SCOPE_CGROUPS,
        }
    }

    /// The configured cgroups.
    pub(super) fn cgroups(&self) -> &[PathBuf] {
        match self {
            Self::Host => &[],
            Self::Cgroups(paths) => paths,
        }
    }
}
