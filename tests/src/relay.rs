//! A relay in front of a real server that turns hostile when a statement names it.
//!
//! Up to then it passes everything on, so that logins, catalogs and answers are the real server's.
//! A statement that contains `act:NAME` makes it do what [`ACTS`] says of that name.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result};

/// What a relay does in the place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Sends these bytes and closes.
    Close(&'static [u8]),
    /// Sends these bytes, and nothing more.
    Stall(&'static [u8]),
    /// Sends these bytes for as long as they are taken.
    Flood(&'static [u8]),
}

/// A notice.
const NOTICE: &[u8] =
    b"N\0\0\0ZSNOTICE\0VNOTICE\0C00000\0Mxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\0\0";
/// ParseComplete, BindComplete and the description of one column of text.
const DESCRIBED: &[u8] =
    b"1\0\0\0\x042\0\0\0\x04T\0\0\0\x1a\0\x01?\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";

/// Acts by name.
pub const ACTS: &[(&str, Act)] = &[
    ("dies at once", Act::Close(b"")),
    ("dies in a header", Act::Close(b"1\0\0")),
    (
        "dies in a row",
        Act::Close(b"1\0\0\0\x04D\0\0\0\x64\0\x01\0\0\0\x5aabc"),
    ),
    (
        "garbage",
        Act::Close(b"\x00\xff\x13\x37 this is no message of any protocol at all \xfe\x01"),
    ),
    (
        "http",
        Act::Close(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    ),
    ("unknown tag", Act::Stall(b"y\0\0\0\x04")),
    ("message of a client", Act::Stall(b"Q\0\0\0\x06x\0")),
    ("length of 2", Act::Stall(b"1\0\0\0\x02")),
    ("length of 2^31-1", Act::Stall(b"Z\x7f\xff\xff\xffI")),
    ("negative length", Act::Stall(b"Z\xff\xff\xff\xffI")),
    ("ready too early", Act::Stall(b"Z\0\0\0\x05I")),
    ("bind before parse", Act::Stall(b"2\0\0\0\x04")),
    (
        "a row before its description",
        Act::Stall(b"D\0\0\0\x0b\0\x01\0\0\0\x01x"),
    ),
    (
        "copy that nobody asked for",
        Act::Stall(b"G\0\0\0\x07\0\0\0"),
    ),
    ("authentication again", Act::Stall(b"R\0\0\0\x08\0\0\0\0")),
    ("another encoding", Act::Stall(b"Sclient_encoding")),
    (
        "encoding is LATIN1",
        Act::Stall(b"S\0\0\0\x1bclient_encoding\0LATIN1\0"),
    ),
    ("an error without an end", Act::Stall(b"E\0\0\0\x0aSERROR")),
    (
        "an error that is fatal",
        Act::Stall(b"E\0\0\0\x1dSFATAL\0VFATAL\0C57P01\0Mx\0\0"),
    ),
    ("endless notices", Act::Flood(NOTICE)),
    ("endless rows", Act::Flood(b"D\0\0\0\x0b\0\x01\0\0\0\x01x")),
    ("endless completions", Act::Flood(b"C\0\0\0\x0dSELECT 1\0")),
    ("described, then silent", Act::Stall(DESCRIBED)),
    ("nothing", Act::Stall(b"")),
];

/// What a relay does as soon as somebody wants to log in.
pub const AT_LOGIN: &[(&str, Act)] = &[
    ("dies at the login", Act::Close(b"")),
    (
        "garbage at the login",
        Act::Close(b"\x00\xff\x13\x37 no message"),
    ),
    ("unknown method", Act::Stall(b"R\0\0\0\x08\0\0\0\x63")),
    (
        "length of 2^31-1 at the login",
        Act::Stall(b"R\x7f\xff\xff\xff"),
    ),
    ("ready before the login", Act::Stall(b"Z\0\0\0\x05I")),
    ("endless notices at the login", Act::Flood(NOTICE)),
    ("endless parameters", Act::Flood(b"S\0\0\0\x0aa\0bcd\0")),
    ("no answer to the login", Act::Stall(b"")),
];

/// A running relay. Ends with the test.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    server: Arc<Mutex<String>>,
    at_login: Arc<Mutex<Option<Act>>>,
    stop: Arc<AtomicBool>,
}

impl Relay {
    /// Starts one on a port of its own, in front of nothing yet.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("a port for the relay")?;
        let relay = Self {
            address: listener.local_addr()?,
            server: Arc::default(),
            at_login: Arc::default(),
            stop: Arc::default(),
        };
        let (server, at_login, stop) = (
            Arc::clone(&relay.server),
            Arc::clone(&relay.at_login),
            Arc::clone(&relay.stop),
        );
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let act = *at_login.lock().unwrap_or_else(PoisonError::into_inner);
                let server = server
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                // Whatever fails ends this connection alone.
                thread::spawn(move || match act {
                    Some(act) => log_in(client, act),
                    None => relay_one(client, &server),
                });
            }
        });
        Ok(relay)
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Puts it in front of a server.
    pub fn before(&self, server: &str) {
        server.clone_into(&mut self.server.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What it does with logins from now on; `None`: it passes them on.
    pub fn at_login(&self, act: Option<Act>) {
        *self.at_login.lock().unwrap_or_else(PoisonError::into_inner) = act;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn log_in(mut client: TcpStream, act: Act) -> Option<()> {
    let _start = client.read(&mut [0; 4096]).ok()?;
    if matches!(act, Act::Flood(_)) {
        client.write_all(b"R\0\0\0\x08\0\0\0\0").ok()?;
    }
    perform(client, act)
}

fn relay_one(mut client: TcpStream, server: &str) -> Option<()> {
    let mut server = TcpStream::connect(server).ok()?;
    let hostile = Arc::new(AtomicBool::new(false));
    let (mut from_server, mut to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
    let turned = Arc::clone(&hostile);
    let back = thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from_server.read(&mut buffer) {
            if turned.load(Ordering::SeqCst) || to_client.write_all(buffer.get(..read)?).is_err() {
                return Some(());
            }
        }
        if !turned.load(Ordering::SeqCst) {
            let _ = to_client.shutdown(Shutdown::Both);
        }
        Some(())
    });
    let mut buffer = [0; 16 * 1024];
    let mut seen: Vec<u8> = Vec::new();
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        let part = buffer.get(..read)?;
        seen.extend_from_slice(part);
        if let Some(act) = named(&seen) {
            // The statement does not go on: nothing of the server's comes in between.
            hostile.store(true, Ordering::SeqCst);
            let _ = server.shutdown(Shutdown::Both);
            let _ = back.join();
            return perform(client, act);
        }
        let keep = seen.len().saturating_sub(256);
        seen.drain(..keep);
        server.write_all(part).ok()?;
    }
    let _ = server.shutdown(Shutdown::Both);
    Some(())
}

fn named(bytes: &[u8]) -> Option<Act> {
    let text = String::from_utf8_lossy(bytes);
    let (_, name) = text.split_once("act:")?;
    let (name, _) = name.split_once('\'')?;
    ACTS.iter()
        .find_map(|(known, act)| (*known == name).then_some(*act))
}

fn perform(mut client: TcpStream, act: Act) -> Option<()> {
    match act {
        Act::Close(bytes) => client.write_all(bytes).ok()?,
        Act::Stall(bytes) => {
            client.write_all(bytes).ok()?;
            // Until the other side has had enough.
            while let Ok(1..) = client.read(&mut [0; 4096]) {}
        }
        Act::Flood(bytes) => {
            let many = bytes.repeat(64 * 1024 / bytes.len());
            while client.write_all(&many).is_ok() {}
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    Some(())
}
