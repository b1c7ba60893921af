//! `null`: NULL, for every type.

use super::CellMask;

pub(super) fn bind() -> CellMask {
    CellMask::Null
}
