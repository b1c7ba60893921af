//! Turns files as written into grants that are valid.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_saphyr::{Error as YamlError, Location, Spanned};

use super::{
    error::{PolicyError, Problem},
    file::{ByFile, GrantFile, LimitsFile, MaskFile, PolicyFile, RuleFile, Texts, WhoFile},
    glob::Glob,
    grant::{
        ASSURANCE_WORDS, ApproveRule, FILTER_WORDS, FilterUse, Grant, MASK_WORDS, MaskRule, Rule,
        Verb, Who,
    },
    load::describe,
    pattern::{ColumnPattern, Target},
    policy::Policy,
    suggest::nearest,
};
use crate::identity::Assurance;

const DEFAULT_HOLD: Duration = Duration::from_mins(15);
const LONGEST_HOLD: Duration = Duration::from_hours(24);
/// More would never be reached by people.
const MAX_APPROVALS: u32 = 20;

/// Collects files; [`Resolver::finish`] gives the policy or every problem found.
#[derive(Default)]
pub(super) struct Resolver {
    grants: Vec<Grant>,
    names: HashMap<String, (PathBuf, u64)>,
    problems: Vec<Problem>,
}

impl Resolver {
    pub(super) fn problem(&mut self, path: &Path, error: &YamlError) {
        let (position, message) = describe(error);
        self.problems.push(Problem {
            file: path.to_owned(),
            position,
            message,
        });
    }

    pub(super) fn add(&mut self, path: &Path, file: PolicyFile) {
        let mut at = Checks {
            file: path,
            problems: &mut self.problems,
        };
        if file.version.value != "1" {
            at.problem(
                file.version.referenced,
                format!(
                    "version {} is not known; write `version: 1`",
                    file.version.value
                ),
            );
        }
        if file.grants.value.is_empty() {
            at.problem(
                file.grants.referenced,
                "there is no grant in this file; add one or remove the file".to_owned(),
            );
        }
        for grant in file.grants.value {
            let mut at = Checks {
                file: path,
                problems: &mut self.problems,
            };
            let name_at = grant.value.name.referenced;
            let place = grant.referenced;
            if let Some(grant) = at.grant(grant.value, place) {
                if let Some((first, line)) = self.names.get(&grant.name) {
                    at.problem(
                        name_at,
                        format!(
                            "the name `{}` is taken by the grant in {}:{line}; names are unique in the whole policy",
                            grant.name,
                            first.display()
                        ),
                    );
                    continue;
                }
                self.names
                    .insert(grant.name.clone(), (path.to_owned(), name_at.line()));
                self.grants.push(grant);
            }
        }
    }

    pub(super) fn finish(self) -> Result<Policy, PolicyError> {
        if self.problems.is_empty() {
            Ok(Policy::new(self.grants))
        } else {
            Err(PolicyError::new(self.problems))
        }
    }
}

/// Reports problems of one file. A `None` result always leaves a problem behind.
struct Checks<'a> {
    file: &'a Path,
    problems: &'a mut Vec<Problem>,
}

