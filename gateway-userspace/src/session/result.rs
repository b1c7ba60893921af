//! Binds masks to a result, and checks that the server sees the origins that the analysis saw.

use std::sync::Arc;

use super::{Refusal, Session, Understood};
use crate::{
    masking::{ColumnShape, RowMasker},
    sql::Statement,
};

impl Session {
    /// Binds a statement's masks to the columns of its result as the server describes them
    /// (`None`: it returns no rows), and checks that the server sees the same origins as the
    /// analysis.
    ///
    /// # Errors
    /// The refusal, which is on record.
    pub async fn bind_masks(
        &mut self,
        understood: &Arc<Understood>,
        shape: Option<&[ColumnShape]>,
    ) -> Result<RowMasker, Refusal> {
        let redactions = match understood.obligations() {
            Some(obligations) => obligations.redactions.clone(),
            None => return Ok(RowMasker::passthrough()),
        };
        let Some(shape) = shape else {
            if redactions.is_empty() {
                return Ok(RowMasker::passthrough());
            }
            let message = "the database does not describe a result that has to be masked";
            return Err(self.refuse_unmaskable(understood, message).await);
        };
        self.confirm_shape(understood, Some(shape)).await?;
        match RowMasker::bind(&redactions, shape, &self.gate.mask_key) {
            Ok(masker) => Ok(masker),
            Err(error) => Err(self.refuse_unmaskable(understood, &error.to_string()).await),
        }
    }
}

/// Every column that the server traces to a table must come from a relation of the analysis, and
/// the numbers of columns must agree: otherwise masks would sit on the wrong ones.
///
/// # Errors
/// What does not agree.
pub fn check_origins(statement: &Statement, shape: &[ColumnShape]) -> Result<(), String> {
    let Some(output) = &statement.output else {
        return if statement.relations.iter().all(|relation| relation.system) {
            Ok(())
        } else {
            Err("the database returns rows where the analysis expects none".to_owned())
        };
    };
    if output.len() != shape.len() {
        return Err(format!(
            "the database returns {} columns where the analysis expects {}",
            shape.len(),
            output.len()
        ));
    }
    for (column, described) in output.iter().zip(shape) {
        if described.table_oid == 0 {
            continue;
        }
        // A whole row has no number; the analysis lists its columns.
        let base = column.origins.iter().any(|origin| {
            origin.relation.oid == described.table_oid
                && (origin.attnum == described.attnum || described.attnum == 0)
        });
        // The server stops at a view; the analysis looks through it.
        let view = column
            .origins
            .iter()
            .all(|o| o.relation.oid != described.table_oid)
            && statement
                .relations
                .iter()
                .any(|r| r.relation.oid == described.table_oid);
        if !base && !view {
            return Err(format!(
                "the database traces the column {:?} to another origin than the analysis",
                described.name
            ));
        }
    }
    Ok(())
}
