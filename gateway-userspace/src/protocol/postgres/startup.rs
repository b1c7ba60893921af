//! From the first byte to the start-up message: TLS, GSS, cancel, version, parameters.
//!
//! PostgreSQL documentation, "Start-up" and "SSL Session Encryption" (55.2.1, 55.2.11).

use std::{net::IpAddr, time::Duration};

use bytes::{Buf, BytesMut};

use super::{close::Close, wire::Body};
use crate::{
    session::shadows_system,
    transport::{Authority, Channel, Socket, Stream},
};

/// The newest minor version of the protocol that is spoken: 3.2, with longer cancel keys.
pub const MINOR: u32 = 2;

const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
/// The server's own limit (`MAX_STARTUP_PACKET_LENGTH`), in bytes.
const MAX_STARTUP: usize = 10_000;
/// How long a client may take to say who it is.
pub const STARTUP_TIMEOUT: Duration = Duration::from_secs(30);
/// First byte of a TLS record that carries a handshake: direct TLS.
const TLS_HANDSHAKE: u8 = 0x16;

/// What a client wants once the transport is settled.
#[derive(Debug)]
pub enum Start {
    /// A session.
    Session(Box<StartupMessage>),
    /// To cancel another connection's statement; no reply is due.
    Cancel {
        /// Process id of the key that we gave out.
        pid: u32,
        /// Secret of that key.
        secret: Vec<u8>,
    },
}

/// The start-up message.
#[derive(Clone, Debug, Default)]
pub struct StartupMessage {
    /// Parameters as sent, in order.
    pub parameters: Vec<(String, String)>,
    /// Minor version asked for; the major version is 3.
    pub minor: u32,
    /// Protocol options (`_pq_.`) asked for; we know none.
    pub options: Vec<Vec<u8>>,
    /// SHA-256 of the certificate that the client was shown, if it came in TLS.
    pub certificate_hash: Option<Vec<u8>>,
}

impl StartupMessage {
    /// The value of a parameter; the last one wins, as in the server.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The database: `database`, or the user's name.
    pub fn database(&self) -> &str {
        match self.parameter("database") {
            Some(name) if !name.is_empty() => name,
            _ => self.user(),
        }
    }

    /// The minor version that both sides know. There has never been a 3.1.
    pub fn agreed_minor(&self) -> u32 {
        if self.minor >= MINOR { MINOR } else { 0 }
    }

    /// Length of the secret in the session's cancel key, in bytes.
    pub fn secret_len(&self) -> usize {
        if self.agreed_minor() == 0 { 4 } else { 32 }
    }

    /// The user that the client names; only evidence, never used to log in.
    pub fn user(&self) -> &str {
        self.parameter("user").unwrap_or_default()
    }
}

/// Brings a new connection to its start-up message. `host` and `address` are those of the
/// database that the client dialled: the leaf certificate carries them.
///
/// # Errors
/// If the peer speaks something else, is too slow, or closes.
pub async fn start(
    socket: Socket,
    authority: &Authority,
    host: &str,
    address: IpAddr,
) -> Result<(Channel, Start), Close> {
    tokio::time::timeout(STARTUP_TIMEOUT, negotiate(socket, authority, host, address))
        .await
        .map_err(|_elapsed| Close::Silent("no start-up message in time"))?
}

