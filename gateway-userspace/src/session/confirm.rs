//! The server confirms: what it reads a statement as must not exceed what the analysis reported.
//!
//! Parse analyses a statement without running it, and takes a lock on every relation that it
//! finds, behind views and rules too. A relation among them that the analysis did not report, or
//! a stronger use of one, means that the two read the statement differently: it is refused.

use std::{
    collections::HashSet,
    fmt::Write,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use super::{Refusal, Rows, Session, Understood, result::check_origins};
use crate::{
    masking::ColumnShape,
    policy::{Reason, ReasonCode},
    sql::{Access, FIRST_NORMAL_OID, Namespace, RelationRef, RelationUse, StatementKind},
};

/// Texts whose reading is known to agree, kept for all sessions, at most.
const MAX_CONFIRMED: usize = 8192;
/// Longest such text, in bytes.
const MAX_CONFIRMED_TEXT: usize = 4096;

/// The relation locks of the connection that asks: relation, mode.
pub const LOCKS: &str = "SELECT l.relation::pg_catalog.text, l.mode FROM pg_catalog.pg_locks AS l \
WHERE l.locktype = 'relation' AND l.pid = pg_catalog.pg_backend_pid() AND l.relation <> 'pg_catalog.pg_locks'::pg_catalog.regclass";

/// What a reading is valid for.
#[derive(Debug)]
pub(super) struct Confirmed {
    catalog_version: u64,
    namespace: Arc<Namespace>,
}

/// A lock that the analysis does not explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexplained {
    relation: u32,
}

