//! A statement that waits for humans, and what becomes of it.

use std::sync::Arc;

use super::{
    Decision, Parameter, Permit, Phase, Refusal, Session, Understood,
    record::{denied, permitted},
};
use crate::{
    approval::{
        ApprovalOutcome, ApprovalRequest, Approved, Asked, Binding, Bound, BoundParameter, Held,
        SubmitError, Waiting,
    },
    audit::{self, Durability},
    identity::{Principal, run_url, step},
    policy::{ApprovalRequirement, OnHold, Reason, ReasonCode},
    sql::{Parsed, Statement, split},
};

/// A statement that waits for humans. Dropping it withdraws the request.
#[derive(Debug)]
pub struct Hold {
    request: Request,
    outcome: Option<ApprovalOutcome>,
    understood: Arc<Understood>,
    parameters: Vec<Parameter>,
    phase: Phase,
    number: u64,
    whom: String,
    /// A transaction is open.
    keeps_locks: bool,
}

#[derive(Debug)]
enum Request {
    /// Waits for an answer.
    Waits(Held),
    /// Was refused before, and has been approved since.
    Approved(Approved),
    /// Is refused, and may be sent again once it is approved.
    Refused(Waiting),
}

impl Request {
    fn id(&self) -> &str {
        match self {
            Self::Waits(held) => held.id(),
            Self::Approved(approved) => approved.id(),
            Self::Refused(waiting) => waiting.id(),
        }
    }
}

impl Hold {
    /// Returns when the humans have answered, or time is up. Cancel-safe.
    pub async fn wait(&mut self) {
        if self.outcome.is_none()
            && let Request::Waits(held) = &self.request
        {
            self.outcome = Some(held.wait().await);
        }
    }

    /// True if somebody's answer is waited for. If not, it was approved before it was sent, or is
    /// refused until it is approved.
    pub fn waits(&self) -> bool {
        matches!(self.request, Request::Waits(_))
    }

    /// True if it was approved before it was sent.
    pub fn is_approved(&self) -> bool {
        matches!(self.request, Request::Approved(_))
    }

    /// What would run, where nobody has guessed yet how much it would touch.
    pub fn wants_estimate(&self) -> Option<(&Understood, &[Parameter])> {
        let wants = match &self.request {
            Request::Waits(_) => true,
            Request::Approved(_) => false,
            Request::Refused(waiting) => waiting.lacks_estimate(),
        };
        wants.then_some((&*self.understood, &*self.parameters))
    }

    /// The planner's guess of the rows that it would touch.
    pub fn estimated(&self, rows: u64) {
        match &self.request {
            Request::Waits(held) => held.estimated(rows),
            Request::Refused(waiting) => waiting.estimated(rows),
            Request::Approved(_) => {}
        }
    }

    /// What the client is told while it waits: message and hint. The id stands in parentheses at
    /// the end of the message.
    pub fn notice(&self) -> (String, String) {
        let id = self.request.id();
        let until = match &self.request {
            Request::Waits(held) => format!(" It waits until {}.", held.view().expires),
            Request::Approved(_) | Request::Refused(_) => String::new(),
        };
        let locks = if self.keeps_locks {
            " Its transaction keeps its locks meanwhile."
        } else {
            ""
        };
        (
            format!(
                "cordon: the statement is held until it is approved by {} ({id})",
                self.whom
            ),
            format!(
                "An approver runs: cordon approvals approve {id}. Cancel the statement to withdraw it.{until}{locks}"
            ),
        )
    }
}