impl Checks<'_> {
    fn problem(&mut self, at: Location, message: String) {
        let position = Some((at.line(), at.column())).filter(|(line, _)| *line > 0);
        self.problems.push(Problem {
            file: self.file.to_owned(),
            position,
            message,
        });
    }

    fn grant(&mut self, grant: GrantFile, at: Location) -> Option<Grant> {
        let before = self.problems.len();
        let GrantFile {
            name,
            why,
            who,
            database,
            role,
            limits,
            allow,
            approve,
            deny,
            mask,
        } = grant;
        let name = self.grant_name(name);
        let who = self.who(who);
        let database = self.plain(
            database,
            "database",
            "the name of a database in the configuration",
        );
        let login = role.map(|role| self.plain(role.login, "login", "the name of a database role"));
        let hold = self.hold(limits);
        if login.is_none() && !(allow.is_empty() && approve.is_empty()) {
            self.problem(at, "the key `role` is missing; write `role: { login: name }`, the database role to log in as".to_owned());
        }
        if allow.is_empty() && approve.is_empty() && deny.is_empty() && mask.is_empty() {
            self.problem(
                at,
                "the grant has no rule; add allow, approve, deny or mask".to_owned(),
            );
        }
        let allow = allow
            .into_iter()
            .filter_map(|rule| self.rule(rule.value, rule.referenced))
            .collect();
        let deny = deny
            .into_iter()
            .filter_map(|rule| self.rule(rule.value, rule.referenced))
            .collect();
        let approve = approve
            .into_iter()
            .filter_map(|approve| {
                let (rule, by) = approve.value.split();
                self.approve(rule, by, approve.referenced)
            })
            .collect();
        let mask = mask
            .into_iter()
            .filter_map(|mask| self.mask(mask.value))
            .collect();
        let why = why.map(|why| why.value);
        (self.problems.len() == before).then_some(Grant {
            name,
            why,
            who,
            database,
            login,
            hold,
            allow,
            approve,
            deny,
            mask,
        })
    }

    fn grant_name(&mut self, name: Spanned<String>) -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.value.is_empty() || name.value.len() > 64 || !name.value.chars().all(fits) {
            self.problem(
                name.referenced,
                "a grant's name has 1 to 64 letters, digits, `-`, `_` and `.`".to_owned(),
            );
        }
        name.value
    }

    fn plain(&mut self, text: Spanned<String>, key: &str, meaning: &str) -> String {
        if text.value.is_empty() || text.value.contains(|c: char| c == '*' || c.is_control()) {
            self.problem(
                text.referenced,
                format!("`{key}` is {meaning}, without wildcards"),
            );
        }
        text.value
    }

    fn who(&mut self, who: WhoFile) -> Who {
        let WhoFile {
            issuer,
            assurance,
            claims,
            groups,
        } = who;
        let issuer = self.plain(
            issuer,
            "issuer",
            "the name of an issuer in the configuration",
        );
        let assurance = match assurance {
            Some(word) => self
                .word(&word, "assurance", &ASSURANCE_WORDS)
                .unwrap_or(Assurance::OidcVerified),
            None => Assurance::OidcVerified,
        };
        let claims = claims
            .0
            .into_iter()
            .map(|(claim, values)| {
                if values.value.0.is_empty() {
                    self.problem(
                        values.referenced,
                        format!("claim `{claim}` lists no value, so that no job could match; list one or remove it"),
                    );
                }
                (claim, values.value.0.into_iter().map(|text| Glob::new(&text.value)).collect())
            })
            .collect();
        let groups = groups
            .into_iter()
            .map(|group| self.plain(group, "groups", "a list of groups"))
            .collect();
        Who {
            issuer,
            assurance,
            claims,
            groups,
        }
    }

    fn hold(&mut self, limits: LimitsFile) -> Duration {
        let Some(hold) = limits.hold else {
            return DEFAULT_HOLD;
        };
        match parse_duration(&hold.value) {
            Some(duration) if !duration.is_zero() && duration <= LONGEST_HOLD => duration,
            Some(_) => {
                self.problem(hold.referenced, "`hold` is between 1s and 24h".to_owned());
                DEFAULT_HOLD
            }
            None => {
                self.problem(
                    hold.referenced,
                    format!(
                        "`{}` is no duration; write a number and s, m or h, for example 15m",
                        hold.value
                    ),
                );
                DEFAULT_HOLD
            }
        }
    }

    fn rule(&mut self, rule: RuleFile, at: Location) -> Option<Rule> {
        let RuleFile {
            select,
            insert,
            update,
            delete,
            truncate,
            call,
            ddl,
            all,
        } = rule;
        let mut verbs: Vec<(Verb, Spanned<Texts>)> = [
            (Verb::Select, select),
            (Verb::Insert, insert),
            (Verb::Update, update),
            (Verb::Delete, delete),
            (Verb::Truncate, truncate),
            (Verb::Call, call),
            (Verb::Ddl, ddl),
            (Verb::All, all),
        ]
        .into_iter()
        .filter_map(|(verb, texts)| texts.map(|texts| (verb, texts)))
        .collect();
        let words = || Verb::WORDS.map(|(_, word)| word).join(", ");
        match (verbs.pop(), verbs.is_empty()) {
            (Some((verb, texts)), true) => {
                let targets = self.targets(verb, texts)?;
                Some(Rule { verb, targets })
            }
            (Some(_), false) => {
                self.problem(
                    at,
                    "a rule has one verb; start a new rule with `- ` for each".to_owned(),
                );
                None
            }
            (None, _) => {
                self.problem(at, format!("a rule needs one verb: {}", words()));
                None
            }
        }
    }

    fn targets(&mut self, verb: Verb, texts: Spanned<Texts>) -> Option<Vec<Target>> {
        let outer = texts.referenced;
        if texts.value.0.is_empty() {
            self.problem(
                outer,
                format!(
                    "`{}` lists nothing; name an object or remove the rule",
                    verb.word()
                ),
            );
            return None;
        }
        let mut targets = Vec::new();
        let mut complete = true;
        for text in texts.value.0 {
            let at = text.at.unwrap_or(outer);
            match Target::parse(&text.value) {
                Ok(target) if target.columns.is_some() && !verb.takes_columns() => {
                    self.problem(
                        at,
                        format!(
                            "`{}` takes no columns; write {}",
                            verb.word(),
                            target.object
                        ),
                    );
                    complete = false;
                }
                Ok(target) => targets.push(target),
                Err(error) => {
                    self.problem(at, error.to_string());
                    complete = false;
                }
            }
        }
        complete.then_some(targets)
    }

    fn approve(&mut self, rule: RuleFile, by: Option<ByFile>, at: Location) -> Option<ApproveRule> {
        let rule = self.rule(rule, at);
        let Some(by) = by else {
            self.problem(
                at,
                "the key `by` is missing; write `by: { group: name, count: 1 }`".to_owned(),
            );
            return None;
        };
        let group = by
            .group
            .map(|group| self.plain(group, "group", "the name of an approvers' group"));
        let count = match by.count {
            None => 1,
            Some(count) if (1..=MAX_APPROVALS).contains(&count.value) => count.value,
            Some(count) => {
                self.problem(
                    count.referenced,
                    format!("`count` is between 1 and {MAX_APPROVALS}"),
                );
                1
            }
        };
        Some(ApproveRule {
            rule: rule?,
            group,
            count,
        })
    }

    fn mask(&mut self, mask: MaskFile) -> Option<MaskRule> {
        let MaskFile {
            column,
            with,
            filter,
        } = mask;
        let outer = column.referenced;
        if column.value.0.is_empty() {
            self.problem(
                outer,
                "`column` lists nothing; name a column or remove the rule".to_owned(),
            );
            return None;
        }
        let mut columns = Vec::new();
        let mut complete = true;
        for text in column.value.0 {
            match ColumnPattern::parse(&text.value) {
                Ok(pattern) => columns.push(pattern),
                Err(error) => {
                    self.problem(text.at.unwrap_or(outer), error.to_string());
                    complete = false;
                }
            }
        }
        let word = Spanned::new(
            with.value.unwrap_or_else(|| "null".to_owned()),
            with.referenced,
            with.defined,
        );
        let kind = self.word(&word, "with", &MASK_WORDS);
        let filter = match filter {
            None => Some(FilterUse::None),
            Some(word) if word.value == "equality" => {
                self.problem(
                    word.referenced,
                    "`where: equality` is not supported yet; write none (no condition on the column) or any".to_owned(),
                );
                None
            }
            Some(word) => self.word(&word, "where", &FILTER_WORDS),
        };
        match (complete, kind, filter) {
            (true, Some(mask), Some(filter)) => Some(MaskRule {
                columns,
                mask,
                filter,
            }),
            _ => None,
        }
    }

    fn word<T: Copy>(
        &mut self,
        word: &Spanned<String>,
        key: &str,
        words: &[(T, &'static str)],
    ) -> Option<T> {
        if let Some((value, _)) = words.iter().find(|(_, known)| *known == word.value) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(_, known)| *known).collect();
        let known_text = known.join(", ");
        let message = match nearest(&word.value, known) {
            Some(near) => {
                format!(
                    "`{key}: {}` is not known; did you mean `{near}`? Known: {known_text}",
                    word.value
                )
            }
            None => format!("`{key}: {}` is not known; known: {known_text}", word.value),
        };
        self.problem(word.referenced, message);
        None
    }
}

/// `90s`, `15m`, `2h`.
fn parse_duration(text: &str) -> Option<Duration> {
    let (digits, seconds) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(digits) if text.ends_with('s') => (digits, 1),
        Some(digits) if text.ends_with('m') => (digits, 60),
        Some(digits) => (digits, 3_600),
        None => return None,
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits
        .parse::<u64>()
        .ok()?
        .checked_mul(seconds)
        .map(Duration::from_secs)
}
