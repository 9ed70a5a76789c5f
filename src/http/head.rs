//! The head of a request: what a handler knows before the body arrives.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

/// Names a request in every log line and answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("discodeit-request-id");
/// What every handler may know of its request.
#[derive(Debug)]
pub struct Head {
    /// Headers.
    pub headers: HeaderMap,
    /// Query, not decoded.
    pub query: Option<String>,
    /// The client, as a trusted proxy tells, else the peer.
    pub client: IpAddr,
    /// A socket that outlives its request keeps its place among the connections.
    pub permit: Arc<OwnedSemaphorePermit>,
}

/// The client's own id if it is one of 1 to 64 visible ASCII characters, else a new one.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    let own = headers.get(REQUEST_ID).filter(|id| {
        (1..=64).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    own.cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&Uuid::new_v4().simple().to_string())
            .unwrap_or(HeaderValue::from_static("none"))
    })
}

/// The last address in `X-Forwarded-For` that is not a trusted proxy's own, if the peer is one.
pub fn client(headers: &HeaderMap, peer: IpAddr, proxies: &[crate::config::Network]) -> IpAddr {
    let trusted = |address: IpAddr| proxies.iter().any(|network| network.contains(address));
    if !trusted(peer) {
        return peer;
    }
    let forwarded = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok());
    let addresses: Vec<IpAddr> = forwarded
        .flat_map(|value| value.split(','))
        .filter_map(|address| address.trim().parse().ok())
        .collect();
    addresses
        .iter()
        .rev()
        .find(|address| !trusted(**address))
        .or_else(|| addresses.first())
        .copied()
        .unwrap_or(peer)
}
