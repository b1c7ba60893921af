//! The analysis over a small catalog.

mod cases;
mod equality;
mod implied;
mod live;
mod shop;
mod written;
