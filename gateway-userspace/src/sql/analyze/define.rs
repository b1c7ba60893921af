//! CREATE: tables, views, indexes and what else a migration makes.

use std::collections::BTreeSet;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    ColumnDef, ConstrType, Constraint, CreateDomainStmt, CreateForeignTableStmt,
    CreateFunctionStmt, CreatePolicyStmt, CreateSeqStmt, CreateStatsStmt, CreateStmt,
    CreateTableAsStmt, CreateTrigStmt, IndexStmt, IntoClause, ObjectType, RangeVar, RuleStmt,
    TypeName, ViewStmt,
};

use super::objects::{Object, table_reference};
use super::scope::{Item, Scope};
use super::statement::{Top, plain};
use super::value::{Col, Value};
use super::{Result, Walk, inner, strings};
use crate::sql::statement::{Access, ColumnUse, DdlAction, StatementKind};

const SERIAL: &[&str] = &[
    "serial",
    "serial2",
    "serial4",
    "serial8",
    "smallserial",
    "bigserial",
];

impl<'a> Walk<'a> {
    /// Notes that an object is made.
    pub fn made(&mut self, object: &Object<'a>) -> Top<'a> {
        self.ddl.push(object.effect(DdlAction::Create));
        plain(StatementKind::Ddl)
    }

    // ---- tables filled by a query --------------------------------------------------------------

    pub fn create_table_as(&mut self, create: &'a CreateTableAsStmt) -> Result<Top<'a>> {
        let CreateTableAsStmt {
            query,
            into,
            objtype,
            is_select_into: _,
            if_not_exists: _,
        } = create;
        let Some(into) = into else {
            return Err(self.unsupported("a new table without name"));
        };
        let columns = match inner(query.as_deref()) {
            Some(NodeEnum::SelectStmt(select)) => self.select(None, select)?,
            Some(NodeEnum::ExecuteStmt(execute)) => {
                self.execute(execute)?;
                Vec::new()
            }
            _ => return Err(self.unsupported("a new table from something that is no query")),
        };
        let kind = match ObjectType::try_from(*objtype) {
            Ok(ObjectType::ObjectMatview) => "materialized view",
            _ => "table",
        };
        self.fill_new_table(into, columns, kind)?;
        Ok(plain(StatementKind::Ddl))
    }

    /// The query's values are stored where no origin leads back to them.
    pub fn fill_new_table(
        &mut self,
        into: &'a IntoClause,
        columns: Vec<Col<'a>>,
        kind: &'static str,
    ) -> Result<()> {
        let Some(var) = &into.rel else {
            return Err(self.unsupported("a new table without name"));
        };
        for column in columns {
            self.mark(&column.value, ColumnUse::Source);
        }
        let table = self.new_relation(kind, var)?;
        self.made(&table);
        Ok(())
    }

    pub fn create_view(&mut self, view: &'a ViewStmt) -> Result<Top<'a>> {
        let Some(var) = &view.view else {
            return Err(self.unsupported("a view without name"));
        };
        let Some(NodeEnum::SelectStmt(select)) = inner(view.query.as_deref()) else {
            return Err(self.unsupported("a view over something that is no SELECT"));
        };
        // Readers of the view are led back to the columns, masks and all.
        for column in self.select(None, select)? {
            self.mark_output(&column.value);
        }
        let view = self.new_relation("view", var)?;
        Ok(self.made(&view))
    }

    // ---- tables --------------------------------------------------------------------------------

    pub fn create_table(&mut self, create: &'a CreateStmt) -> Result<Top<'a>> {
        self.table_of_kind(create, "table")
    }

    pub fn create_foreign_table(&mut self, create: &'a CreateForeignTableStmt) -> Result<Top<'a>> {
        match &create.base_stmt {
            Some(base) => self.table_of_kind(base, "foreign table"),
            None => Err(self.unsupported("a foreign table without definition")),
        }
    }

    fn table_of_kind(&mut self, create: &'a CreateStmt, kind: &'static str) -> Result<Top<'a>> {
        let CreateStmt {
            relation,
            table_elts,
            inh_relations,
            partbound,
            partspec,
            of_typename,
            constraints,
            nnconstraints,
            options: _,
            oncommit: _,
            tablespacename: _,
            access_method: _,
            if_not_exists: _,
        } = create;
        let Some(var) = relation else {
            return Err(self.unsupported("a table without name"));
        };
        let table = self.new_relation(kind, var)?;
        let mut columns: Vec<Col<'a>> = Vec::new();
        for parent in inh_relations {
            let Some(NodeEnum::RangeVar(parent)) = inner(Some(parent)) else {
                return Err(self.unsupported("a parent table of another kind"));
            };
            // A child's rows are the parent's rows too.
            let object = self.old_relation("table", parent, false)?;
            self.ddl.push(object.effect(DdlAction::Alter));
            columns.extend(self.column_names(parent)?);
        }
        if let Some(name) = of_typename {
            let oid = self.type_oid(name)?;
            columns.extend(
                self.composite_fields(oid, &Value::constant())
                    .unwrap_or_default(),
            );
        }
        for element in table_elts {
            match inner(Some(element)) {
                Some(NodeEnum::ColumnDef(column)) => {
                    columns.push(Col::new(column.colname.as_str(), Value::constant()));
                }
                Some(NodeEnum::TableLikeClause(like)) => {
                    let Some(var) = &like.relation else {
                        return Err(self.unsupported("LIKE of nothing"));
                    };
                    let (schema, name, relation) = self.relation(var)?;
                    let index = self.use_of(schema, name, relation);
                    self.access(index, Access::Select);
                    self.name_all(index);
                    columns.extend(self.column_names(var)?);
                }
                Some(NodeEnum::Constraint(_)) => {}
                _ => return Err(self.unsupported("a part of a table of another kind")),
            }
        }
        // What is said of a parent's column again, is the same column.
        let mut seen = BTreeSet::new();
        columns.retain(|column| seen.insert(column.name.clone()));
        columns.push(Col::new("tableoid", Value::constant()));
        let mut scope = Scope::child(None);
        scope.items.push(Item::new(var.relname.as_str(), columns));
        for element in table_elts.iter().chain(constraints).chain(nnconstraints) {
            match inner(Some(element)) {
                Some(NodeEnum::ColumnDef(column)) => self.column_definition(&scope, column, var)?,
                Some(NodeEnum::Constraint(constraint)) => {
                    self.constraint(&scope, constraint, var)?;
                }
                _ => {}
            }
        }
        if let Some(bound) = partbound {
            for datum in bound
                .listdatums
                .iter()
                .chain(&bound.lowerdatums)
                .chain(&bound.upperdatums)
            {
                self.bound(&scope, datum)?;
            }
        }
        if let Some(spec) = partspec {
            for part in &spec.part_params {
                if let Some(NodeEnum::PartitionElem(part)) = inner(Some(part))
                    && let Some(expression) = &part.expr
                {
                    self.expression(&scope, expression)?;
                }
            }
        }
        Ok(self.made(&table))
    }

    /// A bound of a partition; MINVALUE and MAXVALUE are names there.
    fn bound(&mut self, scope: &Scope<'_, 'a>, datum: &'a pg_query::Node) -> Result<()> {
        if let Some(NodeEnum::ColumnRef(_)) = inner(Some(datum)) {
            return Ok(());
        }
        self.expression(scope, datum).map(drop)
    }

    /// The columns of an existing relation by name, for expressions of a new one.
    fn column_names(&mut self, var: &RangeVar) -> Result<Vec<Col<'a>>> {
        let (_, _, relation) = self.relation(var)?;
        let names = relation.columns.iter();
        Ok(names
            .map(|column| Col::new(column.name.as_str(), Value::constant()))
            .collect())
    }

    pub fn column_definition(
        &mut self,
        scope: &Scope<'_, 'a>,
        column: &'a ColumnDef,
        table: &RangeVar,
    ) -> Result<()> {
        if let Some(name) = &column.type_name {
            self.column_type(name)?;
        }
        if let Some(default) = &column.raw_default {
            self.expression(scope, default)?;
        }
        for constraint in &column.constraints {
            if let Some(NodeEnum::Constraint(constraint)) = inner(Some(constraint)) {
                self.constraint(scope, constraint, table)?;
            }
        }
        Ok(())
    }

    fn column_type(&mut self, name: &'a TypeName) -> Result<()> {
        if let Some([bare]) = strings(&name.names).as_deref()
            && SERIAL.contains(bare)
        {
            return Ok(());
        }
        let oid = self.type_oid(name)?;
        self.convert_to(oid);
        Ok(())
    }

    pub fn constraint(
        &mut self,
        scope: &Scope<'_, 'a>,
        constraint: &'a Constraint,
        table: &RangeVar,
    ) -> Result<()> {
        let is_default = matches!(
            ConstrType::try_from(constraint.contype),
            Ok(ConstrType::ConstrDefault)
        );
        if let Some(expression) = &constraint.raw_expr {
            // The usual default of a key runs at each insert and only counts.
            if !(is_default && is_nextval(expression)) {
                let value = self.expression(scope, expression)?;
                // Rows that are there are checked against it.
                self.mark(&value, ColumnUse::Filter);
            }
        }
        for exclusion in &constraint.exclusions {
            if let Some(NodeEnum::List(pair)) = inner(Some(exclusion)) {
                if let Some(element) = pair.items.first() {
                    self.index_element(scope, element)?;
                }
                if let Some(NodeEnum::List(operator)) = inner(pair.items.get(1)) {
                    self.operator(&strings(&operator.items).unwrap_or_default())?;
                }
            }
        }
        if let Some(condition) = &constraint.where_clause {
            let value = self.expression(scope, condition)?;
            self.mark(&value, ColumnUse::Filter);
        }
        let Some(referenced) = &constraint.pktable else {
            return Ok(());
        };
        let itself = referenced.relname == table.relname
            && (referenced.schemaname.is_empty() || referenced.schemaname == table.schemaname);
        if itself {
            return Ok(());
        }
        // Each row's key is looked up there: it tells which values exist.
        let (schema, name, relation) = self.relation(referenced)?;
        let index = self.read(schema, name, relation)?;
        for attribute in super::from::names_of(&constraint.pk_attrs) {
            if let Some(order) = relation
                .columns
                .iter()
                .position(|col| col.name == attribute)
            {
                let value = self.column_value(index, order);
                self.mark(&value, ColumnUse::Filter);
            }
        }
        Ok(())
    }

    // ---- what belongs to a table -----------------------------------------------------------------

    /// The level in which an expression of an existing table is read.
    pub fn table_scope<'s>(&mut self, var: &'a RangeVar) -> Result<Scope<'s, 'a>> {
        let (schema, name, relation) = self.relation(var)?;
        let index = self.use_of(schema, name, relation);
        self.look_behind(index)?;
        let mut item = Item::new(name, self.relation_columns(index));
        item.relation = Some(index);
        item.schema = Some(schema);
        let mut scope = Scope::child(None);
        scope.items.push(item);
        Ok(scope)
    }

    pub fn create_index(&mut self, index: &'a IndexStmt) -> Result<Top<'a>> {
        let Some(var) = &index.relation else {
            return Err(self.unsupported("an index on nothing"));
        };
        let table = self.old_relation("table", var, false)?;
        let scope = self.table_scope(var)?;
        for element in index
            .index_params
            .iter()
            .chain(&index.index_including_params)
        {
            let value = self.index_element(&scope, element)?;
            let plain =
                matches!(inner(Some(element)), Some(NodeEnum::IndexElem(e)) if e.expr.is_none());
            if !plain {
                self.mark(&value, ColumnUse::Filter);
            }
        }
        if let Some(condition) = &index.where_clause {
            let value = self.expression(&scope, condition)?;
            self.mark(&value, ColumnUse::Filter);
        }
        let object = Object {
            schema: table.schema.clone(),
            on: Some(table_reference(&table)),
            temporary: table.temporary,
            ..self.bare_object("index", &index.idxname)
        };
        Ok(self.made(&object))
    }

    pub fn create_statistics(&mut self, create: &'a CreateStatsStmt) -> Result<Top<'a>> {
        let Some(NodeEnum::RangeVar(var)) = inner(create.relations.first()) else {
            return Err(self.unsupported("statistics on something that is no table"));
        };
        let table = self.old_relation("table", var, false)?;
        let scope = self.table_scope(var)?;
        for element in &create.exprs {
            if let Some(NodeEnum::StatsElem(element)) = inner(Some(element))
                && let Some(expression) = &element.expr
            {
                let value = self.expression(&scope, expression)?;
                self.mark(&value, ColumnUse::Filter);
            }
        }
        let mut object = if create.defnames.is_empty() {
            Object {
                schema: table.schema.clone(),
                ..self.bare_object("statistics", "")
            }
        } else {
            self.new_object("statistics", &create.defnames)?
        };
        object.on = Some(table_reference(&table));
        Ok(self.made(&object))
    }

    pub fn create_policy(&mut self, policy: &'a CreatePolicyStmt) -> Result<Top<'a>> {
        let Some(var) = &policy.table else {
            return Err(self.unsupported("a policy on nothing"));
        };
        let object = self.part_of("policy", &policy.policy_name, var)?;
        self.policy_conditions(var, [policy.qual.as_deref(), policy.with_check.as_deref()])?;
        Ok(self.made(&object))
    }

    pub fn policy_conditions(
        &mut self,
        var: &'a RangeVar,
        conditions: [Option<&'a pg_query::Node>; 2],
    ) -> Result<()> {
        let scope = self.table_scope(var)?;
        for condition in conditions.into_iter().flatten() {
            let value = self.expression(&scope, condition)?;
            self.mark(&value, ColumnUse::Filter);
        }
        Ok(())
    }

    /// Something that belongs to a table.
    pub fn part_of(
        &mut self,
        kind: &'static str,
        name: &str,
        var: &RangeVar,
    ) -> Result<Object<'a>> {
        let table = self.old_relation("table", var, false)?;
        Ok(Object {
            schema: table.schema.clone(),
            on: Some(table_reference(&table)),
            temporary: table.temporary,
            ..self.bare_object(kind, name)
        })
    }

    pub fn create_trigger(&mut self, trigger: &'a CreateTrigStmt) -> Result<Top<'a>> {
        let Some(var) = &trigger.relation else {
            return Err(self.unsupported("a trigger on nothing"));
        };
        let object = self.part_of("trigger", &trigger.trigname, var)?;
        if let Some(condition) = &trigger.when_clause {
            let mut scope = self.table_scope(var)?;
            let rows: Vec<_> = ["old", "new"]
                .into_iter()
                .flat_map(|name| scope.items.iter().cloned().map(move |item| (name, item)))
                .collect();
            scope.items = rows
                .into_iter()
                .map(|(name, mut item)| {
                    item.name = name.into();
                    item.by_column = false;
                    item
                })
                .collect();
            let value = self.expression(&scope, condition)?;
            self.mark(&value, ColumnUse::Filter);
        }
        Ok(self.made(&object))
    }

    /// A rule's actions run with later statements, and count among what those do.
    pub fn create_rule(&mut self, rule: &'a RuleStmt) -> Result<Top<'a>> {
        let Some(var) = &rule.relation else {
            return Err(self.unsupported("a rule on nothing"));
        };
        let object = self.part_of("rule", &rule.rulename, var)?;
        Ok(self.made(&object))
    }

    // ---- other objects ---------------------------------------------------------------------------

    pub fn create_sequence(&mut self, create: &'a CreateSeqStmt) -> Result<Top<'a>> {
        let Some(var) = &create.sequence else {
            return Err(self.unsupported("a sequence without name"));
        };
        let object = self.new_relation("sequence", var)?;
        Ok(self.made(&object))
    }

    /// A function's body runs when it is called, which needs a grant of its own.
    pub fn create_function(&mut self, function: &'a CreateFunctionStmt) -> Result<Top<'a>> {
        let scope = Scope::child(None);
        for parameter in &function.parameters {
            if let Some(NodeEnum::FunctionParameter(parameter)) = inner(Some(parameter))
                && let Some(default) = &parameter.defexpr
            {
                self.expression(&scope, default)?;
            }
        }
        let kind = if function.is_procedure {
            "procedure"
        } else {
            "function"
        };
        let object = self.new_object(kind, &function.funcname)?;
        Ok(self.made(&object))
    }

    pub fn create_domain(&mut self, domain: &'a CreateDomainStmt) -> Result<Top<'a>> {
        if let Some(name) = &domain.type_name {
            let oid = self.type_oid(name)?;
            self.convert_to(oid);
        }
        for constraint in &domain.constraints {
            if let Some(NodeEnum::Constraint(constraint)) = inner(Some(constraint)) {
                self.domain_constraint(constraint)?;
            }
        }
        let object = self.new_object("domain", &domain.domainname)?;
        Ok(self.made(&object))
    }

    pub fn domain_constraint(&mut self, constraint: &'a Constraint) -> Result<()> {
        let mut scope = Scope::child(None);
        scope
            .items
            .push(Item::new("", vec![Col::new("value", Value::constant())]));
        if let Some(expression) = &constraint.raw_expr {
            self.expression(&scope, expression)?;
        }
        Ok(())
    }

    /// Objects whose creation holds no query and no expression over data.
    pub fn create_object(&mut self, node: &'a NodeEnum) -> Result<Top<'a>> {
        let object = match node {
            NodeEnum::CreateEnumStmt(create) => self.new_object("type", &create.type_name)?,
            NodeEnum::CreateRangeStmt(create) => self.new_object("type", &create.type_name)?,
            NodeEnum::CompositeTypeStmt(create) => match &create.typevar {
                Some(var) => self.new_relation("type", var)?,
                None => return Err(self.unsupported("a type without name")),
            },
            NodeEnum::DefineStmt(create) => {
                let Ok(object_type) = ObjectType::try_from(create.kind) else {
                    return Err(self.unsupported("an object of an unknown type"));
                };
                self.new_object(super::objects::kind_of(object_type), &create.defnames)?
            }
            NodeEnum::CreateExtensionStmt(create) => self.bare_object("extension", &create.extname),
            NodeEnum::CreateFdwStmt(create) => {
                self.bare_object("foreign data wrapper", &create.fdwname)
            }
            NodeEnum::CreateForeignServerStmt(create) => {
                self.bare_object("server", &create.servername)
            }
            NodeEnum::CreateUserMappingStmt(create) => {
                self.bare_object("user mapping", &create.servername)
            }
            NodeEnum::ImportForeignSchemaStmt(import) => {
                let mut object = self.bare_object("foreign table", "*");
                object.schema.clone_from(&import.local_schema);
                object
            }
            NodeEnum::CreateAmStmt(create) => self.bare_object("access method", &create.amname),
            NodeEnum::CreateEventTrigStmt(create) => {
                self.bare_object("event trigger", &create.trigname)
            }
            NodeEnum::CreatePlangStmt(create) => self.bare_object("language", &create.plname),
            NodeEnum::CreateOpClassStmt(create) => {
                self.new_object("operator class", &create.opclassname)?
            }
            NodeEnum::CreateOpFamilyStmt(create) => {
                self.new_object("operator family", &create.opfamilyname)?
            }
            NodeEnum::CreateConversionStmt(create) => {
                self.new_object("conversion", &create.conversion_name)?
            }
            NodeEnum::CreateCastStmt(_) => self.bare_object("cast", ""),
            NodeEnum::CreateTransformStmt(create) => self.bare_object("transform", &create.lang),
            NodeEnum::CreatedbStmt(create) => self.bare_object("database", &create.dbname),
            NodeEnum::CreateTableSpaceStmt(create) => {
                self.bare_object("tablespace", &create.tablespacename)
            }
            NodeEnum::CreatePublicationStmt(create) => {
                self.bare_object("publication", &create.pubname)
            }
            NodeEnum::CreateSubscriptionStmt(create) => {
                self.bare_object("subscription", &create.subname)
            }
            other => {
                return Err(self.unsupported(format!(
                    "{} is not understood",
                    crate::sql::nodes::kind_name(other)
                )));
            }
        };
        Ok(self.made(&object))
    }
}

/// True for `nextval('name')` with a constant name.
fn is_nextval(expression: &pg_query::Node) -> bool {
    let Some(NodeEnum::FuncCall(call)) = inner(Some(expression)) else {
        return false;
    };
    let names = strings(&call.funcname).unwrap_or_default();
    let constant = match call.args.as_slice() {
        [arg] => match inner(Some(arg)) {
            Some(NodeEnum::AConst(_)) => true,
            Some(NodeEnum::TypeCast(cast)) => {
                matches!(inner(cast.arg.as_deref()), Some(NodeEnum::AConst(_)))
            }
            _ => false,
        },
        _ => false,
    };
    constant && matches!(names.as_slice(), ["nextval"] | ["pg_catalog", "nextval"])
}
