//! Constant queries over a connection of their own, for tools that read a catalog.

use std::time::Duration;

use postgres_protocol::message::frontend;

use super::{
    backend::{BackendError, Destination, connect, read_message},
    wire::{Body, HEADER, Malformed, error_field, error_fields},
};
use crate::transport::Channel;

/// How long the answers may take in all.
const PATIENCE: Duration = Duration::from_mins(2);

/// Rows of one query, as text.
pub type TextRows = Vec<Vec<Option<String>>>;

/// What a server answered.
#[derive(Debug)]
pub struct Answers {
    /// The server's version, as it reports it.
    pub server: String,
    /// The rows of each query.
    pub rows: Vec<TextRows>,
}

/// Connects, asks in one read-only snapshot, and disconnects.
///
/// # Errors
/// If the database cannot be reached or refuses.
pub async fn ask(destination: &Destination<'_>, queries: &[&str]) -> Result<Answers, BackendError> {
    let backend = connect(destination).await?;
    let server = backend
        .parameters
        .get(b"server_version".as_slice())
        .map(|version| String::from_utf8_lossy(version).into_owned())
        .unwrap_or_default();
    let mut channel = backend.channel;
    let asked = async {
        query(
            &mut channel,
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
        )
        .await?;
        let mut rows = Vec::with_capacity(queries.len());
        for text in queries {
            rows.push(query(&mut channel, text).await?);
        }
        frontend::terminate(&mut channel.tx);
        channel.drain().await.map_err(BackendError::Io)?;
        Ok(Answers { server, rows })
    };
    tokio::time::timeout(PATIENCE, asked)
        .await
        .map_err(|_elapsed| BackendError::Timeout)?
}

async fn query(channel: &mut Channel, text: &str) -> Result<TextRows, BackendError> {
    frontend::query(text, &mut channel.tx).map_err(BackendError::Io)?;
    channel.drain().await.map_err(BackendError::Io)?;
    let mut rows = Vec::new();
    let mut refused = None;
    loop {
        let (tag, message) = read_message(channel).await?;
        let body = message.get(HEADER..).unwrap_or_default();
        let malformed =
            |_: Malformed| BackendError::Protocol("malformed message from the database".into());
        match tag {
            b'D' => rows.push(data_row(body).map_err(malformed)?),
            b'E' => {
                let fields = error_fields(body).map_err(malformed)?;
                let field = |code| {
                    error_field(&fields, code)
                        .map(|value| String::from_utf8_lossy(value).into_owned())
                        .unwrap_or_default()
                };
                refused = Some(BackendError::Refused {
                    code: field(b'C'),
                    message: field(b'M'),
                });
            }
            b'Z' => return refused.map_or(Ok(rows), Err),
            // Descriptions, tags, notices and parameters: the queries are known.
            b'T' | b'C' | b'I' | b'N' | b'S' | b'A' => {}
            tag => {
                return Err(BackendError::Protocol(format!(
                    "unexpected message {:?} from the database",
                    char::from(tag)
                )));
            }
        }
    }
}

fn data_row(body: &[u8]) -> Result<Vec<Option<String>>, Malformed> {
    let mut body = Body(body);
    let count = body.count()?;
    let mut row = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        let value = match usize::try_from(body.i32()?) {
            Ok(length) => Some(String::from_utf8_lossy(body.bytes(length)?).into_owned()),
            // -1: NULL.
            Err(_) => None,
        };
        row.push(value);
    }
    body.end()?;
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::data_row;

    #[test]
    fn a_row_is_read_with_its_nulls_and_refused_where_it_is_cut() {
        let row = [0, 2, 0, 0, 0, 2, b'a', b'b', 0xff, 0xff, 0xff, 0xff];
        assert_eq!(data_row(&row), Ok(vec![Some("ab".to_owned()), None]));
        for end in 0..row.len() {
            assert!(data_row(&row[..end]).is_err(), "{end}");
        }
    }
}
