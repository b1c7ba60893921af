//! What data definition is about: object kinds, and names as the grammar writes them.

use pg_query::protobuf::{ObjectType, RangeVar};
use pg_query::{Node, NodeEnum};

use super::{Result, Walk, string, strings};
use crate::sql::catalog::Relation;
use crate::sql::statement::{DdlAction, DdlEffect, RelationRef};

/// An object of data definition, before it is known what is done to it.
pub(super) struct Object<'a> {
    pub kind: &'static str,
    pub schema: String,
    pub name: String,
    pub on: Option<RelationRef>,
    pub temporary: bool,
    /// The relation, if it is one of the catalog.
    pub relation: Option<&'a Relation>,
}

impl Object<'_> {
    pub fn effect(&self, action: DdlAction) -> DdlEffect {
        DdlEffect {
            action,
            object_kind: self.kind.to_owned(),
            schema: self.schema.clone(),
            name: self.name.clone(),
            on: self.on.clone(),
            cascade: false,
            temporary: self.temporary,
        }
    }
}

impl<'a> Walk<'a> {
    /// An object that is not in the catalog's snapshot, or has no schema.
    #[expect(clippy::unused_self, reason = "reads like the other kinds of objects")]
    pub fn bare_object(&self, kind: &'static str, name: &str) -> Object<'a> {
        Object {
            kind,
            schema: String::new(),
            name: name.to_owned(),
            on: None,
            temporary: false,
            relation: None,
        }
    }

    /// An object to be made, by its list of names.
    pub fn new_object(&self, kind: &'static str, names: &[Node]) -> Result<Object<'a>> {
        let names = strings(names).unwrap_or_default();
        let (schema, name) = match self.qualified(&names)? {
            (None, name) => (self.creation_schema()?, name),
            (Some(schema), name) => (self.schema_alias(schema), name),
        };
        Ok(Object {
            schema: schema.to_owned(),
            ..self.bare_object(kind, name)
        })
    }

    /// A relation to be made.
    pub fn new_relation(&self, kind: &'static str, var: &RangeVar) -> Result<Object<'a>> {
        self.refuse_other_database(var)?;
        let temporary = var.relpersistence == "t" || var.schemaname == "pg_temp";
        let schema = if temporary {
            self.temp_schema().unwrap_or("pg_temp")
        } else if var.schemaname.is_empty() {
            self.creation_schema()?
        } else {
            &var.schemaname
        };
        Ok(Object {
            schema: schema.to_owned(),
            temporary,
            ..self.bare_object(kind, &var.relname)
        })
    }

    /// A relation that exists; if it need not and does not, where it would be.
    pub fn old_relation(
        &self,
        kind: &'static str,
        var: &RangeVar,
        missing_ok: bool,
    ) -> Result<Object<'a>> {
        self.refuse_other_database(var)?;
        match self.relation(var) {
            Ok((schema, name, relation)) => Ok(self.known(kind, schema, name, relation)),
            Err(error) if missing_ok => self.new_relation(kind, var).map_err(|_no_schema| error),
            Err(error) => Err(error),
        }
    }

    fn known(
        &self,
        kind: &'static str,
        schema: &str,
        name: &str,
        relation: &'a Relation,
    ) -> Object<'a> {
        let on = relation.index_on.as_ref().and_then(|(schema, name)| {
            let (schema, name, table) = self.catalog.relation_entry(schema, name)?;
            Some(reference(schema, name, table))
        });
        Object {
            kind: relation_kind(relation).unwrap_or(kind),
            schema: schema.to_owned(),
            name: name.to_owned(),
            on,
            temporary: relation.temporary,
            relation: Some(relation),
        }
    }

    /// An object that exists, as DROP, COMMENT, RENAME and their like name it.
    pub fn old_object(
        &self,
        object_type: i32,
        node: Option<&Node>,
        missing_ok: bool,
    ) -> Result<Object<'a>> {
        let Ok(object_type) = ObjectType::try_from(object_type) else {
            return Err(self.unsupported("an object of an unknown type"));
        };
        let kind = kind_of(object_type);
        let Some(node) = node.and_then(|node| node.node.as_ref()) else {
            return Err(self.unsupported(format!("a {kind} without name")));
        };
        let names = match node {
            NodeEnum::List(list) => list.items.as_slice(),
            NodeEnum::TypeName(name) => name.names.as_slice(),
            NodeEnum::ObjectWithArgs(object) => object.objname.as_slice(),
            NodeEnum::String(name) => return Ok(self.simple(object_type, kind, &name.sval)),
            // Large objects by number.
            _ => return Ok(self.bare_object(kind, "")),
        };
        match object_type {
            ObjectType::ObjectTable
            | ObjectType::ObjectView
            | ObjectType::ObjectMatview
            | ObjectType::ObjectIndex
            | ObjectType::ObjectSequence
            | ObjectType::ObjectForeignTable => {
                self.old_relation(kind, &self.var(names)?, missing_ok)
            }
            // The last name is a part of the relation before it.
            ObjectType::ObjectTrigger
            | ObjectType::ObjectRule
            | ObjectType::ObjectPolicy
            | ObjectType::ObjectTabconstraint
            | ObjectType::ObjectColumn => {
                let Some((part, table)) = names.split_last() else {
                    return Err(self.unsupported(format!("a {kind} without name")));
                };
                let table = self.old_relation("table", &self.var(table)?, missing_ok)?;
                Ok(Object {
                    schema: table.schema.clone(),
                    on: Some(table_reference(&table)),
                    ..self.bare_object(kind, string(part).unwrap_or_default())
                })
            }
            ObjectType::ObjectAttribute | ObjectType::ObjectType | ObjectType::ObjectDomain => {
                self.old_type(kind, names)
            }
            // The domain's type and the constraint's name, or the domain's name alone.
            ObjectType::ObjectDomconstraint => match names.first().map(|node| &node.node) {
                Some(Some(NodeEnum::TypeName(domain))) => self.old_type(kind, &domain.names),
                _ => self.old_type(kind, names),
            },
            ObjectType::ObjectFunction
            | ObjectType::ObjectProcedure
            | ObjectType::ObjectRoutine
            | ObjectType::ObjectAggregate => self.old_function(kind, names),
            ObjectType::Undefined
            | ObjectType::ObjectAccessMethod
            | ObjectType::ObjectAmop
            | ObjectType::ObjectAmproc
            | ObjectType::ObjectCast
            | ObjectType::ObjectCollation
            | ObjectType::ObjectConversion
            | ObjectType::ObjectDatabase
            | ObjectType::ObjectDefault
            | ObjectType::ObjectDefacl
            | ObjectType::ObjectEventTrigger
            | ObjectType::ObjectExtension
            | ObjectType::ObjectFdw
            | ObjectType::ObjectForeignServer
            | ObjectType::ObjectLanguage
            | ObjectType::ObjectLargeobject
            | ObjectType::ObjectOpclass
            | ObjectType::ObjectOperator
            | ObjectType::ObjectOpfamily
            | ObjectType::ObjectParameterAcl
            | ObjectType::ObjectPublication
            | ObjectType::ObjectPublicationNamespace
            | ObjectType::ObjectPublicationRel
            | ObjectType::ObjectRole
            | ObjectType::ObjectSchema
            | ObjectType::ObjectSubscription
            | ObjectType::ObjectStatisticExt
            | ObjectType::ObjectTablespace
            | ObjectType::ObjectTransform
            | ObjectType::ObjectTsconfiguration
            | ObjectType::ObjectTsdictionary
            | ObjectType::ObjectTsparser
            | ObjectType::ObjectTstemplate
            | ObjectType::ObjectUserMapping => self.other_object(kind, names),
        }
    }

