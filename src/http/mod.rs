//! HTTP without resources: the server, requests, responses.

pub mod body;
pub mod head;
pub mod multipart;
pub mod reply;
pub mod request;
pub mod resource;
pub mod server;
