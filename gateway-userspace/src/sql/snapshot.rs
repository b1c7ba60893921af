//! Fills a [`Catalog`] from a connection: which queries to run, and how to read their rows.
//!
//! The queries only read the system catalog, change nothing in the session, name every object
//! with its schema, and may run inside a client's transaction. All columns are text, so that a
//! simple query serves.

use std::sync::atomic::{AtomicU64, Ordering};

use super::catalog::{
    Cast, Catalog, Column, ForeignKey, Function, Namespace, Operator, Relation, RewriteRule,
    RowPolicy, Runs, Trigger, TypeInfo, WriteCode,
};

/// Name, attnum, type, NOT NULL, generated, and from which columns.
type ColumnRow = (String, i16, u32, bool, bool, Option<Vec<i16>>);

/// One row of a catalog query.
pub type Row = Vec<Option<String>>;

/// The list of queries, with these for relations, functions and types.
macro_rules! catalog_queries {
    ($relations:ident, $functions:ident, $types:ident) => {
        &[
            PATH,
            $relations,
            INHERITANCE,
            TRIGGERS,
            $functions,
            OPERATORS,
            $types,
            CASTS,
            FOREIGN_KEYS,
            POLICIES,
            WRITE_CODE,
            DOMAIN_CODE,
            RULES,
        ]
    };
}

/// The queries that fill a [`Catalog`], in the order that [`Catalog::from_rows`] wants.
pub const CATALOG_QUERIES: &[&str] = catalog_queries!(RELATIONS, FUNCTIONS, TYPES);

/// The same without what `initdb` made of relations, functions and types, which is most of it: for
/// [`Base::with`].
pub const OWN_CATALOG_QUERIES: &[&str] = catalog_queries!(OWN_RELATIONS, OWN_FUNCTIONS, OWN_TYPES);

/// The version of what `initdb` made of relations, functions and types: one text, which changes when
/// a row of it does.
pub const BASE_VERSION: &str = "SELECT pg_catalog.concat_ws(' ', \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(c.xmin::pg_catalog.text::pg_catalog.int8 * (c.oid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_class AS c WHERE c.oid < 16384), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(a.xmin::pg_catalog.text::pg_catalog.int8 * ((a.attrelid::pg_catalog.int8 * (a.attnum + 2000)) % 65521))) FROM pg_catalog.pg_attribute AS a WHERE a.attrelid < 16384), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(r.xmin::pg_catalog.text::pg_catalog.int8 * (r.oid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_rewrite AS r WHERE r.ev_class < 16384), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(p.xmin::pg_catalog.text::pg_catalog.int8 * (p.oid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_proc AS p WHERE p.oid < 16384), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(t.xmin::pg_catalog.text::pg_catalog.int8 * (t.oid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_type AS t WHERE t.oid < 16384), \
(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(d.xmin::pg_catalog.text::pg_catalog.int8 * (d.objid::pg_catalog.int8 % 65521))) FROM pg_catalog.pg_depend AS d WHERE d.objid < 16384 AND d.deptype = 'e'), \
(SELECT pg_catalog.sum(e.xmin::pg_catalog.text::pg_catalog.int8) FROM pg_catalog.pg_extension AS e), \
(SELECT pg_catalog.sum(l.xmin::pg_catalog.text::pg_catalog.int8) FROM pg_catalog.pg_language AS l WHERE l.oid < 16384), \
(SELECT pg_catalog.sum(n.xmin::pg_catalog.text::pg_catalog.int8) FROM pg_catalog.pg_namespace AS n WHERE n.oid < 16384))";

/// `FirstNormalObjectId`: what `initdb` made comes before.
pub(crate) const FIRST_NORMAL_OID: u32 = 16384;
/// Where the rows of relations, functions and types stand among the results; their third column is
/// the oid.
const WITH_BASE: [usize; 3] = [1, 4, 6];

