//! Grants and their rules, typed and valid.

use std::{fmt, time::Duration};

use super::{
    glob::Glob,
    limits::{DEFAULT_HOLD, DEFAULT_HOLD_IN_TRANSACTION, GrantLimits},
    pattern::{ColumnPattern, Target},
    verdict::OnHold,
};
use crate::{
    identity::{Assurance, JobIdentity},
    masking::{Detector, JsonPath, MaskKind},
    sql::{ColumnRef, RelationRef},
};

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Reading rows.
    Select,
    /// Adding rows.
    Insert,
    /// Changing rows, and locking them.
    Update,
    /// Removing rows.
    Delete,
    /// TRUNCATE.
    Truncate,
    /// Calling functions.
    Call,
    /// Data definition.
    Ddl,
    /// Settings of applications and extensions.
    Set,
    /// All of these, and what has no verb of its own.
    All,
}

impl Verb {
    /// Every verb, with the word for it.
    pub const WORDS: [(Self, &'static str); 9] = [
        (Self::Select, "select"),
        (Self::Insert, "insert"),
        (Self::Update, "update"),
        (Self::Delete, "delete"),
        (Self::Truncate, "truncate"),
        (Self::Call, "call"),
        (Self::Ddl, "ddl"),
        (Self::Set, "set"),
        (Self::All, "all"),
    ];

    /// The word in policy files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Call => "call",
            Self::Ddl => "ddl",
            Self::Set => "set",
            Self::All => "all",
        }
    }

    /// True if a rule of this verb can be narrowed to columns.
    pub fn takes_columns(self) -> bool {
        match self {
            Self::Select | Self::Insert | Self::Update => true,
            Self::Delete | Self::Truncate | Self::Call | Self::Ddl | Self::Set | Self::All => false,
        }
    }
}

/// One rule of `allow` or `deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is about.
    pub verb: Verb,
    /// The objects; at least one.
    pub targets: Vec<Target>,
}

/// One rule of `approve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApproveRule {
    /// What is held.
    pub rule: Rule,
    /// Who decides; `None`: any approver.
    pub group: Option<String>,
    /// How many different people; at least one.
    pub count: u32,
    /// What becomes of the statement meanwhile; `None`: as the grant says.
    pub on_hold: Option<OnHold>,
}

/// One rule of `mask`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaskRule {
    /// Protects columns.
    Columns(ColumnMask),
    /// Looks at the values of all others.
    Detect(DetectRule),
}

/// A rule of `mask` that protects columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnMask {
    /// The protected columns; at least one pattern.
    pub columns: Vec<ColumnPattern>,
    /// The protected part of their JSON documents; `None`: all of each value.
    pub path: Option<JsonPath>,
    /// How they are shown.
    pub mask: MaskKind,
    /// What may be asked about them.
    pub filter: FilterUse,
}

/// A rule of `mask` that looks at values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectRule {
    /// What is looked for; at least one.
    pub detectors: Vec<Detector>,
    /// What stands for what is found.
    pub mask: MaskKind,
}

/// What a protected column may decide in a statement (`where:` of a mask).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FilterUse {
    /// Nothing: a WHERE on it would answer questions about its values.
    None,
    /// It may be compared for equality with constants and parameters in a WHERE clause.
    Equality,
    /// It may stand in WHERE, JOIN, GROUP BY, ORDER BY.
    Any,
}

impl ColumnMask {
    /// True if this rule protects the column, seen as a column of the relation `schema.name`.
    pub(super) fn protects(&self, schema: &str, name: &str, column: &str, system: bool) -> bool {
        self.columns.iter().any(|pattern| {
            // Catalog columns carry no application values, and a `*` schema that reached them
            // would hide the catalog from every driver.
            (!system || !pattern.object.schema.is_any())
                && pattern.object.matches(schema, name)
                && pattern.column.matches(column)
        })
    }
}

/// Whom a grant is for. Every condition must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The configured name of the issuer.
    pub issuer: String,
    /// The least assurance.
    pub assurance: Assurance,
    /// Claims, each with the values that match.
    pub claims: Vec<(String, Vec<Glob>)>,
    /// Groups, one of which is enough; empty: no condition.
    pub groups: Vec<String>,
}

/// The first condition of a [`Who`] that a job does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unmet {
    Issuer,
    Assurance,
    Claim(String),
    Groups,
}

impl Who {
    pub(super) fn unmet(&self, job: &JobIdentity) -> Option<Unmet> {
        if self.issuer != job.issuer() {
            return Some(Unmet::Issuer);
        }
        if job.assurance() < self.assurance {
            return Some(Unmet::Assurance);
        }
        for (claim, globs) in &self.claims {
            let matched = job
                .claims()
                .get(claim)
                .is_some_and(|value| value_matches(value, globs));
            if !matched {
                return Some(Unmet::Claim(claim.clone()));
            }
        }
        let in_group =
            self.groups.is_empty() || self.groups.iter().any(|group| job.groups().contains(group));
        if in_group { None } else { Some(Unmet::Groups) }
    }
}

