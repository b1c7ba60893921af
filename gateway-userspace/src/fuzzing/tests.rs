//! What only a gateway in memory can show for certain: where exactly a peer stops.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{
    client::{exchange, messages, startup, to_its_end},
    seeds,
    server::{CUSTOMERS, Script},
    stand::{Arrival, Cut, Stand},
};
use crate::protocol::postgres::wire::{
    put_bind_empty, put_cstr, put_execute, put_message, put_parse, put_sync,
};

const RULES: &str = "    allow: [{ all: '*.*' }]\n";
const NOTE: &str = "SELECT note FROM public.orders";
/// More than all buffers between the two hold.
const LARGE: usize = 4 * 1024 * 1024;

/// A server whose one row is of this length, or breaks off before its end.
fn large_row(breaks_off: bool) -> Script {
    let mut row = BytesMut::new();
    put_message(&mut row, b'D', |out| {
        out.put_i16(1);
        out.put_i32(i32::try_from(LARGE).unwrap());
        out.put_bytes(b'x', LARGE);
    });
    let mut pieces = Vec::new();
    if breaks_off {
        pieces.push(row.split_to(LARGE / 2).freeze());
    } else {
        put_message(&mut row, b'C', |out| put_cstr(out, b"SELECT 1"));
        pieces.push(row.freeze());
    }
    Script {
        shapes: vec![(NOTE, vec![("note", 16416, 4, 25)])],
        only: NOTE.to_owned(),
        results: Some(Arc::from(pieces)),
        breaks_off,
        cut: Cut::Nowhere,
    }
}

/// Asks for the row, reads a part of it, does something, and reads on to the end.
async fn reads_a_part<F>(mut stream: DuplexStream, then: impl FnOnce(DuplexStream) -> F) -> Vec<u8>
where
    F: Future<Output = DuplexStream>,
{
    let mut hello = BytesMut::from(&startup(&[("user", "u"), ("database", "shop")])[..]);
    put_message(&mut hello, b'Q', |out| put_cstr(out, NOTE.as_bytes()));
    stream.write_all(&hello).await.unwrap();
    let mut seen = vec![0; 100_000];
    stream.read_exact(&mut seen).await.unwrap();
    let mut stream = then(stream).await;
    stream.read_to_end(&mut seen).await.unwrap();
    seen
}

/// It looks whether the client is still there by sending something: not into the row.
#[test]
fn nothing_is_put_into_a_row_whose_client_ends_its_side() {
    to_its_end(|| {
        let arrival = Arrival {
            cut: Cut::Nowhere,
            script: large_row(false),
        };
        let seen = Stand::start(RULES).connect(arrival, |stream| {
            reads_a_part(stream, |mut stream| async {
                stream.shutdown().await.unwrap();
                stream
            })
        });
        let messages = messages(&seen);
        let (_, row) = messages.iter().find(|(tag, _)| *tag == b'D').unwrap();
        assert_eq!(row.len(), LARGE + 6);
        assert!(
            row[6..].iter().all(|byte| *byte == b'x'),
            "the row has changed"
        );
        assert_eq!(messages.last(), Some(&(b'Z', &b"I"[..])));
    });
}

/// Whatever it would be told, it would read as a part of the row.
#[test]
fn nothing_is_put_into_a_row_whose_server_goes_away() {
    to_its_end(|| {
        let arrival = Arrival {
            cut: Cut::Nowhere,
            script: large_row(true),
        };
        let seen = Stand::start(RULES).connect(arrival, |stream| {
            reads_a_part(stream, |stream| async { stream })
        });
        let tail: &Bytes = &Bytes::copy_from_slice(&seen[seen.len() - 1000..]);
        assert!(tail.iter().all(|byte| *byte == b'x'), "{tail:?}");
    });
}

/// Whatever is sent behind an error gets no answer until a Sync comes.
#[test]
fn a_statement_that_is_new_behind_one_that_fails_is_skipped() {
    to_its_end(|| {
        let (_, input) = seeds::frontend()
            .into_iter()
            .find(|(name, _)| *name == "pipeline-fails")
            .unwrap();
        let mut bytes = startup(&[("user", "u"), ("database", "shop")]);
        bytes.extend_from_slice(&input[2..]);
        let seen =
            Stand::start(RULES).connect(Arrival::default(), |stream| exchange(stream, &bytes));
        let tags: String = messages(&seen)
            .into_iter()
            .map(|(tag, _)| char::from(tag))
            .collect();
        assert!(tags.ends_with("1tT2TEZ1tT2TDCZ"), "{tags}");
    });
}

/// The end of a transaction ends the portals that were there, not those bound behind its Sync.
#[test]
fn a_portal_bound_behind_a_sync_that_is_not_answered_yet_stays() {
    to_its_end(|| {
        const MASKED: &str = "    mask: [{ column: '*.*.email', with: redact }]\n";
        const EMAILS: &str = "SELECT email FROM public.customers";
        let mut stand = Stand::start(&format!("{RULES}{MASKED}"));
        let mut bytes = BytesMut::from(&startup(&[("user", "u"), ("database", "shop")])[..]);
        put_message(&mut bytes, b'Q', |out| put_cstr(out, b"SELECT 1"));
        put_parse(&mut bytes, b"", EMAILS.as_bytes(), &[]);
        put_bind_empty(&mut bytes, b"p", b"");
        put_execute(&mut bytes, b"p");
        put_execute(&mut bytes, b"p");
        put_sync(&mut bytes);
        // The first session has the server read the statement, and waits for it.
        for session in 0..2 {
            let arrival = Arrival {
                cut: Cut::Nowhere,
                script: Script {
                    shapes: vec![(EMAILS, vec![CUSTOMERS[2]])],
                    ..Script::default()
                },
            };
            let seen = stand.connect(arrival, |stream| exchange(stream, &bytes));
            let tags: Vec<u8> = messages(&seen).into_iter().map(|(tag, _)| tag).collect();
            assert!(
                !tags.contains(&b'E'),
                "session {session}: {}",
                seen.escape_ascii()
            );
        }
    });
}
