//! The URL grammar of SockJS.

use std::borrow::Cow;

/// Maximum bytes of a session's name, which the node keeps as long as the session. Clients use eight characters.
const MAX_NAME_BYTES: usize = 256;

/// Removes the session's name from a path for the log: a client that knows the name can send in the session.
pub fn redact_session_id(path: &str) -> Cow<'_, str> {
    let mut parts = path.rsplitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(transport), Some(_), Some(before))
            if !before.is_empty() && is_transport(transport) =>
        {
            format!("{before}/-/{transport}").into()
        }
        _ => path.into(),
    }
}

/// The transport at the end of a session's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `websocket`: framed SockJS over WebSocket.
    WebSocket,
    /// `xhr`: one frame for each request.
    Xhr,
    /// `xhr_streaming`: one long response.
    XhrStreaming,
    /// `xhr_send`: the client's messages, for every transport that starts with `xhr`.
    XhrSend,
    /// `eventsource`: frames as server-sent events.
    EventSource,
    /// `htmlfile`: frames as script elements of an endless page.
    HtmlFile,
    /// `jsonp`: one frame as a script.
    Jsonp,
    /// `jsonp_send`: the client's messages as a form.
    JsonpSend,
}

impl Transport {
    /// The transport of that name, the last segment of a session's URL.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "websocket" => Self::WebSocket,
            "xhr" => Self::Xhr,
            "xhr_streaming" => Self::XhrStreaming,
            "xhr_send" => Self::XhrSend,
            "eventsource" => Self::EventSource,
            "htmlfile" => Self::HtmlFile,
            "jsonp" => Self::Jsonp,
            "jsonp_send" => Self::JsonpSend,
            _ => return None,
        })
    }

    /// The allowed methods, as the `Allow` header lists them.
    pub fn methods(self) -> &'static str {
        match self {
            Self::Xhr | Self::XhrStreaming | Self::XhrSend => "OPTIONS, POST",
            Self::JsonpSend => "POST",
            Self::WebSocket | Self::EventSource | Self::HtmlFile | Self::Jsonp => "GET",
        }
    }
}

/// Whether `name` is a transport.
pub(super) fn is_transport(name: &str) -> bool {
    Transport::parse(name).is_some()
}

/// The resource that a path names.
pub enum Resource<'a> {
    /// The endpoint itself: a line of text.
    Greeting,
    /// `info`: the endpoint's features, as JSON.
    Info,
    /// `iframe.html` and its versions: the page for cross-domain transports.
    Iframe,
    /// `websocket`: WebSocket without SockJS frames.
    RawWebSocket,
    /// `{server}/{session}/{transport}`: the session's name and its transport.
    Session(&'a str, Transport),
}

impl<'a> Resource<'a> {
    /// Parses the path after the endpoint's prefix and a slash. Nothing is percent-decoded; empty segments count.
    pub fn parse(path: &'a str) -> Option<Self> {
        match path {
            "" => return Some(Self::Greeting),
            "info" => return Some(Self::Info),
            "websocket" => return Some(Self::RawWebSocket),
            "iframe.html" => return Some(Self::Iframe),
            _ => {}
        }
        let version = path
            .strip_prefix("iframe-")
            .and_then(|rest| rest.strip_suffix(".html"));
        if let Some(version) = version {
            let known = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'z' | b'-' | b'.' | b'_');
            return version.bytes().all(known).then_some(Self::Iframe);
        }
        let mut segments = path.split('/');
        let (server, name) = (segments.next()?, segments.next()?);
        let transport = Transport::parse(segments.next()?)?;
        let valid = segments.next().is_none()
            && super::is_segment(server)
            && super::is_segment(name)
            && name.len() <= MAX_NAME_BYTES;
        valid.then_some(Self::Session(name, transport))
    }

    /// The allowed methods, as the `Allow` header lists them.
    pub fn methods(&self) -> &'static str {
        match self {
            Self::Info => "OPTIONS, GET",
            Self::Greeting | Self::Iframe | Self::RawWebSocket => "GET",
            Self::Session(_, transport) => transport.methods(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sessions_name_is_not_logged() {
        assert_eq!(
            redact_session_id("/ws/042/secret/xhr_send"),
            "/ws/042/-/xhr_send"
        );
        assert_eq!(
            redact_session_id("/ws/042/secret/websocket"),
            "/ws/042/-/websocket"
        );
        for plain in ["/ws/info", "/", "/api/users/1/2", "/ws/websocket"] {
            assert_eq!(redact_session_id(plain), plain);
        }
    }
}
