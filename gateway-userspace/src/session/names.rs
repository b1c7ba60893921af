//! What a session's names mean: its search path and its view of the catalog, and when they have
//! to be looked up again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::guard::{VERSIONS, Versions};
use crate::{
    policy::Kinship,
    sql::{
        BASE_VERSION, Base, CATALOG_QUERIES, Catalog, NAMESPACE_SQL, Namespace, OWN_CATALOG_QUERIES,
    },
};

/// A catalog is compared with the server's at least this often while a session is active.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// Rows of one query.
pub type Rows = Vec<Vec<Option<String>>>;

/// The constant queries that the gateway runs on a session's own connection.
pub struct NameQueries;

impl NameQueries {
    /// The effective search path and user.
    pub const NAMESPACE: &'static str = NAMESPACE_SQL;

    /// The transactions that it sees, and a text that changes whenever a user's object does: each row of these catalogs that is
    /// inserted, updated or deleted changes a sum. Much cheaper than reading them. Temporary
    /// objects of other sessions do not count.
    pub const FINGERPRINT: &'static str = "WITH f AS MATERIALIZED (SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname ~ '^pg_(toast_)?temp_' AND n.oid <> pg_catalog.pg_my_temp_schema()) SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text, pg_catalog.concat_ws(' ', \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(c.xmin::pg_catalog.text::pg_catalog.int8 * (c.oid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_class AS c WHERE c.oid >= 16384 AND c.relnamespace NOT IN (SELECT f.oid FROM f)), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(a.xmin::pg_catalog.text::pg_catalog.int8 * ((a.attrelid::pg_catalog.int8 * (a.attnum + 2000))::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_attribute AS a WHERE a.attrelid >= 16384 AND a.attrelid NOT IN (SELECT k.oid FROM pg_catalog.pg_class AS k WHERE k.relnamespace IN (SELECT f.oid FROM f))), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(p.xmin::pg_catalog.text::pg_catalog.int8 * (p.oid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_proc AS p), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(r.xmin::pg_catalog.text::pg_catalog.int8 * (r.oid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_rewrite AS r WHERE r.oid >= 16384), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(o.xmin::pg_catalog.text::pg_catalog.int8 * (o.oid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_operator AS o WHERE o.oid >= 16384), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(t.xmin::pg_catalog.text::pg_catalog.int8 * (t.oid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_type AS t WHERE t.oid >= 16384 AND t.typnamespace NOT IN (SELECT f.oid FROM f)), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(g.xmin::pg_catalog.text::pg_catalog.int8 * (g.oid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_trigger AS g), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(k.xmin::pg_catalog.text::pg_catalog.int8 * (k.oid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_constraint AS k WHERE k.oid >= 16384 AND k.connamespace NOT IN (SELECT f.oid FROM f)), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(x.xmin::pg_catalog.text::pg_catalog.int8 * (x.oid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_cast AS x WHERE x.oid >= 16384), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(i.xmin::pg_catalog.text::pg_catalog.int8 * (i.inhrelid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_inherits AS i), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(y.xmin::pg_catalog.text::pg_catalog.int8 * (y.oid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_policy AS y), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(d.xmin::pg_catalog.text::pg_catalog.int8 * (d.oid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_attrdef AS d), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(n.xmin::pg_catalog.text::pg_catalog.int8 * (n.oid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_namespace AS n WHERE n.oid NOT IN (SELECT f.oid FROM f)))";

    /// The versions of what a catalog holds; to be asked before the catalog itself, so that it is
    /// never of a later state.
    pub const VERSIONS: &'static str = VERSIONS;

    /// The queries whose rows make a catalog: those of its definitions' versions and of its base's
    /// version, then those that fill it, with its base if that is to be read as well.
    pub fn catalog(with_base: bool) -> impl Iterator<Item = &'static str> {
        let fill = if with_base {
            CATALOG_QUERIES
        } else {
            OWN_CATALOG_QUERIES
        };
        [Self::VERSIONS, BASE_VERSION]
            .into_iter()
            .chain(fill.iter().copied())
    }
}

/// A catalog as of a fingerprint, shared by the sessions of a database.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) fingerprint: Arc<str>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) kinship: Arc<Kinship>,
    pub(super) versions: Arc<Versions>,
}

/// What does not change of a database's catalog, with its version.
#[derive(Clone, Debug)]
pub(super) struct KnownBase {
    pub(super) version: String,
    pub(super) base: Arc<Base>,
}

