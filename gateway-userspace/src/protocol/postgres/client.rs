//! The client's messages, one function per message of the extended protocol. The simple
//! protocol stands in `simple.rs`.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};

use super::{
    close::Close,
    confirm::{Reading, ToRead},
    connection::{Connection, HIGH_WATER, MAX_CLIENT_MESSAGE},
    reply::{Expected, Origin, Portal, Prepared, Running, Undo},
    wire::{
        Bind, Framing, FrontendMessage, HEADER, Parse, Target, framing, put_bind_empty, put_close,
        put_describe, put_flush, put_message, put_parse, put_sync,
    },
};
use crate::{
    masking::{CopyMasker, RowMasker},
    session::{Decision, Parameter, Permit, Phase, Refusal, Understood},
};

/// Name of a statement that the server is expected not to accept.
const WORDED: &[u8] = b"\x01cordon words";
/// Longest parameter kept for the evidence, in bytes.
const MAX_PARAMETER: usize = 4096;

impl Connection {
    pub(super) async fn handle_client(&mut self, tag: u8, frame: &Bytes) -> Result<(), Close> {
        if tag != b'X' {
            self.past_limits().await?;
            self.past_guarded().await?;
        }
        if self.skip_until_sync && !matches!(tag, b'S' | b'X') {
            return Ok(());
        }
        let body = frame.get(HEADER..).unwrap_or_default();
        let message = FrontendMessage::decode(tag, body)
            .map_err(|error| Close::protocol(error.to_string()))?;
        match message {
            FrontendMessage::Query(text) => self.query(text).await,
            FrontendMessage::Parse(parse) => self.parse(&parse, frame).await,
            FrontendMessage::Bind(bind) => self.bind(&bind, frame).await,
            FrontendMessage::Describe(target) => {
                if self.past_barrier().await? {
                    self.describe(target, frame);
                }
                Ok(())
            }
            FrontendMessage::Execute {
                portal,
                max_rows: _,
            } => self.execute(portal, frame).await,
            FrontendMessage::Close(target) => {
                if self.past_barrier().await? {
                    self.close_name(target, true);
                }
                Ok(())
            }
            FrontendMessage::Flush => {
                self.server.tx.extend_from_slice(frame);
                Ok(())
            }
            FrontendMessage::Sync => {
                self.past_commit().await?;
                self.skip_until_sync = false;
                self.sync(true);
                Ok(())
            }
            // What is left of a COPY that has failed: the server would ignore it too.
            FrontendMessage::CopyData | FrontendMessage::CopyDone | FrontendMessage::CopyFail => {
                Ok(())
            }
            FrontendMessage::Terminate => Err(Close::Terminated),
            FrontendMessage::FunctionCall(call) => Box::pin(self.function_call(&call)).await,
            FrontendMessage::Password => {
                Err(Close::protocol("unexpected password message".to_owned()))
            }
            FrontendMessage::Unknown(tag) => Err(Close::protocol(format!(
                "invalid frontend message type {tag}"
            ))),
        }
    }

    /// Ends a pipeline on the server's side.
    pub(super) fn sync(&mut self, forward: bool) {
        put_sync(&mut self.server.tx);
        self.expected.push_back(Expected::Ready { forward });
        self.pipeline_open = false;
        self.limits.synced();
    }

