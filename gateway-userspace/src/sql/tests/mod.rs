//! The analysis over a small catalog.

mod cases;
mod live;
mod shop;
