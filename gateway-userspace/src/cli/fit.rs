//! Whether a policy fits the configuration.

use anyhow::bail;

use crate::{
    config::Config,
    policy::{GrantRole, Policy},
};

/// Grants in observe mode refuse little: whoever runs the host must know.
pub fn warn_observing(policy: &Policy) {
    for grant in policy.observing() {
        tracing::warn!(
            grant = %grant.name,
            "the grant is in observe mode: what it would refuse or hold is recorded, and passes"
        );
    }
}

/// Loads the policy and checks it against the configuration.
///
/// # Errors
/// Every problem, with its place.
pub fn load_policy(config: &Config) -> anyhow::Result<Policy> {
    let policy = Policy::load(&config.policy_dir)?;
    check_policy(config, &policy)?;
    Ok(policy)
}

/// Checks a policy against the configuration: what it names must exist.
///
/// # Errors
/// Every problem.
pub fn check_policy(config: &Config, policy: &Policy) -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for group in policy.approver_groups() {
        if !config.has_approvers(group) {
            problems.push(format!(
                "the group {group:?} is not among the configured approvers"
            ));
        }
    }
    for issuer in policy.issuers() {
        if !config.issuers.iter().any(|known| known.name == issuer) {
            problems.push(format!("the issuer {issuer:?} is not configured"));
        }
    }
    for (database, role) in policy.roles() {
        match config.databases.iter().find(|known| known.name == database) {
            None => problems.push(format!("the database {database:?} is not configured")),
            Some(known) => match role {
                Some(GrantRole::Login(login)) if known.login(login).is_none() => {
                    problems.push(format!(
                        "the database {database:?} has no login {login:?} in the configuration"
                    ));
                }
                Some(GrantRole::PerJob) if known.admin.is_none() => problems.push(format!(
                    "the database {database:?} has no `admin` in the configuration, who makes the roles of jobs (`per_job`)"
                )),
                Some(GrantRole::Login(_) | GrantRole::PerJob) | None => {}
            },
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        bail!(
            "the policy does not fit the configuration:\n  {}",
            problems.join("\n  ")
        )
    }
}
