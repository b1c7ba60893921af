//! The database protocols. Each is a folder of its own; none knows another.

pub mod postgres;
