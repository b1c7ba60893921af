//! The server's messages: each is matched with the reply that is due, then forwarded,
//! swallowed, masked or replaced.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;

use super::{
    close::Close,
    connection::{Connection, HIGH_WATER, MAX_MASKED_ROW, Relay},
    function_call::respond,
    guard::guard_failed,
    names::{InternalError, QUERY_CANCELED},
    refuse::{self, Screen},
    reply::{Expected, Origin, text_row},
    wire::{
        Body, Framing, HEADER, Report, error_field, error_fields, framing, put_cstr, put_message,
        put_parameter_status, put_ready, put_report, row_description,
    },
};
use crate::{
    masking::{CopyCount, CopyMasker, MalformedRow},
    session::{LimitReached, OutcomeKind, Refusal},
};

impl Connection {
    /// Turns what the server has sent into what the client gets, as far as the client's buffer
    /// has room.
    pub(super) fn process_server(&mut self) -> Result<(), Close> {
        while self.client.tx.len() < HIGH_WATER {
            if self.to_client.rest > 0 {
                let now = self.to_client.rest.min(self.server.rx.len());
                if now == 0 {
                    return Ok(());
                }
                let part = self.server.rx.split_to(now);
                self.to_client.rest -= now;
                if self.to_client.swallow {
                    continue;
                }
                self.client.tx.extend_from_slice(&part);
                if let Some(Expected::Execute(running)) = self.expected.front_mut() {
                    running.digest.update(&part);
                }
                continue;
            }
            match framing(&self.server.rx) {
                Framing::Complete { tag, len } => {
                    if tag == b'D' {
                        self.data_row(len)?;
                    } else {
                        let frame = self.server.rx.split_to(len).freeze();
                        self.handle_server(tag, &frame)?;
                    }
                }
                Framing::Partial { tag, len } => {
                    if !self.stream_partial(tag, len)? {
                        return Ok(());
                    }
                }
                Framing::Incomplete => return Ok(()),
                Framing::Malformed => {
                    return Err(Close::Upstream(
                        "malformed message from the database".to_owned(),
                    ));
                }
            }
        }
        Ok(())
    }

    /// A large message that is not complete: rows that nothing masks and COPY data pass on as
    /// they come, others are waited for up to the cap.
    fn stream_partial(&mut self, tag: u8, len: usize) -> Result<bool, Close> {
        let mut swallow = false;
        let passes = match (tag, self.expected.front()) {
            (b'D', Some(Expected::Execute(running))) => {
                swallow = running.limited.is_some();
                swallow || (running.masker.is_passthrough() && running.origin != Origin::Call)
            }
            (b'd', Some(Expected::Execute(running))) => {
                swallow = running.limited.is_some();
                swallow || running.copy.is_none()
            }
            _ => false,
        };
        if passes && self.server.rx.len() >= 64 * 1024 {
            if !swallow
                && let Some(Expected::Execute(running)) = self.expected.front_mut()
                && let Err(reached) = running.count_partial(tag, len.saturating_sub(HEADER))
            {
                self.cut(reached);
                swallow = true;
            }
            let part = self.server.rx.split();
            self.to_client = Relay {
                rest: len - part.len(),
                swallow,
            };
            if !swallow && let Some(Expected::Execute(running)) = self.expected.front_mut() {
                running.describe(&mut self.client.tx);
                self.client.tx.extend_from_slice(&part);
                running.digest.update(&part);
            }
            return Ok(true);
        }
        if !passes && len > MAX_MASKED_ROW && !matches!(tag, b'D' | b'd') {
            return Err(Close::Upstream(format!(
                "a message {:?} of {len} bytes from the database is too long",
                char::from(tag)
            )));
        }
        if !passes && len > MAX_MASKED_ROW {
            return Err(Close::Fatal {
                code: "54000",
                message: format!(
                    "a row of {len} bytes is too large to be masked (limit {MAX_MASKED_ROW} bytes)"
                ),
            });
        }
        Ok(false)
    }

