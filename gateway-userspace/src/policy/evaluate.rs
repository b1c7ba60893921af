//! Weighs a statement against the rules of an admission: default deny, deny over approve over
//! allow, masks of every grant. Pure and quick; never waits, never fails.

use std::collections::BTreeSet;

use super::{
    ApprovalRequirement, Obligations, Observed, OnHold, Quorum, Reason, ReasonCode, Verdict,
    admit::Admission,
    grant::{ApproveRule, Grant, Mode, Rule, yaml_scalar},
    kinship::Kinship,
    rules,
    verdict::whom,
};
use crate::sql::{Statement, StatementKind};

/// Decides a statement without regard to inheritance and partitions: see [`evaluate_in`].
pub fn evaluate(admission: &Admission, statement: &Statement) -> Verdict {
    evaluate_in(admission, statement, &Kinship::none())
}

/// Decides a statement. `EXECUTE` and `FETCH` are decided by the effects and the output of what
/// they run: the session copies those of the prepared statement or the cursor into `statement`.
pub fn evaluate_in(admission: &Admission, statement: &Statement, kinship: &Kinship) -> Verdict {
    if statement.kind == StatementKind::Empty {
        return Verdict::Allow(Obligations::default());
    }
    let mut weighing = Weighing {
        admission,
        statement,
        kinship,
        holds: Vec::new(),
        grants: BTreeSet::new(),
        observed: None,
    };
    match weighing.weigh() {
        Ok(obligations) => weighing.verdict(obligations),
        Err(reason) => Verdict::Deny(reason),
    }
}

/// One evaluation under way.
pub(super) struct Weighing<'a> {
    pub(super) admission: &'a Admission,
    pub(super) statement: &'a Statement,
    pub(super) kinship: &'a Kinship,
    holds: Vec<Hold<'a>>,
    grants: BTreeSet<&'a str>,
    observed: Option<Observed>,
}

/// An approve rule that the statement hits, and by what.
struct Hold<'a> {
    grant: &'a Grant,
    index: usize,
    rule: &'a ApproveRule,
    what: String,
}

impl<'a> Weighing<'a> {
    fn weigh(&mut self) -> Result<Obligations, Reason> {
        rules::kind::weigh(self)?;
        for relation in &self.statement.relations {
            rules::relation::weigh(self, relation)?;
        }
        for change in &self.statement.settings {
            rules::setting::weigh(self, change)?;
        }
        for function in &self.statement.functions {
            rules::function::weigh(self, function)?;
        }
        for effect in &self.statement.ddl {
            rules::ddl::weigh(self, effect)?;
        }
        let redactions = rules::protect::weigh(self)?;
        if self.grants.is_empty() {
            self.grants
                .extend(self.admission.grants().map(|grant| grant.name.as_str()));
        }
        let grants = self.grants.iter().map(|name| (*name).to_owned()).collect();
        Ok(Obligations {
            grants,
            redactions,
            detections: self.admission.detections().clone(),
            observed: self.observed.take(),
        })
    }

    /// Notes that an approve rule holds the statement. `unseen`: its effects cannot be seen.
    pub(super) fn hold(
        &mut self,
        grant: &'a Grant,
        index: usize,
        rule: &'a ApproveRule,
        what: &str,
        unseen: bool,
    ) {
        self.grants.insert(&grant.name);
        // A plain EXPLAIN runs nothing: there is nothing to approve.
        if matches!(
            self.statement.kind,
            StatementKind::Explain { analyze: false }
        ) {
            return;
        }
        if grant.mode == Mode::Observe && !(unseen && self.admission.is_guarded()) {
            if self.observed.is_none() {
                self.observed = Some(Observed {
                    held: true,
                    reason: Reason {
                        code: ReasonCode::NotApproved,
                        message: format!("{what} needs approval"),
                        rule: place(grant, "approve", index),
                        hint: format!(
                            "it passes because grant {} is in `mode: observe`",
                            grant.name
                        ),
                    },
                });
            }
            return;
        }
        if !self
            .holds
            .iter()
            .any(|hold| hold.index == index && hold.grant.name == grant.name)
        {
            self.holds.push(Hold {
                grant,
                index,
                rule,
                what: what.to_owned(),
            });
        }
    }

    /// Notes that a grant allows a part of the statement.
    pub(super) fn allowed_by(&mut self, grant: &'a Grant) {
        self.grants.insert(&grant.name);
    }

