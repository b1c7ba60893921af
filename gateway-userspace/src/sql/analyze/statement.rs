//! Tells the kinds of statements apart.

use pg_query::NodeEnum;
use pg_query::protobuf::{SelectStmt, SetOperation};

use super::value::Col;
use super::{Result, Walk};
use crate::sql::nodes::{analysed_nodes, clause_nodes, expression_nodes, from_nodes, kind_name};
use crate::sql::statement::StatementKind;

/// What a statement is, and the columns of its result if it has any.
pub(super) type Top<'a> = (StatementKind, Option<Vec<Col<'a>>>);

impl<'a> Walk<'a> {
    /// Reads a statement that stands by itself.
    #[expect(
        clippy::unnested_or_patterns,
        reason = "the groups of kinds are patterns of their own"
    )]
    pub fn top_level(&mut self, node: &'a NodeEnum) -> Result<Top<'a>> {
        match node {
            NodeEnum::SelectStmt(select) => self.top_select(select),
            NodeEnum::InsertStmt(_) => Ok((StatementKind::Insert, self.query(None, node)?)),
            NodeEnum::UpdateStmt(_) => Ok((StatementKind::Update, self.query(None, node)?)),
            NodeEnum::DeleteStmt(_) => Ok((StatementKind::Delete, self.query(None, node)?)),
            NodeEnum::MergeStmt(_) => Ok((StatementKind::Merge, self.query(None, node)?)),

            NodeEnum::CopyStmt(copy) => self.copy(copy),
            NodeEnum::ExplainStmt(explain) => self.explain(explain),
            NodeEnum::TruncateStmt(truncate) => self.truncate(truncate),
            NodeEnum::LockStmt(lock) => self.lock(lock),
            NodeEnum::DeclareCursorStmt(declare) => self.declare(declare),
            NodeEnum::FetchStmt(fetch) => Ok(plain(StatementKind::Fetch {
                name: fetch.portalname.clone(),
                moves: fetch.ismove,
            })),
            NodeEnum::ClosePortalStmt(close) => Ok(plain(StatementKind::CloseCursor {
                name: some_name(&close.portalname),
            })),
            NodeEnum::PrepareStmt(prepare) => self.prepare(prepare),
            NodeEnum::ExecuteStmt(execute) => self.execute(execute),
            NodeEnum::DeallocateStmt(deallocate) => Ok(plain(StatementKind::Deallocate {
                name: some_name(&deallocate.name),
            })),

            NodeEnum::TransactionStmt(transaction) => self.transaction(transaction),
            NodeEnum::VariableSetStmt(set) => self.set(set),
            NodeEnum::VariableShowStmt(show) => Ok(self.show(show)),
            NodeEnum::ConstraintsSetStmt(_) => Ok(self.set_constraints()),
            NodeEnum::DiscardStmt(_) => Ok(plain(StatementKind::Discard)),
            NodeEnum::ListenStmt(_) | NodeEnum::UnlistenStmt(_) => Ok(plain(StatementKind::Listen)),
            NodeEnum::NotifyStmt(_) => Ok(plain(StatementKind::Notify)),

            NodeEnum::VacuumStmt(vacuum) => self.vacuum(vacuum),
            NodeEnum::ReindexStmt(reindex) => self.reindex(reindex),
            NodeEnum::ClusterStmt(cluster) => self.cluster(cluster),
            NodeEnum::CheckPointStmt(_) => Ok(plain(StatementKind::Maintenance)),
            NodeEnum::RefreshMatViewStmt(refresh) => self.refresh(refresh),

            NodeEnum::DoStmt(_) => Ok(plain(StatementKind::Procedural)),
            NodeEnum::CallStmt(call) => self.call_procedure(call),

            NodeEnum::GrantStmt(_)
            | NodeEnum::GrantRoleStmt(_)
            | NodeEnum::AlterDefaultPrivilegesStmt(_)
            | NodeEnum::CreateRoleStmt(_)
            | NodeEnum::AlterRoleStmt(_)
            | NodeEnum::AlterRoleSetStmt(_)
            | NodeEnum::DropRoleStmt(_)
            | NodeEnum::DropOwnedStmt(_)
            | NodeEnum::ReassignOwnedStmt(_)
            | NodeEnum::AlterOwnerStmt(_) => self.privilege(node),

            NodeEnum::CreateTableAsStmt(create) => self.create_table_as(create),
            NodeEnum::ViewStmt(view) => self.create_view(view),
            NodeEnum::CreateStmt(create) => self.create_table(create),
            NodeEnum::CreateForeignTableStmt(create) => self.create_foreign_table(create),
            NodeEnum::CreateSchemaStmt(create) => self.create_schema(create),
            NodeEnum::IndexStmt(index) => self.create_index(index),
            NodeEnum::CreateSeqStmt(create) => self.create_sequence(create),
            NodeEnum::CreateStatsStmt(create) => self.create_statistics(create),
            NodeEnum::CreatePolicyStmt(policy) => self.create_policy(policy),
            NodeEnum::CreateTrigStmt(trigger) => self.create_trigger(trigger),
            NodeEnum::RuleStmt(rule) => self.create_rule(rule),
            NodeEnum::CreateFunctionStmt(function) => self.create_function(function),
            NodeEnum::CreateDomainStmt(domain) => self.create_domain(domain),
            NodeEnum::CreateEnumStmt(_)
            | NodeEnum::CreateRangeStmt(_)
            | NodeEnum::CompositeTypeStmt(_)
            | NodeEnum::DefineStmt(_)
            | NodeEnum::CreateExtensionStmt(_)
            | NodeEnum::CreateFdwStmt(_)
            | NodeEnum::CreateForeignServerStmt(_)
            | NodeEnum::CreateUserMappingStmt(_)
            | NodeEnum::ImportForeignSchemaStmt(_)
            | NodeEnum::CreateAmStmt(_)
            | NodeEnum::CreateEventTrigStmt(_)
            | NodeEnum::CreatePlangStmt(_)
            | NodeEnum::CreateOpClassStmt(_)
            | NodeEnum::CreateOpFamilyStmt(_)
            | NodeEnum::CreateConversionStmt(_)
            | NodeEnum::CreateCastStmt(_)
            | NodeEnum::CreateTransformStmt(_)
            | NodeEnum::CreatedbStmt(_)
            | NodeEnum::CreateTableSpaceStmt(_)
            | NodeEnum::CreatePublicationStmt(_)
            | NodeEnum::CreateSubscriptionStmt(_) => self.create_object(node),

            NodeEnum::AlterTableStmt(alter) => self.alter_table(alter),
            NodeEnum::RenameStmt(rename) => self.rename(rename),
            NodeEnum::AlterObjectSchemaStmt(alter) => self.set_schema(alter),
            NodeEnum::CommentStmt(comment) => {
                self.comment(comment.objtype, comment.object.as_deref())
            }
            NodeEnum::SecLabelStmt(label) => self.comment(label.objtype, label.object.as_deref()),
            NodeEnum::AlterPolicyStmt(policy) => self.alter_policy(policy),
            NodeEnum::AlterDomainStmt(domain) => self.alter_domain(domain),
            NodeEnum::AlterSeqStmt(alter) => self.alter_sequence(alter),
            NodeEnum::AlterEnumStmt(_)
            | NodeEnum::AlterTypeStmt(_)
            | NodeEnum::AlterCollationStmt(_)
            | NodeEnum::AlterFunctionStmt(_)
            | NodeEnum::AlterOperatorStmt(_)
            | NodeEnum::AlterOpFamilyStmt(_)
            | NodeEnum::AlterStatsStmt(_)
            | NodeEnum::AlterExtensionStmt(_)
            | NodeEnum::AlterExtensionContentsStmt(_)
            | NodeEnum::AlterFdwStmt(_)
            | NodeEnum::AlterForeignServerStmt(_)
            | NodeEnum::AlterUserMappingStmt(_)
            | NodeEnum::AlterEventTrigStmt(_)
            | NodeEnum::AlterObjectDependsStmt(_)
            | NodeEnum::AlterTsdictionaryStmt(_)
            | NodeEnum::AlterTsconfigurationStmt(_)
            | NodeEnum::AlterTableSpaceOptionsStmt(_)
            | NodeEnum::AlterTableMoveAllStmt(_)
            | NodeEnum::AlterDatabaseStmt(_)
            | NodeEnum::AlterDatabaseRefreshCollStmt(_)
            | NodeEnum::AlterDatabaseSetStmt(_)
            | NodeEnum::AlterSystemStmt(_)
            | NodeEnum::AlterPublicationStmt(_)
            | NodeEnum::AlterSubscriptionStmt(_) => self.alter_object(node),

            NodeEnum::DropStmt(drop) => self.drop(drop),
            NodeEnum::DropdbStmt(_)
            | NodeEnum::DropTableSpaceStmt(_)
            | NodeEnum::DropUserMappingStmt(_)
            | NodeEnum::DropSubscriptionStmt(_) => self.drop_object(node),

            NodeEnum::LoadStmt(_) => {
                Err(self.unsupported("LOAD runs a library inside the server and is refused"))
            }
            NodeEnum::ReturnStmt(_) => {
                Err(self.unsupported("RETURN is only known inside a function"))
            }
            analysed_nodes!() | clause_nodes!() | expression_nodes!() | from_nodes!() => {
                Err(self.unsupported(format!("{} is no statement", kind_name(node))))
            }
        }
    }

    fn top_select(&mut self, select: &'a SelectStmt) -> Result<Top<'a>> {
        let leaf = leftmost(select);
        self.into = Some(std::ptr::from_ref(leaf));
        if self.views == 0 {
            self.find_setters(select);
        }
        let columns = self.select(None, select)?;
        if let Some(into) = &leaf.into_clause {
            self.fill_new_table(into, columns, "table")?;
            return Ok((StatementKind::Ddl, None));
        }
        Ok((StatementKind::Select, Some(columns)))
    }
}

/// The SELECT that names the columns of a set operation, and may have INTO.
fn leftmost(select: &SelectStmt) -> &SelectStmt {
    let mut leaf = select;
    while !matches!(SetOperation::try_from(leaf.op), Ok(SetOperation::SetopNone)) {
        match leaf.larg.as_deref() {
            Some(left) => leaf = left,
            None => break,
        }
    }
    leaf
}

/// A kind that touches nothing of its own.
pub(super) fn plain<'a>(kind: StatementKind) -> Top<'a> {
    (kind, None)
}

/// A name, or none where the grammar leaves it empty for ALL.
fn some_name(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}