    fn data_row(&mut self, len: usize) -> Result<(), Close> {
        match self.expected.front_mut() {
            Some(Expected::Execute(running)) => {
                let frame = self.server.rx.split_to(len);
                if running.limited.is_some() {
                    return Ok(());
                }
                let body = frame.get(HEADER..).unwrap_or_default();
                running.describe(&mut self.client.tx);
                let row = running
                    .masker
                    .mask(body, &mut self.client.tx)
                    .map_err(|error| {
                        Close::Upstream(format!("a row does not have the described shape: {error}"))
                    })?;
                let range = row.range();
                if let Err(reached) = running.count(1, range.len().saturating_sub(HEADER)) {
                    self.client.tx.truncate(range.start);
                    self.cut(reached);
                    return Ok(());
                }
                running.cells += u64::from(row.masked());
                if running.origin == Origin::Call {
                    respond(&mut self.client.tx, range.start);
                }
                let sent = self.client.tx.get(range.start..).unwrap_or_default();
                running.digest.update(sent);
                Ok(())
            }
            Some(Expected::Internal { .. }) => {
                let frame = self.server.rx.split_to(len);
                let row = text_row(frame.get(HEADER..).unwrap_or_default())
                    .map_err(|error| Close::Upstream(error.to_string()))?;
                if let Some(rows) = self.internal.last_mut() {
                    rows.push(row);
                }
                Ok(())
            }
            Some(Expected::Guard { .. }) => {
                let frame = self.server.rx.split_to(len);
                self.guard.row(&frame);
                Ok(())
            }
            _ => Err(unexpected(b'D')),
        }
    }

    fn handle_server(&mut self, tag: u8, frame: &Bytes) -> Result<(), Close> {
        let body = frame.get(HEADER..).unwrap_or_default();
        match tag {
            b'1' => match self.expected.pop_front() {
                Some(Expected::Parse { forward, .. }) => self.forward_if(forward, frame),
                Some(waits @ (Expected::Internal { .. } | Expected::Refused(_))) => {
                    self.expected.push_front(waits);
                }
                Some(Expected::Guard {
                    closes,
                    stays,
                    query,
                }) => {
                    self.guard.prepared(stays);
                    self.expected.push_front(Expected::Guard {
                        closes,
                        stays,
                        query,
                    });
                }
                _ => return Err(unexpected(tag)),
            },
            b'2' => match self.expected.pop_front() {
                Some(Expected::Bind { forward, .. }) => self.forward_if(forward, frame),
                Some(internal @ Expected::Internal { .. }) => {
                    self.internal.push(Vec::new());
                    self.expected.push_front(internal);
                }
                Some(guard @ Expected::Guard { .. }) => self.expected.push_front(guard),
                _ => return Err(unexpected(tag)),
            },
            b'3' => match self.expected.pop_front() {
                Some(Expected::Close { forward, .. }) => self.forward_if(forward, frame),
                Some(Expected::Internal { closes, for_client }) if closes > 1 => {
                    self.expected.push_front(Expected::Internal {
                        closes: closes - 1,
                        for_client,
                    });
                }
                Some(Expected::Guard {
                    closes,
                    stays,
                    query,
                }) if closes > 1 => {
                    self.expected.push_front(Expected::Guard {
                        closes: closes - 1,
                        stays,
                        query,
                    });
                }
                Some(Expected::Internal { .. } | Expected::Guard { .. }) => {}
                Some(refused @ Expected::Refused(_)) => self.expected.push_front(refused),
                _ => return Err(unexpected(tag)),
            },
            b't' => match self.expected.front() {
                Some(Expected::DescribeStatement { forward, .. }) => {
                    let forward = *forward;
                    self.forward_if(forward, frame);
                }
                _ => return Err(unexpected(tag)),
            },
            b'T' | b'n' => self.described(tag, frame, body)?,
            b'C' | b'I' | b's' => self.completed(tag, frame, body)?,
            b'E' => self.server_error(frame, body)?,
            b'N' => self.notice(frame),
            b'S' => self.parameter_status(frame, body)?,
            b'A' => self.notification(frame, body)?,
            b'Z' => self.ready(body)?,
            b'G' => {
                if !matches!(self.expected.front(), Some(Expected::Execute(_))) {
                    return Err(unexpected(tag));
                }
                self.copy_in = true;
                self.ignored_syncs = 0;
                // The server ignores a Sync while it receives COPY data: those already on their
                // way will not be answered.
                while matches!(self.expected.back(), Some(Expected::Ready { .. })) {
                    self.expected.pop_back();
                    self.ignored_syncs += 1;
                }
                self.pipeline_open = true;
                self.forward_if(true, frame);
            }
            b'H' | b'd' | b'c' => {
                let Some(Expected::Execute(running)) = self.expected.front_mut() else {
                    return Err(unexpected(tag));
                };
                if running.limited.is_some() {
                    return Ok(());
                }
                if let Some(copy) = &mut running.copy {
                    let start = self.client.tx.len();
                    let count = masked_copy(copy, tag, frame, &mut self.client.tx)?;
                    let bytes = match tag {
                        b'd' => (self.client.tx.len() - start).saturating_sub(HEADER),
                        _ => 0,
                    };
                    if let Err(reached) = running.count(count.rows, bytes) {
                        self.client.tx.truncate(start);
                        self.cut(reached);
                        return Ok(());
                    }
                    running.cells += count.cells;
                    let sent = self.client.tx.get(start..).unwrap_or_default();
                    running.digest.update(sent);
                    return Ok(());
                }
                if !running.masker.is_passthrough() {
                    return Err(Close::Fatal {
                        code: "42501",
                        message: "a COPY of protected columns cannot be masked".to_owned(),
                    });
                }
                if tag == b'd'
                    && let Err(reached) = running.count_copied(body)
                {
                    self.cut(reached);
                    return Ok(());
                }
                running.digest.update(frame);
                self.forward_if(true, frame);
            }
            _ => return Err(unexpected(tag)),
        }
        Ok(())
    }

