//! The analysis over a small catalog.

mod cases;
mod shop;
