//! Has the server read a statement before it runs: Parse, Describe and the locks that Parse took,
//! compared with what the analysis reported.

use std::sync::{Arc, OnceLock};

use super::{
    close::Close,
    connection::Connection,
    reply::{Expected, Prepared, Undo},
    wire::{put_close, put_describe, put_parse, put_sync},
};
use crate::{
    masking::ColumnShape,
    session::{LOCKS, Refusal, Rows, Session, Understood, check_origins},
};

/// Name of a statement that is only read; a client's name cannot hold it by accident.
const APART: &[u8] = b"\x01cordon read";

/// What came of it.
pub(super) enum Reading {
    /// The server reads it as the analysis does.
    Agrees,
    /// The analysis was of an older catalog: this is what the statement means now. It has to be
    /// decided again.
    Changed(Arc<Understood>),
    /// The server does not accept it; its error has been forwarded, and the pipeline is void.
    Failed,
    /// It reads something else: not to be run.
    Refused(Refusal),
}

/// A Parse that is about to be sent.
pub(super) struct ToRead<'m> {
    /// The statement's name on the server.
    pub name: &'m [u8],
    /// The message.
    pub message: &'m [u8],
    /// How to take the name back if the server refuses it.
    pub undo: Undo<Prepared>,
    /// What Describe says of it is kept here.
    pub statement: Arc<Prepared>,
    /// Close the name afterwards.
    pub close: bool,
}

/// What the server said of a statement.
struct Facts {
    /// Locks before Parse.
    before: Rows,
    /// Locks after it.
    after: Rows,
    /// The result's columns.
    shape: Option<Arc<[ColumnShape]>>,
}

impl Connection {
    /// Sends a Parse and waits for the server's reading of it, which must agree with the analysis.
    pub(super) async fn read_statement(
        &mut self,
        understood: &Understood,
        to_read: ToRead<'_>,
    ) -> Result<Reading, Close> {
        self.settle().await?;
        if self.skip_until_sync {
            // An earlier statement of the pipeline has failed: the server reads nothing until Sync.
            to_read.undo.apply(&mut self.statements);
            return Ok(Reading::Failed);
        }
        let confirms = self.session.unconfirmed(understood).is_some();
        // A transaction of its own holds no other locks.
        let fresh = self.status == b'I' && !self.pipeline_open;
        self.internal.clear();
        if confirms && !fresh {
            self.put_internal(LOCKS, true);
        }
        self.server.tx.extend_from_slice(to_read.message);
        self.expected.push_back(Expected::Parse {
            forward: false,
            undo: to_read.undo,
        });
        if to_read.statement.shape.get().is_none() {
            put_describe(&mut self.server.tx, b'S', to_read.name);
            self.expected.push_back(Expected::DescribeStatement {
                forward: false,
                statement: to_read.statement.clone(),
            });
        }
        if confirms {
            self.put_internal(LOCKS, true);
            self.ask_guard(understood);
        }
        if to_read.close {
            put_close(&mut self.server.tx, b'S', to_read.name);
            self.expected.push_back(Expected::Close {
                forward: false,
                statement: Undo::nothing(),
                portal: Undo::nothing(),
            });
        }
        self.pipeline_open = true;
        if fresh {
            // What Parse has locked need not stay locked while humans are asked, and some
            // statements must be the only one of their transaction.
            put_sync(&mut self.server.tx);
            self.expected.push_back(Expected::Ready { forward: false });
            self.pipeline_open = false;
        }
        self.failed_in_query = false;
        self.settle().await?;
        if self.failed_in_query {
            self.skip_until_sync = true;
            return Ok(Reading::Failed);
        }
        let mut rows = std::mem::take(&mut self.internal);
        let facts = Facts {
            after: rows.pop().unwrap_or_default(),
            before: rows.pop().unwrap_or_default(),
            shape: to_read.statement.shape.get().cloned().flatten(),
        };
        // Something may have been defined behind our back.
        let changed = self.guard.take_told();
        if !changed && self.disagreement(understood, &facts).await?.is_none() {
            self.session.confirm(understood);
            return Ok(Reading::Agrees);
        }
        self.refresh_names(true).await?;
        let again = match self
            .understand_one(understood.text(), &to_read.statement.types)
            .await?
        {
            Ok(Some(again)) => again,
            Ok(None) => return Ok(Reading::Failed),
            Err(refusal) => return Ok(Reading::Refused(refusal)),
        };
        match self.disagreement(&again, &facts).await? {
            None => {
                self.session.confirm(&again);
                Ok(Reading::Changed(again))
            }
            Some(message) => {
                let refusal = self.session.refuse_disagreement(&again, &message).await;
                Ok(Reading::Refused(refusal))
            }
        }
    }

    /// What the server's reading has beyond the analysis.
    async fn disagreement(
        &mut self,
        understood: &Understood,
        facts: &Facts,
    ) -> Result<Option<String>, Close> {
        if let Some(shape) = &facts.shape
            && let Err(message) = check_origins(understood.statement(), shape)
        {
            return Ok(Some(message));
        }
        let unexplained = self
            .session
            .unexplained(understood, &facts.before, &facts.after)
            .map_err(Close::Upstream)?;
        if unexplained.is_empty() {
            return Ok(None);
        }
        let query = Session::unexplained_query(&unexplained);
        let mut rows = self.gateway_query(&[&query]).await?;
        Ok(Session::unexplained_message(
            &rows.pop().unwrap_or_default(),
        ))
    }

    /// Has the server read a statement whose own Parse is not about to be sent: the body of a SQL
    /// PREPARE, or one whose names have changed since it was prepared.
    pub(super) async fn read_apart(
        &mut self,
        understood: &Understood,
        types: &[u32],
    ) -> Result<Reading, Close> {
        // What describes a COPY to the client says nothing of its columns.
        let source = understood
            .copy_source()
            .filter(|_| understood.needs_shape() && understood.shape.get().is_none());
        let Some(text) = self
            .session
            .unconfirmed(understood)
            .or(source)
            .map(str::to_owned)
        else {
            return Ok(Reading::Agrees);
        };
        let mut message = bytes::BytesMut::with_capacity(text.len() + 32);
        put_parse(&mut message, APART, text.as_bytes(), types);
        let statement = Arc::new(Prepared {
            text: Arc::from(text),
            types: types.to_vec(),
            shape: OnceLock::new(),
        });
        let to_read = ToRead {
            name: APART,
            message: &message,
            undo: Undo::nothing(),
            statement: statement.clone(),
            close: true,
        };
        let reading = Box::pin(self.read_statement(understood, to_read)).await?;
        let described = match &reading {
            Reading::Agrees => understood,
            Reading::Changed(again) => again,
            Reading::Failed | Reading::Refused(_) => return Ok(reading),
        };
        if described.copy_source().is_some() {
            let shape = statement.shape.get().cloned().flatten();
            let _ = described.shape.set(shape);
        }
        Ok(reading)
    }
}
