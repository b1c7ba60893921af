//! Who may ask for what: one table.

use super::{Peer, Request};
use crate::config::Config;

/// Users a request is open to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Users {
    /// Whoever may open the socket.
    Anyone,
    /// root.
    Root,
    /// root and the configured runners.
    Runners,
    /// root and members of any approvers' group.
    ApproversAndRoot,
    /// Members of any approvers' group; root only if it is listed.
    Approvers,
}

/// One row of the table.
struct Rule {
    /// What is asked, to follow `may not`.
    what: &'static str,
    users: Users,
    /// Whether a process inside of a job may ask.
    from_jobs: bool,
}

fn rule(request: &Request) -> Rule {
    match request {
        Request::JobStart { .. } => Rule {
            what: "start a job",
            users: Users::Runners,
            from_jobs: false,
        },
        Request::JobEnd { .. } => Rule {
            what: "end a job",
            users: Users::Runners,
            from_jobs: false,
        },
        // It gives up what it has, and nobody else's.
        Request::JobEndOwn => Rule {
            what: "end its own job",
            users: Users::Anyone,
            from_jobs: true,
        },
        Request::JobStatus { .. } => Rule {
            what: "see the jobs",
            users: Users::Anyone,
            from_jobs: true,
        },
        Request::Status => Rule {
            what: "see the daemon's state",
            users: Users::Anyone,
            from_jobs: true,
        },
        Request::EvidenceRotateKey { .. } => Rule {
            what: "change the key of the evidence",
            users: Users::Root,
            from_jobs: false,
        },
        Request::Catalog { .. } => Rule {
            what: "read the catalog of a database",
            users: Users::Root,
            from_jobs: false,
        },
        Request::CheckDatabases => Rule {
            what: "have the databases checked",
            users: Users::Root,
            from_jobs: false,
        },
        Request::ApprovalList | Request::ApprovalShow { .. } => Rule {
            what: "see held statements",
            users: Users::ApproversAndRoot,
            from_jobs: false,
        },
        Request::ApprovalStatus { .. } => Rule {
            what: "see what has become of held statements",
            users: Users::Anyone,
            from_jobs: true,
        },
        Request::ApprovalDecide { .. } => Rule {
            what: "answer held statements",
            users: Users::Approvers,
            from_jobs: false,
        },
    }
}

/// Whether this peer may make this request; if not, why not. What depends on the job or statement
/// asked about is decided where that is known.
pub(super) fn authorize(request: &Request, peer: &Peer, config: &Config) -> Result<(), String> {
    let rule = rule(request);
    if !rule.from_jobs
        && let Some(job) = &peer.inside_job
    {
        return Err(format!(
            "a process inside of a job may not {} (this one is in {job})",
            rule.what
        ));
    }
    let approver = !peer.groups.is_empty();
    let (fine, needed) = match rule.users {
        Users::Anyone => (true, ""),
        Users::Root => (peer.uid == 0, "only root may"),
        Users::Runners => (
            peer.uid == 0 || config.jobs.runners.contains(&peer.uid),
            "only root and the configured `jobs.runners` may",
        ),
        Users::ApproversAndRoot => (
            approver || peer.uid == 0,
            "only root and members of the configured `approvers` may",
        ),
        Users::Approvers => (
            approver,
            "only members of the configured `approvers` may, root included only where it is listed",
        ),
    };
    if fine {
        Ok(())
    } else {
        Err(format!(
            "the user {} may not {}: {needed}",
            peer.user, rule.what
        ))
    }
}
