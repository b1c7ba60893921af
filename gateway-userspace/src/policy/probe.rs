//! What if: statements under rules that are not in force.

use std::sync::Arc;

use super::{
    Reason, Verdict,
    admit::Admission,
    evaluate::evaluate_in,
    grant::{ApproveRule, Grant, Mode, Rule},
    kinship::Kinship,
    needs::Need,
    policy::Policy,
};
use crate::{identity::JobIdentity, sql::Statement};

/// The grants of a job in a database, to be tried with other rules.
pub(super) struct Probe<'a> {
    job: &'a JobIdentity,
    database: &'a str,
    grants: Vec<Grant>,
}

impl<'a> Probe<'a> {
    pub(super) fn new(job: &'a JobIdentity, admission: &'a Admission) -> Self {
        Self::of(
            job,
            admission.database(),
            admission.grants().cloned().collect(),
        )
    }

    /// Grants that match the job. They are enforced here, also those that only observe: what
    /// passes unseen would say nothing about a rule.
    pub(super) fn of(job: &'a JobIdentity, database: &'a str, mut grants: Vec<Grant>) -> Self {
        for grant in &mut grants {
            grant.mode = Mode::Enforce;
        }
        Self {
            job,
            database,
            grants,
        }
    }

    /// The grants as they are.
    pub(super) fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The grants without their masks.
    pub(super) fn unmasked(&self) -> Vec<Grant> {
        let mut grants = self.grants.clone();
        for grant in &mut grants {
            grant.mask.clear();
        }
        grants
    }

    /// One grant with these rules and no others.
    pub(super) fn only(
        &self,
        allow: Vec<Rule>,
        approve: Vec<ApproveRule>,
        deny: Vec<Rule>,
    ) -> Vec<Grant> {
        let with_login = self.grants.iter().find(|grant| grant.role.is_some());
        with_login
            .map(|grant| Grant {
                allow,
                approve,
                deny,
                mask: Vec::new(),
                ..grant.clone()
            })
            .into_iter()
            .collect()
    }

    /// The grants with further rules in the first one that has a login: in `allow`, or with
    /// `hold` the destructive ones in `approve`.
    pub(super) fn with(&self, needs: &[Need], hold: bool, group: Option<&str>) -> Vec<Grant> {
        let mut grants = self.grants.clone();
        if let Some(grant) = grants.iter_mut().find(|grant| grant.role.is_some()) {
            for need in needs {
                if hold && need.is_destructive() {
                    grant.approve.push(need.approve_rule(group));
                } else {
                    grant.allow.push(need.rule());
                }
            }
        }
        grants
    }

    /// The job's standing under these grants.
    pub(super) fn admission(&self, grants: Vec<Grant>) -> Result<Admission, Reason> {
        Arc::new(Policy::new(grants, Vec::new())).admit_job(self.job, self.database)
    }

    /// The verdict on a statement under these grants.
    pub(super) fn verdict(
        &self,
        grants: Vec<Grant>,
        statement: &Statement,
        kinship: &Kinship,
    ) -> Verdict {
        match self.admission(grants) {
            Ok(admission) => evaluate_in(&admission, statement, kinship),
            Err(reason) => Verdict::Deny(reason),
        }
    }
}
