//! The simple query protocol. Each statement of the text is decided on its own and goes upstream
//! through the extended protocol, which takes one statement only; one Sync at the end keeps the
//! text's implicit transaction.

use std::sync::{Arc, OnceLock};

use bytes::BytesMut;

use super::{
    close::Close,
    connection::Connection,
    reply::{Expected, Origin, Prepared, Undo},
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
        if let Some(understood) = self.session.cached(text) {
            self.names_fresh().await?;
            if self.session.is_current(&understood) {
                self.statement(&understood, true).await?;
                return Ok(());
            }
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
            if !self.statement(&understood, last).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Runs one statement of a Query. `false`: it failed or was refused, and the Query is over.
    async fn statement(&mut self, understood: &Arc<Understood>, last: bool) -> Result<bool, Close> {
        let text = understood.text().to_owned();
        let masker = if understood.needs_shape() {
            match self.query_masker(understood, &text).await? {
                Described::Masker(masker) => masker,
                Described::Failed => return Ok(false),
                Described::Refused(refusal) => {
                    self.refuse(refusal);
                    self.sync(true);
                    return Ok(false);
                }
            }
        } else {
            Arc::new(RowMasker::passthrough())
        };
        let permit = match self.permit(understood, Phase::Simple, &[]).await? {
            Ok(permit) => permit,
            Err(refusal) => {
                self.refuse(refusal);
                self.sync(true);
                return Ok(false);
            }
        };
        // A Query replaces the unnamed statement and portal, as the server itself would.
        self.statements.remove(&b""[..]);
        self.portals.remove(&b""[..]);
        put_parse(&mut self.server.tx, b"", text.as_bytes(), &[]);
        self.expected.push_back(Expected::Parse {
            forward: false,
            undo: Undo::nothing(),
        });
        put_bind_empty(&mut self.server.tx, b"", b"");
        self.expected.push_back(Expected::Bind {
            forward: false,
            undo: Undo::nothing(),
        });
        put_describe(&mut self.server.tx, b'P', b"");
        self.expected.push_back(Expected::DescribePortal {
            forward_rows: true,
            forward_no_data: false,
        });
        let mut execute = BytesMut::with_capacity(16);
        put_execute(&mut execute, b"");
        let origin = if last {
            Origin::QueryLast
        } else {
            Origin::QueryMore
        };
        self.send_execute(permit, understood, masker, origin, &execute);
        if last {
            self.sync(true);
            return Ok(true);
        }
        self.failed_in_query = false;
        self.settle().await?;
        if self.failed_in_query {
            self.sync(true);
            self.skip_until_sync = false;
            return Ok(false);
        }
        Ok(true)
    }

    /// Asks the server for the statement's result columns, once per text and session, and binds
    /// the masks to them.
    async fn query_masker(
        &mut self,
        understood: &Arc<Understood>,
        text: &str,
    ) -> Result<Described, Close> {
        if understood.shape.get().is_none() {
            // Not even its Parse goes out before a decision is on record.
            match self.session.decide(understood, Phase::Prepare, &[]).await {
                Decision::Run(_) | Decision::Hold(_) => {}
                Decision::Refuse(refusal) => return Ok(Described::Refused(refusal)),
            }
            let statement = Arc::new(Prepared {
                text: Arc::from(text),
                types: Vec::new(),
                shape: OnceLock::new(),
            });
            self.statements.remove(&b""[..]);
            put_parse(&mut self.server.tx, b"", text.as_bytes(), &[]);
            self.expected.push_back(Expected::Parse {
                forward: false,
                undo: Undo::nothing(),
            });
            put_describe(&mut self.server.tx, b'S', b"");
            self.expected.push_back(Expected::DescribeStatement {
                forward: false,
                statement: statement.clone(),
            });
            self.pipeline_open = true;
            self.failed_in_query = false;
            self.settle().await?;
            if self.failed_in_query {
                self.sync(true);
                self.skip_until_sync = false;
                return Ok(Described::Failed);
            }
            let shape = statement.shape.get().cloned().flatten();
            let _ = understood.shape.set(shape);
        }
        let shape = understood.shape.get().cloned().flatten();
        Ok(
            match self.session.bind_masks(understood, shape.as_deref()).await {
                Ok(masker) => Described::Masker(Arc::new(masker)),
                Err(refusal) => Described::Refused(refusal),
            },
        )
    }
}

enum Described {
    Masker(Arc<RowMasker>),
    Refused(Refusal),
    /// The server refused it; its error has been forwarded.
    Failed,
}
