//! The inputs that fuzzing begins with: every message of the protocol, in its place. They are
//! kept as files in `fuzz/seeds`.

use bytes::{BufMut, BytesMut};

use super::client::startup as hello;
use crate::protocol::postgres::wire::{
    put_bind_empty, put_close, put_cstr, put_describe, put_execute, put_flush, put_message,
    put_parse, put_sync, put_terminate,
};

/// Inputs with the names of their files.
pub(super) type Seeds = Vec<(&'static str, Vec<u8>)>;

fn with_mode(mode: u8, reads: u8, rest: &[u8]) -> Vec<u8> {
    let mut input = vec![mode, reads];
    input.extend_from_slice(rest);
    input
}

/// Seeds of `pg_startup`.
pub(super) fn startup() -> Seeds {
    let plain = hello(&[("user", "u"), ("database", "shop")]);
    let options = hello(&[
        ("user", "u"),
        ("database", "shop"),
        ("application_name", "seed"),
        (
            "options",
            "-c statement_timeout=5s --search_path=public,\\ x",
        ),
        ("client_encoding", "utf-8"),
        ("_pq_.unknown", "1"),
        ("replication", "off"),
    ]);
    let asks = hello(&[("user", "u"), ("database", "asks")]);
    let ssl = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
    let gss = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x30];
    let cancel = [0, 0, 0, 16, 4, 0xd2, 0x16, 0x2e, 0, 0, 0, 7, 1, 2, 3, 4];
    let version = |version: u32| {
        let mut packet = plain.clone();
        packet.splice(4..8, version.to_be_bytes());
        packet
    };
    let mut sasl = BytesMut::new();
    put_message(&mut sasl, b'p', |out| {
        put_cstr(out, b"SCRAM-SHA-256");
        out.put_i32(11);
        out.put_slice(b"n,,n=,r=abc");
    });
    let with_query = |bytes: &[u8]| {
        let mut all = BytesMut::from(bytes);
        put_message(&mut all, b'Q', |out| put_cstr(out, b"SELECT 1"));
        put_terminate(&mut all);
        all.to_vec()
    };
    vec![
        ("plain", with_mode(0, 0, &with_query(&plain))),
        ("plain-bytewise", with_mode(0, 1, &with_query(&plain))),
        ("options", with_mode(0, 7, &options)),
        (
            "ssl-smuggling",
            with_mode(0, 0, &[&ssl[..], &plain].concat()),
        ),
        (
            "ssl-garbage",
            with_mode(
                0,
                8,
                &[&ssl[..], b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"].concat(),
            ),
        ),
        (
            "direct-garbage",
            with_mode(0, 0, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"),
        ),
        ("gss", with_mode(0, 8, &[&gss[..], &plain].concat())),
        (
            "gss-twice",
            with_mode(0, 8, &[&gss[..], &gss, &plain].concat()),
        ),
        ("cancel", with_mode(0, 0, &cancel)),
        ("version-2", with_mode(0, 0, &version(2 << 16))),
        ("version-3.2", with_mode(0, 0, &version(3 << 16 | 2))),
        ("version-3.9", with_mode(0, 0, &version(3 << 16 | 9))),
        (
            "http",
            with_mode(0, 0, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ),
        ("asks", with_mode(0, 0, &[&asks[..], &sasl].concat())),
        ("tls", with_mode(1, 0, &with_query(&plain))),
        ("tls-in-tls", with_mode(1, 3, &[&ssl[..], &plain].concat())),
        ("direct-tls", with_mode(2, 0, &with_query(&plain))),
        ("scram", with_mode(3, 0, b"n,,n=,r=abc|c=biws,r=%n,p=%p")),
        (
            "scram-bytewise",
            with_mode(3, 1, b"y,,n=u,r=abc|c=eSws,r=%n,p=%p"),
        ),
        (
            "scram-wrong",
            with_mode(3, 0, b"n,,n=,r=abc|c=biws,r=%n,p=AAAA"),
        ),
        (
            "scram-bound",
            with_mode(3, 0, b"p=tls-server-end-point,,n=,r=abc|c=biws,r=%n,p=%p"),
        ),
    ]
}

fn query(out: &mut BytesMut, text: &str) {
    put_message(out, b'Q', |out| put_cstr(out, text.as_bytes()));
}

fn extended(out: &mut BytesMut, name: &str, text: &str) {
    put_parse(out, name.as_bytes(), text.as_bytes(), &[]);
    put_describe(out, b'S', name.as_bytes());
    put_bind_empty(out, b"", name.as_bytes());
    put_describe(out, b'P', b"");
    put_execute(out, b"");
}

fn stream(mode: u8, reads: u8, write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out);
    with_mode(mode, reads, &out)
}

/// Seeds of `pg_frontend`.
pub(super) fn frontend() -> Seeds {
    let orders = "SELECT id FROM public.orders";
    let masked = "SELECT id, email FROM public.customers";
    let with_parameter = "SELECT id, ssn FROM public.customers WHERE id = $1";
    vec![
        ("simple", stream(0, 0, |out| query(out, "SELECT 1"))),
        (
            "simple-several",
            stream(0, 1, |out| {
                query(out, "BEGIN; SELECT id FROM public.orders; COMMIT");
                query(out, "SELECT 1; SELECT refused by; SELECT 2");
                query(out, "");
                put_terminate(out);
            }),
        ),
        (
            "extended",
            stream(0, 3, |out| {
                extended(out, "s", masked);
                put_sync(out);
                put_close(out, b'S', b"s");
                put_flush(out);
                put_sync(out);
            }),
        ),
        (
            "pipeline",
            stream(0, 0, |out| {
                extended(out, "", "SELECT 1");
                extended(out, "two", orders);
                extended(out, "", "SELECT refused by the server");
                extended(out, "", "SELECT 3");
                put_sync(out);
                put_sync(out);
            }),
        ),
        (
            "pipeline-fails",
            stream(0, 0, |out| {
                let fails = "SELECT id AS \"fails when it runs\" FROM public.orders";
                extended(out, "", fails);
                extended(out, "later", orders);
                put_sync(out);
                extended(out, "later", orders);
                put_sync(out);
            }),
        ),
        (
            "bind",
            stream(0, 0, |out| {
                put_parse(out, b"s", with_parameter.as_bytes(), &[23]);
                put_message(out, b'B', |out| {
                    put_cstr(out, b"p");
                    put_cstr(out, b"s");
                    out.put_slice(b"\0\x01\0\0\0\x01\0\0\0\x017\0\x02\0\x01\0\0");
                });
                put_message(out, b'E', |out| {
                    put_cstr(out, b"p");
                    out.put_i32(1);
                });
                put_close(out, b'P', b"p");
                put_sync(out);
            }),
        ),
        (
            "refused",
            stream(0, 0, |out| {
                extended(out, "s", "DELETE FROM public.nothing");
                put_sync(out);
                query(out, "DROP TABLE public.orders");
                query(out, "SET ROLE postgres");
                query(out, "SET client_encoding = 'LATIN1'");
            }),
        ),
        (
            "held",
            stream(0, 0, |out| query(out, "DELETE FROM public.orders")),
        ),
        (
            "copy-in",
            stream(0, 2, |out| {
                query(out, "COPY public.imports FROM STDIN");
                put_message(out, b'd', |out| out.put_slice(b"a\t1\t2\n"));
                put_message(out, b'd', |out| out.put_slice(b"b\t"));
                put_sync(out);
                put_message(out, b'c', |_| {});
                query(out, "SELECT 1");
            }),
        ),
        (
            "copy-fail",
            stream(0, 0, |out| {
                extended(out, "", "COPY public.imports FROM STDIN");
                put_sync(out);
                put_message(out, b'd', |out| out.put_slice(b"a\n"));
                put_message(out, b'f', |out| put_cstr(out, b"no"));
                put_sync(out);
            }),
        ),
        (
            "copy-half",
            stream(0, 0, |out| query(out, "COPY public.imports FROM STDIN")),
        ),
        (
            "copy-data-half",
            stream(0, 0, |out| {
                query(out, "COPY public.imports FROM STDIN");
                put_message(out, b'd', |out| out.put_slice(b"a\t1\t2\n"));
                out.put_slice(b"d\0\0\0\x09ab");
            }),
        ),
        (
            "pipeline-half",
            stream(0, 0, |out| extended(out, "", orders)),
        ),
        (
            "message-half",
            stream(0, 0, |out| out.put_slice(b"Q\0\0\0\x09SEL")),
        ),
        (
            "copy-out",
            stream(0, 0, |out| query(out, "COPY public.orders TO STDOUT")),
        ),
        (
            "cursor",
            stream(0, 0, |out| {
                query(
                    out,
                    "BEGIN; DECLARE c CURSOR FOR SELECT id FROM public.orders",
                );
                query(out, "FETCH 2 FROM c");
                put_describe(out, b'P', b"c");
                put_sync(out);
                query(out, "CLOSE c; ROLLBACK");
            }),
        ),
        (
            "prepare",
            stream(0, 0, |out| {
                query(out, "PREPARE q AS SELECT id FROM public.orders");
                query(out, "EXECUTE q");
                put_bind_empty(out, b"", b"q");
                put_execute(out, b"");
                put_sync(out);
                query(out, "DEALLOCATE ALL; DISCARD ALL");
            }),
        ),
        (
            "function-call",
            stream(0, 0, |out| {
                put_message(out, b'F', |out| out.put_slice(b"\0\0\0\x07\0\0\0\0\0\0"));
                put_message(out, b'p', |out| put_cstr(out, b"late"));
            }),
        ),
        (
            "oversized",
            stream(0, 0, |out| out.put_slice(b"Q\x04\0\0\x02SELECT")),
        ),
        (
            "limited",
            stream(1, 0, |out| {
                query(out, orders);
                extended(out, "", orders);
                put_sync(out);
                query(
                    out,
                    "BEGIN; UPDATE public.orders SET note = 'x'; SELECT id FROM public.orders; COMMIT",
                );
            }),
        ),
        (
            "limited-bytewise",
            stream(3, 1, |out| {
                query(out, orders);
                query(out, "SELECT 1");
            }),
        ),
    ]
}

/// Seeds of `pg_backend_rows`.
pub(super) fn rows() -> Seeds {
    // A row: each cell with a kind and, where it takes them, a length and bytes.
    let row: &[u8] = &[
        0, 1, 1, b'7', 1, 1, 2, b'@', b'x', 1, 1, b'a', 1, b'b', 1, 0, 1, 0, 5, 0, 1, b'c', 0, 0, 0,
    ];
    let found: &[u8] = &[
        1, 1, 1, b'8', 2, 0, 5, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 2, 0, 0, 0, 0,
    ];
    let held: &[u8] = &[2, 1, 1, b'9', 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 200];
    let notice: &[u8] = &[8, 6, 3, 0, 1, b'd', 5, 1, b'm', 6, 0];
    let error: &[u8] = &[10, 0, 4, 0, 1, b'd', 5, 1, b'm', 2, 0, 3, 0];
    let mixed = [row, notice, found, &[12], held, &[9, 2, b'p', b'q'], row].concat();
    let names = [
        "text",
        "binary",
        "copy-text",
        "copy-bar",
        "copy-csv",
        "copy-csv-options",
        "copy-binary",
    ];
    let mut seeds = Seeds::new();
    for (way, name) in (0..).zip(names) {
        let input = |reads: u8, kind: u8, rest: &[u8]| [&[way, reads, kind][..], rest].concat();
        seeds.push((name, input(0, 0, &mixed)));
        seeds.push((EACH_BYTE[usize::from(way)], input(1, 2, &mixed)));
        seeds.push((
            FAILING[usize::from(way)],
            input(0, way, &[row, error].concat()),
        ));
        seeds.push((
            RAW[usize::from(way)],
            input(
                5,
                way,
                &[row, &[11, b'd', 3, 1, 2, 3, 13, 2, b'"', b'\n'], row].concat(),
            ),
        ));
    }
    seeds
}

const EACH_BYTE: [&str; 7] = [
    "text-bytewise",
    "binary-bytewise",
    "copy-text-bytewise",
    "copy-bar-bytewise",
    "copy-csv-bytewise",
    "copy-csv-options-bytewise",
    "copy-binary-bytewise",
];
const FAILING: [&str; 7] = [
    "text-error",
    "binary-error",
    "copy-text-error",
    "copy-bar-error",
    "copy-csv-error",
    "copy-csv-options-error",
    "copy-binary-error",
];
const RAW: [&str; 7] = [
    "text-raw",
    "binary-raw",
    "copy-text-raw",
    "copy-bar-raw",
    "copy-csv-raw",
    "copy-csv-options-raw",
    "copy-binary-raw",
];

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// With `CORDON_WRITE_SEEDS` set they are written.
    #[test]
    fn the_seeds_in_the_folder_are_these() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
        for (target, seeds) in [
            ("pg_startup", startup()),
            ("pg_frontend", frontend()),
            ("pg_backend_rows", rows()),
        ] {
            let folder = folder.join(target);
            if std::env::var_os("CORDON_WRITE_SEEDS").is_some() {
                let _ = fs::remove_dir_all(&folder);
                fs::create_dir_all(&folder).unwrap();
                for (name, seed) in &seeds {
                    fs::write(folder.join(name), seed).unwrap();
                }
            }
            assert_eq!(fs::read_dir(&folder).unwrap().count(), seeds.len());
            for (name, seed) in seeds {
                assert_eq!(
                    fs::read(folder.join(name)).unwrap(),
                    seed,
                    "{target}/{name}"
                );
            }
        }
    }
}