async fn negotiate(
    mut socket: Socket,
    authority: &Authority,
    host: &str,
    address: IpAddr,
) -> Result<(Channel, Start), Close> {
    let Some(first) = socket.peek().await.map_err(Close::client)? else {
        return Err(Close::Silent("closed before the start-up message"));
    };
    let mut certificate_hash = None;
    let mut channel = if first == TLS_HANDSHAKE {
        let accepted = authority.accept(socket, host, address, true).await?;
        certificate_hash = Some(accepted.certificate_hash);
        Channel::new(accepted.stream)
    } else {
        Channel::new(Stream::Plain(socket))
    };
    let mut gss_refused = false;
    loop {
        let packet = read_packet(&mut channel).await?;
        let mut body = Body(&packet);
        let code = body
            .u32()
            .map_err(|_short| Close::protocol("invalid start-up packet"))?;
        match code {
            SSL_REQUEST if !channel.stream().is_tls() => {
                if !channel.rx.is_empty() {
                    // CVE-2021-23222 class: bytes sent in clear would count as sent in TLS.
                    return Err(Close::protocol(
                        "received unencrypted data after SSL request",
                    ));
                }
                channel.tx.extend_from_slice(b"S");
                channel.drain().await.map_err(Close::client)?;
                let Stream::Plain(socket) = channel.into_stream() else {
                    return Err(Close::protocol("SSL request inside TLS"));
                };
                let accepted = authority.accept(socket, host, address, false).await?;
                certificate_hash = Some(accepted.certificate_hash);
                channel = Channel::new(accepted.stream);
            }
            GSSENC_REQUEST if !channel.stream().is_tls() && !gss_refused => {
                gss_refused = true;
                if !channel.rx.is_empty() {
                    return Err(Close::protocol(
                        "received unencrypted data after GSSAPI request",
                    ));
                }
                channel.tx.extend_from_slice(b"N");
                channel.drain().await.map_err(Close::client)?;
            }
            CANCEL_REQUEST => {
                let pid = body
                    .u32()
                    .map_err(|_short| Close::Silent("short cancel request"))?;
                let secret = body.0.to_vec();
                if !(4..=256).contains(&secret.len()) {
                    return Err(Close::Silent("cancel key of a wrong length"));
                }
                return Ok((channel, Start::Cancel { pid, secret }));
            }
            version if version >> 16 == 3 => {
                let message = parameters(body, version & 0xffff, certificate_hash);
                return match message {
                    Some(message) => Ok((channel, Start::Session(Box::new(message)))),
                    None => Err(Close::report(
                        channel,
                        "08P01",
                        "invalid start-up packet layout",
                    )),
                };
            }
            version => {
                let text = format!(
                    "unsupported frontend protocol {}.{}: this gateway supports 3.0 and 3.2",
                    version >> 16,
                    version & 0xffff
                );
                return Err(Close::report(channel, "0A000", &text));
            }
        }
    }
}

/// One start-up packet: a length that counts itself, and the rest.
async fn read_packet(channel: &mut Channel) -> Result<BytesMut, Close> {
    channel.fill_to(4).await.map_err(Close::client)?;
    let length = channel
        .rx
        .get(..4)
        .map_or(0, |mut word| word.get_u32() as usize);
    if !(8..=MAX_STARTUP).contains(&length) {
        return Err(Close::protocol("invalid length of start-up packet"));
    }
    channel.fill_to(length).await.map_err(Close::client)?;
    let mut packet = channel.rx.split_to(length);
    packet.advance(4);
    Ok(packet)
}

/// `None` if the layout is wrong.
fn parameters(
    mut body: Body<'_>,
    minor: u32,
    certificate_hash: Option<Vec<u8>>,
) -> Option<StartupMessage> {
    let mut message = StartupMessage {
        minor,
        certificate_hash,
        ..StartupMessage::default()
    };
    loop {
        let name = body.cstr().ok()?;
        if name.is_empty() {
            break;
        }
        let value = body.cstr().ok()?;
        if name.starts_with(b"_pq_.") {
            message.options.push(name.to_vec());
        } else {
            let name = String::from_utf8(name.to_vec()).ok()?;
            let value = String::from_utf8(value.to_vec()).ok()?;
            message.parameters.push((name, value));
        }
    }
    body.end().ok()?;
    (!message.user().is_empty()).then_some(message)
}

/// The start-up parameters that go to the server, or why one of them cannot.
///
/// Replication and everything that could change how SQL is read is refused; settings inside
/// `options` pass the same list.
///
/// # Errors
/// A sentence that names the parameter.
pub fn upstream_parameters(message: &StartupMessage) -> Result<Vec<(String, String)>, String> {
    let mut list: Vec<(String, String)> = Vec::new();
    for (name, value) in &message.parameters {
        match name.as_str() {
            "user" | "database" => {}
            "replication" => {
                if !matches!(
                    value.to_ascii_lowercase().as_str(),
                    "false" | "off" | "no" | "0"
                ) {
                    return Err("replication connections are not supported".to_owned());
                }
            }
            "options" => {
                for (name, value) in command_line_settings(value)? {
                    list.push(setting(&name, &value)?);
                }
            }
            name => list.push(setting(name, value)?),
        }
    }
    list.retain(|(name, _)| name != "client_encoding" && name != "standard_conforming_strings");
    list.push(("client_encoding".to_owned(), "UTF8".to_owned()));
    list.push(("standard_conforming_strings".to_owned(), "on".to_owned()));
    Ok(list)
}

