//! Altering.
