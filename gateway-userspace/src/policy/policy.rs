//! The whole policy: every grant of a folder, checked, immutable.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ring::digest::{SHA256, digest};

use super::grant::{
    ASSURANCE_WORDS, FILTER_WORDS, Grant, GrantRole, MODE_WORDS, MaskRule, Mode, Results, Rule,
    word_of,
};
use super::limits::GrantLimits;
use super::verdict::OnHold;

/// The grants in force at one moment. Immutable; share it in an `Arc`.
#[derive(Debug)]
pub struct Policy {
    grants: Vec<Grant>,
    digest: [u8; 32],
    files: Vec<String>,
}

impl Policy {
    pub(super) fn new(grants: Vec<Grant>, files: Vec<String>) -> Self {
        let mut digest_bytes = [0; 32];
        let computed = digest(&SHA256, canonical(&grants).as_bytes());
        digest_bytes.copy_from_slice(computed.as_ref());
        Self {
            grants,
            digest: digest_bytes,
            files,
        }
    }

    /// A policy without grants: nobody may do anything.
    pub fn empty() -> Self {
        Self::new(Vec::new(), Vec::new())
    }

    /// SHA-256 over the canonical form of the grants. Comments, layout and the split into files
    /// do not change it; every rule and its place does.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The grants, in order of files and places.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The names of the files that it was read from.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// The grants that only observe.
    pub fn observing(&self) -> impl Iterator<Item = &Grant> {
        self.grants
            .iter()
            .filter(|grant| grant.mode == Mode::Observe)
    }

    /// The groups that approve rules name; the configuration must know them.
    pub fn approver_groups(&self) -> BTreeSet<&str> {
        self.grants
            .iter()
            .flat_map(|grant| &grant.approve)
            .filter_map(|rule| rule.group.as_deref())
            .collect()
    }

    /// The issuers that grants name; the configuration must know them.
    pub fn issuers(&self) -> BTreeSet<&str> {
        self.grants
            .iter()
            .map(|grant| grant.who.issuer.as_str())
            .collect()
    }

    /// The databases that grants name, with the role where there is one; the configuration must
    /// know them.
    pub fn roles(&self) -> BTreeSet<(&str, Option<&GrantRole>)> {
        self.grants
            .iter()
            .map(|grant| (grant.database.as_str(), grant.role.as_ref()))
            .collect()
    }
}

/// One line per fact. Every text is written by `{:?}`, so that no text can end its line.
fn canonical(grants: &[Grant]) -> String {
    let mut text = String::from("cordon policy 1\n");
    for grant in grants {
        // Writing to a `String` cannot fail.
        let _ = canonical_grant(&mut text, grant);
    }
    text
}

fn canonical_grant(text: &mut String, grant: &Grant) -> std::fmt::Result {
    let Grant {
        name,
        why,
        who,
        database,
        role,
        mode,
        on_hold,
        results,
        limits,
        allow,
        approve,
        deny,
        mask,
    } = grant;
    let role = match role {
        Some(GrantRole::PerJob) => "role per job".to_owned(),
        Some(GrantRole::Login(login)) => format!("login {:?}", Some(login)),
        None => "login None".to_owned(),
    };
    writeln!(
        text,
        "grant {name:?} why {why:?} database {database:?} {role} mode {} on_hold {}",
        word_of(&MODE_WORDS, mode),
        on_hold.word()
    )?;
    match results {
        Results::Recorded => {}
        Results::Withheld => writeln!(text, "results withheld")?,
    }
    canonical_limits(text, limits)?;
    writeln!(
        text,
        "issuer {:?} assurance {}",
        who.issuer,
        word_of(&ASSURANCE_WORDS, &who.assurance)
    )?;
    for (claim, globs) in &who.claims {
        let globs: Vec<String> = globs.iter().map(ToString::to_string).collect();
        writeln!(text, "claim {claim:?} {globs:?}")?;
    }
    writeln!(text, "groups {:?}", who.groups)?;
    for rule in allow {
        writeln!(text, "allow {}", canonical_rule(rule))?;
    }
    for approve in approve {
        writeln!(
            text,
            "approve {} by {:?} count {} on_hold {:?}",
            canonical_rule(&approve.rule),
            approve.group,
            approve.count,
            approve.on_hold.map(OnHold::word)
        )?;
    }
    for rule in deny {
        writeln!(text, "deny {}", canonical_rule(rule))?;
    }
    for rule in mask {
        match rule {
            MaskRule::Columns(rule) => {
                let columns: Vec<String> = rule.columns.iter().map(ToString::to_string).collect();
                write!(text, "mask {columns:?}")?;
                if let Some(path) = &rule.path {
                    write!(text, " path {:?}", path.to_string())?;
                }
                writeln!(
                    text,
                    " with {} where {}",
                    rule.mask,
                    word_of(&FILTER_WORDS, &rule.filter)
                )?;
            }
            MaskRule::Detect(rule) => {
                let detectors: Vec<&str> = rule
                    .detectors
                    .iter()
                    .map(|detector| detector.word())
                    .collect();
                writeln!(text, "detect {detectors:?} with {}", rule.mask)?;
            }
        }
    }
    Ok(())
}

fn canonical_limits(text: &mut String, limits: &GrantLimits) -> std::fmt::Result {
    let GrantLimits {
        hold,
        hold_in_transaction,
        session,
        statement,
        rows,
        bytes,
        session_rows,
        session_bytes,
        statements_per_minute,
    } = limits;
    for (key, value) in [
        ("hold", hold),
        ("hold_in_transaction", hold_in_transaction),
        ("session", session),
        ("statement", statement),
    ] {
        if let Some(value) = value {
            writeln!(text, "limit {key} {} ms", value.as_millis())?;
        }
    }
    for (key, value) in [
        ("rows", rows),
        ("bytes", bytes),
        ("session_rows", session_rows),
        ("session_bytes", session_bytes),
        ("statements_per_minute", statements_per_minute),
    ] {
        if let Some(value) = value {
            writeln!(text, "limit {key} {value}")?;
        }
    }
    Ok(())
}

fn canonical_rule(rule: &Rule) -> String {
    let targets: Vec<String> = rule.targets.iter().map(ToString::to_string).collect();
    format!("{} {targets:?}", rule.verb.word())
}
