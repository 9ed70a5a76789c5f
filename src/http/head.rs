//! The head of a request: its headers, query and client address.

use std::{net::IpAddr, sync::Arc};

use cookie::Cookie;
use headers::{ContentLength, HeaderMapExt};
use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{AsHeaderName, COOKIE, HOST, ORIGIN},
};
use ipnet::IpNet;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use crate::model::{TraceParent, trace_parent::TRACEPARENT};

/// The header with the id of a request, which is in every log line and response.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("discodeit-request-id");

/// The header with the name of the node that responds.
pub(super) const NODE: HeaderName = HeaderName::from_static("discodeit-node");

/// The head of a request.
#[derive(Debug)]
pub struct Head {
    /// Version of HTTP.
    pub version: Version,
    /// Headers.
    pub headers: HeaderMap,
    /// Query, percent-encoded.
    pub query: Option<String>,
    /// The client's address: from `X-Forwarded-For` of a trusted proxy, else the peer's.
    pub client: IpAddr,
    /// The connection's permit. An upgraded connection outlives its request and must still count.
    pub permit: Arc<OwnedSemaphorePermit>,
}

impl Head {
    /// The first value of a header, if it is text.
    pub fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The length of the body, if the head announces one.
    pub fn content_length(&self) -> Option<u64> {
        self.headers.typed_get().map(|ContentLength(length)| length)
    }

    /// The first value of a cookie that is not empty.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        cookie(&self.headers, name)
    }

    /// Whether the page that sent the request has this origin. True for clients that are no browsers.
    pub fn is_same_origin(&self) -> bool {
        is_same_origin(&self.headers)
    }
}

/// Whether the page that sent the request has this origin, as far as the headers tell.
///
/// `SameSite` is not enough: a cookie also goes with requests of pages of the same host with another port, and of its sibling
/// domains. Browsers send `Sec-Fetch-Site` to origins with TLS and to localhost. To others they send at least `Origin`, except
/// with a GET whose response the page cannot read.
fn is_same_origin(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    headers.get_all(ORIGIN).iter().all(|origin| {
        let origin = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"));
        // The scheme of the request is not known behind a proxy that ends TLS.
        origin.zip(host).is_some_and(|((scheme, origin), host)| {
            let port = if scheme == "https" { ":443" } else { ":80" };
            let name = |host: &str| host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
            name(origin) == name(host)
        })
    })
}

/// Finds the first value of a cookie that is not empty.
///
/// Does not use `headers::Cookie`, which ignores semicolons between quotation marks: a quotation mark in another application's
/// cookie would hide every cookie after it. By RFC 6265 §5.2 a semicolon always ends a cookie. Another application's cookie may
/// also have bytes that are not ASCII.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|cookie| Cookie::parse(str::from_utf8(cookie).ok()?).ok())
        .filter(|cookie| cookie.name() == name)
        .filter_map(|cookie| cookie.value_raw())
        .find(|value| !value.is_empty())
}

/// The items of a header that holds a list, over all its lines; empty items are left out.
pub fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter();
    // A line that is not ASCII is an item of its own, which matches none.
    let lines = lines.map(|line| line.to_str().unwrap_or("\u{fffd}"));
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// The id in the request's headers, if it is 1 to 64 visible ASCII characters, else a new id.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|id| {
        (1..=64).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&Uuid::new_v4().simple().to_string())
            .unwrap_or(HeaderValue::from_static("none"))
    })
}

/// The client's address: the peer's or, if the peer is a trusted proxy, from `X-Forwarded-For`.
///
/// The header's last address that is not a trusted proxy's counts, because a client can send the earlier addresses itself.
pub fn client(headers: &HeaderMap, peer: IpAddr, proxies: &[IpNet]) -> IpAddr {
    let trusted = |address| is_trusted(address, proxies);
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

/// Whether the address is a trusted proxy's.
fn is_trusted(address: IpAddr, proxies: &[IpNet]) -> bool {
    // A proxy that connects over a dual-stack socket has an IPv4 address inside IPv6; the networks name it as IPv4.
    let address = address.to_canonical();
    proxies.iter().any(|network| network.contains(&address))
}

/// The span of a trusted proxy that sends the request. Anybody else could have every request recorded, or fill a trace of others.
pub fn trace_parent(headers: &HeaderMap, peer: IpAddr, proxies: &[IpNet]) -> Option<TraceParent> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if is_trusted(peer, proxies) => {
            TraceParent::parse(value.to_str().ok()?)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        for (lines, expected) in [
            (&["a=1"][..], Some("1")),
            (&["b=2; a=1"], Some("1")),
            (&["b=2;a=1;c"], Some("1")),
            (&["b=2", "a=1"], Some("1")),
            (&["a=; a=1; a=3"], Some("1")),
            (&["a=x=y"], Some("x=y")),
            (&["b=\"; a=1"], Some("1")),
            (&["b=\"x; a=1; c=y\""], Some("1")),
            (&["=1; ;; a=1"], Some("1")),
            (&["theme=한글; a=1"], Some("1")),
            (&["a=1; theme=한글"], Some("1")),
            (&["theme=한글", "b=\u{80}", "a=1"], Some("1")),
            (&["a="], None),
            (&["a"], None),
            (&["A=1; aa=1; b=a=1"], None),
            (&[], None),
        ] {
            let headers = lines
                .iter()
                .map(|line| {
                    (
                        COOKIE,
                        HeaderValue::from_bytes(line.as_bytes()).expect("valid"),
                    )
                })
                .collect();
            assert_eq!(cookie(&headers, "a"), expected, "{lines:?}");
        }
        let not_utf8 = HeaderValue::from_bytes(b"theme=\xff; a=1").expect("valid");
        let headers = HeaderMap::from_iter([(COOKIE, not_utf8)]);
        assert_eq!(cookie(&headers, "a"), Some("1"));
    }

    #[test]
    fn pages_of_other_origins_are_known_by_their_headers() {
        let host = ("host", "chat.example.org");
        for (headers, expected) in [
            (&[host][..], true),
            (&[host, ("sec-fetch-site", "same-origin")], true),
            (&[host, ("sec-fetch-site", "none")], true),
            (&[host, ("sec-fetch-site", "same-site")], false),
            (&[host, ("sec-fetch-site", "cross-site")], false),
            (&[host, ("origin", "https://chat.example.org")], true),
            (&[host, ("origin", "http://chat.example.org:80")], true),
            (&[host, ("origin", "https://chat.example.org:80")], false),
            (&[host, ("origin", "http://chat.example.org:8000")], false),
            (&[host, ("origin", "https://example.org")], false),
            (&[host, ("origin", "https://chat.example.org.evil")], false),
            (&[host, ("origin", "null")], false),
            (&[("origin", "https://chat.example.org")], false),
            (
                &[("host", "[::1]:8000"), ("origin", "http://[::1]:8000")],
                true,
            ),
            (&[("host", "Chat:443"), ("origin", "https://chat")], true),
        ] {
            let lines = headers.iter().map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            });
            assert_eq!(is_same_origin(&lines.collect()), expected, "{headers:?}");
        }
    }

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
