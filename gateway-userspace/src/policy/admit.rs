//! Which grants a job has in a database.

use std::{sync::Arc, time::Duration};

use super::{
    Reason, ReasonCode,
    grant::{
        ASSURANCE_WORDS, ApproveRule, ColumnMask, Grant, GrantRole, MaskRule, Mode, Results, Rule,
        Unmet, word_of,
    },
    limits::Limits,
    policy::Policy,
};
use crate::{
    identity::{JobIdentity, Principal},
    masking::Detections,
};

/// A job's standing in one database under one policy: the grants that apply to it.
#[derive(Clone, Debug)]
pub struct Admission {
    policy: Arc<Policy>,
    grants: Vec<usize>,
    database: String,
    role: GrantRole,
    /// The name of the role: known from the start, or when the role is made.
    login: String,
    /// True if no deny, mask or approve rule applies: then `all: "*.*"` may include what hides
    /// its effects (functions that run text, DO blocks).
    unconditional: bool,
    masks: bool,
    detections: Detections,
    denies: bool,
    /// True if no rule of an enforcing grant gives this job anything: what nothing grants is
    /// observed.
    observes: bool,
    /// True if a grant keeps results out of the recordings.
    withholds: bool,
    /// True if effects that cannot be seen must not pass unseen, even where grants only observe.
    guarded: bool,
    limits: Limits,
}

impl Policy {
    /// Finds the grants of a principal in a database, named as in the configuration.
    pub fn admit(
        self: &Arc<Self>,
        principal: &Principal,
        database: &str,
    ) -> Result<Admission, Reason> {
        self.admit_job(principal.job(), database)
    }

    /// As [`Policy::admit`], for a job without a connection.
    pub fn admit_job(
        self: &Arc<Self>,
        job: &JobIdentity,
        database: &str,
    ) -> Result<Admission, Reason> {
        let mut grants = Vec::new();
        let mut unmet = Vec::new();
        for (index, grant) in self
            .grants()
            .iter()
            .enumerate()
            .filter(|(_, grant)| grant.database == database)
        {
            match grant.who.unmet(job) {
                None => grants.push(index),
                Some(condition) => unmet.push((grant, condition)),
            }
        }
        let matched = || grants.iter().filter_map(|index| self.grants().get(*index));
        let mut roles = matched().filter_map(|grant| grant.role.as_ref().map(|role| (grant, role)));
        let Some((first, role)) = roles.next() else {
            return Err(not_admitted(job, database, &unmet, !grants.is_empty()));
        };
        if let Some((other, other_role)) = roles.find(|(_, other)| *other != role) {
            return Err(Reason {
                code: ReasonCode::NotPermitted,
                message: format!(
                    "the grants of this job for database {database} name different roles"
                ),
                rule: format!("{} and {}", first.name, other.name),
                hint: format!(
                    "grant {} logs in as {role}, grant {} as {other_role}: give both the same role, or narrow `who` so that only one matches",
                    first.name, other.name
                ),
            });
        }
        let (role, login) = (role.clone(), role.to_string());
        let mut masks = false;
        let mut detections = Detections::default();
        for rule in matched().flat_map(|grant| &grant.mask) {
            match rule {
                MaskRule::Columns(_) => masks = true,
                MaskRule::Detect(rule) => {
                    for detector in &rule.detectors {
                        detections.add(*detector, rule.mask);
                    }
                }
            }
        }
        let denies = matched().any(|grant| !grant.deny.is_empty());
        let observes = matched()
            .filter(|grant| grant.role.is_some())
            .all(|grant| grant.mode == Mode::Observe);
        let guarded = masks
            || matched().any(|grant| {
                grant.mode == Mode::Enforce && !(grant.deny.is_empty() && grant.approve.is_empty())
            });
        let withholds = matched().any(|grant| grant.results == Results::Withheld);
        let limits = Limits::of(matched());
        let unconditional = !masks && !denies && matched().all(|grant| grant.approve.is_empty());
        Ok(Admission {
            policy: Arc::clone(self),
            database: database.to_owned(),
            role,
            login,
            unconditional,
            masks,
            detections,
            denies,
            observes,
            withholds,
            guarded,
            limits,
            grants,
        })
    }
}

impl Admission {
    /// The policy that admits.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The database, as the configuration names it.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// As which kind of role to log in.
    pub fn role(&self) -> &GrantRole {
        &self.role
    }

    /// The database role to log in as.
    pub fn login(&self) -> &str {
        &self.login
    }

    /// Tells the name of the role that is made for the job.
    pub fn set_job_role(&mut self, name: &str) {
        if self.role == GrantRole::PerJob {
            name.clone_into(&mut self.login);
        }
    }