impl Session {
    /// The text that the server has to read before the statement may run; `None` if it has, or if
    /// Parse would find nothing in it.
    pub fn unconfirmed<'u>(&self, understood: &'u Understood) -> Option<&'u str> {
        let text = understood.reading.confirms()?;
        if understood.reading.is_confirmed() {
            return None;
        }
        let known = self
            .gate
            .confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(text)
            .is_some_and(|known| {
                known.catalog_version == understood.statement().catalog_version
                    && Some(&known.namespace) == self.names.namespace.as_ref()
            });
        if known {
            understood.reading.confirm();
            return None;
        }
        Some(text)
    }

    /// The locks that Parse took beyond what the analysis reported, from the rows of [`LOCKS`]
    /// before and after it.
    ///
    /// # Errors
    /// If the rows are not what the query gives.
    pub fn unexplained(
        &self,
        understood: &Understood,
        before: &Rows,
        after: &Rows,
    ) -> Result<Vec<Unexplained>, String> {
        let earlier: HashSet<_> = before.iter().collect();
        // What is behind the system's own views is the system's too, and not reported.
        let system_view = understood.statement().relations.iter().any(|used| {
            used.system
                && self.names.snapshot.as_ref().is_some_and(|snapshot| {
                    let RelationRef { schema, name, .. } = &used.relation;
                    let relation = snapshot.catalog.relation(schema, name);
                    relation.is_some_and(|relation| relation.kind == b'v')
                })
        });
        // EXPLAIN locks what its query would write, MERGE its target whatever its actions do.
        let reads = matches!(
            understood.statement().kind,
            StatementKind::Explain { analyze: false } | StatementKind::Merge
        );
        let mut unexplained = Vec::new();
        for row in after.iter().filter(|row| !earlier.contains(row)) {
            let [Some(relation), Some(mode)] = row.as_slice() else {
                return Err("the relation locks cannot be read".to_owned());
            };
            let relation = relation
                .parse()
                .map_err(|error| format!("the relation locks cannot be read: {error}"))?;
            let explained = understood
                .statement()
                .relations
                .iter()
                .chain(&understood.statement().implied.relations)
                .any(|used| used.relation.oid == relation && explains(used, mode, reads));
            let behind = system_view && relation < FIRST_NORMAL_OID && mode == "AccessShareLock";
            if !explained && !behind {
                unexplained.push(Unexplained { relation });
            }
        }
        Ok(unexplained)
    }

    /// A query that names these relations.
    pub fn unexplained_query(unexplained: &[Unexplained]) -> String {
        let mut oids = String::from("0");
        for lock in unexplained {
            let _ = write!(oids, ", {}", lock.relation);
        }
        format!(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
WHERE c.oid IN ({oids}) ORDER BY 1, 2"
        )
    }

    /// Notes that the server reads a statement as the analysis does.
    pub fn confirm(&self, understood: &Understood) {
        understood.reading.confirm();
        let (Some(text), Some(namespace)) = (understood.reading.confirms(), &self.names.namespace)
        else {
            return;
        };
        if text.len() > MAX_CONFIRMED_TEXT || self.names.is_own() {
            return;
        }
        let mut confirmed = self
            .gate
            .confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if confirmed.len() >= MAX_CONFIRMED {
            confirmed.clear();
        }
        confirmed.insert(
            text.into(),
            Confirmed {
                catalog_version: understood.statement().catalog_version,
                namespace: namespace.clone(),
            },
        );
    }

    /// What to say of the rows of [`Session::unexplained_query`]; `None`: all is explained.
    pub fn unexplained_message(rows: &Rows) -> Option<String> {
        let names: Vec<String> = rows
            .iter()
            .filter_map(|row| match row.as_slice() {
                [Some(schema), Some(name)] => Some(format!("{schema}.{name}")),
                _ => None,
            })
            .collect();
        if names.is_empty() {
            return None;
        }
        Some(format!(
            "the database reads the statement as touching {}, the analysis does not",
            names.join(", ")
        ))
    }

    /// Compares the server's description of a result with the lineage.
    ///
    /// # Errors
    /// The refusal, which is on record.
    pub async fn confirm_shape(
        &mut self,
        understood: &Understood,
        shape: Option<&[ColumnShape]>,
    ) -> Result<(), Refusal> {
        let Some(shape) = shape else { return Ok(()) };
        match check_origins(understood.statement(), shape) {
            Ok(()) => Ok(()),
            Err(message) => Err(Box::pin(self.refuse_disagreement(understood, &message)).await),
        }
    }

    /// A fault of the analysis, which must not go unnoticed.
    ///
    /// The refusal is on record.
    pub async fn refuse_disagreement(&mut self, understood: &Understood, message: &str) -> Refusal {
        self.gate.disagreements.fetch_add(1, Ordering::Relaxed);
        tracing::error!(session = %self.id, "analysis and database read a statement differently");
        let reason = Reason {
            code: ReasonCode::Fault,
            message: message.to_owned(),
            rule: "the database confirms what a statement touches".to_owned(),
            hint: "this is a fault of Cordon; report it with the reference, and write the statement in another way".to_owned(),
        };
        self.refuse_for(understood.text(), &reason).await
    }
}

/// True if what is reported of a relation covers a lock of this mode. `reads`: the statement
/// may lock like a writer what it only reads.
fn explains(used: &RelationUse, mode: &str, reads: bool) -> bool {
    match mode {
        "AccessShareLock" => true,
        "RowShareLock" | "RowExclusiveLock" if reads => true,
        "RowShareLock" | "RowExclusiveLock" => used.access.iter().any(|access| match access {
            Access::Insert | Access::Update | Access::Delete | Access::Truncate | Access::Lock => {
                true
            }
            Access::Select => false,
        }),
        // Parse takes no stronger one.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::sql::Rights;

    #[test]
    fn a_reported_read_does_not_explain_a_write_lock() {
        let mut used = RelationUse {
            relation: RelationRef {
                schema: "public".to_owned(),
                name: "t".to_owned(),
                oid: 1,
            },
            access: BTreeSet::from([Access::Select]),
            columns: BTreeMap::new(),
            system: false,
            temporary: false,
            rights: Rights::Session,
        };
        assert!(explains(&used, "AccessShareLock", false));
        assert!(!explains(&used, "RowExclusiveLock", false));
        assert!(!explains(&used, "RowShareLock", false));
        assert!(explains(&used, "RowExclusiveLock", true));
        used.access.insert(Access::Update);
        assert!(explains(&used, "RowExclusiveLock", false));
        assert!(explains(&used, "RowShareLock", false));
        assert!(!explains(&used, "AccessExclusiveLock", true));
    }
}
