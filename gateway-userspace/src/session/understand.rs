//! From text to a judged statement, in the session's names.

use std::sync::Arc;

use super::{
    Parameter, Refusal, Session, Understood,
    guard::Versions,
    hex,
    reading::{Reading, ReadingKey},
};
use crate::{
    policy::{Kinship, Reason, ReasonCode, Verdict, evaluate_in},
    sql::{
        NotUnderstood, Parsed, SettingChange, SettingValue, Statement, StatementKind, analyze,
        split,
    },
};

/// Understood texts kept by a session, at most.
const MAX_CACHED: usize = 1024;
/// Longest text kept, in bytes.
const MAX_CACHED_TEXT: usize = 64 * 1024;

impl Session {
    /// Follows a change of the policy in force.
    pub(super) fn follow_policy(&mut self) {
        let current = self.gate.policy.load();
        if Arc::ptr_eq(&current, self.admission.policy()) {
            return;
        }
        let current = current.clone();
        self.policy_hex = hex(&current.digest());
        match current.admit(&self.principal, &self.database) {
            Ok(mut admission) if admission.role() == self.admission.role() => {
                admission.set_job_role(self.admission.login());
                self.admission = admission;
                self.revoked = None;
            }
            Ok(_) => {
                self.revoked = Some(Reason {
                    code: ReasonCode::NotPermitted,
                    message: "the policy now gives this job another database role".to_owned(),
                    rule: "policy changed".to_owned(),
                    hint: "connect again".to_owned(),
                });
            }
            Err(reason) => self.revoked = Some(reason),
        }
        self.forget();
    }

    /// What is already known of a text, if it still holds.
    pub fn cached(&mut self, text: &str) -> Option<Arc<Understood>> {
        self.follow_policy();
        self.cache.get(text).cloned()
    }

    /// True as long as neither names nor policy have changed since it was understood.
    pub(super) fn is_current(&self, understood: &Understood) -> bool {
        understood.generation == self.generation
    }

    /// True as long as a statement may be decided as it was understood: follows the policy first.
    pub fn still_holds(&mut self, understood: &Understood) -> bool {
        self.follow_policy();
        !understood.fleeting && self.is_current(understood)
    }

    /// Splits a text into its statements.
    ///
    /// # Errors
    /// The refusal, which is on record, if the text is not understood.
    pub async fn split(&mut self, text: &str) -> Result<Vec<Arc<Parsed>>, Refusal> {
        let owned = text.to_owned();
        let outcome = self.gate.stack.run(move || split(&owned)).await;
        let error = match outcome {
            Ok(Ok(statements)) => return Ok(statements.into_iter().map(Arc::new).collect()),
            Ok(Err(error)) => error,
            Err(error) => NotUnderstood::Limit(format!("the parser failed: {error}")),
        };
        Err(Box::pin(self.refuse_text(text, &error)).await)
    }

    /// Understands one statement in the session's names and asks the policy.
    ///
    /// # Errors
    /// If it is not understood; not yet on record, because a fresh catalog may know more.
    pub async fn analyze(
        &mut self,
        parsed: &Arc<Parsed>,
    ) -> Result<Arc<Understood>, NotUnderstood> {
        self.follow_policy();
        if !parsed.is_declared()
            && let Some(understood) = self.cache.get(parsed.text())
        {
            return Ok(understood.clone());
        }
        let reading = self.reading(parsed).await?;
        let mut understood = self.judge(reading)?;
        understood.fleeting |= parsed.is_declared();
        let understood = Arc::new(understood);
        self.remember(parsed.text(), &understood);
        Ok(understood)
    }

    /// Keeps what is known of a text. Also for a text that holds this one statement and no more, as
    /// with a semicolon at its end.
    pub fn remember(&mut self, text: &str, understood: &Arc<Understood>) {
        if understood.fleeting || text.len() > MAX_CACHED_TEXT {
            return;
        }
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(text.into(), understood.clone());
    }

