//! A request for approval.

use crate::{
    admin::{ApprovalView, EarlierView, NeedView},
    audit::{ApprovalNeed, ApprovalRequested},
    policy::{ApprovalRequirement, OnHold},
};

use super::binding::Binding;

/// A statement that must not run before humans agree, and what they need to know of it.
#[derive(Clone, Debug)]
pub struct ApprovalRequest {
    /// Session id.
    pub session: String,
    /// Job id.
    pub job: String,
    /// Number of the statement in its session.
    pub statement_number: u64,
    /// Who asks: issuer and subject.
    pub requester: String,
    /// User id of the requesting process: that user never approves.
    pub requester_uid: u32,
    /// Names of the person behind the job, as far as its token tells: nor do they.
    pub requester_names: Vec<String>,
    /// The process that connected, in words.
    pub process: String,
    /// Database, by its configured name.
    pub database: String,
    /// The full statement.
    pub statement: String,
    /// Parameters as text; `None` is NULL, `\x..` a binary value.
    pub parameters: Vec<Option<String>>,
    /// The types that they were declared with.
    pub parameter_types: Vec<Option<String>>,
    /// Resolved effects, in words.
    pub effects: Vec<String>,
    /// What an approver should mind.
    pub warnings: Vec<String>,
    /// The page of the job's run in its CI system.
    pub run_url: Option<String>,
    /// The step of the job, as its process says.
    pub step: Option<String>,
    /// The last statements of the session before it, oldest first.
    pub before: Vec<EarlierView>,
    /// Why it is held, in a sentence.
    pub why: String,
    /// Who must agree, and how long it may take.
    pub requirement: ApprovalRequirement,
    /// Exactly what would run.
    pub binding: Binding,
}

impl ApprovalRequest {
    /// The request as shown to people, before anybody answered.
    pub(super) fn view(&self, id: &str, created: &str, expires: &str) -> ApprovalView {
        ApprovalView {
            id: id.to_owned(),
            state: "pending".to_owned(),
            session: self.session.clone(),
            job: self.job.clone(),
            requester: self.requester.clone(),
            process: self.process.clone(),
            database: self.database.clone(),
            statement: self.statement.clone(),
            parameters: self.parameters.clone(),
            parameter_types: self.parameter_types.clone(),
            effects: self.effects.clone(),
            estimated_rows: None,
            warnings: self.warnings.clone(),
            run_url: self.run_url.clone(),
            step: self.step.clone(),
            statement_number: self.statement_number,
            before: self.before.clone(),
            why: self.why.clone(),
            rule: self.requirement.rule.clone(),
            needs: self
                .requirement
                .quorums
                .iter()
                .map(|quorum| NeedView {
                    group: quorum.group.clone(),
                    count: quorum.count,
                    approved: 0,
                })
                .collect(),
            approved_by: Vec::new(),
            created: created.to_owned(),
            expires: expires.to_owned(),
            on_hold: self.requirement.on_hold.word().to_owned(),
            answers: Vec::new(),
            used: None,
            ended: None,
            ended_because: None,
        }
    }

    /// The request as recorded; the statement itself is in the decision that held it.
    pub(super) fn evidence(&self, id: &str, expires: &str) -> ApprovalRequested {
        ApprovalRequested {
            approval: id.to_owned(),
            session: self.session.clone(),
            job: self.job.clone(),
            statement: self.statement_number,
            requester: self.requester.clone(),
            requester_uid: self.requester_uid,
            rule: self.requirement.rule.clone(),
            needs: self
                .requirement
                .quorums
                .iter()
                .map(|quorum| ApprovalNeed {
                    group: quorum.group.clone(),
                    count: quorum.count,
                })
                .collect(),
            refused: self.requirement.on_hold == OnHold::Refuse,
            expires: expires.to_owned(),
            binding: self.binding.hex(),
        }
    }
}
