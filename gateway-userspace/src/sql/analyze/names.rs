//! Looks up relations, columns and types.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use pg_query::protobuf::{self, RangeVar, TypeName};

use super::scope::{Item, Scope};
use super::value::{Col, Shape, Value};
use super::{Result, Walk, strings, system_column};
use crate::sql::catalog::{Relation, TypeInfo};
use crate::sql::functions::is_known_extension;
use crate::sql::statement::{ColumnUse, FunctionClass, FunctionUse, NotUnderstood};

/// Pseudo type oids that the walk itself needs.
pub(super) const RECORD: u32 = 2249;

impl<'a> Walk<'a> {
    // ---- relations ---------------------------------------------------------------------------

    /// The schema that a name in the text means: `pg_temp` is this session's.
    pub fn schema_alias<'n>(&self, schema: &'n str) -> &'n str
    where
        'a: 'n,
    {
        if schema == "pg_temp" {
            self.temp_schema().unwrap_or(schema)
        } else {
            schema
        }
    }

    /// This session's temporary schema, once it has one.
    pub fn temp_schema(&self) -> Option<&'a str> {
        self.namespace
            .search_path
            .iter()
            .find(|schema| schema.starts_with("pg_temp_"))
            .map(String::as_str)
    }

    /// The schema that new objects go into.
    pub fn creation_schema(&self) -> Result<&'a str> {
        self.namespace
            .search_path
            .iter()
            .map(String::as_str)
            .find(|schema| !schema.starts_with("pg_temp_") && *schema != "pg_catalog")
            .ok_or_else(|| self.unknown("3F000", -1, "no schema has been selected to create in"))
    }

    /// A relation by name, if the catalog has it.
    pub fn find_relation(
        &self,
        schema: &str,
        name: &str,
    ) -> Option<(&'a str, &'a str, &'a Relation)> {
        if schema.is_empty() {
            self.namespace
                .search_path
                .iter()
                .find_map(|schema| self.catalog.relation_entry(schema, name))
        } else {
            self.catalog.relation_entry(self.schema_alias(schema), name)
        }
    }

    /// A relation by name, or `PostgreSQL`'s error.
    pub fn relation(&self, var: &RangeVar) -> Result<(&'a str, &'a str, &'a Relation)> {
        self.refuse_other_database(var)?;
        self.find_relation(&var.schemaname, &var.relname)
            .ok_or_else(|| {
                let name = if var.schemaname.is_empty() {
                    var.relname.clone()
                } else {
                    format!("{}.{}", var.schemaname, var.relname)
                };
                self.unknown(
                    "42P01",
                    var.location,
                    format!("relation \"{name}\" does not exist"),
                )
            })
    }

    /// Only this database can stand in front of a schema's name.
    pub fn refuse_other_database(&self, var: &RangeVar) -> Result<()> {
        let RangeVar {
            catalogname,
            schemaname,
            relname,
            location,
            ..
        } = var;
        if catalogname.is_empty() || *catalogname == self.namespace.database {
            return Ok(());
        }
        Err(self.unknown(
            "0A000",
            *location,
            format!(
                "cross-database references are not implemented: \"{catalogname}.{schemaname}.{relname}\""
            ),
        ))
    }

    /// The schema, if one is named, and the name of an object of any kind.
    pub fn qualified<'n>(&self, parts: &[&'n str]) -> Result<(Option<&'n str>, &'n str)> {
        match parts {
            [name] => Ok((None, name)),
            [schema, name] => Ok((Some(schema), name)),
            [database, schema, name] if *database == self.namespace.database => {
                Ok((Some(schema), name))
            }
            _ => Err(self.other_database(parts, -1)),
        }
    }

    /// For names with a database that is not this one, or with too many parts.
    pub fn other_database(&self, parts: &[&str], location: i32) -> NotUnderstood {
        let name = parts.join(".");
        match parts.len() {
            ..5 => self.unknown(
                "0A000",
                location,
                format!("cross-database references are not implemented: {name}"),
            ),
            _ => self.unknown(
                "42601",
                location,
                format!("improper qualified name (too many dotted names): {name}"),
            ),
        }
    }

    /// The columns of a relation as a FROM item.
    pub fn relation_columns(&mut self, index: usize) -> Vec<Col<'a>> {
        let Some(used) = self.uses.get(index) else {
            return Vec::new();
        };
        let mut columns = Vec::with_capacity(used.relation.columns.len());
        for (order, column) in used.relation.columns.iter().enumerate() {
            let col = Col::new(column.name.as_str(), self.column_value(index, order));
            self.named
                .push((index, column.attnum, Rc::clone(&col.used)));
            columns.push(col);
        }
        columns
    }

    // ---- columns -----------------------------------------------------------------------------

    /// `name` as a bare column: the innermost level that has it.
    pub fn find_column(
        &mut self,
        scope: &Scope<'_, 'a>,
        name: &str,
        location: i32,
        levels: usize,
    ) -> Result<Option<Value<'a>>> {
        // Items whose columns are not all known may hold the name too.
        let mut open: Option<Value<'a>> = None;
        for level in scope.levels().take(levels) {
            let mut found: Option<Value<'a>> = None;
            for item in level.visible().filter(|item| item.by_column) {
                if let Some(value) = self.item_column(item, name, location)? {
                    if found.is_some() {
                        return Err(self.ambiguous(name, location));
                    }
                    self.check_lateral(item)?;
                    found = Some(value);
                }
                if let Some(any) = &item.open {
                    open.get_or_insert_with(Value::constant).absorb(any);
                }
            }
            if let Some(mut value) = found {
                if let Some(open) = open {
                    value.absorb(&open);
                }
                return Ok(Some(value));
            }
        }
        Ok(open)
    }

    fn ambiguous(&self, name: &str, location: i32) -> NotUnderstood {
        self.unknown(
            "42702",
            location,
            format!("column reference \"{name}\" is ambiguous"),
        )
    }

    fn check_lateral(&self, item: &Item<'a>) -> Result<()> {
        if item.lateral_only && !item.lateral_ok {
            return Err(self.unknown(
                "42P10",
                -1,
                format!(
                    "invalid reference to FROM-clause entry for table \"{}\"",
                    item.name
                ),
            ));
        }
        Ok(())
    }

    /// A column of one item, system columns included.
    pub fn item_column(
        &mut self,
        item: &Item<'a>,
        name: &str,
        location: i32,
    ) -> Result<Option<Value<'a>>> {
        let mut matches = item.columns.iter().filter(|col| col.name == name);
        if let Some(col) = matches.next() {
            if matches.next().is_some() {
                return Err(self.ambiguous(name, location));
            }
            return Ok(Some(col.take()));
        }
        let Some(index) = item.relation else {
            return Ok(None);
        };
        let Some(used) = self.uses.get(index) else {
            return Ok(None);
        };
        let Some(attnum) = system_column(used.relation, name) else {
            return Ok(None);
        };
        self.named.push((index, attnum, Rc::new(Cell::new(true))));
        Ok(Some(Value {
            origins: [(index, attnum)].into(),
            shape: Shape::Direct,
            ..Value::default()
        }))
    }

    /// The item that `name.` or `schema.name.` means.
    pub fn find_item<'i>(
        &self,
        scope: &'i Scope<'_, 'a>,
        schema: Option<&str>,
        name: &str,
        location: i32,
    ) -> Result<Option<&'i Item<'a>>> {
        for level in scope.levels() {
            let mut found: Option<&Item<'a>> = None;
            for item in level
                .visible()
                .filter(|item| item.by_name && item.name == name)
            {
                let fits = match schema {
                    None => true,
                    Some(schema) => item.schema == Some(self.schema_alias(schema)),
                };
                if !fits {
                    continue;
                }
                if found.is_some() {
                    return Err(self.unknown(
                        "42P09",
                        location,
                        format!("table reference \"{name}\" is ambiguous"),
                    ));
                }
                self.check_lateral(item)?;
                found = Some(item);
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    // ---- types -------------------------------------------------------------------------------

    /// The oid of a type name; 0 where the grammar names none.
    pub fn type_oid(&mut self, name: &TypeName) -> Result<u32> {
        if name.pct_type {
            return Err(self.unsupported("a type given as column%TYPE is not supported"));
        }
        for modifier in &name.typmods {
            // The server takes constants and bare names here, nothing that runs.
            match &modifier.node {
                Some(protobuf::node::Node::AConst(_) | protobuf::node::Node::ColumnRef(_)) => {}
                _ => return Err(self.unsupported("a type modifier that is no constant")),
            }
        }
        let parts = strings(&name.names).unwrap_or_default();
        let (schema, bare) = self.qualified(&parts)?;
        let oid = self.find_type(schema, bare).ok_or_else(|| {
            let full = parts.join(".");
            self.unknown(
                "42704",
                name.location,
                format!("type \"{full}\" does not exist"),
            )
        })?;
        if name.array_bounds.is_empty() {
            return Ok(oid);
        }
        // The array type is found by its element.
        let array = self
            .catalog
            .builtin_types
            .get(&format!("_{bare}"))
            .copied()
            .filter(|array| {
                self.type_info(*array)
                    .is_some_and(|info| info.element == oid)
            })
            .or_else(|| {
                self.catalog
                    .type_info
                    .iter()
                    .find(|(_, info)| info.element == oid)
                    .map(|(oid, _)| *oid)
            });
        Ok(array.unwrap_or(0))
    }

    pub fn find_type(&self, schema: Option<&str>, name: &str) -> Option<u32> {
        let in_schema = |schema: &str| {
            if schema == "pg_catalog" {
                return self.catalog.builtin_types.get(name).copied();
            }
            let list = self.catalog.types.get(name)?;
            list.iter()
                .find(|(at, _)| at == schema)
                .map(|(_, oid)| *oid)
        };
        match schema {
            Some(schema) => in_schema(self.schema_alias(schema)),
            None => self
                .namespace
                .search_path
                .iter()
                .find_map(|schema| in_schema(schema)),
        }
    }

    pub fn type_info(&self, oid: u32) -> Option<&'a TypeInfo> {
        self.catalog.type_info.get(&oid)
    }

    /// A domain's base type, however deep; other types as they are.
    pub fn base_type(&self, mut oid: u32) -> u32 {
        for _ in 0..32 {
            match self.type_info(oid) {
                Some(info) if info.kind == b'd' && info.base != 0 => oid = info.base,
                _ => break,
            }
        }
        oid
    }

    /// What a conversion to a type runs: its input function, and casts that users made.
    pub fn convert_to(&mut self, oid: u32) {
        self.converted.insert(oid);
        let base = self.base_type(oid);
        let mut bases = vec![base];
        if let Some(info) = self.type_info(base)
            && info.element != 0
        {
            bases.push(self.base_type(info.element));
        }
        for oid in bases {
            let Some(info) = self.type_info(oid) else {
                continue;
            };
            if info.schema == "pg_catalog" {
                if info.name.starts_with("reg") {
                    self.functions.insert(FunctionUse {
                        schema: "pg_catalog".to_owned(),
                        name: format!("{}in", info.name),
                        oid: 0,
                        class: FunctionClass::Catalog,
                    });
                }
                continue;
            }
            let known = info.extension.as_deref().is_some_and(is_known_extension);
            if info.kind == b'b' && info.element == 0 && !known {
                // Its input function runs; a conversion is also written as a call by its name.
                self.functions.insert(FunctionUse {
                    schema: info.schema.clone(),
                    name: info.name.clone(),
                    oid: 0,
                    class: FunctionClass::Other,
                });
            }
        }
        self.user_casts(|cast_target, _| cast_target == base || cast_target == oid);
    }

    /// Lists the functions of casts that users made, where `applies(target, context)`.
    pub fn user_casts(&mut self, applies: impl Fn(u32, u8) -> bool) {
        for cast in &self.catalog.casts {
            if applies(cast.target, cast.context) {
                self.call_oid(cast.function_oid);
            }
        }
    }

    /// The fields of a composite type, each computed from `from`.
    pub fn composite_fields(&self, oid: u32, from: &Value<'a>) -> Option<Vec<Col<'a>>> {
        let info = self.type_info(self.base_type(oid))?;
        if info.kind != b'c' || info.fields.is_empty() {
            return None;
        }
        let fields = info.fields.iter().map(|(name, oid)| {
            let mut value = from.clone().derived();
            value.type_oid = *oid;
            Col::new(Cow::Borrowed(name.as_str()), value)
        });
        Some(fields.collect())
    }

    /// As [`Self::mark_unused`], for the items of a level. What a function of unknown columns
    /// computes decides how many rows there are.
    pub fn mark_computed(&mut self, items: &[Item<'a>]) {
        for item in items {
            self.mark_unused(&item.columns);
            if let Some(open) = &item.open {
                self.mark(open, ColumnUse::Filter);
            }
        }
    }

    /// Marks everything that a scope's item computed but nobody took: what is computed can be
    /// made to fail or not to, depending on the value.
    pub fn mark_unused(&mut self, columns: &[Col<'a>]) {
        for col in columns.iter().filter(|col| !col.used.get()) {
            if col.value.shape == Shape::Derived {
                self.mark(&col.value, ColumnUse::Filter);
            }
        }
    }
}
