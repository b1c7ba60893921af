//! A stream split at every byte gives the same result.
//!
//! One stream with every message of the protocol goes through Cordon to a real server, and every
//! byte of the answer is kept. Then the client's stream, and the server's, is cut in two at each
//! position: a read never goes across it, and the next one comes only after Cordon has worked with
//! what is there and waits again. At last each comes byte by byte.
//!
//! `CORDON_TEST_POSTGRES` is the connection string of a superuser.

use std::{
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_postgres::{Config, NoTls, config::Host};

use crate::{
    fuzzing::{Arrival, Cut, Stand, messages, startup},
    protocol::postgres::wire::{
        put_bind_empty, put_close, put_cstr, put_describe, put_execute, put_flush, put_message,
        put_parse, put_sync, put_terminate,
    },
    transport::{Address, Memory},
};

const RULES: &str = "    allow: [{ all: '*.*' }]\n    deny: [{ select: public.hidden }]\n    mask: [{ column: public.rows.secret, with: redact }]\n";
const TABLES: &str = "CREATE TABLE rows (id int, note text, secret text);
INSERT INTO rows VALUES (1, 'one', 'S1'), (2, NULL, 'S2'), (3, repeat('x', 300), 'S3');
CREATE TABLE hidden (id int)";
/// Bytes of the connection that tell one from another: the key, and references into the evidence.
const REFERENCE: &[u8] = b"(ref ";

/// A database of the test's own, and how it is reached.
struct Server {
    socket: PathBuf,
    user: String,
    name: String,
}

impl Server {
    fn open() -> Option<Self> {
        let Ok(url) = std::env::var("CORDON_TEST_POSTGRES") else {
            assert!(
                std::env::var_os("CI").is_none(),
                "CORDON_TEST_POSTGRES must be set in CI"
            );
            eprintln!("skipped: CORDON_TEST_POSTGRES is not set");
            return None;
        };
        let config: Config = url.parse().expect("a connection string");
        let (Some(Host::Unix(folder)), Some(port)) =
            (config.get_hosts().first(), config.get_ports().first())
        else {
            panic!("not a Unix socket: {url}");
        };
        let server = Self {
            socket: folder.join(format!(".s.PGSQL.{port}")),
            user: config.get_user().expect("a user").to_owned(),
            name: format!("cordon_split_{}", std::process::id()),
        };
        Server::admin(&config, &format!("CREATE DATABASE {}", server.name));
        let mut own = config;
        Server::admin(own.dbname(&server.name), TABLES);
        Some(server)
    }

    fn admin(config: &Config, sql: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let (client, connection) = config.connect(NoTls).await.expect("connects");
            let connection = tokio::spawn(connection);
            client.batch_execute(sql).await.expect("runs");
            drop(client);
            let _ = connection.await;
        });
    }

    /// A gateway before it, and how the server's stream will be cut.
    fn gateway(&self) -> (Stand, Arc<Mutex<Cut>>, Arc<AtomicUsize>) {
        let cut: Arc<Mutex<Cut>> = Arc::default();
        let said: Arc<AtomicUsize> = Arc::default();
        let (how, socket, counts) = (Arc::clone(&cut), self.socket.clone(), Arc::clone(&said));
        let address = Address::Memory(Arc::new(move || {
            let stream = UnixStream::connect(&socket).expect("connects");
            stream.set_nonblocking(true).expect("does not block");
            let stream = tokio::net::UnixStream::from_std(stream).expect("a stream");
            let how = *how.lock().expect("not poisoned");
            how.apply(Memory::new(stream).counting(Arc::clone(&counts)))
        }));
        let user = Box::leak(self.user.clone().into_boxed_str());
        (Stand::before(RULES, address, &self.name, user), cut, said)
    }
}

fn query(out: &mut BytesMut, text: &str) {
    put_message(out, b'Q', |out| put_cstr(out, text.as_bytes()));
}

fn copy_data(out: &mut BytesMut, data: &[u8]) {
    put_message(out, b'd', |out| out.put_slice(data));
}

/// Every message of the protocol, in streams that end by themselves.
fn stream() -> BytesMut {
    let mut stream = BytesMut::from(&startup(&[("user", "u"), ("database", "shop")])[..]);
    let out = &mut stream;
    query(out, "SELECT id, note, secret FROM rows ORDER BY id");
    query(out, "");
    query(out, "SELECT 1; SELECT 1 / (id - 1) FROM rows; SELECT 2");
    query(out, "SELECT id FROM hidden");
    // Named and unnamed, described, in parts, binary.
    put_parse(
        out,
        b"s",
        b"SELECT id, secret FROM rows WHERE id < $1",
        &[23],
    );
    put_describe(out, b'S', b"s");
    put_message(out, b'B', |out| {
        out.put_slice(b"p\0s\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x09\0\x01\0\x01");
    });
    put_describe(out, b'P', b"p");
    for _ in 0..2 {
        put_message(out, b'E', |out| out.put_slice(b"p\0\0\0\0\x02"));
    }
    put_close(out, b'P', b"p");
    put_flush(out);
    put_close(out, b'S', b"s");
    put_sync(out);
    // One that returns no rows, and changes what the server tells by itself.
    put_parse(out, b"", b"SET application_name = 'split'", &[]);
    put_describe(out, b'S', b"");
    put_bind_empty(out, b"", b"");
    put_execute(out, b"");
    put_sync(out);
    // A pipeline in which one fails, and one that is refused.
    for text in ["SELECT 3", "SELECT 1 / (id - 1) FROM rows", "SELECT 4"] {
        put_parse(out, b"", text.as_bytes(), &[]);
        put_bind_empty(out, b"", b"");
        put_execute(out, b"");
    }
    put_sync(out);
    put_parse(out, b"", b"SELECT id FROM hidden", &[]);
    put_bind_empty(out, b"", b"");
    put_sync(out);
    // COPY in both directions, ended, cancelled and with an error.
    query(out, "BEGIN");
    query(out, "COPY rows FROM STDIN");
    copy_data(out, b"4\tfour\tS4\n5\tfi");
    copy_data(out, b"ve\tS5\n");
    put_message(out, b'c', |_| {});
    query(
        out,
        "COPY (SELECT id, note, secret FROM rows ORDER BY id) TO STDOUT",
    );
    query(
        out,
        "COPY (SELECT id, secret FROM rows ORDER BY id) TO STDOUT (FORMAT binary)",
    );
    query(out, "ROLLBACK");
    query(out, "COPY rows FROM STDIN");
    copy_data(out, b"6\t");
    put_message(out, b'f', |out| put_cstr(out, b"changed my mind"));
    query(out, "COPY rows FROM STDIN (FORMAT csv)");
    copy_data(out, b"no number,x,y\n");
    put_message(out, b'c', |_| {});
    put_parse(
        out,
        b"",
        b"COPY (SELECT id, note, secret FROM rows ORDER BY id) TO STDOUT",
        &[],
    );
    put_bind_empty(out, b"", b"");
    put_execute(out, b"");
    put_sync(out);
    put_message(out, b'F', |out| out.put_slice(b"\0\0\0\x07\0\0\0\0\0\0"));
    put_terminate(out);
    stream
}

