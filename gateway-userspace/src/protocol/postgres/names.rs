//! Keeps the session's view of the catalog and the search path current.
//!
//! The session's own server connection is asked, not another one: only it sees the session's
//! temporary tables and what an open transaction has changed.

use std::sync::{Arc, atomic::Ordering};

use super::{
    close::Close,
    connection::Connection,
    reply::{Expected, Prepared, Undo},
    wire::{put_bind_empty, put_close, put_execute, put_flush, put_message, put_parse},
};
use crate::{
    session::{NameQueries, PreparedChange, Refusal, SessionEffect, Understood},
    sql::{NotUnderstood, Parsed, VOID},
};

/// Name of the gateway's own statement and portal; a client's name cannot hold it by accident.
const INTERNAL: &[u8] = b"\x01cordon";
/// `query_canceled`.
pub(super) const QUERY_CANCELED: &str = "57014";
/// `lock_not_available`.
const LOCK_NOT_AVAILABLE: &str = "55P03";
// One of the client's with the same name is hidden meanwhile, and there again afterwards.
const SAVEPOINT: &str = "SAVEPOINT \"cordon names\"";
const ROLLBACK_TO_SAVEPOINT: &str = "ROLLBACK TO SAVEPOINT \"cordon names\"";
const RELEASE_SAVEPOINT: &str = "RELEASE SAVEPOINT \"cordon names\"";
/// How often a query of the gateway's own is repeated that the client's cancel requests hit.
const MAX_TRIES: usize = 3;

type Rows = Vec<Vec<Option<String>>>;

/// The server's error to a query of the gateway's own.
#[derive(Debug)]
pub(super) struct InternalError {
    /// SQLSTATE.
    pub sqlstate: String,
    /// Its message.
    pub message: String,
}

impl Connection {
    /// Loads what names mean, before the first statement.
    pub(super) async fn load_names(&mut self) -> Result<(), Close> {
        self.refresh_names(false).await
    }

    /// Loads it again where a statement, a rollback or time may have changed it.
    pub(super) async fn names_fresh(&mut self) -> Result<Result<(), Refusal>, Close> {
        if self.session.names_due() {
            return Box::pin(self.refresh_names_for_client(false)).await;
        }
        Ok(Ok(()))
    }

    /// Loads it again for a statement of the client's. Where the session's own time-out ends that,
    /// it ends the statement, as it would have without the gateway.
    async fn refresh_names_for_client(
        &mut self,
        force: bool,
    ) -> Result<Result<(), Refusal>, Close> {
        let Err(error) = self.try_refresh_names(force).await? else {
            return Ok(Ok(()));
        };
        let sqlstate = match error.sqlstate.as_str() {
            QUERY_CANCELED => QUERY_CANCELED,
            LOCK_NOT_AVAILABLE => LOCK_NOT_AVAILABLE,
            _ => return Err(unreadable(&error)),
        };
        if self.pipeline_open {
            // The rest of the pipeline is void at the server only.
            return Err(unreadable(&error));
        }
        Ok(Err(Refusal::as_server(sqlstate, error.message)))
    }

    pub(super) async fn refresh_names(&mut self, force: bool) -> Result<(), Close> {
        self.try_refresh_names(force)
            .await?
            .map_err(|error| unreadable(&error))
    }

