//! What clients of many protocols send first.

use std::fmt::Write;

use cordon::intercept::Way;

/// How a start-up is cut into sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Whole,
    Bytewise,
    /// Seven bytes, then the rest.
    Seven,
}

impl Cut {
    pub const ALL: [Self; 3] = [Self::Whole, Self::Bytewise, Self::Seven];

    /// The sends, as hexadecimal digits with commas between.
    pub fn apply(self, bytes: &[u8]) -> String {
        let pieces: Vec<&[u8]> = match self {
            Self::Whole => vec![bytes],
            Self::Bytewise => bytes.chunks(1).collect(),
            Self::Seven => vec![&bytes[..7.min(bytes.len())], &bytes[7.min(bytes.len())..]],
        };
        pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .map(hex)
            .collect::<Vec<_>>()
            .join(",")
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text");
        text
    })
}

/// PostgreSQL's `StartupMessage` of this version.
pub fn startup(version: u32) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend(b"user\0app\0database\0shop\0application_name\0psql\0\0");
    packet(&body)
}

fn packet(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a short packet");
    [&length.to_be_bytes(), body].concat()
}

fn request(code: u32, rest: &[u8]) -> Vec<u8> {
    packet(&[&code.to_be_bytes(), rest].concat())
}

/// MySQL's `HandshakeResponse41`, or what comes before it inside TLS.
fn mysql(tls: bool) -> Vec<u8> {
    let capabilities: u32 = if tls { 0x19af_ae85 } else { 0x19af_a685 };
    let mut body = capabilities.to_le_bytes().to_vec();
    body.extend((16_u32 << 20).to_le_bytes());
    body.push(255);
    body.extend([0; 23]);
    if !tls {
        body.extend(b"app\0\x20");
        body.extend([0x5a; 32]);
        body.extend(b"shop\0caching_sha2_password\0");
    }
    let length = u32::try_from(body.len())
        .expect("a short packet")
        .to_le_bytes();
    [&[length[0], length[1], length[2], 1], body.as_slice()].concat()
}

/// A `ClientHello` that offers these protocols, with `padding` bytes of a padding extension before
/// them, in records of at most `record` bytes.
pub fn client_hello(protocols: &[&str], padding: usize, record: usize) -> Vec<u8> {
    let mut extensions = Vec::new();
    let mut extension = |kind: u16, body: &[u8]| {
        extensions.extend(kind.to_be_bytes());
        extensions.extend(
            u16::try_from(body.len())
                .expect("a short extension")
                .to_be_bytes(),
        );
        extensions.extend(body);
    };
    extension(0x0a0a, &[]);
    extension(0, b"\0\x0d\0\0\x0adb.example");
    extension(43, &[4, 3, 4, 3, 3]);
    extension(10, &[0, 4, 0x11, 0xec, 0, 0x1d]);
    extension(21, &vec![0; padding]);
    if !protocols.is_empty() {
        let mut list = Vec::new();
        for protocol in protocols {
            list.push(u8::try_from(protocol.len()).expect("a short name"));
            list.extend(protocol.as_bytes());
        }
        let length = u16::try_from(list.len())
            .expect("a short list")
            .to_be_bytes();
        extension(16, &[length.as_slice(), &list].concat());
    }
    extension(51, &[0x5a; 36]);
    let mut body = vec![3, 3];
    body.extend([0x17; 32]);
    body.push(32);
    body.extend([0x18; 32]);
    body.extend([0, 4, 0x13, 0x01, 0x13, 0x02, 1, 0]);
    body.extend(
        u16::try_from(extensions.len())
            .expect("not too long")
            .to_be_bytes(),
    );
    body.extend(extensions);
    let length = u32::try_from(body.len())
        .expect("not too long")
        .to_be_bytes();
    let message = [&[1, length[1], length[2], length[3]], body.as_slice()].concat();
    message
        .chunks(record)
        .flat_map(|part| {
            let length = u16::try_from(part.len()).expect("a record").to_be_bytes();
            [&[22, 3, 1, length[0], length[1]], part].concat()
        })
        .collect()
}

const RECORD: usize = 16 * 1024;

/// Start-ups of databases.
pub fn startups() -> Vec<(&'static str, Vec<u8>, Way)> {
    use Way::{MysqlStartup, PostgresStartup, PostgresTls};
    vec![
        ("3.0", startup(0x0003_0000), PostgresStartup),
        ("3.2", startup(0x0003_0002), PostgresStartup),
        ("3.9999", startup(0x0003_270f), PostgresStartup),
        ("SSLRequest", request(80_877_103, &[]), PostgresStartup),
        ("GSSENCRequest", request(80_877_104, &[]), PostgresStartup),
        (
            "CancelRequest",
            request(80_877_102, &[1; 8]),
            PostgresStartup,
        ),
        (
            "CancelRequest of 3.2",
            request(80_877_102, &[1; 36]),
            PostgresStartup,
        ),
        (
            "direct TLS",
            client_hello(&["postgresql"], 0, RECORD),
            PostgresTls,
        ),
        (
            "second in the list",
            client_hello(&["h2", "postgresql"], 0, RECORD),
            PostgresTls,
        ),
        (
            "among ten letters",
            client_hello(&["postgresqx", "postgresql", "h2"], 0, RECORD),
            PostgresTls,
        ),
        (
            "a large hello",
            client_hello(&["postgresql"], 1700, RECORD),
            PostgresTls,
        ),
        (
            "a hello in records of 16 bytes",
            client_hello(&["postgresql"], 0, 16),
            PostgresTls,
        ),
        ("MySQL", mysql(false), MysqlStartup),
        ("MySQL's SSLRequest", mysql(true), MysqlStartup),
    ]
}

/// First bytes of other protocols.
pub fn others() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (
            "HTTP",
            b"GET / HTTP/1.1\r\nHost: registry.example\r\n\r\n".to_vec(),
        ),
        (
            "HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0".to_vec(),
        ),
        ("TLS, h2", client_hello(&["h2", "http/1.1"], 200, RECORD)),
        (
            "TLS, a name of ten letters",
            client_hello(&["postgresqx"], 0, RECORD),
        ),
        ("TLS, nothing", client_hello(&[], 0, RECORD)),
        ("TLS in small records", client_hello(&["h2"], 0, 64)),
        ("SSH", b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()),
        ("Redis", b"*1\r\n$4\r\nPING\r\n".to_vec()),
        // Length, then what reads as version 3.1.
        (
            "Kafka, Metadata 1",
            b"\0\0\0\x17\0\x03\0\x01\0\0\0\x01\0\x08producer\0\0\0\0".to_vec(),
        ),
        (
            "Kafka, ApiVersions",
            b"\0\0\0\x13\0\x12\0\x03\0\0\0\x01\0\x08producer\0".to_vec(),
        ),
        (
            "MongoDB",
            b"\x3a\0\0\0\x01\0\0\0\0\0\0\0\xd4\x07\0\0\0\0\0\0admin.$cmd\0\0\0\0\0\x01\0\0\0"
                .to_vec(),
        ),
        ("AMQP", b"AMQP\0\0\x09\x01".to_vec()),
        (
            "SMB",
            b"\0\0\0\x45\xffSMBr\0\0\0\0\x18\x53\xc8\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                .to_vec(),
        ),
        ("zeros", vec![0; 200]),
        (
            "a MySQL packet of another kind",
            b"\x21\0\0\0\x03SELECT 1 FROM a_table_of_mine WHERE 1".to_vec(),
        ),
    ]
}