/// Strings match as they are, numbers and booleans by their JSON text, lists if one element
/// does; objects and null never.
fn value_matches(value: &serde_json::Value, globs: &[Glob]) -> bool {
    use serde_json::Value;
    let matches = |text: &str| globs.iter().any(|glob| glob.matches(text));
    let scalar = |value: &Value| match value {
        Value::String(text) => matches(text),
        Value::Number(number) => matches(&number.to_string()),
        Value::Bool(flag) => matches(if *flag { "true" } else { "false" }),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    };
    match value {
        Value::Array(values) => values.iter().any(scalar),
        other => scalar(other),
    }
}

/// One grant: who may do what in which database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its name, unique in the policy.
    pub name: String,
    /// Why it exists.
    pub why: Option<String>,
    /// Whom it is for.
    pub who: Who,
    /// The database, as the configuration names it.
    pub database: String,
    /// The database role to log in as; `None` for grants that only deny and mask.
    pub role: Option<GrantRole>,
    /// Whether what it does not permit is refused.
    pub mode: Mode,
    /// What becomes of statements that its approve rules hold.
    pub on_hold: OnHold,
    /// What is recorded of results.
    pub results: Results,
    /// Its limits.
    pub limits: GrantLimits,
    /// What is allowed.
    pub allow: Vec<Rule>,
    /// What is held for approval, and allowed by it.
    pub approve: Vec<ApproveRule>,
    /// What is denied, whatever else allows it.
    pub deny: Vec<Rule>,
    /// What is masked.
    pub mask: Vec<MaskRule>,
}

impl Grant {
    /// How long its approve rules hold a statement.
    pub fn hold(&self) -> Duration {
        self.limits.hold.unwrap_or(DEFAULT_HOLD)
    }

    /// How long they hold one whose transaction keeps locks.
    pub fn hold_in_transaction(&self) -> Duration {
        self.limits
            .hold_in_transaction
            .unwrap_or(DEFAULT_HOLD_IN_TRANSACTION)
            .min(self.hold())
    }
}

/// As which role of the database the jobs of a grant work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrantRole {
    /// A login of the configuration.
    Login(String),
    /// A role made for each job, which holds what its grants give, and is gone when it ends.
    PerJob,
}

impl GrantRole {
    /// The login of the configuration, if it is one.
    pub fn login(&self) -> Option<&str> {
        match self {
            Self::Login(login) => Some(login),
            Self::PerJob => None,
        }
    }
}

impl fmt::Display for GrantRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.login().unwrap_or("a role per job"))
    }
}

/// Names of roles that are made for jobs begin so.
pub const JOB_ROLE_PREFIX: &str = "cordon_job_";

/// Whether a grant's rules are enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// What they do not permit is refused or held.
    #[default]
    Enforce,
    /// What they would refuse or hold is recorded, and passes. Masks and limits hold all the same.
    Observe,
}

/// What is recorded of the results that a grant's jobs see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Results {
    /// What the configuration says.
    #[default]
    Recorded,
    /// Their number, size and digest.
    Withheld,
}

/// The words of `results`.
pub(super) const RESULT_WORDS: [(Results, &str); 2] = [
    (Results::Recorded, "recorded"),
    (Results::Withheld, "withheld"),
];

/// The words of `mode`.
pub(super) const MODE_WORDS: [(Mode, &str); 2] =
    [(Mode::Enforce, "enforce"), (Mode::Observe, "observe")];

/// The words of `assurance`.
pub(super) const ASSURANCE_WORDS: [(Assurance, &str); 2] = [
    (Assurance::RunnerAsserted, "runner-asserted"),
    (Assurance::OidcVerified, "oidc-verified"),
];

/// The words of `where`.
pub(super) const FILTER_WORDS: [(FilterUse, &str); 3] = [
    (FilterUse::None, "none"),
    (FilterUse::Equality, "equality"),
    (FilterUse::Any, "any"),
];

/// The word for a value of a closed set.
pub(super) fn word_of<T: PartialEq>(words: &[(T, &'static str)], value: &T) -> &'static str {
    words
        .iter()
        .find(|(candidate, _)| candidate == value)
        .map_or("", |(_, word)| word)
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: Vec<String> = self.targets.iter().map(ToString::to_string).collect();
        match targets.as_slice() {
            [only] => write!(f, "- {}: {}", self.verb.word(), yaml_scalar(only)),
            many => {
                let many: Vec<String> = many.iter().map(|text| yaml_quoted(text)).collect();
                write!(f, "- {}: [{}]", self.verb.word(), many.join(", "))
            }
        }
    }
}

/// A text as a YAML scalar in block style.
pub(super) fn yaml_scalar(text: &str) -> String {
    if text.starts_with(['*', '"', '\'', ' ']) || text.contains(": ") || text.contains(" #") {
        return yaml_quoted(text);
    }
    text.to_owned()
}

fn yaml_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `schema.name` of a relation, quoted where needed.
pub(super) fn relation_name(relation: &RelationRef) -> String {
    super::pattern::qualified(&relation.schema, &relation.name)
}

/// `schema.name.column` of a column, quoted where needed.
pub(super) fn column_name(column: &ColumnRef) -> String {
    format!(
        "{}.{}",
        relation_name(&column.relation),
        super::pattern::quoted(&column.column)
    )
}