    fn forward_if(&mut self, forward: bool, frame: &[u8]) {
        if forward {
            self.client.tx.extend_from_slice(frame);
        }
    }

    fn described(&mut self, tag: u8, frame: &Bytes, body: &[u8]) -> Result<(), Close> {
        match self.expected.pop_front() {
            Some(Expected::DescribeStatement { forward, statement }) => {
                let shape = if tag == b'T' {
                    Some(shape_of(body)?)
                } else {
                    None
                };
                let known = statement.shape.get_or_init(|| shape.clone());
                if *known != shape {
                    return Err(Close::Upstream(
                        "the database describes a prepared statement differently than before"
                            .to_owned(),
                    ));
                }
                self.forward_if(forward, frame);
                Ok(())
            }
            Some(Expected::DescribePortal {
                forward_rows,
                forward_no_data,
            }) => {
                let forward = if tag == b'T' {
                    forward_rows
                } else {
                    forward_no_data
                };
                match self.expected.front_mut() {
                    Some(Expected::Execute(running))
                        if forward && running.gathers && running.origin != Origin::Execute =>
                    {
                        running.description = frame.clone();
                    }
                    Some(_) | None => self.forward_if(forward, frame),
                }
                Ok(())
            }
            _ => Err(unexpected(tag)),
        }
    }

    fn completed(&mut self, tag: u8, frame: &[u8], body: &[u8]) -> Result<(), Close> {
        match self.expected.pop_front() {
            Some(Expected::Execute(running)) => {
                let mut running = *running;
                if running.limited.is_none() {
                    running.describe(&mut self.client.tx);
                }
                self.limits.statement_ended();
                let cut = running.limited.take();
                let (kind, command) = if let Some(reached) = cut.clone() {
                    (OutcomeKind::Limited(reached), String::new())
                } else if tag == b's' {
                    running.suspend();
                    (OutcomeKind::Suspended, String::new())
                } else {
                    let command = Body(body).cstr().unwrap_or_default();
                    (
                        OutcomeKind::Ok,
                        String::from_utf8_lossy(command).into_owned(),
                    )
                };
                if tag != b's' {
                    self.session.apply(&running.effect);
                    self.apply_names(&running.effect);
                }
                let shown = running.origin != Origin::Call;
                let (permit, outcome) = running.end(kind, command);
                self.session.complete(permit, &outcome);
                if cut.is_some() {
                    self.fail_transaction();
                    return Ok(());
                }
                self.forward_if(shown, frame);
                Ok(())
            }
            Some(own @ (Expected::Internal { .. } | Expected::Guard { .. })) => {
                // CloseComplete ends a query of the gateway's own.
                self.expected.push_front(own);
                Ok(())
            }
            _ => Err(unexpected(tag)),
        }
    }