/// The query whose one row [`Namespace::from_row`] reads.
pub const NAMESPACE_SQL: &str = "SELECT pg_catalog.array_to_json(pg_catalog.current_schemas(true))::pg_catalog.text, CURRENT_USER::pg_catalog.text, pg_catalog.current_database()::pg_catalog.text, \
(SELECT pg_catalog.json_agg(r.oid::pg_catalog.int8) FROM pg_catalog.pg_roles AS r WHERE pg_catalog.pg_has_role(SESSION_USER, r.oid, 'MEMBER'))::pg_catalog.text";

const PATH: &str =
    "SELECT pg_catalog.array_to_json(pg_catalog.current_schemas(true))::pg_catalog.text";

macro_rules! relations {
    () => {
        "SELECT n.nspname, c.relname, c.oid::pg_catalog.text, c.relkind::pg_catalog.text, \
c.relpersistence::pg_catalog.text, c.reltype::pg_catalog.text, \
CASE WHEN c.relkind IN ('v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') THEN pg_catalog.pg_get_viewdef(c.oid) END, \
EXISTS (SELECT FROM pg_catalog.pg_rewrite AS r WHERE r.ev_class = c.oid AND r.ev_type <> '1')::pg_catalog.text, \
(SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attname, a.attnum, a.atttypid::pg_catalog.int8, a.attnotnull, a.attgenerated <> '', \
CASE WHEN a.attgenerated <> '' THEN (SELECT pg_catalog.json_agg(DISTINCT d.refobjsubid) FROM pg_catalog.pg_attrdef AS f JOIN pg_catalog.pg_depend AS d \
ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
WHERE f.adrelid = a.attrelid AND f.adnum = a.attnum AND d.refobjid = a.attrelid AND d.refobjsubid > 0 AND d.refobjsubid <> a.attnum) END) ORDER BY a.attnum) \
FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind NOT IN ('i', 'I', 't'))::pg_catalog.text, \
(SELECT pg_catalog.json_build_array(tn.nspname, t.relname) FROM pg_catalog.pg_index AS x JOIN pg_catalog.pg_class AS t ON t.oid = x.indrelid \
JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace WHERE x.indexrelid = c.oid)::pg_catalog.text, \
EXISTS (SELECT FROM pg_catalog.pg_options_to_table(c.reloptions) AS o WHERE CASE WHEN o.option_name = 'security_invoker' THEN o.option_value::pg_catalog.bool END)::pg_catalog.text, \
c.relowner::pg_catalog.text \
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S', 'c', 't', 'i', 'I')"
    };
}
const RELATIONS: &str = relations!();
const OWN_RELATIONS: &str = concat!(relations!(), " AND c.oid >= 16384");

const INHERITANCE: &str = "SELECT pn.nspname, p.relname, cn.nspname, c.relname \
FROM pg_catalog.pg_inherits AS i \
JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace \
JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid JOIN pg_catalog.pg_namespace AS cn ON cn.oid = c.relnamespace \
WHERE p.relkind IN ('r', 'p', 'f')";

const TRIGGERS: &str = "SELECT n.nspname, c.relname, t.tgtype::pg_catalog.text, t.tgfoid::pg_catalog.oid::pg_catalog.text \
FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid \
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal";

macro_rules! functions {
    () => {
        "SELECT n.nspname, p.proname, p.oid::pg_catalog.text, p.pronargs::pg_catalog.text, \
p.pronargdefaults::pg_catalog.text, (p.provariadic <> 0)::pg_catalog.text, p.provolatile::pg_catalog.text, \
p.prokind::pg_catalog.text, p.prosecdef::pg_catalog.text, p.proretset::pg_catalog.text, p.prorettype::pg_catalog.oid::pg_catalog.text, \
CASE WHEN p.proargmodes IS NOT NULL THEN (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(p.proargnames[m.o], p.proallargtypes[m.o]::pg_catalog.int8) ORDER BY m.o) \
FROM pg_catalog.unnest(p.proargmodes) WITH ORDINALITY AS m (m, o) WHERE m.m IN ('o', 'b', 't'))::pg_catalog.text END, \
e.extname, (l.lanname IN ('c', 'internal'))::pg_catalog.text, p.proargtypes::pg_catalog.text \
FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace \
JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang \
LEFT JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e' \
LEFT JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid"
    };
}
const FUNCTIONS: &str = functions!();
const OWN_FUNCTIONS: &str = concat!(functions!(), " WHERE p.oid >= 16384");