impl Session {
    pub(super) async fn submit(
        &mut self,
        understood: &Arc<Understood>,
        phase: Phase,
        parameters: &[Parameter],
        number: u64,
    ) -> Decision {
        let Some((requirement, why)) = understood.requirement() else {
            return Decision::Refuse(self.fault(number, "a statement without a rule was held"));
        };
        let Some(binding) = self.binding(understood.statement(), parameters, requirement) else {
            return Decision::Refuse(self.fault(number, "a statement was held without names"));
        };
        let keeps_locks = self.recent.keeps_locks();
        let mut requirement = requirement.clone();
        let mut warnings = Vec::new();
        if keeps_locks && requirement.on_hold == OnHold::Wait {
            requirement.hold = requirement.hold_in_transaction;
            warnings.push(
                "a transaction is open: what it has locked stays locked while this waits"
                    .to_owned(),
            );
        }
        if understood.statement().unlimited {
            warnings.push("no WHERE clause: it touches every row".to_owned());
        }
        let process = self.principal.process().clone();
        // Reads what the kernel has to say about a process, which may take its time.
        let host = self.gate.host.get().cloned();
        let step = tokio::task::spawn_blocking(move || step(&*host?, &process))
            .await
            .unwrap_or_default();
        let job = self.principal.job();
        let request = ApprovalRequest {
            session: self.id.to_string(),
            job: job.id().to_owned(),
            statement_number: number,
            requester: format!("{} {}", job.issuer(), job.subject()),
            requester_uid: self.principal.process().uid,
            requester_names: job.people(),
            process: process_line(&self.principal),
            database: self.database.clone(),
            statement: understood.text().to_owned(),
            parameters: parameters.iter().map(Parameter::shown).collect(),
            parameter_types: parameters.iter().map(Parameter::type_name).collect(),
            effects: understood.reading.effects().to_vec(),
            warnings,
            run_url: run_url(job),
            step,
            before: self.recent.shown(),
            why: why.message.clone(),
            requirement: requirement.clone(),
            binding,
        };
        let whom = requirement.whom();
        let request = match requirement.on_hold {
            OnHold::Wait => self
                .gate
                .approvals
                .submit(request)
                .await
                .map(Request::Waits),
            OnHold::Refuse => match self.gate.approvals.ask(request).await {
                Ok(Asked::Approved(approved)) => Ok(Request::Approved(approved)),
                Ok(Asked::Waits(waiting)) => Ok(Request::Refused(waiting)),
                Err(error) => Err(error),
            },
        };
        match request {
            Ok(request) => Decision::Hold(Hold {
                request,
                outcome: None,
                understood: understood.clone(),
                parameters: parameters.to_vec(),
                phase,
                number,
                whom,
                keeps_locks,
            }),
            Err(error) => Decision::Refuse(self.not_submitted(number, &error)),
        }
    }

    fn not_submitted(&self, number: u64, error: &SubmitError) -> Refusal {
        tracing::warn!(session = %self.id, %error, "a statement cannot be held");
        self.fault(number, &error.to_string())
    }

    /// What becomes of a held statement once it is answered: runs only if it is approved and
    /// still means exactly what was approved.
    ///
    /// # Errors
    /// The refusal, which is on record.
    pub async fn answered(&mut self, mut hold: Hold) -> Result<Permit, Refusal> {
        let number = hold.number;
        let outcome = match &hold.request {
            Request::Waits(_) => hold.outcome.take(),
            Request::Approved(_) => return self.release(hold).await,
            Request::Refused(waiting) => {
                let id = waiting.id();
                let message = format!(
                    "the statement is refused until it is approved by {} ({id})",
                    hold.whom
                );
                let hint = format!(
                    "An approver runs: cordon approvals approve {id}, until {}. Then send exactly the \
                     same statement again, once; `cordon approvals status {id}` tells when.",
                    waiting.view().expires
                );
                return Err(self.refuse_held(&hold, number, &message, hint).await);
            }
        };
        let reason = match outcome {
            Some(ApprovalOutcome::Approved { .. }) => return self.release(hold).await,
            Some(ApprovalOutcome::Denied { by, reason }) => match reason {
                Some(reason) => format!("{by} denied the statement: {reason}"),
                None => format!("{by} denied the statement"),
            },
            Some(ApprovalOutcome::Expired) => {
                "the request expired: nobody approved the statement in time".to_owned()
            }
            Some(ApprovalOutcome::Withdrawn { reason }) => {
                format!("the request was withdrawn: {reason}")
            }
            None => "the statement was not approved".to_owned(),
        };
        let hint = again(&hold);
        Err(self.refuse_held(&hold, number, &reason, hint).await)
    }

    /// Everything that an approval fixes.
    fn binding(
        &self,
        statement: &Statement,
        parameters: &[Parameter],
        requirement: &ApprovalRequirement,
    ) -> Option<Binding> {
        let parameters: Vec<BoundParameter<'_>> = parameters.iter().map(Parameter::bound).collect();
        let session = match requirement.on_hold {
            OnHold::Wait => Some(&*self.id),
            // It may come over another connection of the same job.
            OnHold::Refuse => None,
        };
        Some(Binding::of(&Bound {
            session,
            job: self.principal.job().id(),
            database: &self.database,
            login: self.admission.login(),
            statement,
            definitions: self.names.fingerprint()?,
            namespace: self.names.namespace.as_deref()?,
            parameters: &parameters,
        }))
    }

