//! `FunctionCall`: runs a function by its number. It is decided as the SELECT that it stands for, and
//! sent as that; the answer is put into the form that the client expects.

use std::sync::{Arc, OnceLock};

use bytes::{Buf, BufMut, BytesMut};

use super::{
    client::parameters_of,
    close::Close,
    confirm::{Reading, ToRead},
    connection::Connection,
    reply::{Expected, Origin, Portal, Prepared, Running, Undo},
    wire::{Call, HEADER, put_bind, put_execute, put_parse},
};
use crate::session::{Decision, Phase, Refusal, Understood};

impl Connection {
    pub(super) async fn function_call(&mut self, call: &Call<'_>) -> Result<(), Close> {
        self.settle().await?;
        if self.skip_until_sync {
            return Ok(());
        }
        match self.run_call(call).await? {
            Ok(()) => {
                self.past_commit().await?;
            }
            Err(Some(refusal)) => self.refuse(refusal),
            Err(None) => {}
        }
        self.sync(true);
        self.skip_until_sync = false;
        Ok(())
    }

    /// Sends the call. An error without a refusal has been forwarded.
    async fn run_call(&mut self, call: &Call<'_>) -> Result<Result<(), Option<Refusal>>, Close> {
        if let Err(refusal) = self.names_fresh().await? {
            return Ok(Err(Some(refusal)));
        }
        let arguments = call.arguments.len();
        let mut select = self.session.select_of(call.function, arguments);
        if select.is_err() && self.status != b'E' {
            // It may have been made a moment ago.
            self.refresh_names(false).await?;
            select = self.session.select_of(call.function, arguments);
        }
        let (text, types) = match select {
            Ok(select) => select,
            Err(refusal) => return Ok(Err(Some(*refusal))),
        };
        let mut understood = match self.understand_one(&text, &types).await? {
            Ok(Some(understood)) => understood,
            Ok(None) => return Err(Close::protocol("a call of nothing")),
            Err(refusal) => return Ok(Err(Some(refusal))),
        };
        // Not even its Parse goes out before a decision is on record.
        match self.session.decide(&understood, Phase::Prepare, &[]).await {
            Decision::Run(_) | Decision::Hold(_) => {}
            Decision::Refuse(refusal) => return Ok(Err(Some(refusal))),
        }
        let statement = Arc::new(Prepared {
            text: Arc::from(text.as_str()),
            types,
            shape: OnceLock::new(),
        });
        match self.prepare_call(&understood, &statement).await? {
            Reading::Agrees => {}
            Reading::Changed(again) => understood = again,
            Reading::Failed => return Ok(Err(None)),
            Reading::Refused(refusal) => return Ok(Err(Some(refusal))),
        }
        let portal = Portal {
            parameters: parameters_of(&call.arguments, &call.formats, &statement.types),
            statement,
            understood: None,
            formats: vec![call.result_format],
            approved: false.into(),
            rows: 0.into(),
            bytes: 0.into(),
        };
        let shape = match portal.statement.shape.get().cloned().flatten() {
            Some(shape) => portal
                .shape(&shape)
                .map_err(|error| Close::protocol(error.to_string()))?,
            None => return Err(Close::Upstream("a SELECT has no columns".to_owned())),
        };
        let masker = match self.session.bind_masks(&understood, Some(&shape)).await {
            Ok(masker) => Arc::new(masker),
            Err(refusal) => return Ok(Err(Some(refusal))),
        };
        match self
            .permit(&understood, Phase::Execute, &portal.parameters)
            .await?
        {
            Ok(permit) => {
                let (effect, protects) = (understood.effect(), understood.protects());
                let running = Running::new(permit, masker, effect, protects, Origin::Call);
                self.send_call(call, running, &understood);
                Ok(Ok(()))
            }
            Err(refusal) => Ok(Err(Some(refusal))),
        }
    }

    /// Has the server read the SELECT, and describe its column.
    async fn prepare_call(
        &mut self,
        understood: &Understood,
        statement: &Arc<Prepared>,
    ) -> Result<Reading, Close> {
        // As with a Query, the unnamed statement and portal are replaced.
        self.statements.remove(&b""[..]);
        self.portals.remove(&b""[..]);
        let mut message = BytesMut::new();
        put_parse(
            &mut message,
            b"",
            statement.text.as_bytes(),
            &statement.types,
        );
        let to_read = ToRead {
            name: b"",
            message: &message,
            undo: Undo::nothing(),
            statement: statement.clone(),
            close: false,
        };
        self.read_statement(understood, to_read).await
    }

    fn send_call(&mut self, call: &Call<'_>, running: Running, understood: &Arc<Understood>) {
        put_bind(
            &mut self.server.tx,
            b"",
            b"",
            &call.formats,
            &call.arguments,
            &[call.result_format],
        );
        self.expected.push_back(Expected::Bind {
            forward: false,
            undo: Undo::nothing(),
        });
        self.put_guard(understood, false);
        let mut execute = BytesMut::with_capacity(16);
        put_execute(&mut execute, b"");
        self.send_execute(running, understood, &execute);
    }
}

/// Turns the DataRow of one column that starts at `start` into a `FunctionCallResponse`.
pub(super) fn respond(out: &mut BytesMut, start: usize) {
    let mut row = out.split_off(start);
    if row.len() < HEADER + 2 {
        return;
    }
    row.advance(HEADER + 2);
    out.put_u8(b'V');
    out.put_u32(u32::try_from(row.len() + 4).unwrap_or(u32::MAX));
    out.unsplit(row);
}
