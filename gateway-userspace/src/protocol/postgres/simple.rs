//! The simple query protocol. Each statement of the text is decided on its own and goes upstream
//! through the extended protocol, which takes one statement only; one Sync at the end keeps the
//! text's implicit transaction.

use std::sync::{Arc, OnceLock};

use bytes::BytesMut;

use super::{
    close::Close,
    confirm::{Reading, ToRead},
    connection::Connection,
    reply::{Expected, Origin, Prepared, Running, Undo},
    wire::{put_bind_empty, put_describe, put_execute, put_message, put_parse, put_ready},
};
use crate::{
    masking::RowMasker,
    session::{Decision, Phase, Refusal, Understood},
};

impl Connection {
    pub(super) async fn query(&mut self, text: &[u8]) -> Result<(), Close> {
        self.settle().await?;
        if self.skip_until_sync {
            return Ok(());
        }
        let Ok(text) = std::str::from_utf8(text) else {
            self.refuse(Refusal::as_server(
                "22021",
                "invalid byte sequence for encoding \"UTF8\"".to_owned(),
            ));
            self.sync(true);
            return Ok(());
        };
        // The usual case: one statement that has been understood before.
        if let Some(understood) = self.cached(text, &[]) {
            self.statement(&understood, true, true).await?;
            return Ok(());
        }
        let statements = match self.session.split(text).await {
            Ok(statements) => statements,
            Err(refusal) => {
                self.refuse(refusal);
                self.sync(true);
                return Ok(());
            }
        };
        if statements.is_empty() {
            put_message(&mut self.client.tx, b'I', |_| {});
            put_ready(&mut self.client.tx, self.status);
            return Ok(());
        }
        let count = statements.len();
        for (index, parsed) in statements.iter().enumerate() {
            let last = index + 1 == count;
            let understood = match self.understand_parsed(parsed).await? {
                Ok(understood) => understood,
                Err(refusal) => {
                    self.refuse(refusal);
                    self.sync(true);
                    return Ok(());
                }
            };
            if count == 1 {
                self.session.remember(text, &understood);
            }
            if !self.statement(&understood, last, count == 1).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Runs one statement of a Query. `alone`: it is the only one. `false`: it failed or was
    /// refused, and the Query is over.
    async fn statement(
        &mut self,
        understood: &Arc<Understood>,
        last: bool,
        alone: bool,
    ) -> Result<bool, Close> {
        let mut understood = understood.clone();
        let parsed = match self.read_query(&mut understood).await? {
            Ok(parsed) => parsed,
            Err(refusal) => return Ok(self.query_over(refusal)),
        };
        let understood = &understood;
        let masker = if understood.needs_shape() {
            let shape = understood.shape.get().cloned().flatten();
            match self.session.bind_masks(understood, shape.as_deref()).await {
                Ok(masker) => Arc::new(masker),
                Err(refusal) => return Ok(self.query_over(Some(refusal))),
            }
        } else {
            Arc::new(RowMasker::passthrough())
        };
        let permit = match self.permit(understood, Phase::Simple, &[]).await? {
            Ok(permit) => permit,
            Err(refusal) => return Ok(self.query_over(Some(refusal))),
        };
        // A Query replaces the unnamed statement and portal, as the server itself would.
        self.statements.remove(&b""[..]);
        self.portals.remove(&b""[..]);
        if !parsed {
            let text = understood.text().as_bytes();
            put_parse(&mut self.server.tx, b"", text, &[]);
            self.expected.push_back(Expected::Parse {
                forward: false,
                undo: Undo::nothing(),
            });
        }
        put_bind_empty(&mut self.server.tx, b"", b"");
        self.expected.push_back(Expected::Bind {
            forward: false,
            undo: Undo::nothing(),
        });
        self.put_guard(understood, alone && !understood.copies_in());
        put_describe(&mut self.server.tx, b'P', b"");
        self.expected.push_back(Expected::DescribePortal {
            forward_rows: true,
            forward_no_data: false,
        });
        let mut execute = BytesMut::with_capacity(16);
        put_execute(&mut execute, b"");
        // While it receives COPY data the server ignores a Sync, but not if it fails before that:
        // whether one sent with the statement is answered nobody can tell.
        let ends = last && !understood.copies_in();
        let origin = if ends {
            Origin::QueryLast
        } else {
            Origin::QueryMore
        };
        let (effect, protects) = (understood.effect(), understood.protects());
        let running = Running::new(permit, masker, effect, protects, origin);
        self.send_execute(running, understood, &execute);
        if ends {
            if !self.past_commit().await? {
                return Ok(self.query_over(None));
            }
            self.sync(true);
            return Ok(true);
        }
        self.failed_in_query = false;
        self.settle().await?;
        if self.failed_in_query {
            self.past_relay().await?;
            return Ok(self.query_over(None));
        }
        if last {
            self.sync(true);
        }
        Ok(true)
    }

    /// Ends a Query, with a refusal or after an error that the client has been told: `false`.
    fn query_over(&mut self, refusal: Option<Refusal>) -> bool {
        if let Some(refusal) = refusal {
            self.refuse(refusal);
        }
        self.sync(true);
        self.skip_until_sync = false;
        false
    }

    /// Has the server read a statement that is new to it, once per text and session: for its
    /// result's columns, and to confirm the analysis. `true`: it has been parsed. An error without
    /// a refusal has been forwarded.
    async fn read_query(
        &mut self,
        understood: &mut Arc<Understood>,
    ) -> Result<Result<bool, Option<Refusal>>, Close> {
        let wants_shape = understood.needs_shape() && understood.shape.get().is_none();
        let unconfirmed = self.session.unconfirmed(understood);
        if !wants_shape && unconfirmed.is_none() {
            return Ok(Ok(false));
        }
        let apart = unconfirmed.is_some_and(|text| text != understood.text())
            || understood.copy_source().is_some();
        Box::pin(self.read_new_query(understood, wants_shape, apart)).await
    }

    /// `apart`: what is read is not the text that runs.
    async fn read_new_query(
        &mut self,
        understood: &mut Arc<Understood>,
        wants_shape: bool,
        apart: bool,
    ) -> Result<Result<bool, Option<Refusal>>, Close> {
        // Not even its Parse goes out before a decision is on record.
        match self.session.decide(understood, Phase::Prepare, &[]).await {
            Decision::Run(_) | Decision::Hold(_) => {}
            Decision::Refuse(refusal) => return Ok(Err(Some(refusal))),
        }
        if apart {
            match self.read_apart(understood, &[]).await? {
                Reading::Agrees => {}
                Reading::Changed(again) => {
                    // Confirmed already, but it may be denied now, or need its result's shape.
                    *understood = again;
                    return self.read_query(understood).await;
                }
                Reading::Failed => return Ok(Err(None)),
                Reading::Refused(refusal) => return Ok(Err(Some(refusal))),
            }
            if !wants_shape || understood.copy_source().is_some() {
                return Ok(Ok(false));
            }
        }
        let text = understood.text().to_owned();
        let statement = Arc::new(Prepared {
            text: Arc::from(text.as_str()),
            types: Vec::new(),
            shape: OnceLock::new(),
        });
        self.statements.remove(&b""[..]);
        let mut message = BytesMut::with_capacity(text.len() + 16);
        put_parse(&mut message, b"", text.as_bytes(), &[]);
        let to_read = ToRead {
            name: b"",
            message: &message,
            undo: Undo::nothing(),
            statement: statement.clone(),
            close: false,
        };
        match self.read_statement(understood, to_read).await? {
            Reading::Agrees => {}
            Reading::Changed(again) => *understood = again,
            Reading::Failed => return Ok(Err(None)),
            Reading::Refused(refusal) => return Ok(Err(Some(refusal))),
        }
        let _ = understood
            .shape
            .set(statement.shape.get().cloned().flatten());
        Ok(Ok(true))
    }
}