const OPERATORS: &str = "SELECT n.nspname, o.oprname, o.oprcode::pg_catalog.oid::pg_catalog.text \
FROM pg_catalog.pg_operator AS o JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace \
WHERE n.nspname <> 'pg_catalog'";

macro_rules! types {
    () => {
        "SELECT n.nspname, t.typname, t.oid::pg_catalog.text, t.typtype::pg_catalog.text, \
(CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0::pg_catalog.oid END)::pg_catalog.text, t.typbasetype::pg_catalog.text, \
CASE WHEN t.typtype = 'c' THEN (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attname, a.atttypid::pg_catalog.int8) ORDER BY a.attnum) \
FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)::pg_catalog.text END, e.extname \
FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace \
LEFT JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'e' \
LEFT JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid \
WHERE NOT (t.typtype = 'c' AND n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast'))"
    };
}
const TYPES: &str = types!();
const OWN_TYPES: &str = concat!(types!(), " AND t.oid >= 16384");

const CASTS: &str = "SELECT castsource::pg_catalog.text, casttarget::pg_catalog.text, castfunc::pg_catalog.oid::pg_catalog.text, castcontext::pg_catalog.text, (oid >= 16384)::pg_catalog.text \
FROM pg_catalog.pg_cast WHERE castcontext = 'i' OR (oid >= 16384 AND castfunc <> 0)";

const FOREIGN_KEYS: &str = "SELECT fn.nspname, f.relname, tn.nspname, t.relname, k.confdeltype::pg_catalog.text, k.confupdtype::pg_catalog.text, pg_catalog.array_to_json(k.confkey)::pg_catalog.text \
FROM pg_catalog.pg_constraint AS k \
JOIN pg_catalog.pg_class AS f ON f.oid = k.conrelid JOIN pg_catalog.pg_namespace AS fn ON fn.oid = f.relnamespace \
JOIN pg_catalog.pg_class AS t ON t.oid = k.confrelid JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace \
WHERE k.contype = 'f'";

/// Of each policy the condition for rows that are there, and the one for rows that are written.
const POLICIES: &str = "SELECT n.nspname, c.relname, p.polcmd::pg_catalog.text, \
pg_catalog.format('SELECT FROM ONLY %I.%I WHERE %s', n.nspname, c.relname, e.condition) \
FROM pg_catalog.pg_policy AS p JOIN pg_catalog.pg_class AS c ON c.oid = p.polrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace, \
LATERAL (VALUES (pg_catalog.pg_get_expr(p.polqual, p.polrelid)), (pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))) AS e (condition) \
WHERE c.relrowsecurity AND e.condition IS NOT NULL";