    /// Lets the server fail in the place of a refused statement, so that its transaction and the
    /// rest of the pipeline end as after any other error, and answers with the refusal instead.
    /// The name in the provoked error lets the database's log be matched with the evidence.
    ///
    /// Where the server would not accept the text either, it is asked to parse it, which runs
    /// nothing, and its own words are what the client gets.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        if refusal.reference().is_empty() {
            // No decision about a statement is behind it.
            self.session.message_refused(&refusal);
        }
        if let Some(text) = refusal.asks() {
            // It may have been accepted after all, and be there still.
            put_close(&mut self.server.tx, b'S', WORDED);
            put_parse(&mut self.server.tx, WORDED, text.as_bytes(), &[]);
        }
        let name = format!("cordon refused {}", refusal.reference());
        put_bind_empty(&mut self.server.tx, b"", name.as_bytes());
        self.expected
            .push_back(Expected::Refused(Box::new(refusal)));
        self.pipeline_open = true;
    }

    /// Refuses a message of the extended protocol: everything up to Sync is void.
    fn refuse_pipeline(&mut self, refusal: Refusal) {
        if self.skip_until_sync {
            // An earlier statement has failed meanwhile: the server ignores all until Sync.
            return;
        }
        self.refuse(refusal);
        self.skip_until_sync = true;
    }

    /// Waits for statements that may change how the next one is read. `false`: one of them
    /// failed, and the pipeline is void.
    async fn past_barrier(&mut self) -> Result<bool, Close> {
        if self.barrier {
            self.settle().await?;
        }
        Ok(!self.skip_until_sync)
    }

    async fn parse(&mut self, parse: &Parse<'_>, frame: &Bytes) -> Result<(), Close> {
        if !self.past_barrier().await? {
            return Ok(());
        }
        if !parse.name.is_empty() && self.statements.contains_key(parse.name) {
            self.settle().await?;
            if self.skip_until_sync {
                return Ok(());
            }
            if self.statements.contains_key(parse.name) {
                let name = String::from_utf8_lossy(parse.name).into_owned();
                let refusal = Refusal::as_server(
                    "42P05",
                    format!("prepared statement \"{name}\" already exists"),
                );
                self.refuse_pipeline(refusal);
                return Ok(());
            }
        }
        let Ok(text) = std::str::from_utf8(parse.query) else {
            let refusal = Refusal::as_server(
                "22021",
                "invalid byte sequence for encoding \"UTF8\"".to_owned(),
            );
            self.refuse_pipeline(refusal);
            return Ok(());
        };
        let understood = match self.understand_one(text, &parse.types).await? {
            Ok(understood) => understood,
            Err(refusal) => {
                self.refuse_pipeline(refusal);
                return Ok(());
            }
        };
        if let Some(understood) = &understood {
            match self.session.decide(understood, Phase::Prepare, &[]).await {
                // A held statement may be prepared: it is held when it is executed.
                Decision::Run(_) | Decision::Hold(_) => {}
                Decision::Refuse(refusal) => {
                    self.refuse_pipeline(refusal);
                    return Ok(());
                }
            }
        }
        if self.skip_until_sync {
            return Ok(());
        }
        let statement = Arc::new(Prepared {
            text: Arc::from(text),
            types: parse.types.clone(),
            shape: OnceLock::new(),
        });
        let name = parse.name.to_vec();
        let previous = self.statements.insert(name.clone(), statement.clone());
        let undo = Undo {
            name: Some(name),
            previous,
        };
        match understood {
            Some(understood) if self.session.unconfirmed(&understood) == Some(text) => {
                let to_read = ToRead {
                    name: parse.name,
                    message: frame,
                    undo,
                    statement,
                    close: false,
                };
                let reading = Box::pin(self.read_statement(&understood, to_read)).await?;
                let refused = match reading {
                    Reading::Agrees => None,
                    Reading::Failed => return Ok(()),
                    Reading::Refused(refusal) => Some(refusal),
                    Reading::Changed(again) => {
                        match self.session.decide(&again, Phase::Prepare, &[]).await {
                            Decision::Run(_) | Decision::Hold(_) => None,
                            Decision::Refuse(refusal) => Some(refusal),
                        }
                    }
                };
                match refused {
                    None => put_message(&mut self.client.tx, b'1', |_| {}),
                    Some(refusal) => {
                        self.close_name(Target::Statement(parse.name), false);
                        self.refuse_pipeline(refusal);
                    }
                }
            }
            Some(_) | None => {
                self.server.tx.extend_from_slice(frame);
                self.expected.push_back(Expected::Parse {
                    forward: true,
                    undo,
                });
                self.pipeline_open = true;
            }
        }
        Ok(())
    }

    /// Understands what a portal is to run, and has the server confirm it if that has not been
    /// done under the names of now. `None`: the pipeline is void.
    async fn understand_portal(
        &mut self,
        statement: &Prepared,
    ) -> Result<Option<Option<Arc<Understood>>>, Close> {
        let mut understood = match self
            .understand_one(&statement.text, &statement.types)
            .await?
        {
            Ok(understood) => understood,
            Err(refusal) => {
                self.refuse_pipeline(refusal);
                return Ok(None);
            }
        };
        if let Some(understood) = &mut understood
            && !understood.is_denied()
        {
            match self.read_apart(understood, &statement.types).await? {
                Reading::Agrees => {}
                Reading::Changed(again) => *understood = again,
                Reading::Failed => return Ok(None),
                Reading::Refused(refusal) => {
                    self.refuse_pipeline(refusal);
                    return Ok(None);
                }
            }
        }
        Ok((!self.skip_until_sync).then_some(understood))
    }

    async fn bind(&mut self, bind: &Bind<'_>, frame: &Bytes) -> Result<(), Close> {
        if !self.past_barrier().await? {
            return Ok(());
        }
        let portal_name = String::from_utf8_lossy(bind.portal).into_owned();
        if self.has_portal(bind.portal, &portal_name) {
            self.settle().await?;
            if self.skip_until_sync {
                return Ok(());
            }
            if self.has_portal(bind.portal, &portal_name) {
                self.refuse_pipeline(Refusal::as_server(
                    "42P03",
                    format!("cursor \"{portal_name}\" already exists"),
                ));
                return Ok(());
            }
        }
        let Some(statement) = self.statements.get(bind.statement).cloned() else {
            let message = if bind.statement.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                let name = String::from_utf8_lossy(bind.statement);
                format!("prepared statement \"{name}\" does not exist")
            };
            self.refuse_pipeline(Refusal::as_server("26000", message));
            return Ok(());
        };
        let Some(understood) = self.understand_portal(&statement).await? else {
            return Ok(());
        };
        if !bind.portal.is_empty()
            && let Some(understood) = &understood
        {
            // A named portal is a cursor too: SQL can FETCH from it.
            self.session.bind_cursor(portal_name, understood.clone());
        }
        let types = statement.types.clone();
        let portal = Arc::new(Portal {
            statement,
            parameters: parameters_of(&bind.parameters, &bind.parameter_formats, &types),
            understood,
            formats: bind.result_formats.clone(),
            approved: false.into(),
            rows: 0.into(),
            bytes: 0.into(),
        });
        let name = bind.portal.to_vec();
        let previous = self.portals.insert(name.clone(), portal);
        self.server.tx.extend_from_slice(frame);
        self.expected.push_back(Expected::Bind {
            forward: true,
            undo: Undo {
                name: Some(name),
                previous,
            },
        });
        self.pipeline_open = true;
        Ok(())
    }

    /// The unnamed portal is replaced, others are not: by a portal or a cursor of that name.
    fn has_portal(&self, name: &[u8], text: &str) -> bool {
        !name.is_empty() && (self.portals.contains_key(name) || self.session.has_cursor(text))
    }

    fn describe(&mut self, target: Target<'_>, frame: &Bytes) {
        let expected = match target {
            Target::Statement(name) => {
                if let Some(statement) = self.statements.get(name) {
                    Expected::DescribeStatement {
                        forward: true,
                        statement: statement.clone(),
                    }
                } else {
                    let name = String::from_utf8_lossy(name);
                    let message = format!("prepared statement \"{name}\" does not exist");
                    self.refuse_pipeline(Refusal::as_server("26000", message));
                    return;
                }
            }
            Target::Portal(name) => {
                // libpq describes the cursors of SQL DECLARE as the portals that they are.
                let cursor = std::str::from_utf8(name).is_ok_and(|n| self.session.has_cursor(n));
                if !self.portals.contains_key(name) && !cursor {
                    let name = String::from_utf8_lossy(name);
                    let message = format!("portal \"{name}\" does not exist");
                    self.refuse_pipeline(Refusal::as_server("34000", message));
                    return;
                }
                Expected::DescribePortal {
                    forward_rows: true,
                    forward_no_data: true,
                }
            }
        };
        self.server.tx.extend_from_slice(frame);
        self.expected.push_back(expected);
        self.pipeline_open = true;
    }

    fn close_name(&mut self, target: Target<'_>, forward: bool) {
        let (statement, portal) = match target {
            Target::Statement(name) => (
                match self.statements.remove(name) {
                    Some(previous) => Undo {
                        name: Some(name.to_vec()),
                        previous: Some(previous),
                    },
                    None => Undo::nothing(),
                },
                Undo::nothing(),
            ),
            Target::Portal(name) => (
                {
                    self.session.close_cursor(&String::from_utf8_lossy(name));
                    Undo::nothing()
                },
                match self.portals.remove(name) {
                    Some(previous) => Undo {
                        name: Some(name.to_vec()),
                        previous: Some(previous),
                    },
                    None => Undo::nothing(),
                },
            ),
        };
        let (kind, name) = match target {
            Target::Statement(name) => (b'S', name),
            Target::Portal(name) => (b'P', name),
        };
        put_close(&mut self.server.tx, kind, name);
        self.expected.push_back(Expected::Close {
            forward,
            statement,
            portal,
        });
        self.pipeline_open = true;
    }

    async fn execute(&mut self, name: &[u8], frame: &Bytes) -> Result<(), Close> {
        if !self.past_barrier().await? {
            return Ok(());
        }
        let Some(portal) = self.portals.get(name).cloned() else {
            let name = String::from_utf8_lossy(name);
            let message = format!("portal \"{name}\" does not exist");
            self.refuse_pipeline(Refusal::as_server("34000", message));
            return Ok(());
        };
        let understood = match &portal.understood {
            Some(understood)
                if !self.session.names_due() && self.session.still_holds(understood) =>
            {
                understood.clone()
            }
            Some(_) | None => match self.understand_portal(&portal.statement).await? {
                Some(Some(understood)) => understood,
                Some(None) => {
                    // An empty statement runs nothing.
                    Box::pin(self.execute_empty(frame)).await?;
                    return Ok(());
                }
                None => return Ok(()),
            },
        };
        let masker = match self.portal_masker(&understood, &portal).await? {
            Ok(masker) => masker,
            Err(refusal) => {
                self.refuse_pipeline(refusal);
                return Ok(());
            }
        };
        if self.skip_until_sync {
            return Ok(());
        }
        let approved = portal.approved.load(std::sync::atomic::Ordering::Relaxed);
        let phase = if approved {
            Phase::Resume
        } else {
            Phase::Execute
        };
        match self.permit(&understood, phase, &portal.parameters).await? {
            Ok(permit) => {
                portal
                    .approved
                    .store(true, std::sync::atomic::Ordering::Relaxed);
                let mut running = Running::new(
                    permit,
                    masker,
                    understood.effect(),
                    understood.protects(),
                    Origin::Execute,
                );
                running.portal = Some(portal);
                if phase != Phase::Resume {
                    self.put_guard(&understood, false);
                }
                self.send_execute(running, &understood, frame);
            }
            Err(refusal) => self.refuse_pipeline(refusal),
        }
        Ok(())
    }

    async fn execute_empty(&mut self, frame: &Bytes) -> Result<(), Close> {
        match self.session.decide_empty().await {
            Decision::Run(permit) => {
                let effect = crate::session::SessionEffect::default();
                let masker = Arc::new(RowMasker::passthrough());
                let running = Running::new(permit, masker, effect, false, Origin::Execute);
                self.server.tx.extend_from_slice(frame);
                self.expected
                    .push_back(Expected::Execute(Box::new(running)));
                self.pipeline_open = true;
            }
            Decision::Refuse(refusal) => self.refuse_pipeline(refusal),
            Decision::Hold(_) => {}
        }
        Ok(())
    }

    /// Decides a statement and, if it is held, waits for the humans.
    pub(super) async fn permit(
        &mut self,
        understood: &Arc<Understood>,
        phase: Phase,
        parameters: &[Parameter],
    ) -> Result<Result<Permit, Refusal>, Close> {
        if self.cancel.take().await {
            // It came while nothing of the client's ran upstream.
            return Ok(Err(Refusal::as_server(
                "57014",
                "canceling statement due to user request".to_owned(),
            )));
        }
        if self.status == b'E' && phase != Phase::Resume && understood.is_held() {
            // The server would read nothing of it: no people need to be asked.
            return Ok(Err(Refusal::transaction_failed()));
        }
        match self.session.decide(understood, phase, parameters).await {
            Decision::Run(permit) => Ok(Ok(permit)),
            Decision::Refuse(refusal) => Ok(Err(refusal)),
            Decision::Hold(hold) => Box::pin(self.hold(hold)).await,
        }
    }

    /// Sends what runs a decided statement. Its permit is the proof that it was.
    pub(super) fn send_execute(
        &mut self,
        mut running: Running,
        understood: &Understood,
        execute: &[u8],
    ) {
        if let Some(Ok(format)) = understood.copy_format()
            && !running.masker.is_passthrough()
        {
            running.copy = Some(CopyMasker::new(running.masker.clone(), format));
        }
        self.barrier |= running.effect.is_barrier();
        running.copies_in = understood.copies_in();
        self.limit(&mut running, understood);
        running.gathers = understood.gathers();
        self.server.tx.extend_from_slice(execute);
        self.expected
            .push_back(Expected::Execute(Box::new(running)));
        self.pipeline_open = true;
    }

    /// Binds the masks of a statement to what this portal will return, asking the server for the
    /// shape first if nothing has told it yet.
    async fn portal_masker(
        &mut self,
        understood: &Arc<Understood>,
        portal: &Portal,
    ) -> Result<Result<Arc<RowMasker>, Refusal>, Close> {
        if !understood.needs_shape() {
            return Ok(Ok(Arc::new(RowMasker::passthrough())));
        }
        if understood.copy_source().is_some() {
            let shape = understood.shape.get().cloned().flatten();
            let masker = self.session.bind_masks(understood, shape.as_deref()).await;
            return Ok(masker.map(Arc::new));
        }
        if portal.statement.shape.get().is_none() {
            let described = self.expected.iter().any(|expected| {
                matches!(expected, Expected::DescribeStatement { statement, .. }
                    if Arc::ptr_eq(statement, &portal.statement))
            });
            if !described {
                let Some(name) = self.name_of(&portal.statement) else {
                    let refusal = self.session.refuse_unmaskable(
                        understood,
                        "the statement was closed before it was executed for the first time",
                    );
                    return Ok(Err(Box::pin(refusal).await));
                };
                put_describe(&mut self.server.tx, b'S', &name);
                self.expected.push_back(Expected::DescribeStatement {
                    forward: false,
                    statement: portal.statement.clone(),
                });
            }
            self.settle().await?;
            if self.skip_until_sync {
                // The statement failed; its error has been forwarded.
                return Ok(Ok(Arc::new(RowMasker::passthrough())));
            }
        }
        let shape = portal.statement.shape.get().cloned().flatten();
        let shape = match shape
            .as_deref()
            .map(|shape| portal.shape(shape))
            .transpose()
        {
            Ok(shape) => shape,
            Err(error) => return Err(Close::protocol(error.to_string())),
        };
        Ok(self
            .session
            .bind_masks(understood, shape.as_deref())
            .await
            .map(Arc::new))
    }

    fn name_of(&self, statement: &Arc<Prepared>) -> Option<Vec<u8>> {
        self.statements
            .iter()
            .find(|(_, other)| Arc::ptr_eq(other, statement))
            .map(|(name, _)| name.clone())
    }

    /// Passes on what the client sends during COPY FROM STDIN. `false`: nothing to do yet.
    pub(super) fn step_copy(&mut self) -> Result<bool, Close> {
        if self.to_server.rest > 0 {
            let now = self.to_server.rest.min(self.client.rx.len());
            let part = self.client.rx.split_to(now);
            self.to_server.rest -= now;
            // The server has seen the length: it gets every byte, even if the COPY has failed.
            self.server.tx.extend_from_slice(&part);
            return Ok(now > 0);
        }
        match framing(&self.client.rx) {
            Framing::Complete { tag, len } => {
                let frame = self.client.rx.split_to(len);
                self.copy_message(tag, &frame)?;
                Ok(true)
            }
            Framing::Partial { tag: b'd', len } if self.client.rx.len() >= 64 * 1024 => {
                let part = self.client.rx.split();
                self.to_server.rest = len - part.len();
                self.server.tx.extend_from_slice(&part);
                Ok(true)
            }
            Framing::Partial { len, .. } if len > MAX_CLIENT_MESSAGE => {
                Err(Close::protocol("message too long"))
            }
            Framing::Partial { .. } | Framing::Incomplete => Ok(false),
            Framing::Malformed => Err(Close::protocol("invalid message length")),
        }
    }

    /// Passes on what is left of a message whose beginning the server has.
    pub(super) async fn past_relay(&mut self) -> Result<(), Close> {
        while self.to_server.rest > 0 {
            if self.server.tx.len() >= HIGH_WATER || !self.step_copy()? {
                self.pump().await?;
            }
        }
        Ok(())
    }

    fn copy_message(&mut self, tag: u8, frame: &BytesMut) -> Result<(), Close> {
        match tag {
            b'd' => self.server.tx.extend_from_slice(frame),
            b'c' | b'f' => {
                let body = frame.get(HEADER..).unwrap_or_default();
                FrontendMessage::decode(tag, body)
                    .map_err(|error| Close::protocol(error.to_string()))?;
                self.server.tx.extend_from_slice(frame);
                self.copy_in = false;
                // The server has ignored the Flush that came with the statement.
                put_flush(&mut self.server.tx);
            }
            // The server ignores these during a COPY.
            b'H' | b'S' => {}
            b'X' => return Err(Close::Terminated),
            _ => {
                return Err(Close::protocol(format!(
                    "unexpected message type {:?} during COPY from stdin",
                    char::from(tag)
                )));
            }
        }
        Ok(())
    }

    /// A message above the cap: its bytes are thrown away unread.
    pub(super) async fn refuse_oversized(&mut self, tag: u8, len: usize) -> Result<(), Close> {
        if self.skip_until_sync {
            return Ok(());
        }
        let refusal = Refusal::as_server(
            "54000",
            format!("a message of {len} bytes is too large (limit {MAX_CLIENT_MESSAGE} bytes)"),
        );
        match tag {
            b'Q' => {
                self.settle().await?;
                self.refuse(refusal);
                self.sync(true);
            }
            b'P' | b'B' => self.refuse_pipeline(refusal),
            _ => return Err(Close::protocol("message too long")),
        }
        Ok(())
    }
}

/// Parameters as text for the evidence: text as it is, binary in hex.
pub(super) fn parameters_of(
    values: &[Option<&[u8]>],
    formats: &[i16],
    types: &[u32],
) -> Vec<Parameter> {
    let format = |index: usize| match formats {
        [] => 0,
        [one] => *one,
        all => all.get(index).copied().unwrap_or(0),
    };
    values
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let type_oid = types.get(index).copied().unwrap_or(0);
            match value {
                Some(value) => Parameter::new(value, format(index) == 1, type_oid, MAX_PARAMETER),
                None => Parameter::null(type_oid),
            }
        })
        .collect()
}
