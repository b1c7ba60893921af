//! A statement that waits for humans, on the live connection.

use std::{sync::atomic::Ordering, time::Duration};

use super::{close::Close, connection::Connection, names::unreadable, refuse::put_own_notice};
use crate::session::{CAN_ESTIMATE, ESTIMATE, Hold, Permit, Refusal, estimated_rows};

/// How often the client is told that its statement still waits.
const REMIND: Duration = Duration::from_secs(10);

enum Event {
    Answered,
    Cancelled,
    Remind,
    Traffic,
}

impl Connection {
    /// Waits for the answer. The client sees notices meanwhile; a cancel request, a disconnect or
    /// the end of the job withdraws the request.
    pub(super) async fn hold(&mut self, mut hold: Hold) -> Result<Result<Permit, Refusal>, Close> {
        self.settle().await?;
        if !hold.waits() {
            self.estimate(&hold).await?;
            if hold.is_approved() {
                // What is about to run must still be what was approved.
                self.refresh_names(false).await?;
            }
            return Ok(self.session.answered(hold).await);
        }
        let (message, hint) = hold.notice();
        put_own_notice(&mut self.client.tx, &message, &hint);
        self.estimate(&hold).await?;
        self.cancel.held.store(true, Ordering::SeqCst);
        // One that came before nobody was there to be woken.
        let outcome = if self.cancel.take().await {
            Ok(false)
        } else {
            self.wait_held(&mut hold).await
        };
        self.cancel.held.store(false, Ordering::SeqCst);
        match outcome {
            Ok(true) => {
                // What is about to run must still be what was approved.
                self.refresh_names(false).await?;
                Ok(self.session.answered(hold).await)
            }
            Ok(false) => Ok(Err(self.session.cancelled(hold).await)),
            // Dropping the hold withdraws the request.
            Err(close) => Err(close),
        }
    }

    /// Has the server guess how many rows the statement would touch, and tells the approvers. What
    /// it cannot guess is left open.
    async fn estimate(&mut self, hold: &Hold) -> Result<(), Close> {
        let Some((understood, parameters)) = hold.wants_estimate() else {
            return Ok(());
        };
        if self.skip_until_sync || self.status == b'E' {
            return Ok(());
        }
        let Some(block) = self.session.estimate_query(understood, parameters).await else {
            return Ok(());
        };
        // Looked at each time: the right to it may be taken away.
        let able = self.gateway_query(&[CAN_ESTIMATE]).await?;
        if able.first().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        let rows = match self.patient_gateway_query(&[&block, ESTIMATE]).await? {
            Ok(rows) => rows,
            // Without that, the rest of the client's pipeline is void at the server only.
            Err(error) if self.pipeline_open => return Err(unreadable(&error)),
            Err(_no_guess) => return Ok(()),
        };
        let plan = rows
            .get(1)
            .and_then(|rows| rows.first())
            .and_then(|row| row.first())
            .and_then(Option::as_deref);
        if let Some(rows) = plan.and_then(estimated_rows) {
            hold.estimated(rows);
        }
        Ok(())
    }

    /// `true`: answered; `false`: cancelled by the client.
    async fn wait_held(&mut self, hold: &mut Hold) -> Result<bool, Close> {
        let cancel = self.cancel.clone();
        let mut remind = tokio::time::interval(REMIND);
        remind.tick().await;
        loop {
            let event = tokio::select! {
                biased;
                () = hold.wait() => Event::Answered,
                () = cancel.cancelled.notified() => Event::Cancelled,
                outcome = self.pump() => {
                    outcome?;
                    Event::Traffic
                }
                _ = remind.tick() => Event::Remind,
            };
            match event {
                Event::Answered => return Ok(true),
                Event::Cancelled => {
                    // A wake-up may be left over from an earlier statement.
                    if self.cancel.take().await {
                        return Ok(false);
                    }
                }
                Event::Remind => {
                    let (message, hint) = hold.notice();
                    put_own_notice(&mut self.client.tx, &message, &hint);
                }
                Event::Traffic if self.client.is_eof() => {
                    return Err(Close::Client(std::io::ErrorKind::UnexpectedEof.into()));
                }
                Event::Traffic => self.process_server()?,
            }
        }
    }
}
