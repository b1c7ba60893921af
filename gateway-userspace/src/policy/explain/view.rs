//! Statements and verdicts as programs read them.

use serde::Serialize;

use super::words;
use crate::{
    masking::Redaction,
    policy::{
        Quorum, Reason, Verdict,
        admit::Admission,
        evaluate::place,
        grant::{FILTER_WORDS, column_name, relation_name, word_of},
        kinship::Kinship,
        pattern::qualified,
    },
    sql::{ColumnRef, Statement},
};

/// Why a statement is denied or held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonView {
    /// The SQLSTATE that the client would see.
    pub sqlstate: &'static str,
    /// The message.
    pub message: String,
    /// The rule that decided, or `default deny`.
    pub rule: String,
    /// What would allow it.
    pub hint: String,
}

impl From<&Reason> for ReasonView {
    fn from(reason: &Reason) -> Self {
        Self {
            sqlstate: reason.sqlstate(),
            message: reason.message.clone(),
            rule: reason.rule.clone(),
            hint: reason.hint.clone(),
        }
    }
}

/// What a grant in observe mode lets pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObservedView {
    /// `hold` or `deny`.
    pub would: &'static str,
    /// Why.
    pub reason: ReasonView,
}

/// A verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum VerdictView {
    /// It may run.
    Allow {
        /// The grants that allow it.
        grants: Vec<String>,
        /// What enforcement would have done, where it passes only because a grant observes.
        #[serde(skip_serializing_if = "Option::is_none")]
        observed: Option<ObservedView>,
    },
    /// It may run once people agree.
    Hold {
        /// The grants that allow it then.
        grants: Vec<String>,
        /// Whose approval: all of these.
        needs: Vec<Quorum>,
        /// How long it waits.
        hold_seconds: u64,
        /// `wait`: on its connection; `refuse`: it is refused until then.
        on_hold: &'static str,
        /// Why.
        reason: ReasonView,
    },
    /// It may not run.
    Deny {
        /// Why.
        reason: ReasonView,
    },
}

impl VerdictView {
    /// A verdict as programs read it.
    pub fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Allow(obligations) => Self::Allow {
                grants: obligations.grants.clone(),
                observed: obligations.observed.as_ref().map(|observed| ObservedView {
                    would: if observed.held { "hold" } else { "deny" },
                    reason: ReasonView::from(&observed.reason),
                }),
            },
            Verdict::RequireApproval {
                obligations,
                requirement,
                reason,
            } => Self::Hold {
                grants: obligations.grants.clone(),
                needs: requirement.quorums.clone(),
                hold_seconds: requirement.hold.as_secs(),
                on_hold: requirement.on_hold.word(),
                reason: reason.into(),
            },
            Verdict::Deny(reason) => Self::Deny {
                reason: reason.into(),
            },
        }
    }

    /// `allow`, `hold` or `deny`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Allow { .. } => "allow",
            Self::Hold { .. } => "hold",
            Self::Deny { .. } => "deny",
        }
    }

    /// What enforcement would do: `allow`, `hold` or `deny`.
    pub fn enforced(&self) -> &'static str {
        match self {
            Self::Allow {
                observed: Some(observed),
                ..
            } => observed.would,
            Self::Allow { observed: None, .. } | Self::Hold { .. } | Self::Deny { .. } => {
                self.word()
            }
        }
    }

    /// Why it is not allowed, or only observed.
    pub fn reason(&self) -> Option<&ReasonView> {
        match self {
            Self::Allow { observed, .. } => observed.as_ref().map(|observed| &observed.reason),
            Self::Hold { reason, .. } | Self::Deny { reason } => Some(reason),
        }
    }

    /// The grants that allow it.
    pub fn grants(&self) -> &[String] {
        match self {
            Self::Allow { grants, .. } | Self::Hold { grants, .. } => grants,
            Self::Deny { .. } => &[],
        }
    }
}

/// A limit on a job's statements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitView {
    /// Its key.
    pub limit: &'static str,
    /// The most that it allows, as the policy would write it.
    pub most: String,
    /// The rule that sets it.
    pub rule: String,
}

/// The limits in force, of each kind the narrowest.
pub fn limits(admission: &Admission) -> Vec<LimitView> {
    let limits = admission.limits().in_force();
    limits
        .iter()
        .map(|limit| LimitView {
            limit: limit.kind.word(),
            most: limit.written(),
            rule: limit.rule.to_string(),
        })
        .collect()
}

/// A column and how it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnView {
    /// Its name.
    pub column: String,
    /// `output`, `derived`, `filter`, `equality`, `source`, `inserted`, `updated`, `named`.
    pub uses: Vec<&'static str>,
}

/// A relation and what is done to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RelationView {
    /// `schema.name`.
    pub relation: String,
    /// `select`, `insert`, `update`, `delete`, `truncate`, `lock`.
    pub access: Vec<&'static str>,
    /// Its columns.
    pub columns: Vec<ColumnView>,
    /// Belongs to the system catalog.
    pub system: bool,
    /// A temporary table of the session.
    pub temporary: bool,
}

