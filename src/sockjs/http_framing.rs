//! The framing of each HTTP transport.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::json;
use sha2::{Digest, Sha256};

/// The transport of a receiving request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// One frame for each response.
    Xhr,
    /// Many frames in one response, up to its size limit.
    XhrStreaming,
    /// Many frames in one response, as server-sent events.
    EventSource,
    /// Many frames in one HTML page, as scripts that call the named function.
    HtmlFile(String),
    /// One frame for each response, as a script that calls the named function.
    Jsonp(String),
}

/// Padding before the first frame of a stream: browsers pass no data to a page until about 2 KiB have arrived.
const PRELUDE_BYTES: usize = 2048;

impl Framing {
    pub(super) fn content_type(&self) -> &'static str {
        match self {
            Self::Xhr | Self::XhrStreaming | Self::Jsonp(_) => {
                "application/javascript; charset=UTF-8"
            }
            Self::EventSource => "text/event-stream",
            Self::HtmlFile(_) => "text/html; charset=UTF-8",
        }
    }

    /// The start of a streaming response; `None` for transports with one frame for each response.
    pub(super) fn prelude(&self) -> Option<Bytes> {
        match self {
            Self::Xhr | Self::Jsonp(_) => None,
            Self::XhrStreaming => {
                let mut prelude = vec![b'h'; PRELUDE_BYTES];
                prelude.push(b'\n');
                Some(prelude.into())
            }
            Self::EventSource => Some(Bytes::from_static(b"\r\n")),
            Self::HtmlFile(callback) => {
                let page = format!("{HTML_HEAD}{callback}{HTML_REST}");
                Some(format!("{page:<PRELUDE_BYTES$}\r\n\r\n").into())
            }
        }
    }

    /// Wraps one frame for this transport.
    pub(super) fn wrap(&self, frame: &[u8]) -> Bytes {
        match self {
            Self::Xhr | Self::XhrStreaming => [frame, b"\n"].concat().into(),
            Self::EventSource => {
                let mut out = Vec::with_capacity(frame.len() + 16);
                out.extend_from_slice(b"data: ");
                // The client decodes the data as a URI, so a bare % would fail. JSON has escaped line breaks.
                for &octet in frame {
                    match octet {
                        b'%' => out.extend_from_slice(b"%25"),
                        _ => out.push(octet),
                    }
                }
                out.extend_from_slice(b"\r\n\r\n");
                out.into()
            }
            Self::HtmlFile(_) => {
                format!("<script>\np({});\n</script>\r\n", script_string(frame)).into()
            }
            Self::Jsonp(callback) => {
                format!("/**/{callback}({});\r\n", script_string(frame)).into()
            }
        }
    }
}

/// A frame as a JavaScript string literal inside an HTML page: no `<`, which could end the script element. The frame's JSON
/// has already escaped JavaScript's line separators.
fn script_string(frame: &[u8]) -> String {
    json!(String::from_utf8_lossy(frame))
        .to_string()
        .replace('<', "\\u003c")
}

/// The page around the callback's name, byte for byte as the protocol's test suite requires.
const HTML_HEAD: &str = r#"<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent."#;
const HTML_REST: &str = r";
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>
";

/// The iframe page and its policy, the value of `Content-Security-Policy`.
///
/// The page is byte for byte as the protocol's test suite requires. It was made for pages of other origins: such a page could
/// make it request any URL of this origin, and read the response. So only pages of this origin may embed it.
pub(super) fn iframe(client_url: &str) -> (String, String) {
    let page = format!(
        r#"<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="{client_url}"></script>
  <script>{IFRAME_SCRIPT}</script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>
"#
    );
    let client = if client_url.starts_with('/') {
        "'self'"
    } else {
        client_url
    };
    let script = STANDARD.encode(Sha256::digest(IFRAME_SCRIPT));
    let policy = format!(
        "default-src 'none'; script-src {client} 'sha256-{script}'; connect-src 'self'; frame-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    );
    (page, policy)
}

const IFRAME_SCRIPT: &str = "
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transport_has_its_framing() {
        let callback = || "cb".to_owned();
        let cases = [
            (Framing::Xhr, "a[\"%\"]\n"),
            (Framing::XhrStreaming, "a[\"%\"]\n"),
            (Framing::EventSource, "data: a[\"%25\"]\r\n\r\n"),
            (
                Framing::HtmlFile(callback()),
                "<script>\np(\"a[\\\"%\\\"]\");\n</script>\r\n",
            ),
            (Framing::Jsonp(callback()), "/**/cb(\"a[\\\"%\\\"]\");\r\n"),
        ];
        for (framing, wrapped) in cases {
            assert_eq!(framing.wrap(b"a[\"%\"]"), wrapped, "{framing:?}");
        }
    }

    #[test]
    fn a_message_cannot_end_its_script_element() {
        let wrapped = Framing::HtmlFile("cb".to_owned()).wrap(b"a[\"</script><!--\"]");
        assert_eq!(
            wrapped,
            "<script>\np(\"a[\\\"\\u003c/script>\\u003c!--\\\"]\");\n</script>\r\n"
        );
    }
}