/// The functions, operators and sequences that expressions of tables depend on. The server's own
/// functions are not among dependencies.
const WRITE_CODE: &str = "SELECT n.nspname, c.relname, k.attnum::pg_catalog.text, \
CASE WHEN s.oid IS NULL THEN COALESCE(o.oprcode::pg_catalog.oid, d.refobjid)::pg_catalog.text END, sn.nspname, s.relname \
FROM (SELECT f.adrelid, CASE WHEN a.attgenerated = '' THEN f.adnum ELSE 0 END, 'pg_catalog.pg_attrdef'::pg_catalog.regclass, f.oid \
FROM pg_catalog.pg_attrdef AS f JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.adrelid AND a.attnum = f.adnum \
UNION ALL SELECT k.conrelid, 0, 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid FROM pg_catalog.pg_constraint AS k WHERE k.contype = 'c' AND k.conrelid <> 0 \
UNION ALL SELECT x.indrelid, 0, 'pg_catalog.pg_class'::pg_catalog.regclass, x.indexrelid FROM pg_catalog.pg_index AS x WHERE x.indexprs IS NOT NULL OR x.indpred IS NOT NULL \
UNION ALL SELECT t.partrelid, 0, 'pg_catalog.pg_class'::pg_catalog.regclass, t.partrelid FROM pg_catalog.pg_partitioned_table AS t WHERE t.partexprs IS NOT NULL) AS k (relation, attnum, class, oid) \
JOIN pg_catalog.pg_depend AS d ON d.classid = k.class AND d.objid = k.oid \
JOIN pg_catalog.pg_class AS c ON c.oid = k.relation JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
LEFT JOIN pg_catalog.pg_operator AS o ON d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = d.refobjid \
LEFT JOIN pg_catalog.pg_class AS s ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND s.oid = d.refobjid AND s.relkind = 'S' \
LEFT JOIN pg_catalog.pg_namespace AS sn ON sn.oid = s.relnamespace \
WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass OR o.oid IS NOT NULL OR s.oid IS NOT NULL \
UNION ALL SELECT n.nspname, c.relname, d.refobjsubid::pg_catalog.text, NULL, sn.nspname, s.relname \
FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_class AS s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_catalog.pg_namespace AS sn ON sn.oid = s.relnamespace \
JOIN pg_catalog.pg_class AS c ON c.oid = d.refobjid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'i'";

/// The same of checks and defaults of domains.
const DOMAIN_CODE: &str = "SELECT k.type::pg_catalog.text, CASE WHEN s.oid IS NULL THEN COALESCE(o.oprcode::pg_catalog.oid, d.refobjid)::pg_catalog.text END, n.nspname, s.relname \
FROM (SELECT c.contypid, 'pg_catalog.pg_constraint'::pg_catalog.regclass, c.oid FROM pg_catalog.pg_constraint AS c WHERE c.contypid <> 0 \
UNION ALL SELECT t.oid, 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid FROM pg_catalog.pg_type AS t WHERE t.typtype = 'd' AND t.typdefaultbin IS NOT NULL) AS k (type, class, oid) \
JOIN pg_catalog.pg_depend AS d ON d.classid = k.class AND d.objid = k.oid \
LEFT JOIN pg_catalog.pg_operator AS o ON d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = d.refobjid \
LEFT JOIN pg_catalog.pg_class AS s ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND s.oid = d.refobjid AND s.relkind = 'S' \
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = s.relnamespace \
WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass OR o.oid IS NOT NULL OR s.oid IS NOT NULL";

const RULES: &str = "SELECT n.nspname, c.relname, r.ev_type::pg_catalog.text, (r.is_instead AND r.ev_qual::pg_catalog.text = '<>')::pg_catalog.text, pg_catalog.pg_get_ruledef(r.oid) \
FROM pg_catalog.pg_rewrite AS r JOIN pg_catalog.pg_class AS c ON c.oid = r.ev_class JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
WHERE r.ev_type <> '1' AND n.nspname NOT IN ('pg_catalog', 'information_schema')";

/// Why catalog rows could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Other rows than the queries give.
    #[error("catalog query {query} gave an unexpected row: {why}; is this PostgreSQL 14 or newer?")]
    Row {
        /// Index into [`CATALOG_QUERIES`], or `namespace`.
        query: String,
        /// What is wrong.
        why: String,
    },
}

impl Namespace {
    /// Reads the row of [`NAMESPACE_SQL`].
    pub fn from_row(row: &Row) -> Result<Self, SnapshotError> {
        let fields = Fields {
            row,
            query: "namespace",
        };
        Ok(Self {
            search_path: fields.json(0)?,
            user: fields.text(1)?.to_owned(),
            database: fields.text(2)?.to_owned(),
            roles: fields.json_or_default(3)?,
        })
    }
}

