//! The HTTP layer below the API: server, requests, responses.

pub mod body;
mod disposition;
pub mod head;
pub mod multipart;
pub mod reply;
pub mod request;
pub mod resource;
pub mod server;
pub(crate) mod socket;
