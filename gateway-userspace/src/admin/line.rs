//! Lines of bounded length from a stream.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Longest request; a token of 16 KiB fits well.
pub(super) const MAX_REQUEST: usize = 64 * 1024;
/// Longest answer: held statements are shown in full.
pub(super) const MAX_RESPONSE: usize = 64 * 1024 * 1024;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its end.
    Complete(Vec<u8>),
    /// The stream ended. What came after the last line's end is dropped: it is not a line.
    End,
    /// The line is longer than it may be.
    TooLong,
}

/// Reads the next line. Bytes behind it stay in the reader.
pub(super) async fn read(from: &mut (impl AsyncBufRead + Unpin), max: usize) -> io::Result<Line> {
    let mut line = Vec::new();
    loop {
        let chunk = from.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(Line::End);
        }
        let (part, ended) = match chunk.iter().position(|byte| *byte == b'\n') {
            Some(end) => (chunk.get(..end).unwrap_or_default(), true),
            None => (chunk, false),
        };
        if line.len() + part.len() > max {
            return Ok(Line::TooLong);
        }
        line.extend_from_slice(part);
        let used = part.len() + usize::from(ended);
        from.consume(used);
        if ended {
            return Ok(Line::Complete(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_at_their_ends_and_refused_beyond_the_cap() {
        let mut from: &[u8] = b"one\n\ntwo\nrest";
        assert_eq!(
            read(&mut from, 3).await.unwrap(),
            Line::Complete(b"one".to_vec())
        );
        assert_eq!(
            read(&mut from, 3).await.unwrap(),
            Line::Complete(Vec::new())
        );
        assert_eq!(
            read(&mut from, 3).await.unwrap(),
            Line::Complete(b"two".to_vec())
        );
        assert_eq!(read(&mut from, 4).await.unwrap(), Line::End);
        let mut from: &[u8] = b"four\n";
        assert_eq!(read(&mut from, 3).await.unwrap(), Line::TooLong);
    }
}
