//! The narrowest policy under which statements would have run.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use serde::Serialize;

use super::{
    Verdict,
    evaluate::evaluate_in,
    grant::{
        ASSURANCE_WORDS, ColumnMask, FilterUse, Grant, JOB_ROLE_PREFIX, MaskRule, Verb, word_of,
    },
    kinship::Kinship,
    needs::{Need, candidates, join, minimise},
    pattern::{ColumnPattern, ObjectPattern},
    policy::Policy,
    probe::Probe,
};
use crate::{
    identity::{Assurance, JobIdentity},
    masking::MaskKind,
    policy::Glob,
    sql::{Catalog, ColumnRef, Statement},
};

/// Who sent the statements, by what is to identify them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The issuer's configured name.
    pub issuer: String,
    /// How well the identity was proven.
    pub assurance: Assurance,
    /// The claims to match, each with its values; at least one of each.
    pub claims: Vec<(String, Vec<String>)>,
    /// The database, by its configured name.
    pub database: String,
    /// The login.
    pub login: String,
    /// What to write as the grant's reason.
    pub why: String,
}

/// One statement of an actor.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Where it is on record.
    pub reference: &'a str,
    /// What it does.
    pub statement: &'a Statement,
    /// The catalog it was read with.
    pub catalog: &'a Catalog,
    /// Families of tables in it.
    pub kinship: &'a Kinship,
    /// What was masked: `label: mask`.
    pub masked: &'a [String],
}

/// A statement that no narrow rule can permit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Where it is on record.
    pub reference: String,
    /// Its text.
    pub statement: String,
    /// Why.
    pub reason: String,
}

/// A policy file, and what it does to the statements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Draft {
    /// The file.
    pub policy: String,
    /// Statements that it allows.
    pub allowed: usize,
    /// Statements that it holds for approval.
    pub held: usize,
    /// Statements that it does not permit.
    pub left_out: Vec<LeftOut>,
    /// Columns that were masked and would not be.
    pub unmasked: Vec<String>,
}

