//! The web console, in a real browser and by single requests, with a real identity provider.

mod desk;
mod jobs;
mod login;
mod page;
mod requests;
