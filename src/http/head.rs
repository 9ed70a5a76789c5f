//! The head of a request: what a handler knows before the body arrives.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
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
pub fn client(headers: &HeaderMap, peer: IpAddr, proxies: &[IpNet]) -> IpAddr {
    // A proxy that connects over a dual-stack socket has an IPv4 address inside IPv6; the networks name it as IPv4.
    let trusted = |address: IpAddr| {
        let address = address.to_canonical();
        proxies.iter().any(|network| network.contains(&address))
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_with_an_ipv4_address_inside_ipv6_is_trusted_by_its_ipv4_network() {
        let proxies = ["10.1.0.0/16".parse().expect("a network")];
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.7"));
        let client_of = |peer: &str| {
            let peer = peer.parse().expect("an address");
            client(&headers, peer, &proxies).to_string()
        };
        assert_eq!(client_of("::ffff:10.1.0.9"), "203.0.113.7");
        assert_eq!(client_of("10.1.255.1"), "203.0.113.7");
        assert_eq!(client_of("10.2.0.1"), "10.2.0.1");
    }
}