    async fn release(&mut self, mut hold: Hold) -> Result<Permit, Refusal> {
        let number = hold.number;
        let meaning = self.now_means(&hold).await;
        let (approved, held) = match hold.request {
            Request::Waits(held) => (held.approved(), Some(held)),
            Request::Approved(approved) => (approved, None),
            Request::Refused(waiting) => {
                hold.request = Request::Refused(waiting);
                return Err(self.fault(number, "a refused statement was about to run"));
            }
        };
        hold.request = Request::Approved(approved.clone());
        let redeemed = match meaning {
            Ok(binding) => approved
                .redeem(&binding)
                .await
                .map_err(|error| error.to_string()),
            Err(reason) => {
                approved.withdraw(&reason);
                Err(reason)
            }
        };
        // Used or gone: there is nothing left to withdraw.
        drop(held);
        let redeemed = match redeemed {
            Ok(redeemed) => redeemed,
            Err(reason) => {
                let hint = again(&hold);
                return Err(self.refuse_held(&hold, number, &reason, hint).await);
            }
        };
        let decision = hold
            .understood
            .obligations()
            .map_or_else(|| audit::Decision::Allow { grants: Vec::new() }, permitted);
        let event = self.decided(
            &hold.understood,
            hold.phase,
            &hold.parameters,
            number,
            decision,
            Some(redeemed.id().to_owned()),
        );
        match self.gate.log.append(event, Durability::Synced).await {
            Ok(receipt) => {
                self.note_cursor(&hold.understood);
                self.recent.sent(number, &hold.understood);
                Ok(Permit::new(&self.gate.log, &self.id, number, receipt))
            }
            Err(error) => Err(self.unrecorded(number, &error)),
        }
    }

    /// What the held statement would do now, as a binding: the job must live, and the policy must
    /// ask for the same as when it was shown to the approver.
    async fn now_means(&mut self, hold: &Hold) -> Result<Binding, String> {
        if let Some(reason) = self.principal.life().end_reason() {
            return Err(format!("the job has ended: {reason}"));
        }
        self.follow_policy();
        let unnamed = || "the names of the session are not known".to_owned();
        let held = &hold.understood;
        let Some((requirement, _)) = held.requirement() else {
            return Err("a statement without a rule was held".to_owned());
        };
        if held.generation == self.generation {
            return self
                .binding(held.statement(), &hold.parameters, requirement)
                .ok_or_else(unnamed);
        }
        let changed = || {
            "the policy or the schema changed meanwhile; send the statement again to ask anew"
                .to_owned()
        };
        let text = held.statement().text.clone();
        let Ok(Ok(statements)) = self.gate.stack.run(move || split(&text)).await else {
            return Err(changed());
        };
        let [mut parsed] = <[Parsed; 1]>::try_from(statements).map_err(|_other| changed())?;
        let types: Vec<u32> = hold.parameters.iter().map(Parameter::type_oid).collect();
        parsed.declare(&types);
        let again = self
            .analyze(&Arc::new(parsed))
            .await
            .map_err(|error| error.to_string())?;
        if again.verdict != held.verdict {
            return Err(changed());
        }
        self.binding(again.statement(), &hold.parameters, requirement)
            .ok_or_else(unnamed)
    }

    /// The client cancelled a held statement.
    pub async fn cancelled(&mut self, hold: Hold) -> Refusal {
        let number = hold.number;
        let hint = again(&hold);
        let refusal = self
            .refuse_held(
                &hold,
                number,
                "canceling statement due to user request",
                hint,
            )
            .await;
        if let Request::Waits(held) = hold.request {
            held.withdraw("cancelled by the client");
        }
        refusal
    }

    async fn refuse_held(
        &mut self,
        hold: &Hold,
        number: u64,
        message: &str,
        hint: String,
    ) -> Refusal {
        let rule = hold
            .understood
            .requirement()
            .map_or_else(String::new, |(requirement, _)| requirement.rule.clone());
        let reason = Reason {
            code: ReasonCode::NotApproved,
            message: message.to_owned(),
            rule,
            hint,
        };
        let event = self.decided(
            &hold.understood,
            hold.phase,
            &hold.parameters,
            number,
            denied(&reason),
            Some(hold.request.id().to_owned()),
        );
        match self.gate.log.append(event, Durability::Now).await {
            Ok(_) => Refusal::new(&reason, self.reference(number)),
            Err(error) => self.unrecorded(number, &error),
        }
    }
}

fn again(hold: &Hold) -> String {
    format!(
        "approval {}; ask again when it can be answered",
        hold.request.id()
    )
}

fn process_line(principal: &Principal) -> String {
    let process = principal.process();
    match &process.command_line {
        Some(line) => format!("{} ({}): {line}", process.pid, process.comm),
        None => format!("{} ({})", process.pid, process.comm),
    }
}