static VERSION: AtomicU64 = AtomicU64::new(1);

impl Catalog {
    /// An empty catalog with a version of its own.
    pub fn empty() -> Self {
        Self {
            version: VERSION.fetch_add(1, Ordering::Relaxed),
            ..Self::default()
        }
    }

    /// Builds a catalog from the rows of each of [`CATALOG_QUERIES`], in their order.
    pub fn from_rows(results: &[Vec<Row>]) -> Result<Self, SnapshotError> {
        Self::empty().filled(results)
    }

    fn filled(self, results: &[Vec<Row>]) -> Result<Self, SnapshotError> {
        let mut catalog = self;
        let rows = |index: usize| {
            let query = query_name(index);
            results
                .get(index)
                .into_iter()
                .flatten()
                .map(move |row| Fields { row, query })
        };
        if results.len() != CATALOG_QUERIES.len() {
            return Err(SnapshotError::Row {
                query: "count".to_owned(),
                why: format!(
                    "{} results for {} queries",
                    results.len(),
                    CATALOG_QUERIES.len()
                ),
            });
        }
        for row in rows(0) {
            catalog.search_path = row.json(0)?;
        }
        for row in rows(1) {
            catalog.add_relation(&row)?;
        }
        for row in rows(2) {
            let child = (row.text(2)?.to_owned(), row.text(3)?.to_owned());
            if let Some(parent) = catalog.relation_mut(row.text(0)?, row.text(1)?) {
                parent.children.push(child);
            }
        }
        for row in rows(3) {
            let trigger = Trigger {
                kind: row.number(2)?,
                function_oid: row.number(3)?,
            };
            if let Some(relation) = catalog.relation_mut(row.text(0)?, row.text(1)?) {
                relation.has_triggers = true;
                relation.triggers.push(trigger);
            }
        }
        for row in rows(4) {
            catalog.add_function(&row)?;
        }
        for row in rows(5) {
            catalog
                .operators
                .entry(row.text(1)?.to_owned())
                .or_default()
                .push(Operator {
                    schema: row.text(0)?.to_owned(),
                    function_oid: row.number(2)?,
                });
        }
        for row in rows(6) {
            catalog.add_type(&row)?;
        }
        for row in rows(7) {
            let cast = Cast {
                source: row.number(0)?,
                target: row.number(1)?,
                function_oid: row.number(2)?,
                context: row.byte(3)?,
            };
            if cast.context == b'i' {
                catalog.implicit_casts.insert((cast.source, cast.target));
            }
            if row.flag(4)? && cast.function_oid != 0 {
                catalog.casts.push(cast);
            }
        }
        for row in rows(8) {
            catalog.foreign_keys.push(ForeignKey {
                from: (row.text(0)?.to_owned(), row.text(1)?.to_owned()),
                to: (row.text(2)?.to_owned(), row.text(3)?.to_owned()),
                on_delete: row.byte(4)?,
                on_update: row.byte(5)?,
                to_columns: row.json_or_default(6)?,
            });
        }
        for row in rows(9) {
            let policy = RowPolicy {
                command: row.byte(2)?,
                query: row.text(3)?.to_owned(),
                ..RowPolicy::default()
            };
            if let Some(relation) = catalog.relation_mut(row.text(0)?, row.text(1)?) {
                relation.policies.push(policy);
            }
        }
        for row in rows(10) {
            let runs = row.runs(3)?;
            let column = row.number(2)?;
            if let Some(relation) = catalog.relation_mut(row.text(0)?, row.text(1)?) {
                relation.code.push(WriteCode { column, runs });
            }
        }
        for row in rows(11) {
            if let Some(info) = catalog.type_info.get_mut(&row.number(0)?) {
                info.code.push(row.runs(1)?);
            }
        }
        for row in rows(12) {
            let rule = RewriteRule {
                event: row.byte(2)?,
                instead: row.flag(3)?,
                definition: row.text(4)?.to_owned(),
                ..RewriteRule::default()
            };
            if let Some(relation) = catalog.relation_mut(row.text(0)?, row.text(1)?) {
                relation.rules.push(rule);
            }
        }
        Ok(catalog)
    }

