//! Turns files as written into grants that are valid.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    error::{PolicyError, Problem},
    fields::{Checks, Fields, Quantity},
    glob::Glob,
    grant::{
        ASSURANCE_WORDS, ApproveRule, ColumnMask, DetectRule, FILTER_WORDS, FilterUse, Grant,
        GrantRole, MODE_WORDS, MaskRule, Mode, RESULT_WORDS, Results, Rule, Verb, Who,
    },
    limits::GrantLimits,
    pattern::{ColumnPattern, Target},
    policy::Policy,
    quantity,
    verdict::{ON_HOLD_WORDS, OnHold},
    yaml::{self, Node, Place, Value},
};
use crate::{
    identity::Assurance,
    masking::{Detector, JsonPath, MASK_WORDS, MaskKind, UnknownMask},
};

/// More would never be reached by people.
const MAX_APPROVALS: u64 = 20;

/// The keys of each mapping of a policy file.
pub(super) const FILE_KEYS: [&str; 2] = ["version", "grants"];
pub(super) const GRANT_KEYS: [&str; 13] = [
    "name", "why", "who", "database", "role", "mode", "on_hold", "results", "limits", "allow",
    "approve", "deny", "mask",
];
pub(super) const WHO_KEYS: [&str; 4] = ["issuer", "assurance", "claims", "groups"];
pub(super) const ROLE_KEYS: [&str; 2] = ["login", "per_job"];
pub(super) const LIMIT_KEYS: [&str; 9] = [
    "hold",
    "hold_in_transaction",
    "session",
    "statement",
    "rows",
    "bytes",
    "session_rows",
    "session_bytes",
    "statements_per_minute",
];
pub(super) const BY_KEYS: [&str; 2] = ["group", "count"];
pub(super) const MASK_KEYS: [&str; 5] = ["column", "path", "detect", "with", "where"];

pub(super) const HOLD: Quantity<Duration> = Quantity {
    what: "a time; write a number and s, m or h, for example 15m",
    parse: quantity::duration,
    least: (Duration::from_secs(1), "1s"),
    most: (Duration::from_hours(24), "24h"),
};
pub(super) const SESSION: Quantity<Duration> = Quantity {
    what: "a time; write a number and s, m, h or d, for example 30m",
    parse: quantity::duration,
    least: (Duration::from_secs(1), "1s"),
    most: (Duration::from_hours(24 * 30), "30d"),
};
pub(super) const STATEMENT: Quantity<Duration> = Quantity {
    what: "a time; write a number and ms, s, m or h, for example 60s",
    parse: quantity::duration,
    least: (Duration::from_millis(100), "100ms"),
    most: (Duration::from_hours(24), "24h"),
};
pub(super) const ROWS: Quantity<u64> = Quantity {
    what: "a number of rows; write digits alone, for example 1000000",
    parse: quantity::count,
    least: (1, "1"),
    most: (1_000_000_000_000, "1000000000000"),
};
pub(super) const BYTES: Quantity<u64> = Quantity {
    what: "a size; write a number and KiB, MiB or GiB, for example 64MiB",
    parse: quantity::size,
    least: (1, "1"),
    most: (1 << 50, "1024TiB"),
};
pub(super) const PER_MINUTE: Quantity<u64> = Quantity {
    what: "a number of statements; write digits alone, for example 600",
    parse: quantity::count,
    least: (1, "1"),
    most: (100_000, "100000"),
};
pub(super) const COUNT: Quantity<u64> = Quantity {
    what: "a number of people; write digits alone",
    parse: quantity::count,
    least: (1, "1"),
    most: (MAX_APPROVALS, "20"),
};

/// Collects files; [`Resolver::finish`] gives the policy or every problem found.
#[derive(Default)]
pub(super) struct Resolver {
    grants: Vec<Grant>,
    files: Vec<String>,
    names: HashMap<String, (PathBuf, u64)>,
    problems: Vec<Problem>,
}

impl Resolver {
    /// Reads a file's text.
    pub(super) fn add(&mut self, path: &Path, text: &str) {
        let name = path.file_name().unwrap_or(path.as_os_str());
        self.files.push(name.to_string_lossy().into_owned());
        let mut checks = Checks::new(path, text, &mut self.problems);
        let root = match yaml::parse(text) {
            Ok(root) => root,
            Err((at, message)) => return checks.problem(at, message),
        };
        for (name_at, grant) in checks.file(root) {
            if let Some((first, line)) = self.names.get(&grant.name) {
                checks.problem(
                    name_at,
                    format!(
                        "the name `{}` is taken by the grant in {}:{line}; names are unique in the whole policy",
                        grant.name,
                        first.display()
                    ),
                );
                continue;
            }
            let line = name_at.map_or(0, |(line, _)| line);
            self.names
                .insert(grant.name.clone(), (path.to_owned(), line));
            self.grants.push(grant);
        }
    }

