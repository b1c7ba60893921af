//! What the server still has to answer, in order.
//!
//! Clients pipeline, so every message sent to the server that has a reply puts an [`Expected`]
//! into the queue; each says whether the reply is forwarded, swallowed or replaced.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use bytes::{Bytes, BytesMut};
use ring::digest;

use super::wire::{Body, Malformed};
use crate::{
    masking::{ColumnShape, CopyMasker, Format, RowMasker},
    session::{
        Allowance, LimitReached, Outcome, OutcomeKind, Parameter, Permit, Refusal, SessionEffect,
        Understood, Volume,
    },
};

/// A prepared statement of the client's.
#[derive(Debug)]
pub struct Prepared {
    /// Its text; empty for an empty statement.
    pub text: Arc<str>,
    /// Types of its parameters as far as Parse named them; 0 where it left them to the server.
    pub types: Vec<u32>,
    /// What Describe said of its result; `None` inside: it returns no rows.
    pub shape: OnceLock<Option<Arc<[ColumnShape]>>>,
}

/// A portal of the client's: a statement with its parameters.
#[derive(Debug)]
pub struct Portal {
    /// The statement.
    pub statement: Arc<Prepared>,
    /// Parameters, for the evidence and the approver.
    pub parameters: Vec<Parameter>,
    /// The statement as it was understood at Bind; `None` if it is empty.
    pub understood: Option<Arc<Understood>>,
    /// Result format codes of the Bind.
    pub formats: Vec<i16>,
    /// Set once an approval let it run: fetching its remaining rows asks no one again.
    pub approved: std::sync::atomic::AtomicBool,
    /// Rows that it has returned before it was suspended.
    pub rows: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
}

impl Portal {
    /// What it has returned before it was suspended.
    pub fn returned(&self) -> Volume {
        Volume {
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// The statement's shape with this portal's formats.
    ///
    /// # Errors
    /// If the number of format codes fits neither none, one nor all columns.
    pub fn shape(&self, shape: &[ColumnShape]) -> Result<Vec<ColumnShape>, Malformed> {
        let format_of = |index: usize| -> Result<Format, Malformed> {
            match self.formats.as_slice() {
                [] => Ok(Format::Text),
                [one] => super::wire::format(*one),
                all => super::wire::format(*all.get(index).ok_or(Malformed)?),
            }
        };
        if self.formats.len() > 1 && self.formats.len() != shape.len() {
            return Err(Malformed);
        }
        shape
            .iter()
            .enumerate()
            .map(|(index, column)| {
                Ok(ColumnShape {
                    format: format_of(index)?,
                    ..column.clone()
                })
            })
            .collect()
    }
}

/// Which message asked for a statement: decides who sends the Sync after a COPY FROM STDIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Execute: the client sends Sync.
    Execute,
    /// The last or only statement of a Query: we send Sync.
    QueryLast,
    /// Another statement of a Query: no Sync yet.
    QueryMore,
    /// `FunctionCall`: its row is the response, and we send Sync.
    Call,
}

/// A statement that the server runs.
pub struct Running {
    /// Proof that it was decided and recorded; completed with the outcome.
    pub permit: Permit,
    /// What every row passes through.
    pub masker: Arc<RowMasker>,
    /// What the data of a COPY TO passes through, if anything is hidden in it.
    pub copy: Option<CopyMasker>,
    /// What its success changes in the session.
    pub effect: SessionEffect,
    /// Errors and notices may quote protected values.
    pub protects: bool,
    /// Which message asked for it.
    pub origin: Origin,
    /// COPY FROM STDIN.
    pub copies_in: bool,
    /// It has run before the first row comes.
    pub gathers: bool,
    /// RowDescription, kept back until it has run: an error comes in its stead.
    pub description: Bytes,
    /// Rows sent to the client so far.
    pub rows: u64,
    /// Bytes of results sent to the client so far.
    pub bytes: u64,
    /// Cells masked so far.
    pub cells: u64,
    /// Running digest of the results as the client saw them.
    pub digest: digest::Context,
    /// What it may return.
    pub allowance: Allowance,
    /// It may return rows, and a limit may end it.
    pub cuttable: bool,
    /// The next message of COPY data has the columns' names.
    pub header: bool,
    /// The limit that ended it for its client: what still comes is swallowed.
    pub limited: Option<LimitReached>,
    /// The portal that it runs.
    pub portal: Option<Arc<Portal>>,
}

impl Running {
    /// A statement that is about to be sent.
    pub fn new(
        permit: Permit,
        masker: Arc<RowMasker>,
        effect: SessionEffect,
        protects: bool,
        origin: Origin,
    ) -> Self {
        Self {
            copy: None,
            permit,
            masker,
            effect,
            protects,
            origin,
            copies_in: false,
            gathers: false,
            description: Bytes::new(),
            rows: 0,
            bytes: 0,
            cells: 0,
            digest: digest::Context::new(&digest::SHA256),
            allowance: Allowance::unlimited(),
            cuttable: false,
            header: false,
            limited: None,
            portal: None,
        }
    }