    fn relation_mut(&mut self, schema: &str, name: &str) -> Option<&mut Relation> {
        self.relations.get_mut(schema)?.get_mut(name)
    }

    fn add_relation(&mut self, row: &Fields<'_>) -> Result<(), SnapshotError> {
        let columns: Vec<ColumnRow> = row.json_or_default(8)?;
        let relation = Relation {
            oid: row.number(2)?,
            kind: row.byte(3)?,
            columns: columns
                .into_iter()
                .map(
                    |(name, attnum, type_oid, not_null, generated, from)| Column {
                        name,
                        attnum,
                        type_oid,
                        not_null,
                        generated,
                        generated_from: from.unwrap_or_default(),
                    },
                )
                .collect(),
            definition: row.optional(6).map(ToOwned::to_owned),
            has_rules: row.flag(7)?,
            row_type: row.number(5)?,
            temporary: row.text(4)? == "t",
            index_on: row.json_or_default(9)?,
            security_invoker: row.optional(10).is_none_or(|flag| flag != "false"),
            owner: row.number(11)?,
            ..Relation::default()
        };
        let (schema, name) = (row.text(0)?, row.text(1)?);
        self.relations
            .entry(schema.to_owned())
            .or_default()
            .insert(name.to_owned(), relation);
        Ok(())
    }

    fn add_function(&mut self, row: &Fields<'_>) -> Result<(), SnapshotError> {
        let out: Vec<(Option<String>, u32)> = row.json_or_default(11)?;
        let function = Function {
            schema: row.text(0)?.to_owned(),
            oid: row.number(2)?,
            args: row.number(3)?,
            defaults: row.number(4)?,
            variadic: row.flag(5)?,
            volatility: row.byte(6)?,
            kind: row.byte(7)?,
            security_definer: row.flag(8)?,
            returns_set: row.flag(9)?,
            return_type: row.number(10)?,
            out_columns: out
                .iter()
                .enumerate()
                .map(|(index, (name, _))| match name {
                    Some(name) if !name.is_empty() => name.clone(),
                    Some(_) | None => format!("column{}", index + 1),
                })
                .collect(),
            out_types: out.iter().map(|(_, oid)| *oid).collect(),
            extension: row.optional(12).map(ToOwned::to_owned),
            compiled: row.flag(13)?,
            arg_types: row
                .optional(14)
                .unwrap_or_default()
                .split_ascii_whitespace()
                .map_while(|oid| oid.parse().ok())
                .collect(),
        };
        self.functions
            .entry(row.text(1)?.to_owned())
            .or_default()
            .push(function);
        Ok(())
    }

    fn add_type(&mut self, row: &Fields<'_>) -> Result<(), SnapshotError> {
        let (schema, name, oid) = (row.text(0)?, row.text(1)?, row.number(2)?);
        if schema == "pg_catalog" {
            self.builtin_types.insert(name.to_owned(), oid);
        } else {
            self.types
                .entry(name.to_owned())
                .or_default()
                .push((schema.to_owned(), oid));
        }
        let info = TypeInfo {
            schema: schema.to_owned(),
            name: name.to_owned(),
            kind: row.byte(3)?,
            element: row.number(4)?,
            base: row.number(5)?,
            fields: row.json_or_default(6)?,
            extension: row.optional(7).map(ToOwned::to_owned),
            code: Vec::new(),
        };
        self.type_info.insert(oid, info);
        Ok(())
    }
}