/// Writes the narrowest policy that permits what was observed: what removes or redefines is held
/// for approval, what was masked is masked. The same input gives the same text.
pub fn draft(actors: &[(Actor, Vec<Observed<'_>>)], group: Option<&str>) -> Draft {
    let mut text = String::from("version: 1\ngrants:\n");
    let mut left_out = Vec::new();
    let mut unmasked = Vec::new();
    let mut permitted: Vec<(JobIdentity, &Actor, Vec<Observed<'_>>)> = Vec::new();
    for (number, (actor, observed)) in actors.iter().enumerate() {
        let head = head(actor, number + 1);
        let job = identity(actor);
        let template = match template(&head) {
            Ok(template) => template,
            Err(reason) => {
                left_out.extend(observed.iter().map(|one| leave(one, &reason)));
                continue;
            }
        };
        let probe = Probe::of(&job, &actor.database, vec![template]);
        let mut drafting = Drafting {
            probe,
            group,
            permitted: Vec::new(),
        };
        let needs = drafting.needs(observed, &mut left_out);
        if needs.is_empty() {
            continue;
        }
        let masks = drafting.masks(&needs, &mut unmasked);
        text.push_str(&head);
        write(&mut text, &needs, &masks, group);
        let statements = drafting.permitted;
        permitted.push((job.clone(), actor, statements));
    }
    let mut draft = Draft {
        policy: text,
        allowed: 0,
        held: 0,
        left_out,
        unmasked,
    };
    draft.check(&permitted);
    draft
}

impl Draft {
    /// Puts the text to the statements, as it stands.
    fn check(&mut self, permitted: &[(JobIdentity, &Actor, Vec<Observed<'_>>)]) {
        if permitted.is_empty() {
            self.policy.clear();
            return;
        }
        let sources = [(PathBuf::from("suggested.yaml"), self.policy.clone())];
        let policy = Policy::from_sources(&sources).map(Arc::new);
        for (job, actor, observed) in permitted {
            let admission = match &policy {
                Ok(policy) => policy
                    .admit_job(job, &actor.database)
                    .map_err(|reason| reason.message),
                Err(error) => Err(error.to_string()),
            };
            for one in observed {
                let verdict = admission
                    .as_ref()
                    .map(|admission| evaluate_in(admission, one.statement, one.kinship));
                match verdict {
                    Ok(Verdict::Allow(_)) => self.allowed += 1,
                    Ok(Verdict::RequireApproval { .. }) => self.held += 1,
                    Ok(Verdict::Deny(reason)) => self.left_out.push(leave(one, &reason.message)),
                    Err(reason) => self.left_out.push(leave(one, reason)),
                }
            }
        }
    }
}

fn leave(one: &Observed<'_>, reason: &str) -> LeftOut {
    LeftOut {
        reference: one.reference.to_owned(),
        statement: one.statement.text.clone(),
        reason: reason.to_owned(),
    }
}

struct Drafting<'a, 'o> {
    probe: Probe<'a>,
    group: Option<&'a str>,
    permitted: Vec<Observed<'o>>,
}

impl<'o> Drafting<'_, 'o> {
    /// What the statements need together; those that cannot be permitted are left out.
    fn needs(&mut self, observed: &[Observed<'o>], left_out: &mut Vec<LeftOut>) -> Vec<Need> {
        let mut all = Vec::new();
        for one in observed {
            match self.needs_of(one) {
                Ok(needs) => {
                    all.extend(needs);
                    self.permitted.push(*one);
                }
                Err(reason) => left_out.push(leave(one, &reason)),
            }
        }
        minimise(join(all), |needs, about| {
            let grants = self.probe.with(needs, true, self.group);
            self.passes(grants, |one| concerns(about, one.statement))
        })
    }

    fn needs_of(&self, one: &Observed<'_>) -> Result<Vec<Need>, String> {
        let verdict = |needs: &[Need]| {
            let grants = self.probe.with(needs, true, self.group);
            self.probe.verdict(grants, one.statement, one.kinship)
        };
        let needs = candidates(one.statement, one.catalog);
        if let Verdict::Deny(reason) = verdict(&needs) {
            return Err(reason.message);
        }
        let needs = minimise(needs, |needs, _| {
            !matches!(verdict(needs), Verdict::Deny(_))
        });
        match needs.iter().find(|need| need.verb == Verb::All) {
            // It would permit, or hold, far more than was recorded.
            Some(need) => Err(format!(
                "it needs `{}`, which is about far more than this statement; write it by hand if it is meant",
                need.rule()
            )),
            None => Ok(needs),
        }
    }

    /// Whether the statements that a change concerns are all permitted.
    fn passes(&self, grants: Vec<Grant>, concerned: impl Fn(&Observed<'_>) -> bool) -> bool {
        let Ok(admission) = self.probe.admission(grants) else {
            return false;
        };
        self.permitted
            .iter()
            .filter(|one| concerned(one))
            .all(|one| {
                !matches!(
                    evaluate_in(&admission, one.statement, one.kinship),
                    Verdict::Deny(_)
                )
            })
    }

    /// The masks that were seen, as strict about conditions as the statements permit.
    fn masks(&self, needs: &[Need], unmasked: &mut Vec<String>) -> Vec<ColumnMask> {
        let mut rules: Vec<ColumnMask> = Vec::new();
        for ((schema, name, column), mask) in self.masked_columns() {
            let rule = |filter| ColumnMask {
                path: None,
                columns: vec![ColumnPattern {
                    object: ObjectPattern {
                        schema: Glob::literal(&schema),
                        name: Glob::literal(&name),
                    },
                    column: Glob::literal(&column),
                }],
                mask,
                filter,
            };
            let fits = |filter: &FilterUse| {
                let mut grants = self.probe.with(needs, true, self.group);
                if let Some(grant) = grants.first_mut() {
                    let rules = rules.iter().cloned().chain([rule(*filter)]);
                    grant.mask = rules.map(MaskRule::Columns).collect();
                }
                self.passes(grants, |_| true)
            };
            match [FilterUse::None, FilterUse::Equality, FilterUse::Any]
                .into_iter()
                .find(fits)
            {
                Some(filter) => rules.push(rule(filter)),
                None => unmasked.push(super::pattern::qualified(&schema, &name) + "." + &column),
            }
        }
        rules
    }

    /// The columns of tables behind what was masked.
    fn masked_columns(&self) -> BTreeMap<(String, String, String), MaskKind> {
        let mut columns: BTreeMap<(String, String, String), MaskKind> = BTreeMap::new();
        for one in &self.permitted {
            for masked in one.masked {
                let Some((label, word)) = masked.rsplit_once(": ") else {
                    continue;
                };
                let Ok(mask) = MaskKind::parse(word) else {
                    continue;
                };
                let outputs = one.statement.output.iter().flatten();
                for origin in outputs
                    .filter(|output| output.name == label)
                    .flat_map(|output| &output.origins)
                    .filter(|origin| one.kinship.view_columns(&origin.relation).is_none())
                {
                    let ColumnRef {
                        relation, column, ..
                    } = origin;
                    let key = (
                        relation.schema.clone(),
                        relation.name.clone(),
                        column.clone(),
                    );
                    columns
                        .entry(key)
                        .and_modify(|have| *have = have.stricter(mask))
                        .or_insert(mask);
                }
            }
        }
        columns
    }
}

/// True if a statement could miss the need.
fn concerns(need: &Need, statement: &Statement) -> bool {
    let Some((schema, name)) = &need.object else {
        return true;
    };
    let relation = |other: &crate::sql::RelationRef| other.schema == *schema && other.name == *name;
    statement
        .relations
        .iter()
        .any(|used| relation(&used.relation))
        || statement
            .functions
            .iter()
            .any(|function| function.schema == *schema && function.name == *name)
        || statement.ddl.iter().any(|effect| {
            effect.on.as_ref().is_some_and(relation)
                || (effect.schema == *schema && effect.name == *name)
        })
}

/// A job that the grant is for.
fn identity(actor: &Actor) -> JobIdentity {
    let claims = actor
        .claims
        .iter()
        .filter_map(|(claim, values)| Some((claim.clone(), values.first()?.as_str().into())))
        .collect();
    JobIdentity::supposed(actor.issuer.clone(), actor.assurance, Vec::new(), claims)
}

/// A text as YAML: as it stands if it is nothing but a word there, else in double quotes (JSON's
/// are YAML's).
fn quoted(text: &str) -> String {
    let word = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && !matches!(
            text,
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if word {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

/// A grant as far as its rules.
fn head(actor: &Actor, number: usize) -> String {
    let plain: String = actor
        .database
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    let claims: Vec<String> = actor
        .claims
        .iter()
        .map(|(claim, values)| {
            let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            match values.as_slice() {
                [only] => format!("        {}: {only}\n", quoted(claim)),
                many => format!("        {}: [{}]\n", quoted(claim), many.join(", ")),
            }
        })
        .collect();
    let claims = if claims.is_empty() {
        String::new()
    } else {
        format!("      claims:\n{}", claims.concat())
    };
    // A role that was made for a job is gone.
    let role = if actor.login.starts_with(JOB_ROLE_PREFIX) {
        "{ per_job: true }".to_owned()
    } else {
        format!("{{ login: {} }}", quoted(&actor.login))
    };
    format!(
        "  - name: suggested-{plain}-{number}\n    why: {}\n    who:\n      issuer: {}\n      assurance: {}\n{claims}    database: {}\n    role: {}\n",
        quoted(&actor.why),
        quoted(&actor.issuer),
        word_of(&ASSURANCE_WORDS, &actor.assurance),
        quoted(&actor.database),
        role,
    )
}

/// The grant that a head makes, without rules.
fn template(head: &str) -> Result<Grant, String> {
    let text = format!("version: 1\ngrants:\n{head}    allow:\n      - select: nothing.nothing\n");
    let sources = [(PathBuf::from("suggested.yaml"), text)];
    let policy = Policy::from_sources(&sources).map_err(|error| error.to_string())?;
    let grant = policy.grants().first().ok_or("there is no grant")?;
    Ok(Grant {
        allow: Vec::new(),
        ..grant.clone()
    })
}

fn write(text: &mut String, needs: &[Need], masks: &[ColumnMask], group: Option<&str>) {
    let line = |need: &Need| {
        let rule = need.rule();
        let targets: Vec<String> = rule.targets.iter().map(ToString::to_string).collect();
        format!(
            "      - {}: {}\n",
            rule.verb.word(),
            scalar(&targets.join(", "))
        )
    };
    let (approve, allow): (Vec<&Need>, Vec<&Need>) =
        needs.iter().partition(|need| need.is_destructive());
    if !allow.is_empty() {
        text.push_str("    allow:\n");
        text.extend(allow.into_iter().map(line));
    }
    if !approve.is_empty() {
        text.push_str("    approve:\n");
        let by = match group {
            Some(group) => format!("        by: {{ group: {}, count: 1 }}\n", quoted(group)),
            None => "        by: { count: 1 }\n".to_owned(),
        };
        text.extend(approve.into_iter().map(|need| line(need) + &by));
    }
    if masks.is_empty() {
        return;
    }
    text.push_str("    mask:\n");
    for rule in masks {
        let columns: BTreeSet<String> = rule.columns.iter().map(ToString::to_string).collect();
        for column in columns {
            let with = rule.mask.to_string();
            text.extend([
                "      - column: ",
                &scalar(&column),
                "\n        with: ",
                &with,
                "\n",
            ]);
            match rule.filter {
                FilterUse::None => {}
                FilterUse::Equality => text.push_str("        where: equality\n"),
                FilterUse::Any => text.push_str("        where: any\n"),
            }
        }
    }
}

/// A name as YAML: as it stands if nothing in it is special.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ' ' | '(' | ')' | ','));
    if plain { text.to_owned() } else { quoted(text) }
}
