//! HTTP as such: the server, the parts of a request, responses. Nothing here knows a resource.

pub mod body;
pub mod head;
pub mod multipart;
pub mod reply;
pub mod request;
pub mod resource;
pub mod server;
