//! Puts decisions and refusals on record.

use std::sync::Arc;

use super::{
    Decision, Parameter, Permit, Phase, Refusal, Session, Understood,
    refusal::{code_name, reason_of},
};
use crate::{
    audit::{self, Content, Durability, Event, StatementDecided},
    policy::{Obligations, Observed, Reason, ReasonCode},
    sql::NotUnderstood,
};

impl Session {
    pub(super) fn reference(&self, number: u64) -> String {
        format!("{}-{number}", self.id.trim_start_matches("ses-"))
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.statements += 1;
        self.statements
    }

    /// The search path, if it is another one than on record.
    fn search_path(&mut self) -> Vec<String> {
        let Some(namespace) = &self.names.namespace else {
            return Vec::new();
        };
        let same = self.recorded.as_ref().is_some_and(|recorded| {
            Arc::ptr_eq(recorded, namespace) || recorded.search_path == namespace.search_path
        });
        if same {
            return Vec::new();
        }
        self.recorded = Some(namespace.clone());
        namespace.search_path.clone()
    }

    pub(super) fn decided(
        &mut self,
        understood: &Understood,
        phase: Phase,
        parameters: &[Parameter],
        number: u64,
        decision: audit::Decision,
        approval: Option<String>,
    ) -> Event {
        Event::StatementDecided(StatementDecided {
            session: self.id.to_string(),
            statement: number,
            phase: audit_phase(phase),
            text: Content::text(understood.reading.recorded_text(&self.gate.blotter)),
            parameters: parameters
                .iter()
                .map(|parameter| parameter.content(&self.gate.blotter))
                .collect(),
            relations: understood.reading.relations().to_vec(),
            effects: understood.reading.effects().to_vec(),
            decision,
            policy: self.policy_hex.clone(),
            masked: understood.masked.clone(),
            search_path: self.search_path(),
            approval,
        })
    }

    /// Refuses a statement that comes too soon after others.
    pub(super) async fn refuse_uncounted(
        &mut self,
        understood: &Understood,
        phase: Phase,
        parameters: &[Parameter],
        number: u64,
        reason: &Reason,
    ) -> Decision {
        let event = self.decided(understood, phase, parameters, number, denied(reason), None);
        Decision::Refuse(match self.gate.log.append(event, Durability::Now).await {
            Ok(_) => Refusal::new(reason, self.reference(number)),
            Err(error) => self.unrecorded(number, &error),
        })
    }

    /// An empty statement of the extended protocol.
    pub async fn decide_empty(&mut self) -> Decision {
        let number = self.next_number();
        let event = Event::StatementDecided(StatementDecided {
            session: self.id.to_string(),
            statement: number,
            phase: audit::Phase::Execute,
            text: Content::text(""),
            parameters: Vec::new(),
            relations: Vec::new(),
            effects: Vec::new(),
            decision: audit::Decision::Allow { grants: Vec::new() },
            policy: self.policy_hex.clone(),
            masked: Vec::new(),
            search_path: self.search_path(),
            approval: None,
        });
        match self.gate.log.append(event, Durability::Now).await {
            Ok(receipt) => Decision::Run(Permit::new(&self.gate.log, &self.id, number, receipt)),
            Err(error) => Decision::Refuse(self.unrecorded(number, &error)),
        }
    }

    /// Refuses a text that is not understood.
    pub async fn refuse_text(&mut self, text: &str, error: &NotUnderstood) -> Refusal {
        let reason = reason_of(error, &error.to_string());
        let number = self.next_number();
        match self.record_refusal(text, &reason, number).await {
            Ok(()) => {
                let refusal = Refusal::not_understood(error, self.reference(number));
                match error {
                    NotUnderstood::Syntax { .. } | NotUnderstood::UnknownName { .. } => {
                        refusal.worded_by_server(text)
                    }
                    NotUnderstood::Limit(_) | NotUnderstood::Unsupported(_) => refusal,
                }
            }
            Err(refusal) => refusal,
        }
    }