/// What `initdb` made of a catalog's relations, functions and types. It does not change but by a
/// superuser's hand, and is most of what there is in a small database.
#[derive(Clone, Debug)]
pub struct Base(Catalog);

impl Base {
    /// Takes it from the rows of [`CATALOG_QUERIES`].
    pub fn from_rows(results: &[Vec<Row>]) -> Result<Self, SnapshotError> {
        let mut base = vec![Vec::new(); CATALOG_QUERIES.len()];
        for index in WITH_BASE {
            for row in results.get(index).into_iter().flatten() {
                let query = query_name(index);
                let oid: u32 = Fields { row, query }.number(2)?;
                if oid < FIRST_NORMAL_OID
                    && let Some(rows) = base.get_mut(index)
                {
                    rows.push(row.clone());
                }
            }
        }
        Catalog::from_rows(&base).map(Self)
    }

    /// The catalog that the rows of each of [`OWN_CATALOG_QUERIES`] add up to with it.
    pub fn with(&self, results: &[Vec<Row>]) -> Result<Catalog, SnapshotError> {
        let version = Catalog::empty().version;
        Catalog {
            version,
            ..self.0.clone()
        }
        .filled(results)
    }
}

/// What a query of [`CATALOG_QUERIES`] is called in messages and files.
pub(crate) fn query_name(index: usize) -> &'static str {
    [
        "path",
        "relations",
        "inheritance",
        "triggers",
        "functions",
        "operators",
        "types",
        "casts",
        "foreign keys",
        "row policies",
        "write code",
        "domain code",
        "rules",
    ]
    .get(index)
    .copied()
    .unwrap_or("unknown")
}

struct Fields<'r> {
    row: &'r Row,
    query: &'static str,
}

impl Fields<'_> {
    fn wrong(&self, why: impl Into<String>) -> SnapshotError {
        SnapshotError::Row {
            query: self.query.to_owned(),
            why: why.into(),
        }
    }

    fn optional(&self, index: usize) -> Option<&str> {
        self.row.get(index)?.as_deref()
    }

    fn text(&self, index: usize) -> Result<&str, SnapshotError> {
        self.optional(index)
            .ok_or_else(|| self.wrong(format!("column {} is missing", index + 1)))
    }

    fn number<T: std::str::FromStr>(&self, index: usize) -> Result<T, SnapshotError> {
        let text = self.text(index)?;
        text.parse()
            .map_err(|_parse| self.wrong(format!("column {} is no number: {text}", index + 1)))
    }

    fn byte(&self, index: usize) -> Result<u8, SnapshotError> {
        let text = self.text(index)?;
        text.bytes()
            .next()
            .ok_or_else(|| self.wrong(format!("column {} is empty", index + 1)))
    }

    fn flag(&self, index: usize) -> Result<bool, SnapshotError> {
        match self.text(index)? {
            "t" | "true" => Ok(true),
            "f" | "false" => Ok(false),
            other => Err(self.wrong(format!("column {} is no boolean: {other}", index + 1))),
        }
    }

    /// A function's oid, or a sequence's schema and name behind it.
    fn runs(&self, at: usize) -> Result<Runs, SnapshotError> {
        match (self.optional(at + 1), self.optional(at + 2)) {
            (Some(schema), Some(name)) => Ok(Runs::Sequence(schema.to_owned(), name.to_owned())),
            _ => Ok(Runs::Function(self.number(at)?)),
        }
    }

    fn json<T: serde::de::DeserializeOwned>(&self, index: usize) -> Result<T, SnapshotError> {
        serde_json::from_str(self.text(index)?)
            .map_err(|error| self.wrong(format!("column {}: {error}", index + 1)))
    }

    fn json_or_default<T: serde::de::DeserializeOwned + Default>(
        &self,
        index: usize,
    ) -> Result<T, SnapshotError> {
        if self.optional(index).is_some() {
            self.json(index)
        } else {
            Ok(T::default())
        }
    }
}
