//! Who uses the console, and what they may do there.

use serde::Serialize;

use crate::{
    admin::Peer,
    approval::{Approver, ApproverId},
    config::{Console, ConsoleLogin},
    identity::VerifiedToken,
};

/// What a person may do. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sees held statements, the list of sessions and the host's state.
    Viewer,
    /// Sees recorded sessions and refusals, the evidence's state, and asks the policy.
    Auditor,
    /// Answers held statements.
    Approver,
}

impl Role {
    /// As people read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Auditor => "auditor",
            Self::Approver => "approver",
        }
    }
}

/// Claims by which people are called; the first one there is the name that others see.
const NAMES: [&str; 4] = ["preferred_username", "email", "upn", "name"];
/// The claim of [`NAMES`] that many people may share: shown where there is nothing better, and not
/// used to tell people apart.
const SHARED: &str = "name";

/// A person, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Their name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The approvers' groups that they are a member of.
    pub groups: Vec<String>,
    id: ApproverId,
    aliases: Vec<String>,
}

impl Person {
    /// The user at the other end of a Unix socket; `None`: the console is not for them.
    pub fn of_peer(peer: &Peer, console: &Console) -> Option<Self> {
        let role = if !peer.groups.is_empty() {
            Role::Approver
        } else if peer.uid == 0 || console.auditors.contains(&peer.uid) {
            Role::Auditor
        } else if console.viewers.contains(&peer.uid) {
            Role::Viewer
        } else {
            return None;
        };
        Some(Self {
            name: peer.user.clone(),
            role,
            groups: peer.groups.clone(),
            id: ApproverId::User(peer.uid),
            aliases: Vec::new(),
        })
    }

    /// Who an ID token names; `None`: the console is not for them.
    pub fn of_token(token: &VerifiedToken, login: &ConsoleLogin) -> Option<Self> {
        let mut has = token.groups().iter();
        let groups: Vec<String> = login
            .approvers
            .iter()
            .filter(|(_, members)| token.groups().iter().any(|group| members.contains(group)))
            .map(|(group, _)| group.clone())
            .collect();
        let role = if !groups.is_empty() {
            Role::Approver
        } else if has.any(|group| login.auditors.contains(group)) {
            Role::Auditor
        } else if token
            .groups()
            .iter()
            .any(|group| login.viewers.contains(group))
        {
            Role::Viewer
        } else {
            return None;
        };
        let named = |claim: &str| {
            let name = token.claims().get(claim)?.as_str()?.trim();
            (!name.is_empty()).then(|| name.to_owned())
        };
        let subject = token.subject().to_owned();
        let name = NAMES.iter().find_map(|claim| named(claim));
        let mut aliases: Vec<String> = NAMES
            .iter()
            .filter(|claim| **claim != SHARED)
            .filter_map(|claim| named(claim))
            .collect();
        aliases.push(subject.clone());
        Some(Self {
            name: name.unwrap_or_else(|| subject.clone()),
            role,
            groups,
            id: ApproverId::Oidc {
                issuer: login.issuer.url.clone(),
                subject,
            },
            aliases,
        })
    }

    /// This person as the one who answers.
    pub fn approver(&self) -> Approver {
        Approver {
            name: self.name.clone(),
            id: self.id.clone(),
            aliases: self.aliases.clone(),
            groups: self.groups.clone(),
            inside_job: None,
        }
    }

    /// Whether both are the same account.
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// In the words of the operational log.
    pub fn account(&self) -> String {
        match &self.id {
            ApproverId::User(uid) => format!("uid {uid}"),
            ApproverId::Oidc { issuer, subject } => format!("{subject} at {issuer}"),
        }
    }
}
