//! The protocol as a whole, in one process with a real server.

mod split;