    async fn try_refresh_names(&mut self, force: bool) -> Result<Result<(), InternalError>, Close> {
        self.settle().await?;
        if self.skip_until_sync || self.status == b'E' {
            // Nothing but the end of the transaction can run now.
            return Ok(Ok(()));
        }
        let private = self.pipeline_open || self.status != b'I';
        let epoch = self.session.epoch();
        let rows = match self
            .patient_gateway_query(&[NameQueries::NAMESPACE, NameQueries::FINGERPRINT])
            .await?
        {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        let wants_catalog = self
            .session
            .install_namespace(&rows, private, epoch)
            .map_err(Close::Upstream)?;
        if wants_catalog || force {
            let mut with_base = self.session.wants_base();
            loop {
                let queries: Vec<&str> = NameQueries::catalog(with_base).collect();
                let rows = match self.unlocked_gateway_query(&queries).await? {
                    Ok(rows) => rows,
                    Err(error) => return Ok(Err(error)),
                };
                let installed = self
                    .session
                    .install_catalog(&rows, with_base, private)
                    .map_err(Close::Upstream)?;
                if installed {
                    break;
                }
                with_base = true;
            }
        }
        Ok(Ok(()))
    }

    /// As [`Self::patient_gateway_query`], of queries that show definitions. For these the server
    /// locks relations until the end of the transaction, and whoever changes one of them meanwhile
    /// waits: a savepoint gives the locks back. In the implicit transaction of a pipeline there is
    /// none, and no long wait either.
    async fn unlocked_gateway_query(
        &mut self,
        queries: &[&str],
    ) -> Result<Result<Vec<Rows>, InternalError>, Close> {
        if self.status != b'T' || self.pipeline_open {
            return self.patient_gateway_query(queries).await;
        }
        let queries: Vec<&str> = std::iter::once(SAVEPOINT)
            .chain(queries.iter().copied())
            .chain([ROLLBACK_TO_SAVEPOINT, RELEASE_SAVEPOINT])
            .collect();
        let outcome = self.patient_gateway_query(&queries).await?;
        Ok(outcome.map(|mut rows| {
            // Of the savepoint there are none.
            rows.truncate(rows.len().saturating_sub(2));
            rows.drain(..rows.len().min(1));
            rows
        }))
    }

    /// Runs constant queries of the gateway's own, inside whatever transaction is open.
    pub(super) async fn gateway_query(&mut self, queries: &[&str]) -> Result<Vec<Rows>, Close> {
        self.patient_gateway_query(queries)
            .await?
            .map_err(|error| unreadable(&error))
    }

    /// As [`Self::gateway_query`]; cancel requests of the client's do not end it.
    pub(super) async fn patient_gateway_query(
        &mut self,
        queries: &[&str],
    ) -> Result<Result<Vec<Rows>, InternalError>, Close> {
        self.cancel.internal.store(true, Ordering::SeqCst);
        drop(self.cancel.flight.lock().await);
        // In a transaction it has failed the transaction.
        let alone = self.status == b'I' && !self.pipeline_open;
        let mut outcome = self.try_gateway_query(queries).await;
        // A cancel request that was already on its way to the server.
        let mut tries = 0;
        while tries < MAX_TRIES
            && alone
            && matches!(&outcome, Ok(Err(error)) if error.sqlstate == QUERY_CANCELED)
        {
            tries += 1;
            outcome = self.try_gateway_query(queries).await;
        }
        self.cancel.internal.store(false, Ordering::SeqCst);
        outcome
    }

    async fn try_gateway_query(
        &mut self,
        queries: &[&str],
    ) -> Result<Result<Vec<Rows>, InternalError>, Close> {
        self.internal.clear();
        self.internal_error = None;
        for query in queries {
            self.put_internal(query, false);
        }
        if self.pipeline_open {
            put_flush(&mut self.server.tx);
        } else {
            put_message(&mut self.server.tx, b'S', |_| {});
            self.expected.push_back(Expected::Ready { forward: false });
        }
        self.settle().await?;
        if let Some(error) = self.internal_error.take() {
            return Ok(Err(error));
        }
        Ok(Ok(std::mem::take(&mut self.internal)))
    }

    /// Sends a query of the gateway's own. `for_client`: it belongs to a statement of the client's,
    /// and fails in its place.
    pub(super) fn put_internal(&mut self, query: &str, for_client: bool) {
        if std::mem::take(&mut self.internal_left) {
            for kind in [b'P', b'S'] {
                put_close(&mut self.server.tx, kind, INTERNAL);
                self.expected.push_back(Expected::Close {
                    forward: false,
                    statement: Undo::nothing(),
                    portal: Undo::nothing(),
                });
            }
        }
        let out = &mut self.server.tx;
        put_parse(out, INTERNAL, query.as_bytes(), &[]);
        put_bind_empty(out, INTERNAL, INTERNAL);
        put_execute(out, INTERNAL);
        put_close(out, b'P', INTERNAL);
        put_close(out, b'S', INTERNAL);
        self.expected.push_back(Expected::Internal {
            closes: 2,
            for_client,
        });
    }

    /// Understands a text that must be one statement, with the types that its parameters were
    /// declared with. `None`: it is empty.
    pub(super) async fn understand_one(
        &mut self,
        text: &str,
        types: &[u32],
    ) -> Result<Result<Option<Arc<Understood>>, Refusal>, Close> {
        if let Some(understood) = self.cached(text, types) {
            return Ok(Ok(Some(understood)));
        }
        let mut statements = match self.session.split(text).await {
            Ok(statements) => statements,
            Err(refusal) => return Ok(Err(refusal)),
        };
        match statements.as_mut_slice() {
            [] => Ok(Ok(None)),
            [parsed] => {
                Arc::make_mut(parsed).declare(types);
                Ok(self.understand_parsed(parsed).await?.map(Some))
            }
            _ => Ok(Err(Refusal::as_server(
                "42601",
                "cannot insert multiple commands into a prepared statement".to_owned(),
            ))),
        }
    }

    /// What a text was understood as before, unless names have to be looked up first.
    pub(super) fn cached(&mut self, text: &str, types: &[u32]) -> Option<Arc<Understood>> {
        if self.session.names_due() || types.contains(&VOID) {
            return None;
        }
        self.session.cached(text)
    }

    /// Understands one statement; an unknown name is looked for once more in a fresh catalog.
    pub(super) async fn understand_parsed(
        &mut self,
        parsed: &Arc<Parsed>,
    ) -> Result<Result<Arc<Understood>, Refusal>, Close> {
        if !parsed.is_transaction_mode()
            && let Err(refusal) = self.names_fresh().await?
        {
            return Ok(Err(refusal));
        }
        let mut outcome = self.session.analyze(parsed).await;
        if matches!(outcome, Err(NotUnderstood::UnknownName { .. })) {
            if let Err(refusal) = Box::pin(self.refresh_names_for_client(true)).await? {
                return Ok(Err(refusal));
            }
            if self.status == b'E' {
                // No name can be looked up, and whatever it means, it fails.
                return Ok(Err(Refusal::transaction_failed()));
            }
            outcome = self.session.analyze(parsed).await;
        }
        let understood = match outcome {
            Ok(understood) => understood,
            Err(error) => {
                let refusal = Box::pin(self.session.refuse_text(parsed.text(), &error)).await;
                return Ok(Err(refusal));
            }
        };
        let Some(name) = understood.executes() else {
            return Ok(Ok(understood));
        };
        // SQL EXECUTE: what runs is what was prepared under the name.
        let Some(prepared) = self.statements.get(name.as_bytes()).cloned() else {
            return Ok(Err(if self.status == b'E' {
                // The server does not look for it.
                Refusal::transaction_failed()
            } else {
                Refusal::as_server(
                    "26000",
                    format!("prepared statement \"{name}\" does not exist"),
                )
            }));
        };
        match Box::pin(self.understand_one(&prepared.text, &prepared.types)).await? {
            Ok(Some(inner)) if inner.executes().is_none() => {
                Ok(Ok(self.session.executed(&understood, &inner)))
            }
            Ok(_) => Ok(Err(Refusal::as_server(
                "0A000",
                format!("prepared statement \"{name}\" cannot be executed through SQL"),
            ))),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Changes the tables of names as a completed statement did.
    pub(super) fn apply_names(&mut self, effect: &SessionEffect) {
        match &effect.prepared {
            None => {}
            Some(PreparedChange::Add { name, body }) => {
                let statement = Prepared {
                    text: Arc::from(body.as_str()),
                    types: Vec::new(),
                    shape: std::sync::OnceLock::new(),
                };
                self.statements
                    .insert(name.as_bytes().to_vec(), Arc::new(statement));
            }
            Some(PreparedChange::Remove(name)) => {
                self.statements.remove(name.as_bytes());
            }
            Some(PreparedChange::Clear { portals }) => {
                self.statements.clear();
                self.guard.forgotten();
                if *portals {
                    self.portals.clear();
                }
            }
        }
    }
}

pub(super) fn unreadable(error: &InternalError) -> Close {
    Close::Upstream(format!("the catalog cannot be read: {}", error.message))
}
