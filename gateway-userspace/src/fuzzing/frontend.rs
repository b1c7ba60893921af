//! Any bytes at all may come from the client of an open session.

use std::{cell::RefCell, sync::Arc};

use bytes::{Bytes, BytesMut};

use super::{
    client::{exchange, messages, startup, with_stand},
    server::{CUSTOMERS, Column, Script},
    stand::{Arrival, Cut, Stand},
};
use crate::protocol::postgres::wire::{put_cstr, put_message};

/// Some is masked, some waits for people who never come.
const RULES: &str = "    allow: [{ all: '*.*' }]\n    mask: [{ column: '*.*.email', with: partial }, { column: '*.*.ssn', with: redact }, { detect: [email], with: redact }]\n    approve: [{ delete: '*.*', by: { group: dba, count: 1 } }]\n";

thread_local! {
    static STAND: RefCell<Option<Stand>> = const { RefCell::new(None) };
}

/// Sends anything in an open session: the first byte of the input tells which, the second how it
/// is cut into reads.
///
/// # Panics
/// If something does not hold.
pub fn pg_frontend(input: &[u8]) {
    let [mode, reads, rest @ ..] = input else {
        return;
    };
    let database = if mode & 1 == 0 { "shop" } else { "limited" };
    let arrival = Arrival {
        cut: Cut::pieces(*reads),
        script: script(Cut::pieces(mode >> 1)),
    };
    let mut bytes = startup(&[("user", "u"), ("database", database)]);
    bytes.extend_from_slice(rest);
    let seen = with_stand(&STAND, RULES, |stand| {
        stand.connect(arrival, |stream| exchange(stream, &bytes))
    });
    understandable(&seen);
}

/// What a client gets is whole messages, and not more than it asked for.
fn understandable(seen: &[u8]) {
    let messages = messages(seen);
    let whole: usize = messages.iter().map(|(_, body)| body.len() + 5).sum();
    assert_eq!(whole, seen.len(), "the end of what was said is no message");
    assert_eq!(messages.first().map(|(tag, _)| *tag), Some(b'R'));
    for (tag, _) in &messages {
        assert!(b"RSKZ123tTnDCIsEGHdcNA".contains(tag), "the tag {tag}");
    }
}

fn script(cut: Cut) -> Script {
    let orders: Vec<Column> = vec![("id", 16416, 1, 23)];
    let mut rows = BytesMut::new();
    for number in b"12345" {
        put_message(&mut rows, b'D', |out| {
            out.extend_from_slice(&[0, 1, 0, 0, 0, 1, *number]);
        });
    }
    put_message(&mut rows, b'C', |out| put_cstr(out, b"SELECT 5"));
    let [id, _, email, ssn, ..] = CUSTOMERS;
    Script {
        shapes: vec![
            ("SELECT id FROM public.orders", orders),
            ("SELECT id, email FROM public.customers", vec![id, email]),
            (
                "SELECT id, ssn FROM public.customers WHERE id = $1",
                vec![id, ssn],
            ),
        ],
        only: "SELECT id FROM public.orders".to_owned(),
        results: Some(Arc::from([Bytes::from(rows)])),
        breaks_off: false,
        cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::{client::to_its_end, mutate_wire, seeds};

    #[test]
    fn what_must_hold_holds_for_the_seeds_and_their_mutations() {
        to_its_end(|| {
            for (_, seed) in seeds::frontend() {
                pg_frontend(&seed);
                for round in 0..20 {
                    pg_frontend(&mutate_wire(&seed, round));
                }
            }
        });
    }

    /// It could wait for data, or for a Sync, that nobody will send.
    #[test]
    fn a_session_ends_when_its_client_has_ended_its_side() {
        to_its_end(|| {
            for (name, seed) in seeds::frontend() {
                if name.ends_with("-half") {
                    pg_frontend(&seed);
                }
            }
        });
    }
}
