//! What the database's own definitions do for a statement: what row-level security policies read,
//! and the code of column defaults, checks and expressions of indexes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Result, Use, Walk};
use crate::sql::catalog::{Relation, RowPolicy, Runs};
use crate::sql::functions::is_known_code;
use crate::sql::statement::{
    Access, FunctionClass, FunctionUse, Implied, RelationRef, RelationUse, Rights,
};

/// Relations and functions, each once.
#[derive(Default)]
struct Found {
    relations: BTreeMap<RelationRef, RelationUse>,
    functions: BTreeSet<FunctionUse>,
}

impl Found {
    fn read(&mut self, used: &RelationUse) {
        let known = self
            .relations
            .entry(used.relation.clone())
            .or_insert_with(|| used.clone());
        known.access.extend(&used.access);
        for (column, uses) in &used.columns {
            let known = known.columns.entry(column.clone()).or_default();
            known.extend(uses);
        }
    }
}

impl<'a> Walk<'a> {
    /// Everything that the uses found so far set off. Policies of what policies read count too:
    /// the server applies them as it does to any other table.
    pub fn implied(&self) -> Result<Implied> {
        let mut found = Found::default();
        for used in &self.uses {
            self.run_by_writes(&mut found, used);
        }
        for type_oid in &self.converted {
            self.domain_code(&mut found, *type_oid);
        }
        let mut secured: Vec<(&str, &str, &Relation, BTreeSet<Access>)> = self
            .uses
            .iter()
            .filter(|used| !used.relation.policies.is_empty())
            .map(|used| (used.schema, used.name, used.relation, used.access.clone()))
            .collect();
        let mut seen: BTreeSet<(u32, BTreeSet<Access>)> = BTreeSet::new();
        while let Some((schema, name, relation, access)) = secured.pop() {
            if !seen.insert((relation.oid, access.clone())) {
                continue;
            }
            for policy in relation.policies.iter().filter(|p| applies(p, &access)) {
                let what = format!("a row security policy of {schema}.{name}");
                let statement = self.definition(&what, &policy.query, &policy.found)?;
                let others = statement
                    .relations
                    .iter()
                    .filter(|used| used.relation.oid != relation.oid);
                for used in others {
                    found.read(used);
                    let RelationRef { schema, name, .. } = &used.relation;
                    if let Some(next) = self.catalog.relation_entry(schema, name) {
                        secured.push((next.0, next.1, next.2, used.access.clone()));
                    }
                }
                let functions = statement.functions.iter().cloned();
                found
                    .functions
                    .extend(functions.filter(|function| match function.class {
                        FunctionClass::Pure => false,
                        FunctionClass::Catalog | FunctionClass::Other => true,
                    }));
            }
        }
        Ok(Implied {
            relations: found.relations.into_values().collect(),
            functions: found.functions.into_iter().collect(),
        })
    }

    /// Code that runs because rows of this relation, or of what is below it, are written.
    fn run_by_writes(&self, found: &mut Found, used: &Use<'a>) {
        let inserts = used.access.contains(&Access::Insert);
        if !inserts && !used.access.contains(&Access::Update) {
            return;
        }
        let written = |attnum: i16| {
            inserts
                || used
                    .columns
                    .get(&attnum)
                    .is_some_and(|(_, uses)| uses.iter().any(|how| how.is_written()))
        };
        for code in &used.relation.code {
            if code.column == 0 || written(code.column) {
                self.run(found, &code.runs);
            }
        }
        let columns = used.relation.columns.iter();
        for column in columns.filter(|column| written(column.attnum)) {
            self.domain_code(found, column.type_oid);
        }
        for (schema, name) in self.descendants(used.schema, used.name) {
            let child = self.catalog.relation(&schema, &name);
            for code in child.into_iter().flat_map(|child| &child.code) {
                if code.column == 0 {
                    self.run(found, &code.runs);
                }
            }
        }
    }

    fn domain_code(&self, found: &mut Found, type_oid: u32) {
        let mut next = Some(type_oid);
        // Domains over domains, and arrays of them.
        for _ in 0..32 {
            let Some(info) = next.and_then(|oid| self.type_info(oid)) else {
                return;
            };
            for runs in &info.code {
                self.run(found, runs);
            }
            next = [info.base, info.element].into_iter().find(|oid| *oid != 0);
        }
    }

    fn run(&self, found: &mut Found, runs: &Runs) {
        match runs {
            Runs::Function(oid) => {
                let known = self.catalog.function_by_oid(*oid);
                if known.is_some_and(|(_, function)| is_known_code(function)) {
                    return;
                }
                found.functions.insert(FunctionUse {
                    schema: known.map_or_else(String::new, |(_, found)| found.schema.clone()),
                    name: known.map_or_else(|| format!("function {oid}"), |(name, _)| name.into()),
                    oid: *oid,
                    class: FunctionClass::Other,
                });
            }
            Runs::Sequence(schema, name) => {
                if let Some((schema, name, sequence)) = self.catalog.relation_entry(schema, name) {
                    found.read(&RelationUse {
                        relation: RelationRef {
                            schema: schema.to_owned(),
                            name: name.to_owned(),
                            oid: sequence.oid,
                        },
                        access: BTreeSet::from([Access::Update]),
                        columns: BTreeMap::new(),
                        system: super::is_system(schema),
                        temporary: sequence.temporary,
                        rights: Rights::Session,
                    });
                }
            }
        }
    }
}

/// True if the server may apply a policy to one of these. Those for reading also hold for what an
/// INSERT returns or collides with.
fn applies(policy: &RowPolicy, access: &BTreeSet<Access>) -> bool {
    access.iter().any(|access| match access {
        Access::Select => matches!(policy.command, b'*' | b'r'),
        Access::Insert => matches!(policy.command, b'*' | b'r' | b'a'),
        Access::Update => matches!(policy.command, b'*' | b'r' | b'w'),
        Access::Delete => matches!(policy.command, b'*' | b'r' | b'd'),
        Access::Truncate | Access::Lock => false,
    })
}
