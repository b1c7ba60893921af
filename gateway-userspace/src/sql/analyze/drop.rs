//! Dropping.
