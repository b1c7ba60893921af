//! DROP.

use pg_query::NodeEnum;
use pg_query::protobuf::{DropBehavior, DropStmt, ObjectType};

use super::objects::kind_of;
use super::statement::{Top, plain};
use super::{Result, Walk};
use crate::sql::statement::{DdlAction, DdlEffect, NotUnderstood, StatementKind};

impl<'a> Walk<'a> {
    pub fn drop(&mut self, drop: &'a DropStmt) -> Result<Top<'a>> {
        let DropStmt {
            objects,
            remove_type,
            behavior,
            missing_ok,
            concurrent: _,
        } = drop;
        let cascade = matches!(
            DropBehavior::try_from(*behavior),
            Ok(DropBehavior::DropCascade)
        );
        for object in objects {
            let kind = ObjectType::try_from(*remove_type).map_or("object", kind_of);
            let object = self
                .old_object(*remove_type, Some(object), *missing_ok)
                .map_err(|error| as_dropped(error, kind))?;
            self.ddl.push(DdlEffect {
                cascade,
                ..object.effect(DdlAction::Drop)
            });
        }
        Ok(plain(StatementKind::Ddl))
    }

    /// Objects outside of any schema.
    pub fn drop_object(&mut self, node: &'a NodeEnum) -> Result<Top<'a>> {
        let object = match node {
            NodeEnum::DropdbStmt(drop) => self.bare_object("database", &drop.dbname),
            NodeEnum::DropTableSpaceStmt(drop) => {
                self.bare_object("tablespace", &drop.tablespacename)
            }
            NodeEnum::DropUserMappingStmt(drop) => {
                self.bare_object("user mapping", &drop.servername)
            }
            NodeEnum::DropSubscriptionStmt(drop) => self.bare_object("subscription", &drop.subname),
            other => {
                return Err(self.unsupported(format!(
                    "{} is not understood",
                    crate::sql::nodes::kind_name(other)
                )));
            }
        };
        self.ddl.push(object.effect(DdlAction::Drop));
        Ok(plain(StatementKind::Ddl))
    }
}

/// DROP calls what is missing by its kind, and shows no position.
fn as_dropped(error: NotUnderstood, kind: &str) -> NotUnderstood {
    match error {
        NotUnderstood::UnknownName {
            sqlstate,
            message,
            position: _,
        } => {
            let message = match message.strip_prefix("relation ") {
                Some(rest) => format!("{kind} {rest}"),
                None => message,
            };
            NotUnderstood::UnknownName {
                sqlstate,
                message,
                position: None,
            }
        }
        other => other,
    }
}
