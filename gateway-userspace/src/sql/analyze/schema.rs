//! CREATE SCHEMA with objects in it.

use pg_query::NodeEnum;
use pg_query::protobuf::{CreateSchemaStmt, CreateStmt};

use super::statement::{Top, plain};
use super::{Result, Walk, inner};
use crate::sql::catalog::{Catalog, Column, Namespace, Relation};
use crate::sql::nodes::kind_name;
use crate::sql::statement::{DdlAction, StatementKind};

impl<'a> Walk<'a> {
    pub fn create_schema(&mut self, create: &'a CreateSchemaStmt) -> Result<Top<'a>> {
        let CreateSchemaStmt {
            schemaname,
            authrole,
            schema_elts,
            if_not_exists: _,
        } = create;
        let role = authrole.as_ref().map_or("", |role| role.rolename.as_str());
        let name = match (schemaname.as_str(), role) {
            ("", "") => self.namespace.user.as_str(),
            ("", role) => role,
            (name, _) => name,
        };
        let mut object = self.bare_object("schema", name);
        name.clone_into(&mut object.schema);
        self.ddl.push(object.effect(DdlAction::Create));
        let mut elements = Vec::with_capacity(schema_elts.len());
        for element in schema_elts {
            let Some(node) = inner(Some(element)) else {
                return Err(self.unsupported("an empty part of a schema"));
            };
            elements.push((self.turn(node)?, node));
        }
        if elements.is_empty() {
            return Ok(plain(StatementKind::Ddl));
        }
        elements.sort_by_key(|(turn, _)| *turn);
        // What is made first is there for what comes later.
        let mut catalog = self.catalog.clone();
        catalog.relations.entry(name.to_owned()).or_default();
        let namespace = self.inside(name);
        let mut kind = StatementKind::Ddl;
        for (_, node) in elements {
            let mut walk = Walk::new(self.parsed, &catalog, &namespace, self.views);
            walk.steps = self.steps;
            let (part, _) = walk.top_level(node)?;
            self.steps = walk.steps;
            let statement = walk.finish(part, None)?;
            if statement.kind == StatementKind::Privilege {
                kind = StatementKind::Privilege;
            }
            self.take_over(&statement);
            if let NodeEnum::CreateStmt(create) = node {
                add_table(&mut catalog, name, create);
            }
        }
        Ok(plain(kind))
    }

    /// When the server makes a part: `transformCreateSchemaStmtElements`.
    fn turn(&self, node: &NodeEnum) -> Result<u8> {
        match node {
            NodeEnum::CreateSeqStmt(_) => Ok(0),
            NodeEnum::CreateStmt(_) => Ok(1),
            NodeEnum::ViewStmt(_) => Ok(2),
            NodeEnum::IndexStmt(_) => Ok(3),
            NodeEnum::CreateTrigStmt(_) => Ok(4),
            NodeEnum::GrantStmt(_) => Ok(5),
            other => Err(self.unsupported(format!("{} in a schema", kind_name(other)))),
        }
    }

    /// The names, with a new schema in front.
    fn inside(&self, schema: &str) -> Namespace {
        let mut namespace = self.namespace.clone();
        let path = &mut namespace.search_path;
        let first = path
            .iter()
            .position(|other| other != "pg_catalog" && !other.starts_with("pg_temp_"))
            .unwrap_or(path.len());
        path.insert(first, schema.to_owned());
        namespace
    }
}

/// A table of its own columns and those of its parents; of types nothing is known.
fn add_table(catalog: &mut Catalog, schema: &str, create: &CreateStmt) {
    let Some(var) = &create.relation else { return };
    let mut names: Vec<String> = Vec::new();
    let parents = create.inh_relations.iter().chain(&create.table_elts);
    for node in parents {
        let like = match inner(Some(node)) {
            Some(NodeEnum::RangeVar(parent)) => Some(parent),
            Some(NodeEnum::TableLikeClause(like)) => like.relation.as_ref(),
            Some(NodeEnum::ColumnDef(column)) => {
                names.push(column.colname.clone());
                None
            }
            _ => None,
        };
        let Some(like) = like else { continue };
        let from = if like.schemaname.is_empty() {
            schema
        } else {
            &like.schemaname
        };
        if let Some(relation) = catalog.relation(from, &like.relname) {
            names.extend(relation.columns.iter().map(|column| column.name.clone()));
        }
    }
    let columns = names.into_iter().zip(1..).map(|(name, attnum)| Column {
        name,
        attnum,
        ..Column::default()
    });
    let relation = Relation {
        kind: b'r',
        columns: columns.collect(),
        ..Relation::default()
    };
    catalog
        .relations
        .entry(schema.to_owned())
        .or_default()
        .insert(var.relname.clone(), relation);
}
