//! The node kinds of the grammar, sorted by the place they may stand in.
//!
//! The walk matches them without a wildcard: every `match` names what it handles and takes the
//! rest from these patterns, so that a kind which a later grammar adds does not compile until
//! somebody has thought about it.

use pg_query::NodeEnum;

/// Kinds that only the server's own analysis makes. The grammar never returns them.
macro_rules! analysed_nodes {
    () => {
        NodeEnum::TableFunc(_)
            | NodeEnum::Var(_)
            | NodeEnum::Param(_)
            | NodeEnum::Aggref(_)
            | NodeEnum::WindowFunc(_)
            | NodeEnum::WindowFuncRunCondition(_)
            | NodeEnum::SubscriptingRef(_)
            | NodeEnum::FuncExpr(_)
            | NodeEnum::OpExpr(_)
            | NodeEnum::DistinctExpr(_)
            | NodeEnum::NullIfExpr(_)
            | NodeEnum::ScalarArrayOpExpr(_)
            | NodeEnum::SubPlan(_)
            | NodeEnum::AlternativeSubPlan(_)
            | NodeEnum::FieldSelect(_)
            | NodeEnum::FieldStore(_)
            | NodeEnum::RelabelType(_)
            | NodeEnum::CoerceViaIo(_)
            | NodeEnum::ArrayCoerceExpr(_)
            | NodeEnum::ConvertRowtypeExpr(_)
            | NodeEnum::CollateExpr(_)
            | NodeEnum::CaseTestExpr(_)
            | NodeEnum::ArrayExpr(_)
            | NodeEnum::RowCompareExpr(_)
            | NodeEnum::JsonConstructorExpr(_)
            | NodeEnum::JsonExpr(_)
            | NodeEnum::JsonTablePath(_)
            | NodeEnum::JsonTablePathScan(_)
            | NodeEnum::JsonTableSiblingJoin(_)
            | NodeEnum::MergeAction(_)
            | NodeEnum::CoerceToDomain(_)
            | NodeEnum::CoerceToDomainValue(_)
            | NodeEnum::NextValueExpr(_)
            | NodeEnum::InferenceElem(_)
            | NodeEnum::ReturningExpr(_)
            | NodeEnum::TargetEntry(_)
            | NodeEnum::RangeTblRef(_)
            | NodeEnum::FromExpr(_)
            | NodeEnum::OnConflictExpr(_)
            | NodeEnum::Query(_)
            | NodeEnum::RangeTblEntry(_)
            | NodeEnum::RtepermissionInfo(_)
            | NodeEnum::RangeTblFunction(_)
            | NodeEnum::TableSampleClause(_)
            | NodeEnum::WithCheckOption(_)
            | NodeEnum::SortGroupClause(_)
            | NodeEnum::WindowClause(_)
            | NodeEnum::RowMarkClause(_)
            | NodeEnum::SetOperationStmt(_)
            | NodeEnum::InlineCodeBlock(_)
            | NodeEnum::CallContext(_)
            | NodeEnum::OidList(_)
            | NodeEnum::IntList(_)
    };
}