    pub(super) fn finish(self) -> Result<Policy, PolicyError> {
        if self.problems.is_empty() {
            Ok(Policy::new(self.grants, self.files))
        } else {
            Err(PolicyError::new(self.problems))
        }
    }
}

impl Checks<'_> {
    /// The grants of a file, each with the place of its name.
    fn file(&mut self, root: Node) -> Vec<(Place, Grant)> {
        let Some(mut file) = self.map(root, "a policy file", &FILE_KEYS) else {
            return Vec::new();
        };
        if let Some(version) = self.required(&mut file, "version")
            && let Some((at, version)) = self.text(version, "version")
            && version != "1"
        {
            self.problem(
                at,
                format!("version {version} is not known; write `version: 1`"),
            );
        }
        let Some(grants) = self.required(&mut file, "grants") else {
            return Vec::new();
        };
        let at = grants.at;
        let before = self.count();
        let grants = self.list(Some(grants), "grants");
        if grants.is_empty() && self.count() == before {
            self.problem(
                at,
                "there is no grant in this file; add one or remove the file".to_owned(),
            );
        }
        grants
            .into_iter()
            .filter_map(|grant| self.grant(grant))
            .collect()
    }

    fn grant(&mut self, node: Node) -> Option<(Place, Grant)> {
        let before = self.count();
        let mut fields = self.map(node, "a grant", &GRANT_KEYS)?;
        let at = fields.at;
        let name = self
            .required(&mut fields, "name")
            .and_then(|name| self.grant_name(name));
        let why = fields.take("why").and_then(|why| self.text(why, "why"));
        let who = self
            .required(&mut fields, "who")
            .and_then(|who| self.who(who));
        let database = self.required(&mut fields, "database").and_then(|database| {
            self.plain(
                database,
                "database",
                "the name of a database in the configuration",
            )
        });
        let role = fields.take("role");
        let has_role = role.is_some();
        let role_at = role.as_ref().and_then(|role| role.at);
        let role = role.and_then(|role| self.role(role));
        let mode = match fields.take("mode") {
            None => Some(Mode::Enforce),
            Some(mode) => self
                .text(mode, "mode")
                .and_then(|(at, word)| self.word(at, &word, "mode", &MODE_WORDS)),
        };
        let on_hold = self.on_hold(&mut fields);
        let results = match fields.take("results") {
            None => Some(Results::Recorded),
            Some(results) => self
                .text(results, "results")
                .and_then(|(at, word)| self.word(at, &word, "results", &RESULT_WORDS)),
        };
        let limits = fields
            .take("limits")
            .map_or_else(GrantLimits::default, |limits| self.limits(limits));
        let allow = self.rules(&mut fields, "allow");
        let approve = self.approvals(&mut fields);
        let deny = self.rules(&mut fields, "deny");
        let mask = self.masks(&mut fields);
        if self.count() > before {
            return None;
        }
        let allows = !allow.is_empty() || !approve.is_empty();
        if allows && !has_role {
            self.problem(at, "the key `role` is missing; write `role: { per_job: true }`, or `role: { login: name }`, the database role to log in as".to_owned());
        }
        if allow.is_empty()
            && approve.is_empty()
            && deny.is_empty()
            && mask.is_empty()
            && !limits.limits_sessions()
        {
            self.problem(
                at,
                "the grant has no rule; add allow, approve, deny, mask or limits".to_owned(),
            );
        }
        if role == Some(GrantRole::PerJob) {
            self.per_job(role_at, mode, &allow, &approve);
        }
        if self.count() > before {
            return None;
        }
        let (name_at, name) = name?;
        let grant = Grant {
            name,
            why: why.map(|(_, why)| why),
            who: who?,
            database: database?,
            role,
            mode: mode?,
            on_hold: on_hold.unwrap_or_default(),
            results: results?,
            limits,
            allow,
            approve,
            deny,
            mask,
        };
        Some((name_at, grant))
    }

    fn grant_name(&mut self, node: Node) -> Option<(Place, String)> {
        let (at, name) = self.text(node, "name")?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            self.problem(
                at,
                "a grant's name has 1 to 64 letters, digits, `-`, `_` and `.`".to_owned(),
            );
            return None;
        }
        Some((at, name))
    }

    fn plain(&mut self, node: Node, key: &str, meaning: &str) -> Option<String> {
        let (at, text) = self.text(node, key)?;
        if text.is_empty() || text.contains(|c: char| c == '*' || c.is_control()) {
            self.problem(at, format!("`{key}` is {meaning}, without wildcards"));
            return None;
        }
        Some(text)
    }

    fn role(&mut self, node: Node) -> Option<GrantRole> {
        let mut role = self.map(node, "`role`", &ROLE_KEYS)?;
        let at = role.at;
        let (login, per_job) = (role.take("login"), role.take("per_job"));
        match (login, per_job) {
            (Some(login), None) => self
                .plain(login, "login", "the name of a database role")
                .map(GrantRole::Login),
            (None, Some(per_job)) => {
                let (at, word) = self.text(per_job, "per_job")?;
                if word == "true" {
                    return Some(GrantRole::PerJob);
                }
                self.problem(
                    at,
                    "`per_job` can only be true; for a role that is there already write `role: { login: name }`".to_owned(),
                );
                None
            }
            (Some(_), Some(_)) => {
                self.problem(
                    at,
                    "`login` and `per_job` do not go together; a job has one role".to_owned(),
                );
                None
            }
            (None, None) if !role.complete => None,
            (None, None) => {
                self.problem(
                    at,
                    "the role is missing; write `role: { per_job: true }`, or `role: { login: name }`"
                        .to_owned(),
                );
                None
            }
        }
    }

    /// What a role made for one job cannot hold.
    fn per_job(&mut self, at: Place, mode: Option<Mode>, allow: &[Rule], approve: &[ApproveRule]) {
        let mut rules = allow.iter().chain(approve.iter().map(|held| &held.rule));
        if rules.any(|rule| rule.verb == Verb::Ddl) {
            self.problem(
                at,
                "a role made for one job owns nothing, so that it cannot hold `ddl`; write `role: { login: name }` with a role that owns the objects".to_owned(),
            );
        }
        if mode == Some(Mode::Observe) {
            self.problem(
                at,
                "a role made for one job holds what the grant gives and no more, so that `mode: observe` could let nothing else pass; write `role: { login: name }` while observing".to_owned(),
            );
        }
    }

    fn who(&mut self, node: Node) -> Option<Who> {
        let mut who = self.map(node, "`who`", &WHO_KEYS)?;
        let issuer = self.required(&mut who, "issuer").and_then(|issuer| {
            self.plain(
                issuer,
                "issuer",
                "the name of an issuer in the configuration",
            )
        });
        let assurance = match who.take("assurance") {
            None => Some(Assurance::OidcVerified),
            Some(word) => self
                .text(word, "assurance")
                .and_then(|(at, word)| self.word(at, &word, "assurance", &ASSURANCE_WORDS)),
        };
        let claims = match who.take("claims") {
            None => Some(Vec::new()),
            Some(claims) => self.claims(claims),
        };
        let groups = who.take("groups");
        let groups: Vec<String> = self
            .list(groups, "groups")
            .into_iter()
            .filter_map(|group| self.plain(group, "groups", "a list of groups"))
            .collect();
        Some(Who {
            issuer: issuer?,
            assurance: assurance?,
            claims: claims?,
            groups,
        })
    }

    fn claims(&mut self, node: Node) -> Option<Vec<(String, Vec<Glob>)>> {
        let at = node.at;
        let Value::Map(entries) = node.value else {
            self.problem(
                at,
                "`claims` is a mapping from claims of the token to their values".to_owned(),
            );
            return None;
        };
        let mut claims = Vec::with_capacity(entries.len());
        for (key, values) in entries {
            let values = self.texts(values, &key.name)?;
            if values.is_empty() {
                self.problem(
                    key.at,
                    format!(
                        "claim `{}` lists no value, so that no job could match; list one or remove it",
                        key.name
                    ),
                );
            }
            let globs = values.iter().map(|(_, text)| Glob::new(text)).collect();
            claims.push((key.name, globs));
        }
        Some(claims)
    }

    fn limits(&mut self, node: Node) -> GrantLimits {
        let Some(mut limits) = self.map(node, "`limits`", &LIMIT_KEYS) else {
            return GrantLimits::default();
        };
        GrantLimits {
            hold: self.limit(&mut limits, "hold", &HOLD),
            hold_in_transaction: self.limit(&mut limits, "hold_in_transaction", &HOLD),
            session: self.limit(&mut limits, "session", &SESSION),
            statement: self.limit(&mut limits, "statement", &STATEMENT),
            rows: self.limit(&mut limits, "rows", &ROWS),
            bytes: self.limit(&mut limits, "bytes", &BYTES),
            session_rows: self.limit(&mut limits, "session_rows", &ROWS),
            session_bytes: self.limit(&mut limits, "session_bytes", &BYTES),
            statements_per_minute: self.limit(&mut limits, "statements_per_minute", &PER_MINUTE),
        }
    }

    fn limit<T: PartialOrd + Copy>(
        &mut self,
        limits: &mut Fields,
        key: &str,
        kind: &Quantity<T>,
    ) -> Option<T> {
        let node = limits.take(key)?;
        self.quantity(node, key, kind)
    }

    fn rules(&mut self, grant: &mut Fields, key: &str) -> Vec<Rule> {
        let keys = Verb::WORDS.map(|(_, word)| word);
        let list = grant.take(key);
        self.list(list, key)
            .into_iter()
            .filter_map(|rule| {
                let rule = self.map(rule, "a rule", &keys)?;
                self.rule(rule)
            })
            .collect()
    }

    /// The one verb of a rule and what it is about.
    fn rule(&mut self, rule: Fields) -> Option<Rule> {
        let (at, complete) = (rule.at, rule.complete);
        let mut verbs = rule.rest();
        let (key, node) = match (verbs.pop(), verbs.is_empty()) {
            (Some(only), true) => only,
            (Some(_), false) => {
                self.problem(
                    at,
                    "a rule has one verb; start a new rule with `- ` for each".to_owned(),
                );
                return None;
            }
            // An unknown verb has been reported.
            (None, _) if !complete => return None,
            (None, _) => {
                let words = Verb::WORDS.map(|(_, word)| word).join(", ");
                self.problem(at, format!("a rule needs one verb: {words}"));
                return None;
            }
        };
        let verb = self.word(key.at, &key.name, "a rule", &Verb::WORDS)?;
        let targets = self.targets(verb, node)?;
        Some(Rule { verb, targets })
    }

    fn targets(&mut self, verb: Verb, node: Node) -> Option<Vec<Target>> {
        let before = self.count();
        let at = node.at;
        let texts = self.texts(node, verb.word())?;
        if texts.is_empty() {
            self.problem(
                at,
                format!(
                    "`{}` lists nothing; name an object or remove the rule",
                    verb.word()
                ),
            );
        }
        let mut targets = Vec::with_capacity(texts.len());
        for (at, text) in texts {
            match Target::parse(&text) {
                Ok(target) if target.columns.is_some() && !verb.takes_columns() => {
                    self.problem(
                        at,
                        format!(
                            "`{}` takes no columns; write {}",
                            verb.word(),
                            target.object
                        ),
                    );
                }
                Ok(target) => targets.push(target),
                Err(_) if verb == Verb::Set && !text.contains('.') => self.problem(
                    at,
                    format!(
                        "`set: {text}` names no setting of an application; write prefix.name, for example app.tenant (the server's own settings need no rule, or `all`)"
                    ),
                ),
                Err(error) => self.problem(at, error.to_string()),
            }
        }
        (self.count() == before).then_some(targets)
    }

    /// What becomes of a held statement; `None`: nothing is said.
    fn on_hold(&mut self, fields: &mut Fields) -> Option<OnHold> {
        let (at, word) = fields
            .take("on_hold")
            .and_then(|word| self.text(word, "on_hold"))?;
        self.word(at, &word, "on_hold", &ON_HOLD_WORDS)
    }

    fn approvals(&mut self, grant: &mut Fields) -> Vec<ApproveRule> {
        let verbs = Verb::WORDS.map(|(_, word)| word);
        let keys: Vec<&str> = verbs.into_iter().chain(["by", "on_hold"]).collect();
        let list = grant.take("approve");
        self.list(list, "approve")
            .into_iter()
            .filter_map(|approve| {
                let mut fields = self.map(approve, "a rule", &keys)?;
                let at = fields.at;
                let by = fields.take("by");
                let on_hold = self.on_hold(&mut fields);
                let rule = self.rule(fields);
                let Some(by) = by else {
                    self.problem(
                        at,
                        "the key `by` is missing; write `by: { group: name, count: 1 }`".to_owned(),
                    );
                    return None;
                };
                let (group, count) = self.by(by)?;
                Some(ApproveRule {
                    rule: rule?,
                    group,
                    count,
                    on_hold,
                })
            })
            .collect()
    }

    fn by(&mut self, node: Node) -> Option<(Option<String>, u32)> {
        let before = self.count();
        let mut by = self.map(node, "`by`", &BY_KEYS)?;
        let group = by
            .take("group")
            .and_then(|group| self.plain(group, "group", "the name of an approvers' group"));
        let count = match by.take("count") {
            None => 1,
            Some(count) => self.quantity(count, "count", &COUNT)?,
        };
        let count = u32::try_from(count).ok()?;
        (self.count() == before).then_some((group, count))
    }

    fn masks(&mut self, grant: &mut Fields) -> Vec<MaskRule> {
        let list = grant.take("mask");
        self.list(list, "mask")
            .into_iter()
            .filter_map(|mask| {
                let mask = self.map(mask, "a mask", &MASK_KEYS)?;
                self.mask(mask)
            })
            .collect()
    }

    fn mask(&mut self, mut mask: Fields) -> Option<MaskRule> {
        let at = mask.at;
        let Some(detect) = mask.take("detect") else {
            return self.column_mask(mask).map(MaskRule::Columns);
        };
        for key in ["column", "path", "where"] {
            if let Some(node) = mask.take(key) {
                self.problem(
                    node.at,
                    format!("`{key}` and `detect` do not go together; start a new rule with `- `"),
                );
                return None;
            }
        }
        let detectors = self.detectors(detect);
        let kind = self
            .required(&mut mask, "with")
            .and_then(|with| self.mask_kind(with))?;
        let detectors = detectors?;
        let texts = !matches!(kind, MaskKind::Null | MaskKind::Bucket(_));
        if !texts && detectors != [Detector::BirthDate] {
            self.problem(
                at,
                format!("`{kind}` cannot stand for a part of a text; write redact, token, partial, last4 or digits"),
            );
            return None;
        }
        Some(MaskRule::Detect(DetectRule {
            detectors,
            mask: kind,
        }))
    }

    fn column_mask(&mut self, mut mask: Fields) -> Option<ColumnMask> {
        let columns = self
            .required(&mut mask, "column")
            .and_then(|column| self.columns(column));
        let before = self.count();
        let path = mask.take("path").and_then(|path| {
            let (at, text) = self.text(path, "path")?;
            match JsonPath::parse(&text) {
                Ok(path) => Some(path),
                Err(error) => {
                    self.problem(at, error.to_string());
                    None
                }
            }
        });
        let read = self.count() == before;
        let kind = self
            .required(&mut mask, "with")
            .and_then(|with| self.mask_kind(with));
        let filter = match mask.take("where") {
            None => Some(FilterUse::None),
            Some(word) => self
                .text(word, "where")
                .and_then(|(at, word)| self.word(at, &word, "where", &FILTER_WORDS)),
        };
        Some(ColumnMask {
            columns: columns?,
            path: read.then_some(path)?,
            mask: kind?,
            filter: filter?,
        })
    }

    fn mask_kind(&mut self, node: Node) -> Option<MaskKind> {
        // `with: null` reaches us as YAML's null, not as a text.
        if matches!(node.value, Value::Null) {
            return Some(MaskKind::Null);
        }
        let (at, text) = self.text(node, "with")?;
        match MaskKind::parse(&text) {
            Ok(kind) => Some(kind),
            Err(UnknownMask::Parameter(message)) => {
                self.problem(at, message);
                None
            }
            Err(UnknownMask::Word) => {
                let words = MASK_WORDS.map(|word| ((), word));
                // Says what is known; the text is none of them.
                self.word(at, &text, "with", &words);
                None
            }
        }
    }

    fn detectors(&mut self, node: Node) -> Option<Vec<Detector>> {
        let before = self.count();
        let at = node.at;
        let texts = self.texts(node, "detect")?;
        if texts.is_empty() {
            self.problem(
                at,
                "`detect` lists nothing; name a detector or remove the rule".to_owned(),
            );
        }
        let detectors = texts
            .into_iter()
            .filter_map(|(at, word)| self.word(at, &word, "detect", &Detector::WORDS))
            .collect();
        (self.count() == before).then_some(detectors)
    }

    fn columns(&mut self, node: Node) -> Option<Vec<ColumnPattern>> {
        let before = self.count();
        let at = node.at;
        let texts = self.texts(node, "column")?;
        if texts.is_empty() {
            self.problem(
                at,
                "`column` lists nothing; name a column or remove the rule".to_owned(),
            );
        }
        let mut columns = Vec::with_capacity(texts.len());
        for (at, text) in texts {
            match ColumnPattern::parse(&text) {
                Ok(pattern) => columns.push(pattern),
                Err(error) => self.problem(at, error.to_string()),
            }
        }
        (self.count() == before).then_some(columns)
    }
}