/// Sends all of it, and reads to the end. It does not end its own side, which Cordon would look into
/// at a time of its own.
async fn talk(ours: DuplexStream, stream: &[u8]) -> Vec<u8> {
    let (mut reads, mut writes) = tokio::io::split(ours);
    let mut seen = Vec::new();
    let (sent, received) = tokio::join!(writes.write_all(stream), reads.read_to_end(&mut seen));
    sent.expect("Cordon takes all of it");
    received.expect("Cordon ends it");
    seen
}

/// Without what differs from connection to connection.
fn comparable(seen: &[u8]) -> Vec<u8> {
    let mut same = Vec::new();
    for (tag, body) in messages(seen) {
        let mut body = body.to_vec();
        if tag == b'K' {
            body.fill(b'k');
        }
        let reference = body
            .windows(REFERENCE.len())
            .position(|part| part == REFERENCE);
        if let Some(start) = reference {
            for byte in body
                .iter_mut()
                .skip(start)
                .take_while(|byte| **byte != b')')
            {
                *byte = b'r';
            }
        }
        same.push(tag);
        same.extend(u32::try_from(body.len() + 4).expect("short").to_be_bytes());
        same.extend(body);
    }
    same
}

fn assert_same(seen: &[u8], whole: &[u8], what: &str) {
    let (seen, whole) = (messages(seen), messages(whole));
    for (seen, whole) in seen.iter().zip(&whole) {
        let shown =
            |(tag, body): &(u8, &[u8])| format!("{} {}", char::from(*tag), body.escape_ascii());
        assert_eq!(shown(seen), shown(whole), "{what}");
    }
    assert_eq!(seen.len(), whole.len(), "{what}");
}

#[test]
fn a_stream_split_at_every_byte_gives_the_same_result() {
    let Some(server) = Server::open() else { return };
    let stream = stream();
    let run = |stand: &mut Stand, cut: Cut| {
        let arrival = Arrival {
            cut,
            ..Arrival::default()
        };
        comparable(&stand.connect(arrival, |ours| talk(ours, &stream)))
    };
    let (mut stand, _, said) = server.gateway();
    // The first session reads the whole catalog; those after it share it.
    let first = run(&mut stand, Cut::Nowhere);
    said.store(0, Ordering::SeqCst);
    let whole = run(&mut stand, Cut::Nowhere);
    let answer = said.load(Ordering::SeqCst);
    assert_same(&first, &whole, "the second session");
    let tags: Vec<u8> = messages(&whole).into_iter().map(|(tag, _)| tag).collect();
    for tag in b"RSKZTDCIE12tsn3GdHc" {
        assert!(
            tags.contains(tag),
            "no {:?} was said: {}",
            char::from(*tag),
            whole.escape_ascii()
        );
    }
    let ways: Vec<(bool, Cut)> = [Cut::Pieces(1), Cut::Pieces(3)]
        .into_iter()
        .flat_map(|cut| [(true, cut), (false, cut)])
        .chain((1..stream.len()).map(|at| (true, Cut::At(at))))
        .chain((1..answer).map(|at| (false, Cut::At(at))))
        .collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (mut stand, server_cut, _) = server.gateway();
                while let Some((clients, cut)) = ways.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let (ours, theirs) = if *clients {
                        (*cut, Cut::Nowhere)
                    } else {
                        (Cut::Nowhere, *cut)
                    };
                    *server_cut.lock().expect("not poisoned") = theirs;
                    let seen = run(&mut stand, ours);
                    let side = if *clients { "client's" } else { "server's" };
                    assert_same(&seen, &whole, &format!("the {side} stream, {cut:?}"));
                }
            });
        }
    });
    println!(
        "the client's stream of {} bytes and the server's of {answer}, each split everywhere",
        stream.len()
    );
    let config: Config = std::env::var("CORDON_TEST_POSTGRES")
        .expect("it was there")
        .parse()
        .expect("a connection string");
    Server::admin(
        &config,
        &format!("DROP DATABASE {} WITH (FORCE)", server.name),
    );
}
