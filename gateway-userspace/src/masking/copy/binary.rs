//! COPY's binary format.

use super::Piece;
use crate::masking::MalformedRow;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// In place of a number of columns.
pub(super) const END: &[u8] = &(-1_i16).to_be_bytes();

/// The signature, flags, and an extension of a given length.
pub(super) fn header(data: &[u8]) -> Result<Piece, MalformedRow> {
    let known = SIGNATURE.len().min(data.len());
    if data.get(..known) != SIGNATURE.get(..known) {
        return Err(MalformedRow::Signature);
    }
    let Some(length) = data.get(15..).and_then(|rest| rest.first_chunk()) else {
        return Ok(Piece::Partial);
    };
    let length = i32::from_be_bytes(*length);
    let length = usize::try_from(length).map_err(|_negative| MalformedRow::Length(length))?;
    let end = 19 + length;
    Ok(if data.len() < end {
        Piece::Partial
    } else {
        Piece::Whole(end)
    })
}

/// A number of columns, and each value after its length.
pub(super) fn end(data: &[u8]) -> Result<Piece, MalformedRow> {
    let Some((count, _)) = data.split_first_chunk() else {
        return Ok(Piece::Partial);
    };
    let mut at = 2;
    for _ in 0..i16::from_be_bytes(*count) {
        let Some(length) = data.get(at..).and_then(|rest| rest.first_chunk()) else {
            return Ok(Piece::Partial);
        };
        at += 4;
        match i32::from_be_bytes(*length) {
            -1 => {}
            length => {
                at += usize::try_from(length).map_err(|_negative| MalformedRow::Length(length))?;
            }
        }
    }
    Ok(if data.len() < at {
        Piece::Partial
    } else {
        Piece::Whole(at)
    })
}
