//! Data definition.
use super::value::{Col};
use super::statement::Top;
use super::{Result, Walk};
use pg_query::protobuf::*;
use pg_query::NodeEnum;
macro_rules! later { ($($name:ident($ty:ty)),* $(,)?) => { impl<'a> Walk<'a> { $(pub fn $name(&mut self, _: &'a $ty) -> Result<Top<'a>> { Err(self.unsupported("data definition is not understood yet")) })* } } }
later! { privilege(NodeEnum), create_table_as(CreateTableAsStmt), create_view(ViewStmt), create_table(CreateStmt), create_foreign_table(CreateForeignTableStmt), create_schema(CreateSchemaStmt), create_index(IndexStmt), create_sequence(CreateSeqStmt), create_statistics(CreateStatsStmt), create_policy(CreatePolicyStmt), create_trigger(CreateTrigStmt), create_rule(RuleStmt), create_function(CreateFunctionStmt), create_domain(CreateDomainStmt), create_object(NodeEnum), alter_table(AlterTableStmt), rename(RenameStmt), set_schema(AlterObjectSchemaStmt), alter_policy(AlterPolicyStmt), alter_domain(AlterDomainStmt), alter_sequence(AlterSeqStmt), alter_object(NodeEnum), drop(DropStmt), drop_object(NodeEnum) }
impl<'a> Walk<'a> {
    pub fn comment(&mut self, _: i32, _: Option<&'a pg_query::Node>) -> Result<Top<'a>> { Err(self.unsupported("data definition is not understood yet")) }
    pub fn fill_new_table(&mut self, _: &'a IntoClause, _: Vec<Col<'a>>, _: &str) -> Result<()> { Err(self.unsupported("data definition is not understood yet")) }
}