    /// An object by one name without schema; a schema's schema is itself.
    fn simple(&self, object_type: ObjectType, kind: &'static str, name: &str) -> Object<'a> {
        let mut object = self.bare_object(kind, name);
        if matches!(object_type, ObjectType::ObjectSchema) {
            name.clone_into(&mut object.schema);
        }
        object
    }

    fn old_type(&self, kind: &'static str, names: &[Node]) -> Result<Object<'a>> {
        let names = strings(names).unwrap_or_default();
        let (schema, name) = self.qualified(&names)?;
        let mut object = self.bare_object(kind, name);
        let info = self
            .find_type(schema, name)
            .and_then(|oid| self.type_info(oid));
        object.schema = match (info, schema) {
            (Some(info), _) => info.schema.clone(),
            (None, Some(schema)) => schema.to_owned(),
            (None, None) => self.creation_schema()?.to_owned(),
        };
        Ok(object)
    }

    fn old_function(&self, kind: &'static str, names: &[Node]) -> Result<Object<'a>> {
        let parts = strings(names).unwrap_or_default();
        let mut object = self.new_object(kind, names)?;
        if parts.len() == 1
            && let Some((_, function)) = self.candidates(&parts, None)?.first()
        {
            object.schema.clone_from(&function.schema);
        }
        Ok(object)
    }

    /// Kinds that the snapshot does not hold: by their names alone.
    fn other_object(&self, kind: &'static str, names: &[Node]) -> Result<Object<'a>> {
        let names: Vec<&str> = names.iter().filter_map(string).collect();
        let mut object = self.bare_object(kind, names.last().copied().unwrap_or_default());
        object.schema = match names.as_slice() {
            [.., schema, _] => (*schema).to_owned(),
            [_] => self.creation_schema()?.to_owned(),
            [] => String::new(),
        };
        Ok(object)
    }

    fn var(&self, names: &[Node]) -> Result<RangeVar> {
        let names = strings(names).unwrap_or_default();
        let (database, schema, name) = match names.as_slice() {
            [name] => ("", "", *name),
            [schema, name] => ("", *schema, *name),
            [database, schema, name] => (*database, *schema, *name),
            names => return Err(self.other_database(names, -1)),
        };
        Ok(RangeVar {
            catalogname: database.to_owned(),
            schemaname: schema.to_owned(),
            relname: name.to_owned(),
            location: -1,
            ..RangeVar::default()
        })
    }
}

pub(super) fn reference(schema: &str, name: &str, relation: &Relation) -> RelationRef {
    RelationRef {
        schema: schema.to_owned(),
        name: name.to_owned(),
        oid: relation.oid,
    }
}

/// The relation that a part belongs to.
pub(super) fn table_reference(table: &Object<'_>) -> RelationRef {
    RelationRef {
        schema: table.schema.clone(),
        name: table.name.clone(),
        oid: table.relation.map_or(0, |relation| relation.oid),
    }
}

fn relation_kind(relation: &Relation) -> Option<&'static str> {
    Some(match relation.kind {
        b'r' | b'p' => "table",
        b'v' => "view",
        b'm' => "materialized view",
        b'i' | b'I' => "index",
        b'S' => "sequence",
        b'f' => "foreign table",
        b'c' => "type",
        _ => return None,
    })
}

/// What SQL calls an object type.
pub(super) fn kind_of(object_type: ObjectType) -> &'static str {
    match object_type {
        ObjectType::Undefined => "object",
        ObjectType::ObjectAccessMethod => "access method",
        ObjectType::ObjectAggregate => "aggregate",
        ObjectType::ObjectAmop | ObjectType::ObjectAmproc | ObjectType::ObjectOpfamily => {
            "operator family"
        }
        ObjectType::ObjectAttribute | ObjectType::ObjectType => "type",
        ObjectType::ObjectCast => "cast",
        ObjectType::ObjectColumn => "column",
        ObjectType::ObjectCollation => "collation",
        ObjectType::ObjectConversion => "conversion",
        ObjectType::ObjectDatabase => "database",
        ObjectType::ObjectDefault => "default",
        ObjectType::ObjectDefacl => "default privileges",
        ObjectType::ObjectDomain | ObjectType::ObjectDomconstraint => "domain",
        ObjectType::ObjectEventTrigger => "event trigger",
        ObjectType::ObjectExtension => "extension",
        ObjectType::ObjectFdw => "foreign data wrapper",
        ObjectType::ObjectForeignServer => "server",
        ObjectType::ObjectForeignTable => "foreign table",
        ObjectType::ObjectFunction | ObjectType::ObjectRoutine => "function",
        ObjectType::ObjectIndex => "index",
        ObjectType::ObjectLanguage => "language",
        ObjectType::ObjectLargeobject => "large object",
        ObjectType::ObjectMatview => "materialized view",
        ObjectType::ObjectOpclass => "operator class",
        ObjectType::ObjectOperator => "operator",
        ObjectType::ObjectParameterAcl => "parameter",
        ObjectType::ObjectPolicy => "policy",
        ObjectType::ObjectProcedure => "procedure",
        ObjectType::ObjectPublication
        | ObjectType::ObjectPublicationNamespace
        | ObjectType::ObjectPublicationRel => "publication",
        ObjectType::ObjectRole => "role",
        ObjectType::ObjectRule => "rule",
        ObjectType::ObjectSchema => "schema",
        ObjectType::ObjectSequence => "sequence",
        ObjectType::ObjectSubscription => "subscription",
        ObjectType::ObjectStatisticExt => "statistics",
        ObjectType::ObjectTabconstraint => "constraint",
        ObjectType::ObjectTable => "table",
        ObjectType::ObjectTablespace => "tablespace",
        ObjectType::ObjectTransform => "transform",
        ObjectType::ObjectTrigger => "trigger",
        ObjectType::ObjectTsconfiguration => "text search configuration",
        ObjectType::ObjectTsdictionary => "text search dictionary",
        ObjectType::ObjectTsparser => "text search parser",
        ObjectType::ObjectTstemplate => "text search template",
        ObjectType::ObjectUserMapping => "user mapping",
        ObjectType::ObjectView => "view",
    }
}