    /// The SELECT that a call of a function by its `pg_proc.oid` stands for, and the types of its
    /// parameters.
    ///
    /// # Errors
    /// In the server's words, if there is no such function or it cannot be called so.
    pub fn select_of(
        &self,
        oid: u32,
        arguments: usize,
    ) -> Result<(String, Vec<u32>), Box<Refusal>> {
        let catalog = self
            .names
            .snapshot
            .as_ref()
            .map(|snapshot| &snapshot.catalog);
        let Some((name, function)) = catalog.and_then(|catalog| catalog.function_by_oid(oid))
        else {
            let message = format!("function with OID {oid} does not exist");
            return Err(Box::new(Refusal::as_server("42883", message)));
        };
        if function.kind != b'f' || function.returns_set {
            let message = format!("cannot call function \"{name}\" via fastpath interface");
            return Err(Box::new(Refusal::as_server("22023", message)));
        }
        let required = function.arg_types.len();
        if arguments != required {
            let message = format!(
                "function call message contains {arguments} arguments but function requires {required}"
            );
            return Err(Box::new(Refusal::as_server("08P01", message)));
        }
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let mut text = format!("SELECT {}.{}(", quoted(&function.schema), quoted(name));
        for number in 1..=required {
            if number > 1 {
                text.push_str(", ");
            }
            if number == required && function.variadic {
                text.push_str("VARIADIC ");
            }
            text.push('$');
            text.push_str(&number.to_string());
        }
        text.push(')');
        Ok((text, function.arg_types.clone()))
    }

    /// What a statement means in the session's names, as another session with the same has found,
    /// or by analysis.
    async fn reading(&self, parsed: &Arc<Parsed>) -> Result<Arc<Reading>, NotUnderstood> {
        let key = match (&self.names.snapshot, &self.names.namespace) {
            (Some(snapshot), Some(namespace))
                if !parsed.is_declared()
                    && !self.names.is_own()
                    && parsed.text().len() <= MAX_CACHED_TEXT =>
            {
                Some(ReadingKey {
                    text: parsed.text().into(),
                    catalog: snapshot.catalog.version,
                    namespace: namespace.clone(),
                })
            }
            _ => None,
        };
        if let Some(reading) = key.as_ref().and_then(|key| self.gate.readings.get(key)) {
            return Ok(reading);
        }
        let reading = Arc::new(self.read(self.resolve(parsed).await?));
        if let Some(key) = key {
            self.gate.readings.share(key, &reading);
        }
        Ok(reading)
    }

    fn read(&self, statement: Statement) -> Reading {
        Reading::new(statement, self.versions())
    }

    fn versions(&self) -> Option<&Versions> {
        let snapshot = self.names.snapshot.as_ref();
        snapshot.map(|snapshot| &*snapshot.versions)
    }

    pub(super) async fn resolve(&self, parsed: &Arc<Parsed>) -> Result<Statement, NotUnderstood> {
        let (Some(snapshot), Some(namespace)) = (&self.names.snapshot, &self.names.namespace)
        else {
            return Err(NotUnderstood::Unsupported(
                "the database's catalog is not known yet".to_owned(),
            ));
        };
        let (catalog, namespace) = (snapshot.catalog.clone(), namespace.clone());
        let parsed = parsed.clone();
        self.gate
            .stack
            .run(move || analyze(&parsed, &catalog, &namespace))
            .await
            .unwrap_or_else(|error| {
                Err(NotUnderstood::Limit(format!(
                    "the analysis failed: {error}"
                )))
            })
    }

    fn judge(&self, mut reading: Arc<Reading>) -> Result<Understood, NotUnderstood> {
        if let StatementKind::Fetch { name, moves } = &reading.statement().kind {
            // What a FETCH returns is what its cursor selects.
            let Some((cursor, _)) = self.cursors.get(name) else {
                return Err(NotUnderstood::UnknownName {
                    sqlstate: "34000",
                    message: format!("cursor \"{name}\" does not exist"),
                    position: None,
                });
            };
            let mut statement = reading.statement().clone();
            fetch_from(&mut statement, cursor.statement(), *moves);
            reading = Arc::new(self.read(statement));
        }
        refuse_shadowing(reading.statement())?;
        Ok(self.weigh(reading))
    }