/// Settings that a client may choose at start-up. None of them changes how SQL is read, except
/// `search_path`, which is followed, and the two that are checked by value.
const SETTINGS: &[&str] = &[
    "application_name",
    "bytea_output",
    "client_min_messages",
    "datestyle",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "geqo",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "lock_timeout",
    "plan_cache_mode",
    "search_path",
    "statement_timeout",
    "synchronous_commit",
    "tcp_user_timeout",
    "timezone",
    "work_mem",
];

fn setting(name: &str, value: &str) -> Result<(String, String), String> {
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "client_encoding" => {
            let plain: String = value
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .collect::<String>();
            if matches!(plain.to_ascii_lowercase().as_str(), "utf8" | "unicode") {
                Ok((lower, "UTF8".to_owned()))
            } else {
                Err(format!("client_encoding must be UTF8, not {value:?}"))
            }
        }
        "standard_conforming_strings" => {
            if matches!(
                value.to_ascii_lowercase().as_str(),
                "on" | "true" | "yes" | "1"
            ) {
                Ok((lower, "on".to_owned()))
            } else {
                Err("standard_conforming_strings must be on".to_owned())
            }
        }
        "search_path" if shadows_system(value) => {
            Err("a search_path that names pg_catalog behind another schema is refused".to_owned())
        }
        known if SETTINGS.binary_search(&known).is_ok() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("the start-up parameter {name:?} is not supported")),
    }
}

/// Reads `options`: `-c name=value`, `-cname=value` and `--name=value`, blanks escaped by a
/// backslash, as the server splits them (`pg_split_opts`).
fn command_line_settings(options: &str) -> Result<Vec<(String, String)>, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = options.chars();
    let mut inside = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                inside = true;
                word.extend(characters.next());
            }
            blank if blank.is_ascii_whitespace() => {
                if inside {
                    words.push(std::mem::take(&mut word));
                }
                inside = false;
            }
            other => {
                inside = true;
                word.push(other);
            }
        }
    }
    if inside {
        words.push(word);
    }
    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let assignment = if word == "-c" {
            words.next().unwrap_or_default()
        } else if let Some(rest) = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            rest.to_owned()
        } else {
            return Err(format!("the command-line option {word:?} is not supported"));
        };
        let (name, value) = assignment
            .split_once('=')
            .ok_or_else(|| format!("the option {assignment:?} has no value"))?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(parameters: &[(&str, &str)]) -> StartupMessage {
        StartupMessage {
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..StartupMessage::default()
        }
    }

    #[test]
    fn the_list_of_settings_is_sorted() {
        assert!(SETTINGS.is_sorted());
    }

    #[test]
    fn replication_in_any_spelling_is_refused() {
        for value in ["true", "on", "1", "database", "yes"] {
            assert!(
                upstream_parameters(&message(&[("replication", value)])).is_err(),
                "{value}"
            );
        }
        assert!(upstream_parameters(&message(&[("replication", "false")])).is_ok());
    }

    #[test]
    fn options_cannot_smuggle_a_setting_past_the_list() {
        for options in [
            "-c role=postgres",
            "-crole=postgres",
            "--role=postgres",
            "-c standard_conforming_strings=off",
            "-c\\ session_authorization=x",
            "-B 100",
            "--client-encoding=SJIS",
        ] {
            let outcome = upstream_parameters(&message(&[("options", options)]));
            assert!(outcome.is_err(), "{options}: {outcome:?}");
        }
        let allowed = message(&[("options", "-c statement_timeout=5s -c search_path=a,b")]);
        let list = upstream_parameters(&allowed).unwrap();
        assert!(list.contains(&("statement_timeout".to_owned(), "5s".to_owned())));
    }

    #[test]
    fn an_encoding_is_utf8_however_it_is_spelt() {
        for value in ["UTF8", "'utf-8'", "utf8", "UNICODE"] {
            let list = upstream_parameters(&message(&[("client_encoding", value)])).unwrap();
            assert!(list.contains(&("client_encoding".to_owned(), "UTF8".to_owned())));
        }
        assert!(upstream_parameters(&message(&[("client_encoding", "SJIS")])).is_err());
    }
}