    fn verdict(&self, obligations: Obligations) -> Verdict {
        let Some(first) = self.holds.first() else {
            return Verdict::Allow(obligations);
        };
        let names: Vec<String> = self
            .holds
            .iter()
            .map(|hold| place(hold.grant, "approve", hold.index))
            .collect();
        let rule = names.join(", ");
        let quorums = self.quorums();
        let hold = self
            .holds
            .iter()
            .map(|hold| hold.grant.hold())
            .min()
            .unwrap_or_default();
        let hold_in_transaction = self
            .holds
            .iter()
            .map(|hold| hold.grant.hold_in_transaction())
            .min()
            .unwrap_or_default();
        let refuses = self
            .holds
            .iter()
            .any(|hold| hold.rule.on_hold.unwrap_or(hold.grant.on_hold) == OnHold::Refuse);
        let (on_hold, hint) = if refuses {
            (
                OnHold::Refuse,
                "an approver answers with `cordon approvals`; send the same statement again then",
            )
        } else {
            (
                OnHold::Wait,
                "an approver answers with `cordon approvals`; the statement waits until then",
            )
        };
        let unlimited = if self.statement.unlimited {
            " (no WHERE clause: every row)"
        } else {
            ""
        };
        Verdict::RequireApproval {
            obligations,
            reason: Reason {
                code: ReasonCode::NotApproved,
                message: format!(
                    "{}{unlimited} needs approval by {}",
                    first.what,
                    whom(&quorums)
                ),
                rule: rule.clone(),
                hint: hint.to_owned(),
            },
            requirement: ApprovalRequirement {
                rule,
                quorums,
                hold,
                hold_in_transaction,
                on_hold,
            },
        }
    }

    /// Who must agree: of each group the largest count. What any approver may fill is left out
    /// where as many of one group are asked for.
    fn quorums(&self) -> Vec<Quorum> {
        let mut quorums: Vec<Quorum> = Vec::new();
        for ApproveRule { group, count, .. } in self.holds.iter().map(|hold| hold.rule) {
            match quorums.iter_mut().find(|quorum| quorum.group == *group) {
                Some(quorum) => quorum.count = quorum.count.max(*count),
                None => quorums.push(Quorum {
                    group: group.clone(),
                    count: *count,
                }),
            }
        }
        let largest = quorums
            .iter()
            .filter(|quorum| quorum.group.is_some())
            .map(|quorum| quorum.count)
            .max()
            .unwrap_or(0);
        quorums.retain(|quorum| quorum.group.is_some() || quorum.count > largest);
        quorums
    }

    /// Refuses what no rule allows, unless the grants only observe: then it passes, and is
    /// noted. `unseen`: its effects cannot be seen, so that they could get round other rules.
    pub(super) fn refuse_by_default(&mut self, unseen: bool, reason: Reason) -> Result<(), Reason> {
        if !self.admission.observes() || (unseen && self.admission.is_guarded()) {
            return Err(reason);
        }
        self.observe(reason);
        Ok(())
    }

    /// Refuses what a rule of a grant forbids, unless that grant only observes.
    pub(super) fn refuse_by(&mut self, grant: &Grant, reason: Reason) -> Result<(), Reason> {
        match grant.mode {
            Mode::Enforce => Err(reason),
            Mode::Observe => {
                self.observe(reason);
                Ok(())
            }
        }
    }

    /// A refusal outweighs a hold; of several refusals the first is what enforcement would say.
    fn observe(&mut self, reason: Reason) {
        if self.observed.as_ref().is_none_or(|before| before.held) {
            self.observed = Some(Observed {
                held: false,
                reason,
            });
        }
    }

    /// Nothing allows `what`; `line` in the policy would.
    pub(super) fn default_deny(&self, what: &str, line: &str) -> Reason {
        Reason {
            code: ReasonCode::NotPermitted,
            message: format!("{what} is not granted"),
            rule: "default deny".to_owned(),
            hint: format!(
                "add `{line}` to allow in grant {}",
                self.admission.example_grant()
            ),
        }
    }

    /// A deny rule forbids `what`.
    pub(super) fn denied(
        &mut self,
        what: &str,
        grant: &Grant,
        index: usize,
        rule: &Rule,
    ) -> Result<(), Reason> {
        let reason = Reason {
            code: ReasonCode::NotPermitted,
            message: format!("{what} is denied"),
            rule: place(grant, "deny", index),
            hint: format!(
                "`{rule}` under deny of grant {} forbids it, whatever allows it; only a change of that rule would permit it",
                grant.name
            ),
        };
        self.refuse_by(grant, reason)
    }
}

/// `grant: section[index]`.
pub(super) fn place(grant: &Grant, section: &str, index: usize) -> String {
    format!("{}: {section}[{index}]", grant.name)
}

/// `- verb: target` as a line of YAML.
pub(super) fn line(verb: &str, target: &str) -> String {
    format!("- {verb}: {}", yaml_scalar(target))
}
