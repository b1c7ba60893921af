//! The web console: one page, served by the daemon, for those who answer held statements and look
//! at what happened.
//!
//! Who asks is told by the kernel on a Unix socket (its peer's user), and by a login at an identity
//! provider on TCP, which every process of the host can dial. A process inside of a job gets nothing
//! on either. What may be seen and done follows from one [`Role`]; every change wants a token
//! that other sites cannot know. Text of agents leaves the server with control and look-alike
//! characters made visible (`shown`), and the page inserts it as text only.

mod api;
mod app;
mod events;
mod guard;
mod login;
mod page;
mod peer;
mod person;
mod refused;
mod server;
mod shown;

pub use app::App;
pub use person::{Person, Role};
pub use server::{Listener, bind, serve};
