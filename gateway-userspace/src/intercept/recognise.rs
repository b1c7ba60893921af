//! What is done about database connections to destinations that nobody named.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use gateway_common::{Endpoint, RECOGNISE_OFF, RECOGNISE_REFUSE, RECOGNISE_REPORT};

use super::address;

/// Whose flows are looked at, and what happens to those that begin as a database's do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recognise {
    /// What happens to them.
    pub action: RecogniseAction,
    /// Those of every process of the host are looked at, not only of jobs, of the scope's cgroups
    /// and of `cgroups`.
    pub host: bool,
    /// Further cgroups, which count from the cgroup v2 root.
    pub cgroups: Vec<PathBuf>,
    /// Destinations that may be databases; without a port: all of an address.
    pub except: Vec<(IpAddr, Option<u16>)>,
}

/// What happens to a flow that was recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecogniseAction {
    /// It is dropped, ended and reported.
    Refuse,
    /// It is reported.
    Report,
    /// Nothing: flows are not looked at.
    #[default]
    Off,
}

impl RecogniseAction {
    /// The kernel's code for it.
    pub(super) fn code(self) -> u32 {
        match self {
            Self::Refuse => RECOGNISE_REFUSE,
            Self::Report => RECOGNISE_REPORT,
            Self::Off => RECOGNISE_OFF,
        }
    }
}

impl Recognise {
    /// The exceptions as the kernel looks them up.
    pub(super) fn exceptions(&self) -> Vec<Endpoint> {
        self.except
            .iter()
            .map(|(ip, port)| address::endpoint(SocketAddr::new(*ip, port.unwrap_or(0))))
            .collect()
    }
}
