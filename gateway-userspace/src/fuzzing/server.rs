//! A server in memory: it accepts every login, answers the gateway's own queries about the shop,
//! and everything else with what its script says.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::stand::Cut;
use crate::{
    protocol::postgres::wire::{
        FrontendMessage, HEADER, Report, Target, put_authentication_ok, put_backend_key, put_cstr,
        put_message, put_parameter_status, put_ready, put_report,
    },
    session::{GUARD, LOCKS, NameQueries},
    sql::{BASE_VERSION, CATALOG_QUERIES, FIRST_NORMAL_OID, OWN_CATALOG_QUERIES, Row, query_name},
};

/// A column of a result: name, relation, attribute and type.
pub(crate) type Column = (&'static str, u32, i16, u32);

/// What a server does with a text that is not the gateway's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// Texts that return rows, with their columns.
    pub shapes: Vec<(&'static str, Vec<Column>)>,
    /// The text whose result is the script's; others return one row of NULLs.
    pub only: String,
    /// That result up to the end of the statement, in pieces.
    pub results: Option<Arc<[Bytes]>>,
    /// The server goes away behind that.
    pub breaks_off: bool,
    /// How the gateway gets what it sends.
    pub cut: Cut,
}

/// Columns of `public.customers`.
pub(super) const CUSTOMERS: [Column; 7] = [
    ("id", 16397, 1, 23),
    ("name", 16397, 2, 25),
    ("email", 16397, 3, 25),
    ("ssn", 16397, 4, 1043),
    ("country", 16397, 5, 25),
    ("phone", 16397, 6, 25),
    ("profile", 16397, 7, 3802),
];

/// Serves one connection of the gateway's to its end.
pub(super) async fn serve(stream: DuplexStream, script: Script) {
    let mut server = Server {
        stream,
        rx: BytesMut::new(),
        tx: BytesMut::new(),
        script,
        statements: HashMap::new(),
        portals: HashMap::new(),
        status: b'I',
        failed: false,
        copies_in: false,
    };
    // Whatever ends it ends its connection.
    let _ = server.run().await;
}

struct Server {
    stream: DuplexStream,
    rx: BytesMut,
    tx: BytesMut,
    script: Script,
    statements: HashMap<Vec<u8>, Arc<str>>,
    portals: HashMap<Vec<u8>, Arc<str>>,
    status: u8,
    failed: bool,
    copies_in: bool,
}

impl Server {
    async fn run(&mut self) -> Option<()> {
        let length = usize::try_from(self.fill(4).await?.get_u32()).ok()?;
        let mut startup = self.fill(length.checked_sub(4)?).await?;
        if startup.get_u32() >> 16 != 3 {
            return None;
        }
        put_authentication_ok(&mut self.tx);
        for (name, value) in [
            ("server_version", "15.9"),
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
        ] {
            put_parameter_status(&mut self.tx, name.as_bytes(), value.as_bytes());
        }
        put_backend_key(&mut self.tx, 7, b"1234");
        put_ready(&mut self.tx, b'I');
        loop {
            self.flush().await?;
            let head = self.fill(HEADER).await?;
            let (tag, length) = (
                head[0],
                u32::from_be_bytes([head[1], head[2], head[3], head[4]]),
            );
            let body = self
                .fill(usize::try_from(length).ok()?.checked_sub(4)?)
                .await?;
            self.message(tag, &body).await?;
        }
    }

    async fn fill(&mut self, length: usize) -> Option<BytesMut> {
        while self.rx.len() < length {
            if self.stream.read_buf(&mut self.rx).await.ok()? == 0 {
                return None;
            }
        }
        Some(self.rx.split_to(length))
    }

    async fn flush(&mut self) -> Option<()> {
        self.stream.write_all(&self.tx).await.ok()?;
        self.tx.clear();
        Some(())
    }

    async fn message(&mut self, tag: u8, body: &[u8]) -> Option<()> {
        let message = FrontendMessage::decode(tag, body).expect("the gateway sends what decodes");
        if self.copies_in {
            return self.copy(&message);
        }
        if self.failed && !matches!(message, FrontendMessage::Sync | FrontendMessage::Terminate) {
            return Some(());
        }
        match message {
            FrontendMessage::Parse(parse) => {
                let text = std::str::from_utf8(parse.query).ok()?;
                if text.contains("refused by the server") {
                    self.error("42601", "syntax error");
                } else {
                    self.statements.insert(parse.name.to_vec(), text.into());
                    put_message(&mut self.tx, b'1', |_| {});
                }
            }
            FrontendMessage::Bind(bind) => match self.statements.get(bind.statement) {
                Some(text) => {
                    self.portals.insert(bind.portal.to_vec(), text.clone());
                    put_message(&mut self.tx, b'2', |_| {});
                }
                None => self.error("26000", "prepared statement does not exist"),
            },
            FrontendMessage::Describe(target) => self.describe(target),
            FrontendMessage::Execute { portal, .. } => match self.portals.get(portal).cloned() {
                Some(text) => self.execute(&text).await?,
                None => self.error("34000", "portal does not exist"),
            },
            FrontendMessage::Close(target) => {
                match target {
                    Target::Statement(name) => self.statements.remove(name),
                    Target::Portal(name) => self.portals.remove(name),
                };
                put_message(&mut self.tx, b'3', |_| {});
            }
            FrontendMessage::Sync => {
                self.failed = false;
                put_ready(&mut self.tx, self.status);
            }
            FrontendMessage::Flush
            | FrontendMessage::CopyData
            | FrontendMessage::CopyDone
            | FrontendMessage::CopyFail => {}
            FrontendMessage::Terminate => return None,
            FrontendMessage::Query(_)
            | FrontendMessage::FunctionCall(_)
            | FrontendMessage::Password
            | FrontendMessage::Unknown(_) => panic!("the gateway sent {message:?}"),
        }
        Some(())
    }

    fn copy(&mut self, message: &FrontendMessage<'_>) -> Option<()> {
        match message {
            FrontendMessage::CopyData | FrontendMessage::Flush | FrontendMessage::Sync => {}
            FrontendMessage::CopyDone => {
                self.copies_in = false;
                self.complete("COPY 0");
            }
            FrontendMessage::CopyFail => {
                self.copies_in = false;
                self.error("57014", "COPY from stdin failed");
            }
            FrontendMessage::Terminate => return None,
            // As PostgreSQL does: it takes it for the end of the data.
            _ => {
                self.copies_in = false;
                self.error("08P01", "unexpected message type during COPY from stdin");
            }
        }
        Some(())
    }

    fn error(&mut self, code: &str, message: &str) {
        let report = Report {
            severity: "ERROR",
            code,
            message,
            ..Report::default()
        };
        put_report(&mut self.tx, b'E', &report);
        self.failed = true;
        if self.status == b'T' {
            self.status = b'E';
        }
    }

    fn complete(&mut self, command: &str) {
        put_message(&mut self.tx, b'C', |out| put_cstr(out, command.as_bytes()));
    }

    fn shape(&self, text: &str) -> Option<Vec<Column>> {
        let known = self.script.shapes.iter().find(|(known, _)| *known == text);
        let word = first_word(text);
        match known {
            Some((_, columns)) => Some(columns.clone()),
            None if matches!(&*word, "SELECT" | "SHOW" | "FETCH" | "EXPLAIN" | "TABLE") => {
                Some(vec![("?column?", 0, 0, 23)])
            }
            None => None,
        }
    }

    fn describe(&mut self, target: Target<'_>) {
        let text = match target {
            Target::Statement(name) => self.statements.get(name),
            Target::Portal(name) => self.portals.get(name),
        };
        let Some(text) = text.cloned() else {
            return self.error("26000", "it does not exist");
        };
        if matches!(target, Target::Statement(_)) {
            put_message(&mut self.tx, b't', |out| out.put_i16(0));
        }
        match self.shape(&text) {
            Some(columns) => put_message(&mut self.tx, b'T', |out| put_columns(out, &columns)),
            None => put_message(&mut self.tx, b'n', |_| {}),
        }
    }

    async fn execute(&mut self, text: &str) -> Option<()> {
        if let Some(rows) = own_rows(text) {
            for row in rows {
                put_message(&mut self.tx, b'D', |out| put_row(out, row));
            }
            self.complete("SELECT");
            return Some(());
        }
        if text.contains("fails when it runs") {
            self.error("22012", "division by zero");
            return Some(());
        }
        let word = first_word(text);
        let scripted = text == self.script.only;
        if let Some(pieces) = self.script.results.clone().filter(|_| scripted) {
            for piece in &*pieces {
                self.tx.extend_from_slice(piece);
                self.flush().await?;
                tokio::task::yield_now().await;
            }
            return (!self.script.breaks_off).then_some(());
        }
        match &*word {
            "BEGIN" | "START" if self.status == b'I' => self.status = b'T',
            "COMMIT" | "ROLLBACK" | "END" | "ABORT" => self.status = b'I',
            "COPY" if text.to_ascii_uppercase().contains("STDIN") => {
                self.copies_in = true;
                put_message(&mut self.tx, b'G', |out| out.put_slice(&[0, 0, 0]));
                return Some(());
            }
            "COPY" => {
                put_message(&mut self.tx, b'H', |out| out.put_slice(&[0, 0, 0]));
                put_message(&mut self.tx, b'c', |_| {});
            }
            _ => {
                if let Some(columns) = self.shape(text) {
                    let row: Row = vec![None; columns.len()];
                    put_message(&mut self.tx, b'D', |out| put_row(out, &row));
                }
            }
        }
        self.complete(&word);
        Some(())
    }
}

fn first_word(text: &str) -> String {
    text.split(|c: char| !c.is_ascii_alphabetic())
        .find(|word| !word.is_empty())
        .unwrap_or_default()
        .to_ascii_uppercase()
}

fn put_columns(out: &mut BytesMut, columns: &[Column]) {
    out.put_i16(i16::try_from(columns.len()).unwrap_or(i16::MAX));
    for (name, table, attribute, kind) in columns {
        put_cstr(out, name.as_bytes());
        out.put_u32(*table);
        out.put_i16(*attribute);
        out.put_u32(*kind);
        out.put_i16(-1);
        out.put_i32(-1);
        out.put_i16(0);
    }
}

fn put_row(out: &mut BytesMut, row: &Row) {
    out.put_i16(i16::try_from(row.len()).unwrap_or(i16::MAX));
    for cell in row {
        match cell {
            None => out.put_i32(-1),
            Some(text) => {
                out.put_i32(i32::try_from(text.len()).unwrap_or(i32::MAX));
                out.put_slice(text.as_bytes());
            }
        }
    }
}

/// The rows of one of the gateway's own queries; `None`: it is none of them.
fn own_rows(text: &str) -> Option<&'static [Row]> {
    static SHOP: OnceLock<HashMap<&'static str, Vec<Row>>> = OnceLock::new();
    let shop = SHOP.get_or_init(|| {
        let saved = include_str!("../../../docs/examples/shop/shop.catalog.json");
        let saved: serde_json::Value = serde_json::from_str(saved).expect("JSON");
        let rows = |value: &serde_json::Value| -> Vec<Row> {
            serde_json::from_value(value.clone()).expect("rows")
        };
        let queries = OWN_CATALOG_QUERIES.iter().zip(0..);
        let queries = queries.chain(CATALOG_QUERIES.iter().zip(0..));
        let mut shop: HashMap<&'static str, Vec<Row>> = queries
            .map(|(query, index)| {
                let name = query_name(index);
                let mut rows = rows(&saved["rows"][name]);
                // All of it takes too long where it is read again and again.
                if matches!(name, "functions" | "relations") {
                    rows.retain(is_wanted);
                }
                if CATALOG_QUERIES.get(index) != Some(query) {
                    rows.retain(is_own);
                }
                (*query, rows)
            })
            .collect();
        let namespace = serde_json::from_value(saved["namespace"].clone()).expect("a row");
        shop.insert(NameQueries::NAMESPACE, vec![namespace]);
        let fingerprint = vec![vec![Some("7:7:".to_owned()), Some("the shop".to_owned())]];
        shop.insert(NameQueries::FINGERPRINT, fingerprint);
        shop.insert(BASE_VERSION, vec![vec![Some("1".to_owned())]]);
        shop.insert(LOCKS, Vec::new());
        shop.insert(NameQueries::VERSIONS, Vec::new());
        // Nothing has changed.
        shop.insert(GUARD, vec![vec![Some(String::new())]]);
        shop
    });
    shop.get(text).map(Vec::as_slice)
}

/// Whether it is not of what `initdb` made.
fn is_own(row: &Row) -> bool {
    let oid = row.get(2).and_then(|oid| oid.as_ref()?.parse::<u32>().ok());
    oid.is_none_or(|oid| oid >= FIRST_NORMAL_OID)
}

fn is_wanted(row: &Row) -> bool {
    const SYSTEM: [&str; 12] = [
        "count",
        "lower",
        "upper",
        "now",
        "sum",
        "max",
        "length",
        "set_config",
        "pg_sleep",
        "current_setting",
        "pg_class",
        "generate_series",
    ];
    match row.as_slice() {
        [Some(schema), Some(name), ..] => schema == "public" || SYSTEM.contains(&name.as_str()),
        _ => false,
    }
}
