//! Why a statement of a job is decided as it is: every rule that it meets, and what would allow
//! it.
//!
//! Which rules count for what is asked of the evaluator itself, one rule at a time: an explanation
//! cannot part from the decision.

mod parts;
mod view;
mod words;

use serde::Serialize;

pub use view::{
    ColumnView, DefinitionView, FunctionView, LimitView, MaskView, ObservedView, OutputView,
    ReasonView, RelationView, VerdictView, limits, output_of,
};

use super::{
    Mode, Policy, Verdict,
    admit::{Admission, describe_to_author},
    evaluate::evaluate_in,
    kinship::Kinship,
    needs::{Need, candidates, minimise},
    probe::Probe,
};
use crate::{
    identity::JobIdentity,
    sql::{Catalog, Statement},
};

/// A grant of a database, and whether it is for a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrantView {
    /// Its name.
    pub grant: String,
    /// Why it exists.
    pub why: Option<String>,
    /// The login that it gives.
    pub login: Option<String>,
    /// True if it only observes.
    pub observes: bool,
    /// The first condition that the job does not meet; `None`: the grant applies.
    pub unmet: Option<String>,
}

/// Every grant of a database, in the policy's order, and whether it is for this job.
pub fn grants_for(policy: &Policy, job: &JobIdentity, database: &str) -> Vec<GrantView> {
    policy
        .grants()
        .iter()
        .filter(|grant| grant.database == database)
        .map(|grant| GrantView {
            grant: grant.name.clone(),
            why: grant.why.clone(),
            login: grant.role.as_ref().map(ToString::to_string),
            observes: grant.mode == Mode::Observe,
            unmet: grant
                .who
                .unmet(job)
                .map(|condition| describe_to_author(job, grant, &condition)),
        })
        .collect()
}

/// A rule, and which columns of a part it counts for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleView {
    /// Its place: `agent-orders: allow[0]`.
    pub place: String,
    /// As the policy writes it, as far as it is about the part.
    pub rule: String,
    /// The columns of the part that it counts for, if the part has columns.
    pub columns: Vec<String>,
}

/// What the policy says of one part of a statement, were every grant enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Needs no rule.
    Free,
    /// Allowed.
    Allowed,
    /// Held for approval.
    Held,
    /// Denied.
    Denied,
}

/// One thing that a statement does, and the rules on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What it does: `select public.orders`, `call public.order_total`.
    pub what: String,
    /// The columns that it does this to.
    pub columns: Vec<String>,
    /// What the policy says.
    pub standing: Standing,
    /// The rules that count for it.
    pub rules: Vec<RuleView>,
    /// Columns that no rule allows.
    pub missing: Vec<String>,
    /// Why it is denied.
    pub reason: Option<ReasonView>,
}

/// The narrowest change of the policy under which a denied statement would run or be held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// The grant to change.
    pub grant: String,
    /// Lines for its `allow`.
    pub allow: Vec<String>,
    /// Lines for its `approve`; each wants a `by:`.
    pub approve: Vec<String>,
}

/// A statement under a policy, explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The statement.
    pub text: String,
    /// Its kind: `select`, `update` ...
    pub kind: String,
    /// The verdict, as the client would learn it.
    pub verdict: VerdictView,
    /// What would allow it, if it is denied (or would be, if it were enforced) and rules can.
    pub remedy: Option<Remedy>,
    /// What it does, part by part.
    pub parts: Vec<Part>,
    /// Every relation it touches.
    pub relations: Vec<RelationView>,
    /// The functions it calls, operators and casts among them.
    pub functions: Vec<FunctionView>,
    /// What it defines.
    pub definitions: Vec<DefinitionView>,
    /// The columns of its result; `None`: it returns no rows.
    pub output: Option<Vec<OutputView>>,
    /// The mask rules on columns that it touches.
    pub masks: Vec<MaskView>,
    /// True for UPDATE and DELETE that no WHERE limits.
    pub every_row: bool,
}

/// Explains the verdict on a statement.
pub fn explain(
    job: &JobIdentity,
    admission: &Admission,
    statement: &Statement,
    catalog: &Catalog,
    kinship: &Kinship,
) -> Explanation {
    let probe = Probe::new(job, admission);
    let verdict = evaluate_in(admission, statement, kinship);
    let said = VerdictView::of(&verdict);
    let remedy = match said.enforced() {
        "deny" => remedy(&probe, admission, statement, catalog, kinship),
        _ => None,
    };
    Explanation {
        text: statement.text.clone(),
        kind: words::kind(&statement.kind).to_owned(),
        parts: parts::parts(&probe, statement, kinship),
        relations: view::relations(statement),
        functions: view::functions(statement),
        definitions: view::definitions(statement),
        output: output_of(statement, &verdict),
        masks: view::masks(admission, statement, kinship),
        every_row: statement.unlimited,
        verdict: said,
        remedy,
    }
}

/// The narrowest rules that let a denied statement pass: allowed if that is enough, else with its
/// destructive parts held.
fn remedy(
    probe: &Probe<'_>,
    admission: &Admission,
    statement: &Statement,
    catalog: &Catalog,
    kinship: &Kinship,
) -> Option<Remedy> {
    let needs = candidates(statement, catalog);
    [false, true].into_iter().find_map(|hold| {
        let passes = |needs: &[Need]| {
            let verdict = probe.verdict(probe.with(needs, hold, None), statement, kinship);
            !matches!(verdict, Verdict::Deny(_))
        };
        if !passes(&needs) {
            return None;
        }
        let needs = minimise(needs.clone(), |needs, _| passes(needs));
        let (approve, allow): (Vec<&Need>, Vec<&Need>) =
            needs.iter().partition(|need| hold && need.is_destructive());
        let lines = |needs: Vec<&Need>| needs.iter().map(|need| need.rule().to_string()).collect();
        Some(Remedy {
            grant: admission.example_grant().to_owned(),
            allow: lines(allow),
            approve: lines(approve),
        })
    })
}