    fn weigh(&self, reading: Arc<Reading>) -> Understood {
        let statement = reading.statement();
        let verdict = match (&self.revoked, &self.names.snapshot) {
            (Some(reason), _) => Verdict::Deny(reason.clone()),
            (None, Some(snapshot)) => evaluate_in(&self.admission, statement, &snapshot.kinship),
            (None, None) => evaluate_in(&self.admission, statement, &Kinship::none()),
        };
        let protects = self.touches_protected(statement);
        Understood::new(reading, verdict, self.generation, protects)
    }

    /// True if any table that the statement touches, or one of its family, has a protected
    /// column: then the server's errors may quote one.
    fn touches_protected(&self, statement: &Statement) -> bool {
        if !self.admission.has_masks() {
            return false;
        }
        let Some(snapshot) = &self.names.snapshot else {
            return true;
        };
        let protected = |schema: &str, name: &str| {
            snapshot
                .catalog
                .relation(schema, name)
                .is_none_or(|relation| {
                    relation
                        .columns
                        .iter()
                        .any(|column| self.admission.protects(schema, name, &column.name))
                })
        };
        statement
            .relations
            .iter()
            .chain(&statement.implied.relations)
            .filter(|used| !used.system)
            .any(|used| {
                protected(&used.relation.schema, &used.relation.name)
                    || snapshot
                        .kinship
                        .of_relation(&used.relation)
                        .iter()
                        .any(|(schema, name)| protected(schema, name))
            })
    }

    /// EXECUTE, under EXPLAIN and CREATE TABLE AS too: judges what was prepared together with what the arguments do.
    pub fn executed(&self, execute: &Understood, inner: &Understood) -> Arc<Understood> {
        let reading = execute.reading.running(&inner.reading, self.versions());
        let mut understood = self.weigh(Arc::new(reading));
        understood.fleeting = true;
        Arc::new(understood)
    }
}

/// A FETCH does what its cursor's query does, and returns what that selects.
pub(super) fn fetch_from(fetch: &mut Statement, cursor: &Statement, moves: bool) {
    fetch.output = if moves { None } else { cursor.output.clone() };
    fetch.relations.clone_from(&cursor.relations);
    fetch.functions.clone_from(&cursor.functions);
    fetch.implied.clone_from(&cursor.implied);
}

/// Refuses a `SET search_path` under which built-in names may mean something else.
pub(super) fn refuse_shadowing(statement: &Statement) -> Result<(), NotUnderstood> {
    let shadows = |change: &SettingChange| {
        change.name == "search_path"
            && matches!(&change.value, SettingValue::To(path) if shadows_system(path))
    };
    if statement.settings.iter().any(shadows) {
        return Err(NotUnderstood::Unsupported(
            "a search_path that names pg_catalog behind another schema lets that schema \
             replace built-in functions and operators"
                .to_owned(),
        ));
    }
    Ok(())
}

/// As [`refuse_shadowing`], for a search path that is a parameter: now that its value is known.
pub(super) fn shadowing_parameter(
    statement: &Statement,
    parameters: &[Parameter],
) -> Option<Reason> {
    let shadows = |change: &SettingChange| {
        let SettingValue::Parameter(number) = change.value else {
            return false;
        };
        let index = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
        let value = index.and_then(|index| parameters.get(index));
        change.name == "search_path" && !value.is_some_and(Parameter::is_plain_path)
    };
    statement.settings.iter().any(shadows).then(|| Reason {
        code: ReasonCode::NotUnderstood,
        message: "the parameter is a search_path that may name pg_catalog behind another schema"
            .to_owned(),
        rule: "default deny".to_owned(),
        hint: "leave pg_catalog out of it, or send it with SET search_path".to_owned(),
    })
}

/// True if `pg_catalog` is listed, and not first: then names of ours would be looked for
/// elsewhere before.
pub fn shadows_system(search_path: &str) -> bool {
    search_path
        .split(',')
        .map(|schema| schema.trim().trim_matches(['"', '\'']))
        .position(|schema| schema.eq_ignore_ascii_case("pg_catalog"))
        .is_some_and(|position| position > 0)
}