    /// Refuses a statement whose result cannot be masked.
    pub async fn refuse_unmaskable(&mut self, understood: &Understood, message: &str) -> Refusal {
        let reason = Reason {
            code: ReasonCode::NotMaskable,
            message: message.to_owned(),
            rule: "what cannot be masked is denied".to_owned(),
            hint: "select the protected columns plainly, or leave them out".to_owned(),
        };
        self.refuse_for(understood.text(), &reason).await
    }

    /// Refuses a text for a reason, on record.
    pub(super) async fn refuse_for(&mut self, text: &str, reason: &Reason) -> Refusal {
        let number = self.next_number();
        match self.record_refusal(text, reason, number).await {
            Ok(()) => Refusal::new(reason, self.reference(number)),
            Err(refusal) => refusal,
        }
    }

    /// Records that a message was refused before a statement was read of it.
    pub fn message_refused(&self, refusal: &Refusal) {
        let reason = refusal.message();
        self.gate
            .log
            .record_later(Event::MessageRefused(audit::MessageRefused {
                session: self.id.to_string(),
                sqlstate: refusal.sqlstate().to_owned(),
                reason: self.gate.blotter.blotted(&reason).unwrap_or(reason),
            }));
    }

    pub(super) async fn record_refusal(
        &mut self,
        text: &str,
        reason: &Reason,
        number: u64,
    ) -> Result<(), Refusal> {
        let event = Event::StatementDecided(StatementDecided {
            session: self.id.to_string(),
            statement: number,
            phase: audit::Phase::Simple,
            text: Content::text(
                self.gate
                    .blotter
                    .blotted(text)
                    .unwrap_or_else(|| text.to_owned()),
            ),
            parameters: Vec::new(),
            relations: Vec::new(),
            effects: Vec::new(),
            decision: denied(reason),
            policy: self.policy_hex.clone(),
            masked: Vec::new(),
            search_path: self.search_path(),
            approval: None,
        });
        match self.gate.log.append(event, Durability::Now).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.unrecorded(number, &error)),
        }
    }

    pub(super) fn unrecorded(&mut self, number: u64, error: &audit::AppendError) -> Refusal {
        self.recorded = None;
        tracing::error!(session = %self.id, error = %error, "evidence cannot be written");
        self.fault(number, "the evidence cannot be written, so nothing may run")
    }

    pub(super) fn fault(&self, number: u64, message: &str) -> Refusal {
        let reason = Reason {
            code: ReasonCode::Fault,
            message: message.to_owned(),
            rule: "what cannot be recorded is refused".to_owned(),
            hint: "tell whoever runs this host; see the daemon's log".to_owned(),
        };
        Refusal::new(&reason, self.reference(number))
    }
}

/// The decision on a statement that may run.
pub(super) fn permitted(obligations: &Obligations) -> audit::Decision {
    let grants = obligations.grants.clone();
    match &obligations.observed {
        None => audit::Decision::Allow { grants },
        Some(Observed { held, reason }) => audit::Decision::Observe {
            grants,
            would: if *held { "hold" } else { "deny" }.to_owned(),
            rule: reason.rule.clone(),
            reason: reason.message.clone(),
            hint: reason.hint.clone(),
        },
    }
}

pub(super) fn denied(reason: &Reason) -> audit::Decision {
    audit::Decision::Deny {
        code: code_name(reason.code).to_owned(),
        sqlstate: reason.sqlstate().to_owned(),
        rule: reason.rule.clone(),
        reason: reason.message.clone(),
        hint: reason.hint.clone(),
    }
}

pub(super) fn audit_phase(phase: Phase) -> audit::Phase {
    match phase {
        Phase::Prepare => audit::Phase::Prepare,
        Phase::Execute | Phase::Resume => audit::Phase::Execute,
        Phase::Simple => audit::Phase::Simple,
    }
}
