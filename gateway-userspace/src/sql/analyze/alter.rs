//! ALTER, RENAME, COMMENT, privileges and ownership.

use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AlterDomainStmt, AlterObjectSchemaStmt, AlterPolicyStmt, AlterSeqStmt, AlterTableCmd,
    AlterTableStmt, AlterTableType, DropBehavior, ObjectType, RangeVar, RenameStmt, RoleSpec,
};

use super::objects::{Object, kind_of, table_reference};
use super::scope::Scope;
use super::statement::{Top, plain};
use super::value::{Col, Value};
use super::{Result, Walk, inner};
use crate::sql::statement::{Access, ColumnUse, DdlAction, DdlEffect, StatementKind};

impl<'a> Walk<'a> {
    fn altered(&mut self, object: &Object<'a>) -> Top<'a> {
        self.ddl.push(object.effect(DdlAction::Alter));
        plain(StatementKind::Ddl)
    }

    // ---- ALTER TABLE -----------------------------------------------------------------------------

    pub fn alter_table(&mut self, alter: &'a AlterTableStmt) -> Result<Top<'a>> {
        let AlterTableStmt {
            relation,
            cmds,
            objtype,
            missing_ok,
        } = alter;
        let Some(var) = relation else {
            return Err(self.unsupported("an ALTER of nothing"));
        };
        let kind = ObjectType::try_from(*objtype).map_or("table", kind_of);
        let table = self.old_relation(kind, var, *missing_ok)?;
        self.altered(&table);
        if table.relation.is_none() {
            return Ok(plain(StatementKind::Ddl));
        }
        let mut scope = self.table_scope(var)?;
        for command in cmds {
            // Columns of the same statement can be named in it.
            if let Some(NodeEnum::AlterTableCmd(command)) = inner(Some(command))
                && let Some(NodeEnum::ColumnDef(column)) = inner(command.def.as_deref())
                && let Some(item) = scope.items.first_mut()
                && item
                    .columns
                    .iter()
                    .all(|known| known.name != column.colname)
            {
                let column = Col::new(column.colname.as_str(), Value::constant());
                Rc::make_mut(&mut item.columns).push(column);
            }
        }
        let mut privilege = false;
        for command in cmds {
            let Some(NodeEnum::AlterTableCmd(command)) = inner(Some(command)) else {
                return Err(self.unsupported("an ALTER TABLE action of another kind"));
            };
            privilege |= self.alter_command(&scope, &table, var, command)?;
        }
        Ok(plain(if privilege {
            StatementKind::Privilege
        } else {
            StatementKind::Ddl
        }))
    }

    /// One action of ALTER TABLE; true if it changes who owns the table.
    fn alter_command(
        &mut self,
        scope: &Scope<'_, 'a>,
        table: &Object<'a>,
        var: &'a RangeVar,
        command: &'a AlterTableCmd,
    ) -> Result<bool> {
        use AlterTableType as T;
        let AlterTableCmd {
            subtype,
            name,
            num: _,
            newowner: _,
            def,
            behavior,
            ..
        } = command;
        let Ok(subtype) = T::try_from(*subtype) else {
            return Err(self.unsupported("an ALTER TABLE action of an unknown kind"));
        };
        let definition = inner(def.as_deref());
        let cascade = matches!(
            DropBehavior::try_from(*behavior),
            Ok(DropBehavior::DropCascade)
        );
        match subtype {
            T::AtAddColumn | T::AtAddColumnToView => {
                if let Some(NodeEnum::ColumnDef(column)) = definition {
                    self.column_definition(scope, column, var)?;
                }
            }
            T::AtAlterColumnType => {
                if let Some(NodeEnum::ColumnDef(column)) = definition {
                    if let Some(type_name) = &column.type_name {
                        let oid = self.type_oid(type_name)?;
                        self.convert_to(oid);
                    }
                    // USING writes what it computes into every row.
                    if let Some(using) = &column.raw_default {
                        let value = self.expression(scope, using)?;
                        self.mark(&value, ColumnUse::Source);
                        if let Some(index) = scope.items.first().and_then(|item| item.relation) {
                            self.access(index, Access::Update);
                            self.written(index, name, column.location, ColumnUse::Updated)?;
                        }
                    }
                }
            }
            T::AtSetExpression => {
                if let Some(expression) = def {
                    let value = self.expression(scope, expression)?;
                    self.mark(&value, ColumnUse::Source);
                }
            }
            T::AtColumnDefault => {
                if let Some(default) = def {
                    self.expression(scope, default)?;
                }
            }
            T::AtAddConstraint => {
                if let Some(NodeEnum::Constraint(constraint)) = definition {
                    self.constraint(scope, constraint, var)?;
                }
            }
            T::AtDropColumn => self.dropped_part("column", name, table, cascade),
            T::AtDropConstraint => self.dropped_part("constraint", name, table, cascade),
            T::AtAttachPartition | T::AtDetachPartition | T::AtDetachPartitionFinalize => {
                if let Some(NodeEnum::PartitionCmd(partition)) = definition
                    && let Some(other) = &partition.name
                {
                    // Its rows become, or stop being, rows of this table.
                    let other = self.old_relation("table", other, false)?;
                    self.altered(&other);
                }
            }
            T::AtAddInherit | T::AtDropInherit => {
                if let Some(NodeEnum::RangeVar(other)) = definition {
                    let other = self.old_relation("table", other, false)?;
                    self.altered(&other);
                }
            }
            T::AtEnableTrig
            | T::AtEnableAlwaysTrig
            | T::AtEnableReplicaTrig
            | T::AtDisableTrig
            | T::AtEnableTrigAll
            | T::AtDisableTrigAll
            | T::AtEnableTrigUser
            | T::AtDisableTrigUser => self.altered_part("trigger", name, table),
            T::AtEnableRule | T::AtEnableAlwaysRule | T::AtEnableReplicaRule | T::AtDisableRule => {
                self.altered_part("rule", name, table);
            }
            T::AtEnableRowSecurity
            | T::AtDisableRowSecurity
            | T::AtForceRowSecurity
            | T::AtNoForceRowSecurity => self.altered_part("row security", "", table),
            T::AtChangeOwner => return Ok(true),
            T::AtDropNotNull
            | T::AtSetNotNull
            | T::AtDropExpression
            | T::AtSetStatistics
            | T::AtSetOptions
            | T::AtResetOptions
            | T::AtSetStorage
            | T::AtSetCompression
            | T::AtAlterConstraint
            | T::AtValidateConstraint
            | T::AtAlterColumnGenericOptions
            | T::AtClusterOn
            | T::AtDropCluster
            | T::AtSetLogged
            | T::AtSetUnLogged
            | T::AtDropOids
            | T::AtSetAccessMethod
            | T::AtSetTableSpace
            | T::AtSetRelOptions
            | T::AtResetRelOptions
            | T::AtReplaceRelOptions
            | T::AtAddOf
            | T::AtDropOf
            | T::AtReplicaIdentity
            | T::AtGenericOptions
            | T::AtAddIdentity
            | T::AtSetIdentity
            | T::AtDropIdentity => {}
            // Only the server's own analysis makes these.
            T::Undefined
            | T::AtCookedColumnDefault
            | T::AtAddIndex
            | T::AtReAddIndex
            | T::AtReAddConstraint
            | T::AtReAddDomainConstraint
            | T::AtAddIndexConstraint
            | T::AtReAddComment
            | T::AtReAddStatistics => {
                // ADD CONSTRAINT ... USING INDEX arrives as a constraint.
                return Err(self.unsupported("an ALTER TABLE action of an internal kind"));
            }
        }
        Ok(false)
    }

    fn part(&self, kind: &'static str, name: &str, table: &Object<'a>) -> Object<'a> {
        Object {
            schema: table.schema.clone(),
            on: Some(table_reference(table)),
            temporary: table.temporary,
            ..self.bare_object(kind, name)
        }
    }

    fn altered_part(&mut self, kind: &'static str, name: &str, table: &Object<'a>) {
        let part = self.part(kind, name, table);
        self.ddl.push(part.effect(DdlAction::Alter));
    }

    fn dropped_part(&mut self, kind: &'static str, name: &str, table: &Object<'a>, cascade: bool) {
        let part = self.part(kind, name, table);
        self.ddl.push(DdlEffect {
            cascade,
            ..part.effect(DdlAction::Drop)
        });
    }

    // ---- names -----------------------------------------------------------------------------------

    pub fn rename(&mut self, rename: &'a RenameStmt) -> Result<Top<'a>> {
        let RenameStmt {
            rename_type,
            relation_type: _,
            relation,
            object,
            subname,
            newname,
            behavior: _,
            missing_ok,
        } = rename;
        let Ok(object_type) = ObjectType::try_from(*rename_type) else {
            return Err(self.unsupported("a RENAME of an unknown type"));
        };
        let kind = kind_of(object_type);
        let renamed = match relation {
            Some(var) => self.old_relation(kind, var, *missing_ok)?,
            None if object.is_none() => self.bare_object(kind, subname),
            None => self.old_object(*rename_type, object.as_deref(), *missing_ok)?,
        };
        self.altered(&renamed);
        let is_part = matches!(
            object_type,
            ObjectType::ObjectColumn
                | ObjectType::ObjectAttribute
                | ObjectType::ObjectTabconstraint
                | ObjectType::ObjectTrigger
                | ObjectType::ObjectRule
                | ObjectType::ObjectPolicy
                | ObjectType::ObjectDomconstraint
        );
        if is_part {
            if relation.is_some() {
                self.altered_part(kind, subname, &renamed);
            }
        } else {
            // What goes by the new name from now on is this object.
            let is_schema = matches!(object_type, ObjectType::ObjectSchema);
            let schema = if is_schema {
                newname.clone()
            } else {
                renamed.schema.clone()
            };
            let made = Object {
                schema,
                name: newname.clone(),
                ..renamed
            };
            self.made(&made);
        }
        if matches!(object_type, ObjectType::ObjectRole) {
            return Ok(plain(StatementKind::Privilege));
        }
        Ok(plain(StatementKind::Ddl))
    }

    pub fn set_schema(&mut self, alter: &'a AlterObjectSchemaStmt) -> Result<Top<'a>> {
        let object = match &alter.relation {
            Some(var) => {
                let kind = ObjectType::try_from(alter.object_type).map_or("table", kind_of);
                self.old_relation(kind, var, alter.missing_ok)?
            }
            None => {
                self.old_object(alter.object_type, alter.object.as_deref(), alter.missing_ok)?
            }
        };
        self.altered(&object);
        let moved = Object {
            schema: alter.newschema.clone(),
            ..object
        };
        Ok(self.made(&moved))
    }

    pub fn comment(
        &mut self,
        object_type: i32,
        object: Option<&'a pg_query::Node>,
    ) -> Result<Top<'a>> {
        let object = self.old_object(object_type, object, false)?;
        Ok(self.altered(&object))
    }

    // ---- other objects ---------------------------------------------------------------------------

    pub fn alter_policy(&mut self, policy: &'a AlterPolicyStmt) -> Result<Top<'a>> {
        let Some(var) = &policy.table else {
            return Err(self.unsupported("a policy on nothing"));
        };
        let object = self.part_of("policy", &policy.policy_name, var)?;
        self.policy_conditions(var, [policy.qual.as_deref(), policy.with_check.as_deref()])?;
        Ok(self.altered(&object))
    }

    pub fn alter_domain(&mut self, domain: &'a AlterDomainStmt) -> Result<Top<'a>> {
        match inner(domain.def.as_deref()) {
            Some(NodeEnum::Constraint(constraint)) => self.domain_constraint(constraint)?,
            Some(_) => {
                if let Some(default) = &domain.def {
                    self.expression(&Scope::child(None), default)?;
                }
            }
            None => {}
        }
        let object = self.new_object("domain", &domain.type_name)?;
        Ok(self.altered(&object))
    }

    pub fn alter_sequence(&mut self, alter: &'a AlterSeqStmt) -> Result<Top<'a>> {
        let Some(var) = &alter.sequence else {
            return Err(self.unsupported("a sequence without name"));
        };
        let object = self.old_relation("sequence", var, alter.missing_ok)?;
        Ok(self.altered(&object))
    }

    /// Objects whose change holds no query and no expression over data.
    pub fn alter_object(&mut self, node: &'a NodeEnum) -> Result<Top<'a>> {
        let object = match node {
            NodeEnum::AlterEnumStmt(alter) => self.new_object("type", &alter.type_name)?,
            NodeEnum::AlterTypeStmt(alter) => self.new_object("type", &alter.type_name)?,
            NodeEnum::AlterCollationStmt(alter) => self.new_object("collation", &alter.collname)?,
            NodeEnum::AlterFunctionStmt(alter) => match &alter.func {
                Some(function) => {
                    let kind = ObjectType::try_from(alter.objtype).map_or("function", kind_of);
                    self.new_object(kind, &function.objname)?
                }
                None => return Err(self.unsupported("a function without name")),
            },
            NodeEnum::AlterOperatorStmt(alter) => match &alter.opername {
                Some(operator) => self.new_object("operator", &operator.objname)?,
                None => return Err(self.unsupported("an operator without name")),
            },
            NodeEnum::AlterOpFamilyStmt(alter) => {
                self.new_object("operator family", &alter.opfamilyname)?
            }
            NodeEnum::AlterStatsStmt(alter) => self.new_object("statistics", &alter.defnames)?,
            NodeEnum::AlterExtensionStmt(alter) => self.bare_object("extension", &alter.extname),
            NodeEnum::AlterExtensionContentsStmt(alter) => {
                // What becomes a member is trusted as the extension is.
                let member = self.old_object(alter.objtype, alter.object.as_deref(), false)?;
                self.altered(&member);
                self.bare_object("extension", &alter.extname)
            }
            NodeEnum::AlterFdwStmt(alter) => {
                self.bare_object("foreign data wrapper", &alter.fdwname)
            }
            NodeEnum::AlterForeignServerStmt(alter) => {
                self.bare_object("server", &alter.servername)
            }
            NodeEnum::AlterUserMappingStmt(alter) => {
                self.bare_object("user mapping", &alter.servername)
            }
            NodeEnum::AlterEventTrigStmt(alter) => {
                self.bare_object("event trigger", &alter.trigname)
            }
            NodeEnum::AlterObjectDependsStmt(alter) => match &alter.relation {
                Some(var) => self.old_relation("table", var, false)?,
                None => self.old_object(alter.object_type, alter.object.as_deref(), false)?,
            },
            NodeEnum::AlterTsdictionaryStmt(alter) => {
                self.new_object("text search dictionary", &alter.dictname)?
            }
            NodeEnum::AlterTsconfigurationStmt(alter) => {
                self.new_object("text search configuration", &alter.cfgname)?
            }
            NodeEnum::AlterTableSpaceOptionsStmt(alter) => {
                self.bare_object("tablespace", &alter.tablespacename)
            }
            NodeEnum::AlterTableMoveAllStmt(alter) => {
                self.bare_object("tablespace", &alter.orig_tablespacename)
            }
            NodeEnum::AlterDatabaseStmt(alter) => self.bare_object("database", &alter.dbname),
            NodeEnum::AlterDatabaseRefreshCollStmt(alter) => {
                self.bare_object("database", &alter.dbname)
            }
            NodeEnum::AlterDatabaseSetStmt(alter) => self.bare_object("database", &alter.dbname),
            NodeEnum::AlterSystemStmt(_) => self.bare_object("system", ""),
            NodeEnum::AlterPublicationStmt(alter) => {
                self.bare_object("publication", &alter.pubname)
            }
            NodeEnum::AlterSubscriptionStmt(alter) => {
                self.bare_object("subscription", &alter.subname)
            }
            other => {
                return Err(self.unsupported(format!(
                    "{} is not understood",
                    crate::sql::nodes::kind_name(other)
                )));
            }
        };
        Ok(self.altered(&object))
    }

    // ---- privileges ------------------------------------------------------------------------------

    /// GRANT, REVOKE, roles and ownership. What they are about is not an effect on data; that
    /// they change who may do what is.
    pub fn privilege(&mut self, node: &'a NodeEnum) -> Result<Top<'a>> {
        match node {
            NodeEnum::AlterOwnerStmt(alter) => {
                let object = match &alter.relation {
                    Some(var) => self.old_relation("table", var, false)?,
                    None => self.old_object(alter.object_type, alter.object.as_deref(), false)?,
                };
                self.altered(&object);
            }
            NodeEnum::CreateRoleStmt(create) => {
                let role = self.bare_object("role", &create.role);
                self.made(&role);
            }
            NodeEnum::AlterRoleStmt(alter) => self.roles(DdlAction::Alter, "role", &alter.role),
            NodeEnum::AlterRoleSetStmt(alter) => self.roles(DdlAction::Alter, "role", &alter.role),
            NodeEnum::DropRoleStmt(drop) => {
                let roles = named_roles(&drop.roles);
                self.roles(DdlAction::Drop, "role", roles);
            }
            NodeEnum::DropOwnedStmt(drop) => {
                let roles = named_roles(&drop.roles);
                self.roles(DdlAction::Drop, "owned objects", roles);
            }
            NodeEnum::ReassignOwnedStmt(reassign) => {
                let roles = named_roles(&reassign.roles);
                self.roles(DdlAction::Alter, "owned objects", roles);
            }
            // GRANT and REVOKE: the kind says it all.
            _ => {}
        }
        Ok(plain(StatementKind::Privilege))
    }

    fn roles<'r>(
        &mut self,
        action: DdlAction,
        kind: &'static str,
        roles: impl IntoIterator<Item = &'r RoleSpec>,
    ) {
        for role in roles {
            let role = self.bare_object(kind, &role.rolename);
            self.ddl.push(role.effect(action));
        }
    }
}

fn named_roles(nodes: &[pg_query::Node]) -> Vec<&RoleSpec> {
    nodes
        .iter()
        .filter_map(|node| match &node.node {
            Some(NodeEnum::RoleSpec(role)) => Some(role),
            _ => None,
        })
        .collect()
}