    /// An error ends everything up to the next ReadyForQuery.
    fn server_error(&mut self, frame: &[u8], body: &[u8]) -> Result<(), Close> {
        let fields = error_fields(body).map_err(|error| Close::Upstream(error.to_string()))?;
        let text = |code: u8| {
            error_field(&fields, code)
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .unwrap_or_default()
        };
        let sqlstate = text(b'C');
        self.failed_in_query = true;
        let of_client = !matches!(
            self.expected.front(),
            Some(Expected::Internal {
                for_client: false,
                ..
            })
        );
        if of_client && sqlstate == QUERY_CANCELED {
            // A cancel request has met what it was for. Clients may send the next statement before
            // they hear that the server is ready.
            self.cancel.forget();
        }
        let fatal = matches!(text(b'V').as_str(), "FATAL" | "PANIC");
        let overdue = self.limits.overdue(&sqlstate);
        let told = self.limits.told && !fatal;
        self.internal_left |= matches!(self.expected.front(), Some(Expected::Internal { .. }));
        match self.expected.pop_front() {
            Some(Expected::Failure) => {}
            Some(Expected::Refused(refusal)) => {
                // It may accept the text after all, or find something else wrong with it.
                let words = refusal.asks().is_some()
                    && sqlstate == refusal.sqlstate()
                    && text(b'R') != "exec_parse_message";
                if words {
                    self.put_words(&refusal, &text(b'M'), &text(b'D'), &text(b'H'));
                } else {
                    refuse::put_refusal(&mut self.client.tx, &refusal);
                }
            }
            Some(Expected::Internal {
                for_client: false, ..
            }) => {
                self.internal_error = Some(InternalError {
                    sqlstate,
                    message: text(b'M'),
                });
            }
            Some(Expected::Guard { query, .. }) => {
                self.guard.forgotten();
                if overdue.is_none() && guard_failed(&sqlstate) {
                    self.changed(query);
                } else {
                    self.put_error(frame, &fields, overdue.as_ref());
                }
            }
            Some(Expected::Execute(running)) => {
                let mut running = *running;
                let protects = running.protects;
                self.limits.statement_ended();
                self.copy_in = false;
                let number = running.permit.number();
                let kind = match running.limited.take().or_else(|| overdue.clone()) {
                    Some(reached) => OutcomeKind::Limited(reached),
                    None => OutcomeKind::Error(sqlstate),
                };
                let (permit, outcome) = running.end(kind, String::new());
                self.session.complete(permit, &outcome);
                self.session.failed();
                if told {
                    // The client knows.
                } else if let Some(reached) = &overdue {
                    let refusal = self.session.limited(number, reached);
                    refuse::put_refusal(&mut self.client.tx, &refusal);
                } else {
                    self.put_server_error(frame, &fields, protects);
                }
            }
            Some(Expected::Parse { undo, .. }) => {
                undo.apply(&mut self.statements);
                self.put_error(frame, &fields, overdue.as_ref());
            }
            Some(Expected::Bind { undo, .. }) => {
                undo.apply(&mut self.portals);
                self.put_error(frame, &fields, overdue.as_ref());
            }
            Some(Expected::Ready { forward }) => {
                // An error at commit (deferred constraints): the ReadyForQuery still comes.
                self.expected.push_front(Expected::Ready { forward });
                if !told {
                    self.put_error(frame, &fields, overdue.as_ref());
                }
            }
            Some(
                Expected::Internal { .. }
                | Expected::Close { .. }
                | Expected::DescribeStatement { .. }
                | Expected::DescribePortal { .. },
            )
            | None => self.put_error(frame, &fields, overdue.as_ref()),
        }
        if fatal {
            return Err(Close::Told(text(b'M')));
        }
        self.skip_to_ready();
        Ok(())
    }