/// Kinds that are parts of clauses: never an expression, a FROM item or a statement.
macro_rules! clause_nodes {
    () => {
        NodeEnum::Alias(_)
            | NodeEnum::IntoClause(_)
            | NodeEnum::CaseWhen(_)
            | NodeEnum::JsonFormat(_)
            | NodeEnum::JsonReturning(_)
            | NodeEnum::JsonBehavior(_)
            | NodeEnum::TypeName(_)
            | NodeEnum::RoleSpec(_)
            | NodeEnum::AStar(_)
            | NodeEnum::AIndices(_)
            | NodeEnum::ResTarget(_)
            | NodeEnum::SortBy(_)
            | NodeEnum::WindowDef(_)
            | NodeEnum::RangeTableFuncCol(_)
            | NodeEnum::ColumnDef(_)
            | NodeEnum::TableLikeClause(_)
            | NodeEnum::IndexElem(_)
            | NodeEnum::DefElem(_)
            | NodeEnum::LockingClause(_)
            | NodeEnum::PartitionElem(_)
            | NodeEnum::PartitionSpec(_)
            | NodeEnum::PartitionBoundSpec(_)
            | NodeEnum::PartitionRangeDatum(_)
            | NodeEnum::PartitionCmd(_)
            | NodeEnum::GroupingSet(_)
            | NodeEnum::WithClause(_)
            | NodeEnum::InferClause(_)
            | NodeEnum::OnConflictClause(_)
            | NodeEnum::CtesearchClause(_)
            | NodeEnum::CtecycleClause(_)
            | NodeEnum::CommonTableExpr(_)
            | NodeEnum::MergeWhenClause(_)
            | NodeEnum::ReturningOption(_)
            | NodeEnum::ReturningClause(_)
            | NodeEnum::TriggerTransition(_)
            | NodeEnum::JsonOutput(_)
            | NodeEnum::JsonArgument(_)
            | NodeEnum::JsonTablePathSpec(_)
            | NodeEnum::JsonTableColumn(_)
            | NodeEnum::JsonKeyValue(_)
            | NodeEnum::JsonAggConstructor(_)
            | NodeEnum::RawStmt(_)
            | NodeEnum::PlassignStmt(_)
            | NodeEnum::AlterTableCmd(_)
            | NodeEnum::AtalterConstraint(_)
            | NodeEnum::ReplicaIdentityStmt(_)
            | NodeEnum::ObjectWithArgs(_)
            | NodeEnum::AccessPriv(_)
            | NodeEnum::Constraint(_)
            | NodeEnum::CreateOpClassItem(_)
            | NodeEnum::StatsElem(_)
            | NodeEnum::FunctionParameter(_)
            | NodeEnum::VacuumRelation(_)
            | NodeEnum::PublicationTable(_)
            | NodeEnum::PublicationObjSpec(_)
    };
}

/// Kinds that stand in FROM only.
macro_rules! from_nodes {
    () => {
        NodeEnum::RangeVar(_)
            | NodeEnum::JoinExpr(_)
            | NodeEnum::RangeSubselect(_)
            | NodeEnum::RangeFunction(_)
            | NodeEnum::RangeTableFunc(_)
            | NodeEnum::RangeTableSample(_)
            | NodeEnum::JsonTable(_)
    };
}

/// Kinds that are expressions.
macro_rules! expression_nodes {
    () => {
        NodeEnum::GroupingFunc(_)
            | NodeEnum::MergeSupportFunc(_)
            | NodeEnum::NamedArgExpr(_)
            | NodeEnum::BoolExpr(_)
            | NodeEnum::SubLink(_)
            | NodeEnum::CaseExpr(_)
            | NodeEnum::RowExpr(_)
            | NodeEnum::CoalesceExpr(_)
            | NodeEnum::MinMaxExpr(_)
            | NodeEnum::SqlvalueFunction(_)
            | NodeEnum::XmlExpr(_)
            | NodeEnum::JsonValueExpr(_)
            | NodeEnum::JsonIsPredicate(_)
            | NodeEnum::NullTest(_)
            | NodeEnum::BooleanTest(_)
            | NodeEnum::SetToDefault(_)
            | NodeEnum::CurrentOfExpr(_)
            | NodeEnum::ColumnRef(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::AExpr(_)
            | NodeEnum::TypeCast(_)
            | NodeEnum::CollateClause(_)
            | NodeEnum::FuncCall(_)
            | NodeEnum::AIndirection(_)
            | NodeEnum::AArrayExpr(_)
            | NodeEnum::MultiAssignRef(_)
            | NodeEnum::XmlSerialize(_)
            | NodeEnum::JsonFuncExpr(_)
            | NodeEnum::JsonParseExpr(_)
            | NodeEnum::JsonScalarExpr(_)
            | NodeEnum::JsonSerializeExpr(_)
            | NodeEnum::JsonObjectConstructor(_)
            | NodeEnum::JsonArrayConstructor(_)
            | NodeEnum::JsonArrayQueryConstructor(_)
            | NodeEnum::JsonObjectAgg(_)
            | NodeEnum::JsonArrayAgg(_)
            | NodeEnum::Integer(_)
            | NodeEnum::Float(_)
            | NodeEnum::Boolean(_)
            | NodeEnum::String(_)
            | NodeEnum::BitString(_)
            | NodeEnum::List(_)
            | NodeEnum::AConst(_)
    };
}

/// Kinds that are statements with rows: SELECT and data modification.
macro_rules! query_nodes {
    () => {
        NodeEnum::SelectStmt(_)
            | NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_)
    };
}

