//! Sends, before a statement is executed, the query that fails if definitions it relies on have
//! changed; and understands the statement anew if they have.

use std::sync::Arc;

use super::{
    close::Close,
    connection::Connection,
    refuse,
    reply::{Expected, Undo},
    wire::{put_bind_texts, put_close, put_execute, put_parse},
};
use crate::session::{GUARD, GUARD_CHANGED, OutcomeKind, Understood};

/// Name of the guard's statement and portal; a client's name cannot hold it by accident.
const NAME: &[u8] = b"\x01cordon guard";
/// `invalid_sql_statement_name`: the job has removed it, in a function for instance.
const REMOVED: &str = "26000";

/// What a session knows of its guard.
#[derive(Debug, Default)]
pub(super) struct Guarding {
    /// The server has its statement.
    prepared: bool,
    /// A Query is under way that may have to be run again.
    under_way: bool,
    /// The one that was stopped, and is to be run again.
    repeat: Option<Arc<Understood>>,
    /// It is being run again: once will do.
    repeats: bool,
    /// It was asked, and said that definitions have changed.
    told: bool,
}

impl Guarding {
    /// The server has accepted its statement. `stays`: and keeps it.
    pub(super) fn prepared(&mut self, stays: bool) {
        self.prepared = stays;
    }

    /// The server may not have its statement any more.
    pub(super) fn forgotten(&mut self) {
        self.prepared = false;
    }

    /// A row of the guard, which says something only where definitions have changed.
    pub(super) fn row(&mut self, frame: &[u8]) {
        // Header, count of columns, length of the first.
        self.told |= !frame.ends_with(&0_u32.to_be_bytes());
    }

    /// What it was last asked for, once.
    pub(super) fn take_told(&mut self) -> bool {
        std::mem::take(&mut self.told)
    }

    /// The Query that has just ended will be run again.
    pub(super) fn will_repeat(&self) -> bool {
        self.repeat.is_some()
    }
}

/// True if an error of the guard stands for a change.
pub(super) fn guard_failed(sqlstate: &str) -> bool {
    matches!(sqlstate, GUARD_CHANGED | REMOVED)
}

impl Connection {
    /// Puts the guard before the Execute of a statement whose portal is bound, so that what it
    /// reads is locked. `alone`: it is a Query, so that it may be run again.
    pub(super) fn put_guard(&mut self, understood: &Arc<Understood>, alone: bool) {
        let repeatable = alone && self.status == b'I' && !self.guard.repeats;
        let query = repeatable.then(|| understood.clone());
        let sent = self.put(understood, query, "t");
        self.guard.under_way |= repeatable && sent;
    }

    /// Asks the same of a statement that is only read: [`Guarding::take_told`] has the answer.
    pub(super) fn ask_guard(&mut self, understood: &Understood) {
        self.put(understood, None, "f");
    }

    fn put(
        &mut self,
        understood: &Understood,
        query: Option<Arc<Understood>>,
        fails: &'static str,
    ) -> bool {
        let stays = !understood.lists_prepared();
        let Some([snapshot, oids, names, functions, version]) = self.session.guard(understood)
        else {
            if !stays && std::mem::take(&mut self.guard.prepared) {
                // Nobody need know of it.
                put_close(&mut self.server.tx, b'S', NAME);
                self.expected.push_back(Expected::Close {
                    forward: false,
                    statement: Undo::nothing(),
                    portal: Undo::nothing(),
                });
            }
            return false;
        };
        let parameters = [snapshot, oids, names, functions, version, fails];
        let out = &mut self.server.tx;
        let mut closes = 1;
        if !self.guard.prepared {
            // It may be there all the same, if an error came between.
            put_close(out, b'S', NAME);
            put_parse(out, NAME, GUARD.as_bytes(), &[]);
            closes += 1;
        }
        put_bind_texts(out, NAME, NAME, &parameters);
        put_execute(out, NAME);
        put_close(out, b'P', NAME);
        if !stays {
            put_close(out, b'S', NAME);
            closes += 1;
            self.guard.prepared = false;
        }
        self.expected.push_back(Expected::Guard {
            closes,
            stays,
            query,
        });
        true
    }

    /// The guard has stopped the statement behind it.
    pub(super) fn changed(&mut self, query: Option<Arc<Understood>>) {
        let stopped = self
            .expected
            .iter()
            .position(|expected| matches!(expected, Expected::Execute(_)))
            .and_then(|index| self.expected.remove(index));
        let Some(Expected::Execute(running)) = stopped else {
            return;
        };
        let refusal = self.session.changed(running.permit.number());
        let kind = OutcomeKind::Error(refusal.sqlstate().to_owned());
        let (permit, outcome) = running.end(kind, String::new());
        self.session.complete(permit, &outcome);
        self.session.failed();
        self.limits.statement_ended();
        self.guard.repeat = query;
        if self.guard.repeat.is_none() {
            refuse::put_refusal(&mut self.client.tx, &refusal);
        }
    }

    /// Waits, before the client's next message, for a Query that may have to be run again.
    pub(super) async fn past_guarded(&mut self) -> Result<(), Close> {
        if !std::mem::take(&mut self.guard.under_way) {
            return Ok(());
        }
        self.settle().await?;
        self.past_repeat().await
    }

    /// Runs a Query again that was stopped before it did anything.
    pub(super) async fn past_repeat(&mut self) -> Result<(), Close> {
        let Some(understood) = self.guard.repeat.take() else {
            return Ok(());
        };
        self.guard.repeats = true;
        let outcome = Box::pin(self.query(understood.text().as_bytes())).await;
        self.guard.repeats = false;
        outcome?;
        self.settle().await
    }
}