    /// Passes a RowDescription on that was kept back.
    pub fn describe(&mut self, client: &mut BytesMut) {
        if !self.description.is_empty() {
            client.extend_from_slice(&std::mem::take(&mut self.description));
        }
    }

    /// Its end, to be completed.
    pub fn end(self, kind: OutcomeKind, command: String) -> (Permit, Outcome) {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.digest.finish().as_ref());
        let outcome = Outcome {
            kind,
            command,
            rows: self.rows,
            bytes: self.bytes,
            cells: self.cells,
            digest: sha256,
        };
        (self.permit, outcome)
    }

    /// The portal has more rows: what it returned so far counts when it goes on.
    pub fn suspend(&self) {
        if let Some(portal) = &self.portal {
            portal.rows.fetch_add(self.rows, Ordering::Relaxed);
            portal.bytes.fetch_add(self.bytes, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("permit", &self.permit)
            .finish_non_exhaustive()
    }
}

/// One reply, or group of replies, to come.
#[derive(Debug)]
pub enum Expected {
    /// ParseComplete.
    Parse {
        /// Forward it.
        forward: bool,
        /// Undo for the statement table, if the message fails or is skipped.
        undo: Undo<Prepared>,
    },
    /// BindComplete.
    Bind {
        /// Forward it.
        forward: bool,
        /// Undo for the portal table.
        undo: Undo<Portal>,
    },
    /// CloseComplete.
    Close {
        /// Forward it.
        forward: bool,
        /// Undo for the statement table.
        statement: Undo<Prepared>,
        /// Undo for the portal table.
        portal: Undo<Portal>,
    },
    /// ParameterDescription, then RowDescription or NoData.
    DescribeStatement {
        /// Forward them.
        forward: bool,
        /// The statement described.
        statement: Arc<Prepared>,
    },
    /// RowDescription or NoData.
    DescribePortal {
        /// Forward RowDescription.
        forward_rows: bool,
        /// Forward NoData.
        forward_no_data: bool,
    },
    /// Rows or COPY data, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute(Box<Running>),
    /// An error provoked by us, in whose place the client gets the refusal.
    Refused(Box<Refusal>),
    /// An error provoked by us, of which the client has been told.
    Failure,
    /// Replies to a query of the gateway's own; swallowed.
    Internal {
        /// CloseComplete still to come: one for the portal, one for the statement.
        closes: u8,
        /// An error of it is the client's: it belongs to a statement of theirs.
        for_client: bool,
    },
    /// Replies to the query that guards the statement behind it; swallowed.
    Guard {
        /// CloseComplete still to come.
        closes: u8,
        /// Its statement is kept for the next one.
        stays: bool,
        /// The one statement of a Query that is its own transaction: it can be run again.
        query: Option<Arc<Understood>>,
    },
    /// ReadyForQuery.
    Ready {
        /// Forward it.
        forward: bool,
    },
}

/// How to take back a change of a name table that was made before the server agreed to it.
#[derive(Debug)]
pub struct Undo<T> {
    /// The name; `None`: nothing to undo.
    pub name: Option<Vec<u8>>,
    /// What the name meant before.
    pub previous: Option<Arc<T>>,
}

impl<T> Undo<T> {
    /// Nothing to undo.
    pub fn nothing() -> Self {
        Self {
            name: None,
            previous: None,
        }
    }

    /// Restores the table.
    pub fn apply(self, table: &mut std::collections::HashMap<Vec<u8>, Arc<T>>) {
        if let Some(name) = self.name {
            match self.previous {
                Some(previous) => table.insert(name, previous),
                None => table.remove(&name),
            };
        }
    }
}

/// Reads the columns of a DataRow of one of the gateway's own queries, all text.
pub fn text_row(body: &[u8]) -> Result<Vec<Option<String>>, Malformed> {
    let mut fields = Body(body);
    let count = fields.count()?;
    let mut row = Vec::with_capacity(count);
    for _ in 0..count {
        row.push(match fields.i32()? {
            -1 => None,
            len => {
                let len = usize::try_from(len).map_err(|_negative| Malformed)?;
                Some(String::from_utf8_lossy(fields.bytes(len)?).into_owned())
            }
        });
    }
    fields.end()?;
    Ok(row)
}