    /// A refusal in the server's words.
    fn put_words(&mut self, refusal: &Refusal, message: &str, detail: &str, hint: &str) {
        let report = Report {
            severity: "ERROR",
            code: refusal.sqlstate(),
            message,
            detail: Some(detail).filter(|detail| !detail.is_empty()),
            hint: Some(hint).filter(|hint| !hint.is_empty()),
            position: refusal.position(),
        };
        put_report(&mut self.client.tx, b'E', &report);
    }

    fn put_error(&mut self, frame: &[u8], fields: &[(u8, &[u8])], overdue: Option<&LimitReached>) {
        if let Some(reached) = overdue {
            let number = self.session.last_statement();
            let refusal = self.session.limited(number, reached);
            refuse::put_refusal(&mut self.client.tx, &refusal);
            return;
        }
        let protects = self.session.has_masks();
        self.put_server_error(frame, fields, protects);
    }

    fn put_server_error(&mut self, frame: &[u8], fields: &[(u8, &[u8])], protects: bool) {
        let session = &self.session;
        let screen = |text: &[u8]| session.screened(text).into_owned();
        let screen: Screen<'_> = if session.has_detectors() {
            Some(&screen)
        } else {
            None
        };
        refuse::put_server_error(&mut self.client.tx, frame, fields, protects, screen);
    }

    /// Takes back, newest first, what the server will skip after an error.
    fn skip_to_ready(&mut self) {
        let skipped = self
            .expected
            .iter()
            .take_while(|e| !matches!(e, Expected::Ready { .. }))
            .count();
        let mut entries: Vec<Expected> = self.expected.drain(..skipped).collect();
        while let Some(entry) = entries.pop() {
            match entry {
                Expected::Parse { undo, .. } => undo.apply(&mut self.statements),
                Expected::Bind { undo, .. } => undo.apply(&mut self.portals),
                Expected::Close {
                    statement, portal, ..
                } => {
                    statement.apply(&mut self.statements);
                    portal.apply(&mut self.portals);
                }
                Expected::Execute(running) => {
                    let (permit, outcome) = running.end(OutcomeKind::Skipped, String::new());
                    self.session.complete(permit, &outcome);
                }
                Expected::DescribeStatement { .. }
                | Expected::DescribePortal { .. }
                | Expected::Refused(_)
                | Expected::Failure
                | Expected::Internal { .. }
                | Expected::Guard { .. }
                | Expected::Ready { .. } => {}
            }
        }
        if self.expected.is_empty() && self.pipeline_open {
            // The client's Sync has not gone out yet: what it sends before it is void.
            self.skip_until_sync = true;
        }
    }

    fn ready(&mut self, body: &[u8]) -> Result<(), Close> {
        let &[status] = body else {
            return Err(unexpected(b'Z'));
        };
        match self.expected.pop_front() {
            Some(Expected::Ready { forward }) => {
                self.status = status;
                self.session.transaction_status(status);
                if status == b'I' {
                    self.end_portals();
                }
                if self.guard.will_repeat() {
                    // The client has seen nothing of it.
                    return Ok(());
                }
                if forward && !self.failed_behind(status) {
                    put_ready(&mut self.client.tx, status);
                }
                Ok(())
            }
            other if self.ignored_syncs > 0 => {
                // It was not ignored after all; the client has sent it.
                self.ignored_syncs -= 1;
                if let Some(other) = other {
                    self.expected.push_front(other);
                }
                self.status = status;
                self.session.transaction_status(status);
                put_ready(&mut self.client.tx, status);
                Ok(())
            }
            _ => Err(unexpected(b'Z')),
        }
    }

    /// A transaction has ended, and its portals with it; what was bound behind its Sync belongs to
    /// the next one.
    fn end_portals(&mut self) {
        let mut ended = std::mem::take(&mut self.portals);
        for expected in &mut self.expected {
            let Expected::Bind { undo, .. } = expected else {
                continue;
            };
            let Some(name) = undo.name.clone() else {
                continue;
            };
            if self.portals.contains_key(&name) {
                continue;
            }
            // What the name meant before has ended.
            undo.previous = None;
            let Some(portal) = ended.remove(&name) else {
                continue;
            };
            if let (Some(understood), false) = (&portal.understood, name.is_empty()) {
                let name = String::from_utf8_lossy(&name).into_owned();
                self.session.bind_cursor(name, understood.clone());
            }
            self.portals.insert(name, portal);
        }
    }

    fn notice(&mut self, frame: &[u8]) {
        let protects = match self.expected.front() {
            Some(Expected::Execute(running)) => running.protects,
            Some(Expected::Internal { .. } | Expected::Guard { .. }) => return,
            _ => self.session.has_masks(),
        };
        let session = &self.session;
        let screen = |text: &[u8]| session.screened(text).into_owned();
        let screen: Screen<'_> = if session.has_detectors() {
            Some(&screen)
        } else {
            None
        };
        refuse::put_notice(&mut self.client.tx, frame, protects, screen);
    }

    /// A trigger may put a protected value into the payload: with masks in force it is blanked, and
    /// detectors look at it.
    fn notification(&mut self, frame: &[u8], body: &[u8]) -> Result<(), Close> {
        if !self.session.has_masks() && !self.session.has_detectors() {
            self.forward_if(true, frame);
            return Ok(());
        }
        let malformed = |_| unexpected(b'A');
        let mut fields = Body(body);
        let pid = fields.i32().map_err(malformed)?;
        let channel = fields.cstr().map_err(malformed)?;
        let payload = fields.cstr().map_err(malformed)?;
        let payload = if self.session.has_masks() {
            Cow::default()
        } else {
            self.session.screened(payload)
        };
        put_message(&mut self.client.tx, b'A', |out| {
            use bytes::BufMut;
            out.put_i32(pid);
            put_cstr(out, channel);
            put_cstr(out, &payload);
        });
        Ok(())
    }

    fn parameter_status(&mut self, frame: &[u8], body: &[u8]) -> Result<(), Close> {
        let malformed = |_| unexpected(b'S');
        let mut fields = Body(body);
        let name = fields.cstr().map_err(malformed)?;
        let value = fields.cstr().map_err(malformed)?;
        pinned(name, value)?;
        let _ = frame;
        put_parameter_status(&mut self.client.tx, name, value);
        Ok(())
    }
}

