//! Binds masks to a result, and checks that the server sees the origins that the analysis saw.

use std::{borrow::Cow, sync::Arc};

use super::{Refusal, Session, Understood};
use crate::{
    masking::{ColumnShape, CopyFormat, Format, RowMasker, Rules, TypeKind},
    sql::{Catalog, Statement, StatementKind},
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
        let Some(obligations) = understood.obligations() else {
            return Ok(RowMasker::passthrough());
        };
        let hides = !obligations.redactions.is_empty() || !obligations.detections.is_empty();
        let copies = understood.copy_format();
        let shape = match (shape, &copies) {
            (Some(shape), _) => shape,
            (None, _) if !hides => return Ok(RowMasker::passthrough()),
            // Nothing to look into; what is prepared or declared is masked when it is executed or
            // fetched from.
            (None, None)
                if obligations.redactions.is_empty()
                    || matches!(
                        understood.statement().kind,
                        StatementKind::Prepare { .. } | StatementKind::DeclareCursor { .. }
                    ) =>
            {
                return Ok(RowMasker::passthrough());
            }
            (None, None) => {
                let why = "the database does not describe a result that has to be masked";
                return Err(Box::pin(self.refuse_unmaskable(understood, why)).await);
            }
            (None, Some(_)) => {
                let why = "the columns of this COPY are not known";
                return Err(Box::pin(self.refuse_unmaskable(understood, why)).await);
            }
        };
        self.confirm_shape(understood, Some(shape)).await?;
        let shape: Cow<'_, [ColumnShape]> = match copies {
            None => shape.into(),
            Some(Err(error)) if hides => {
                let why = error.to_string();
                return Err(Box::pin(self.refuse_unmaskable(understood, &why)).await);
            }
            Some(format) => {
                let format = match format {
                    Ok(CopyFormat::Binary) => Format::Binary,
                    Ok(CopyFormat::Text(_) | CopyFormat::Csv(_)) | Err(_) => Format::Text,
                };
                let columns = shape.iter().cloned();
                columns
                    .map(|column| ColumnShape { format, ..column })
                    .collect()
            }
        };
        let rules = Rules {
            redactions: &obligations.redactions,
            detections: &obligations.detections,
        };
        let catalog = self.names.snapshot.as_ref().map(|names| &names.catalog);
        let types = |oid| catalog.map_or(TypeKind::Other, |catalog| type_kind(catalog, oid));
        match RowMasker::bind(rules, &shape, &types, &self.gate.mask_key) {
            Ok(masker) => Ok(masker),
            Err(error) => {
                let why = error.to_string();
                Err(Box::pin(self.refuse_unmaskable(understood, &why)).await)
            }
        }
    }
}

/// What masks need to know of a type.
fn type_kind(catalog: &Catalog, oid: u32) -> TypeKind {
    let Some(info) = catalog.type_info.get(&oid) else {
        return TypeKind::Other;
    };
    match info.kind {
        b'b' if info.element != 0 => TypeKind::Array(info.element),
        b'b' => TypeKind::Base {
            name: info.name.clone(),
        },
        b'c' => TypeKind::Composite(info.fields.iter().map(|(_, field)| *field).collect()),
        b'd' => TypeKind::Domain(info.base),
        b'r' => TypeKind::Range,
        b'm' => TypeKind::Multirange,
        _ => TypeKind::Other,
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