pub(super) fn relations(statement: &Statement) -> Vec<RelationView> {
    statement
        .relations
        .iter()
        .map(|used| RelationView {
            relation: relation_name(&used.relation),
            access: used.access.iter().map(|by| words::access(*by)).collect(),
            columns: used
                .columns
                .iter()
                .map(|(column, uses)| ColumnView {
                    column: column.column.clone(),
                    uses: uses.iter().map(|by| words::column_use(*by)).collect(),
                })
                .collect(),
            system: used.system,
            temporary: used.temporary,
        })
        .collect()
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FunctionView {
    /// `schema.name`.
    pub function: String,
    /// `pure`, `catalog` or `other`; `other` needs a rule.
    pub class: &'static str,
}

pub(super) fn functions(statement: &Statement) -> Vec<FunctionView> {
    let mut functions: Vec<FunctionView> = statement
        .functions
        .iter()
        .map(|function| FunctionView {
            function: qualified(&function.schema, &function.name),
            class: words::class(function.class),
        })
        .collect();
    // Overloads that cannot be told apart are listed one by one.
    functions.dedup();
    functions
}

/// Data definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DefinitionView {
    /// `create`, `alter` or `drop`.
    pub action: &'static str,
    /// `table`, `index` ...
    pub kind: String,
    /// `schema.name`.
    pub object: String,
    /// The table that it belongs to.
    pub on: Option<String>,
    /// With CASCADE.
    pub cascade: bool,
    /// Of a temporary table.
    pub temporary: bool,
}

pub(super) fn definitions(statement: &Statement) -> Vec<DefinitionView> {
    statement
        .ddl
        .iter()
        .map(|effect| DefinitionView {
            action: words::action(effect.action),
            kind: effect.object_kind.clone(),
            object: qualified(&effect.schema, &effect.name),
            on: effect.on.as_ref().map(relation_name),
            cascade: effect.cascade,
            temporary: effect.temporary,
        })
        .collect()
}

/// A column of the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutputView {
    /// Its label.
    pub name: String,
    /// `column` (one column's value as it is), `one-of` (that of one of several), `derived`
    /// (computed from them), `none` (from no column).
    pub how: &'static str,
    /// The columns that it comes from: `schema.table.column`.
    pub origins: Vec<String>,
    /// The mask on it.
    pub mask: Option<String>,
}

/// The columns of a statement's result under a verdict; `None`: it returns no rows.
pub fn output_of(statement: &Statement, verdict: &Verdict) -> Option<Vec<OutputView>> {
    let redactions = match verdict {
        Verdict::Allow(obligations) | Verdict::RequireApproval { obligations, .. } => {
            obligations.redactions.as_slice()
        }
        Verdict::Deny(_) => &[],
    };
    let columns = statement.output.as_ref()?.iter().enumerate();
    Some(
        columns
            .map(|(index, column)| OutputView {
                name: column.name.clone(),
                how: match (column.direct, column.merged, column.origins.is_empty()) {
                    (true, _, _) => "column",
                    (false, true, _) => "one-of",
                    (false, false, true) => "none",
                    (false, false, false) => "derived",
                },
                origins: column.origins.iter().map(column_name).collect(),
                mask: mask_of(redactions, index),
            })
            .collect(),
    )
}

/// The mask on a column, or those on its parts.
fn mask_of(redactions: &[Redaction], column: usize) -> Option<String> {
    let masks: Vec<String> = redactions
        .iter()
        .filter(|redaction| redaction.column == column)
        .map(|redaction| match &redaction.path {
            None => redaction.mask.to_string(),
            Some(path) => format!("{path}: {}", redaction.mask),
        })
        .collect();
    (!masks.is_empty()).then(|| masks.join(", "))
}

/// A mask rule on a column that the statement touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MaskView {
    /// `schema.table.column`.
    pub column: String,
    /// `agent-orders: mask[0]`.
    pub place: String,
    /// The pattern that it writes.
    pub pattern: String,
    /// How the column is shown.
    pub with: String,
    /// What conditions may stand on it.
    #[serde(rename = "where")]
    pub filter: &'static str,
}

pub(super) fn masks(
    admission: &Admission,
    statement: &Statement,
    kinship: &Kinship,
) -> Vec<MaskView> {
    let mut masks = Vec::new();
    for used in &statement.relations {
        let kin = kinship.of_relation(&used.relation);
        for ColumnRef {
            relation, column, ..
        } in used.columns.keys()
        {
            for (grant, index, rule) in admission.mask_rules() {
                let on =
                    |schema: &str, name: &str| rule.protects(schema, name, column, used.system);
                if on(&relation.schema, &relation.name)
                    || kin.iter().any(|(schema, name)| on(schema, name))
                {
                    let patterns: Vec<String> =
                        rule.columns.iter().map(ToString::to_string).collect();
                    masks.push(MaskView {
                        column: format!(
                            "{}.{}",
                            relation_name(relation),
                            crate::policy::pattern::quoted(column)
                        ),
                        place: place(grant, "mask", index),
                        pattern: patterns.join(", "),
                        with: rule.mask.to_string(),
                        filter: word_of(&FILTER_WORDS, &rule.filter),
                    });
                }
            }
        }
    }
    masks
}