/// Kinds that are utility statements.
macro_rules! utility_nodes {
    () => {
        NodeEnum::CreateSchemaStmt(_)
            | NodeEnum::AlterTableStmt(_)
            | NodeEnum::AlterCollationStmt(_)
            | NodeEnum::AlterDomainStmt(_)
            | NodeEnum::GrantStmt(_)
            | NodeEnum::GrantRoleStmt(_)
            | NodeEnum::AlterDefaultPrivilegesStmt(_)
            | NodeEnum::CopyStmt(_)
            | NodeEnum::VariableSetStmt(_)
            | NodeEnum::VariableShowStmt(_)
            | NodeEnum::CreateStmt(_)
            | NodeEnum::CreateTableSpaceStmt(_)
            | NodeEnum::DropTableSpaceStmt(_)
            | NodeEnum::AlterTableSpaceOptionsStmt(_)
            | NodeEnum::AlterTableMoveAllStmt(_)
            | NodeEnum::CreateExtensionStmt(_)
            | NodeEnum::AlterExtensionStmt(_)
            | NodeEnum::AlterExtensionContentsStmt(_)
            | NodeEnum::CreateFdwStmt(_)
            | NodeEnum::AlterFdwStmt(_)
            | NodeEnum::CreateForeignServerStmt(_)
            | NodeEnum::AlterForeignServerStmt(_)
            | NodeEnum::CreateForeignTableStmt(_)
            | NodeEnum::CreateUserMappingStmt(_)
            | NodeEnum::AlterUserMappingStmt(_)
            | NodeEnum::DropUserMappingStmt(_)
            | NodeEnum::ImportForeignSchemaStmt(_)
            | NodeEnum::CreatePolicyStmt(_)
            | NodeEnum::AlterPolicyStmt(_)
            | NodeEnum::CreateAmStmt(_)
            | NodeEnum::CreateTrigStmt(_)
            | NodeEnum::CreateEventTrigStmt(_)
            | NodeEnum::AlterEventTrigStmt(_)
            | NodeEnum::CreatePlangStmt(_)
            | NodeEnum::CreateRoleStmt(_)
            | NodeEnum::AlterRoleStmt(_)
            | NodeEnum::AlterRoleSetStmt(_)
            | NodeEnum::DropRoleStmt(_)
            | NodeEnum::CreateSeqStmt(_)
            | NodeEnum::AlterSeqStmt(_)
            | NodeEnum::DefineStmt(_)
            | NodeEnum::CreateDomainStmt(_)
            | NodeEnum::CreateOpClassStmt(_)
            | NodeEnum::CreateOpFamilyStmt(_)
            | NodeEnum::AlterOpFamilyStmt(_)
            | NodeEnum::DropStmt(_)
            | NodeEnum::TruncateStmt(_)
            | NodeEnum::CommentStmt(_)
            | NodeEnum::SecLabelStmt(_)
            | NodeEnum::DeclareCursorStmt(_)
            | NodeEnum::ClosePortalStmt(_)
            | NodeEnum::FetchStmt(_)
            | NodeEnum::IndexStmt(_)
            | NodeEnum::CreateStatsStmt(_)
            | NodeEnum::AlterStatsStmt(_)
            | NodeEnum::CreateFunctionStmt(_)
            | NodeEnum::AlterFunctionStmt(_)
            | NodeEnum::DoStmt(_)
            | NodeEnum::CallStmt(_)
            | NodeEnum::RenameStmt(_)
            | NodeEnum::AlterObjectDependsStmt(_)
            | NodeEnum::AlterObjectSchemaStmt(_)
            | NodeEnum::AlterOwnerStmt(_)
            | NodeEnum::AlterOperatorStmt(_)
            | NodeEnum::AlterTypeStmt(_)
            | NodeEnum::RuleStmt(_)
            | NodeEnum::NotifyStmt(_)
            | NodeEnum::ListenStmt(_)
            | NodeEnum::UnlistenStmt(_)
            | NodeEnum::TransactionStmt(_)
            | NodeEnum::CompositeTypeStmt(_)
            | NodeEnum::CreateEnumStmt(_)
            | NodeEnum::CreateRangeStmt(_)
            | NodeEnum::AlterEnumStmt(_)
            | NodeEnum::ViewStmt(_)
            | NodeEnum::LoadStmt(_)
            | NodeEnum::CreatedbStmt(_)
            | NodeEnum::AlterDatabaseStmt(_)
            | NodeEnum::AlterDatabaseRefreshCollStmt(_)
            | NodeEnum::AlterDatabaseSetStmt(_)
            | NodeEnum::DropdbStmt(_)
            | NodeEnum::AlterSystemStmt(_)
            | NodeEnum::ClusterStmt(_)
            | NodeEnum::VacuumStmt(_)
            | NodeEnum::ExplainStmt(_)
            | NodeEnum::CreateTableAsStmt(_)
            | NodeEnum::RefreshMatViewStmt(_)
            | NodeEnum::CheckPointStmt(_)
            | NodeEnum::DiscardStmt(_)
            | NodeEnum::LockStmt(_)
            | NodeEnum::ConstraintsSetStmt(_)
            | NodeEnum::ReindexStmt(_)
            | NodeEnum::CreateConversionStmt(_)
            | NodeEnum::CreateCastStmt(_)
            | NodeEnum::CreateTransformStmt(_)
            | NodeEnum::PrepareStmt(_)
            | NodeEnum::ExecuteStmt(_)
            | NodeEnum::DeallocateStmt(_)
            | NodeEnum::DropOwnedStmt(_)
            | NodeEnum::ReassignOwnedStmt(_)
            | NodeEnum::AlterTsdictionaryStmt(_)
            | NodeEnum::AlterTsconfigurationStmt(_)
            | NodeEnum::CreatePublicationStmt(_)
            | NodeEnum::AlterPublicationStmt(_)
            | NodeEnum::CreateSubscriptionStmt(_)
            | NodeEnum::AlterSubscriptionStmt(_)
            | NodeEnum::DropSubscriptionStmt(_)
            | NodeEnum::ReturnStmt(_)
    };
}

pub(super) use {
    analysed_nodes, clause_nodes, expression_nodes, from_nodes, query_nodes, utility_nodes,
};

/// The kind of a node, for messages.
pub(super) fn kind_name(node: &NodeEnum) -> String {
    // The derived Debug output starts with the variant's name.
    struct Head(String);
    impl std::fmt::Write for Head {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            for character in text.chars() {
                if !character.is_ascii_alphanumeric() {
                    return Err(std::fmt::Error);
                }
                self.0.push(character);
            }
            Ok(())
        }
    }
    let mut head = Head(String::new());
    // The error only says that the name is complete.
    let _ = std::fmt::write(&mut head, format_args!("{node:?}"));
    head.0
}
