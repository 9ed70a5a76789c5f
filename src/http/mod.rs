//! The HTTP layer below the API: server, requests, responses.

pub mod body;
mod disposition;
pub mod head;
pub mod hijack;
pub mod multipart;
pub mod reply;
pub mod request;
pub mod resource;
pub mod server;
mod socket;