/// Refuses to go on when a setting that decides how SQL is read is not what the analysis takes
/// it for.
///
/// # Errors
/// If it is not.
pub(super) fn pinned(name: &[u8], value: &[u8]) -> Result<(), Close> {
    let expected: &[u8] = match name {
        b"standard_conforming_strings" => b"on",
        b"client_encoding" => b"UTF8",
        _ => return Ok(()),
    };
    // The server keeps this one of UTF8's other names, for JDBC.
    let unicode = name == b"client_encoding" && value.eq_ignore_ascii_case(b"UNICODE");
    if value == expected || unicode {
        Ok(())
    } else {
        Err(Close::Fatal {
            code: "0A000",
            message: format!(
                "the setting {} changed; Cordon reads SQL with {} only",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(expected)
            ),
        })
    }
}

/// `CopyOutResponse`, `CopyData` or `CopyDone` of a COPY in which something is hidden.
fn masked_copy(
    copy: &mut CopyMasker,
    tag: u8,
    frame: &Bytes,
    out: &mut bytes::BytesMut,
) -> Result<CopyCount, Close> {
    let malformed = |error: MalformedRow| {
        Close::Upstream(format!("the data of a COPY cannot be read: {error}"))
    };
    match tag {
        b'd' => {
            let data = frame.get(HEADER..).unwrap_or_default();
            return copy.message(data, out).map_err(malformed);
        }
        b'c' => copy.finish().map_err(malformed)?,
        _ => {}
    }
    out.extend_from_slice(frame);
    Ok(CopyCount::default())
}

fn shape_of(body: &[u8]) -> Result<Arc<[crate::masking::ColumnShape]>, Close> {
    row_description(body)
        .map(Arc::from)
        .map_err(|error| Close::Upstream(error.to_string()))
}

fn unexpected(tag: u8) -> Close {
    Close::Upstream(format!(
        "unexpected message {:?} from the database",
        char::from(tag)
    ))
}