    /// The grants that apply, in the policy's order.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants
            .iter()
            .filter_map(|index| self.policy.grants().get(*index))
    }

    /// True if results stay out of the recordings.
    pub fn withholds_results(&self) -> bool {
        self.withholds
    }

    /// The longest that a statement may be held: the shortest `hold` of the grants.
    pub fn hold(&self) -> Duration {
        self.grants().map(Grant::hold).min().unwrap_or_default()
    }

    /// True if any mask rule applies. Then what cannot be traced to its columns is denied.
    pub fn has_masks(&self) -> bool {
        self.masks
    }

    /// What is looked for in the values that no mask hides.
    pub fn detections(&self) -> &Detections {
        &self.detections
    }

    /// True if a mask rule protects this column of a table.
    pub fn protects(&self, schema: &str, table: &str, column: &str) -> bool {
        self.masks
            && self
                .mask_rules()
                .any(|(_, _, rule)| rule.protects(schema, table, column, false))
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// True if what nothing grants passes, and is only recorded.
    pub fn observes(&self) -> bool {
        self.observes
    }

    /// True if masks, or deny or approve rules of a grant that is enforced, apply: what could get
    /// round them unseen is refused or held even by grants that only observe.
    pub(super) fn is_guarded(&self) -> bool {
        self.guarded
    }

    pub(super) fn has_denies(&self) -> bool {
        self.denies
    }

    pub(super) fn is_unconditional(&self) -> bool {
        self.unconditional
    }

    pub(super) fn allow_rules(&self) -> impl Iterator<Item = (&Grant, &Rule)> {
        self.grants()
            .flat_map(|grant| grant.allow.iter().map(move |rule| (grant, rule)))
    }

    pub(super) fn deny_rules(&self) -> impl Iterator<Item = (&Grant, usize, &Rule)> {
        self.grants().flat_map(|grant| {
            grant
                .deny
                .iter()
                .enumerate()
                .map(move |(index, rule)| (grant, index, rule))
        })
    }

    pub(super) fn approve_rules(&self) -> impl Iterator<Item = (&Grant, usize, &ApproveRule)> {
        self.grants().flat_map(|grant| {
            grant
                .approve
                .iter()
                .enumerate()
                .map(move |(index, rule)| (grant, index, rule))
        })
    }

    pub(super) fn mask_rules(&self) -> impl Iterator<Item = (&Grant, usize, &ColumnMask)> {
        self.grants().flat_map(|grant| {
            let rules = grant.mask.iter().enumerate();
            rules.filter_map(move |(index, rule)| match rule {
                MaskRule::Columns(rule) => Some((grant, index, rule)),
                MaskRule::Detect(_) => None,
            })
        })
    }

    /// Where a hint says to add a rule: a grant of this job that has a login.
    pub(super) fn example_grant(&self) -> &str {
        self.grants()
            .find(|grant| grant.role.is_some())
            .map_or("", |grant| grant.name.as_str())
    }
}

/// Says which grants there are and which of their conditions fails first. It names claims and
/// the job's own values, never the values that a policy accepts.
fn not_admitted(
    job: &JobIdentity,
    database: &str,
    unmet: &[(&Grant, Unmet)],
    only_limits: bool,
) -> Reason {
    let hint = if only_limits {
        "the grants that match this job only deny and mask; a grant with `role` and `allow` for it is missing".to_owned()
    } else if unmet.is_empty() {
        format!("no grant names database {database}; add one to the policy")
    } else {
        let mut lines: Vec<String> = unmet
            .iter()
            .take(5)
            .map(|(grant, condition)| {
                format!("grant {}: {}", grant.name, describe(job, grant, condition))
            })
            .collect();
        if unmet.len() > 5 {
            lines.push(format!("and {} more grants", unmet.len() - 5));
        }
        lines.join("; ")
    };
    Reason {
        code: ReasonCode::NotPermitted,
        message: format!("no grant gives this job access to database {database}"),
        rule: "default deny".to_owned(),
        hint,
    }
}

fn describe(job: &JobIdentity, grant: &Grant, condition: &Unmet) -> String {
    match condition {
        Unmet::Issuer => format!(
            "the job's issuer is {}, not {}",
            job.issuer(),
            grant.who.issuer
        ),
        Unmet::Assurance => "the job's identity is not proven well enough (`assurance`)".to_owned(),
        Unmet::Claim(claim) => match job.claims().get(claim) {
            Some(value) => {
                let value: String = value
                    .to_string()
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(100)
                    .collect();
                format!("the job's claim {claim} is {value}, which it does not list")
            }
            None => format!("the job's token has no claim {claim}"),
        },
        Unmet::Groups => "the job is in none of its groups".to_owned(),
    }
}

/// As [`describe`], for who writes the policy: with the values that it accepts.
pub(super) fn describe_to_author(job: &JobIdentity, grant: &Grant, condition: &Unmet) -> String {
    let plain = describe(job, grant, condition);
    match condition {
        Unmet::Issuer => plain,
        Unmet::Assurance => format!(
            "the job's identity is {}, and the grant asks for {}",
            word_of(&ASSURANCE_WORDS, &job.assurance()),
            word_of(&ASSURANCE_WORDS, &grant.who.assurance)
        ),
        Unmet::Claim(claim) => {
            let accepted = grant
                .who
                .claims
                .iter()
                .find(|(name, _)| name == claim)
                .map(|(_, globs)| globs.iter().map(ToString::to_string).collect::<Vec<_>>())
                .unwrap_or_default();
            format!("{plain}; the grant lists {}", accepted.join(", "))
        }
        Unmet::Groups => format!("{plain}: {}", grant.who.groups.join(", ")),
    }
}