/// A session's names.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) snapshot: Option<Snapshot>,
    pub(super) namespace: Option<Arc<Namespace>>,
    fingerprint: Option<Arc<str>>,
    /// `pg_current_snapshot()` when the fingerprint was read.
    pub(super) transactions: String,
    checked: Option<Instant>,
    /// Count of definitions made through Cordon when the names were looked up.
    epoch: u64,
    stale: bool,
    /// The catalog has changed since the snapshot was read, in a way that the fingerprint may not
    /// tell.
    outdated: bool,
    /// The snapshot was read inside a transaction that has not committed: it may hold what never
    /// comes to be.
    private: bool,
    /// A statement of the open transaction changed something that its rollback takes back.
    changed_in_transaction: bool,
    /// A statement of the open transaction defined something that others will see.
    defined_in_transaction: bool,
}

impl Names {
    /// `epoch` counts what was defined through Cordon, by any session.
    pub(super) fn due(&self, epoch: u64) -> bool {
        self.stale
            || self.epoch != epoch
            || self
                .checked
                .is_none_or(|checked| checked.elapsed() >= CHECK_EVERY)
    }

    /// `redefines`: the catalog may have changed. Its fingerprint does not tell a second change of
    /// the same row within one transaction, so the snapshot will not do for the next statement.
    /// It is kept until then: after a failure nothing can be read, and the transaction must still
    /// be ended.
    pub(super) fn mark_stale(&mut self, redefines: bool, defines: bool) {
        self.outdated |= redefines;
        self.stale = true;
        self.changed_in_transaction = true;
        self.defined_in_transaction |= defines;
    }

    /// Something was changed outside of Cordon.
    pub(super) fn mark_outdated(&mut self) {
        self.outdated = true;
        self.stale = true;
    }

    /// Takes the rows of [`NameQueries::NAMESPACE`] and [`NameQueries::FINGERPRINT`]. `true`:
    /// what names mean has changed.
    pub(super) fn install_namespace(
        &mut self,
        rows: &[Rows],
        private: bool,
        epoch: u64,
    ) -> Result<bool, String> {
        let [namespace, fingerprint] = rows else {
            return Err("the catalog queries gave no rows".to_owned());
        };
        let row = namespace.first().ok_or("the search path cannot be read")?;
        let namespace = Namespace::from_row(row).map_err(|error| error.to_string())?;
        let [Some(transactions), Some(fingerprint)] =
            fingerprint.first().map_or(&[][..], Vec::as_slice)
        else {
            return Err("the catalog's fingerprint cannot be read".to_owned());
        };
        let mut changed = false;
        if self.namespace.as_deref() != Some(&namespace) {
            self.namespace = Some(Arc::new(namespace));
            changed = true;
        }
        if self.fingerprint.as_deref() != Some(fingerprint.as_str()) {
            self.fingerprint = Some(Arc::from(fingerprint.as_str()));
            changed = true;
        }
        self.transactions.clone_from(transactions);
        self.checked = Some(Instant::now());
        self.stale = false;
        self.epoch = epoch;
        self.private = private;
        Ok(changed)
    }

    /// True if the snapshot at hand is of another state of the catalog.
    pub(super) fn wants_catalog(&self) -> bool {
        if self.outdated {
            return true;
        }
        match (&self.snapshot, &self.fingerprint) {
            (Some(snapshot), Some(fingerprint)) => snapshot.fingerprint != *fingerprint,
            (None, _) | (_, None) => true,
        }
    }

    /// Takes a snapshot of the catalog as it is now.
    pub(super) fn adopt(&mut self, snapshot: Snapshot) {
        // One text for all who see it.
        self.fingerprint = Some(snapshot.fingerprint.clone());
        self.snapshot = Some(snapshot);
        self.outdated = false;
    }

    pub(super) fn fingerprint(&self) -> Option<&Arc<str>> {
        self.fingerprint.as_ref()
    }

    /// True if the names are this session's alone: it has temporary objects, or a transaction
    /// that has not committed.
    pub(super) fn is_own(&self) -> bool {
        let temporary = |schema: &String| schema.starts_with("pg_temp_");
        self.private
            || self
                .namespace
                .as_ref()
                .is_none_or(|names| names.search_path.iter().any(temporary))
    }

    /// The end of a transaction may take back what was seen inside it. `true`: it may have made
    /// definitions visible to other sessions.
    pub(super) fn transaction_ended(&mut self) -> bool {
        if self.private || self.changed_in_transaction {
            self.stale = true;
        }
        self.changed_in_transaction = false;
        std::mem::take(&mut self.defined_in_transaction)
    }
}
