//! What each HTTP transport wraps around a frame.

use bytes::Bytes;
use serde_json::json;

/// How a request receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// One frame a response.
    Xhr,
    /// Frames until the response has been long enough.
    XhrStreaming,
    /// Likewise, as server-sent events.
    EventSource,
    /// Likewise, as scripts in a page that never ends. With the name of the function that is called.
    HtmlFile(String),
    /// One frame a response, as a script. Likewise.
    Jsonp(String),
}

/// What comes before the first frame of a stream: browsers show nothing of a response that is too short.
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

    /// What a stream begins with; `None` where a response is one frame.
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

    /// A frame on this transport.
    pub(super) fn wrap(&self, frame: &[u8]) -> Bytes {
        match self {
            Self::Xhr | Self::XhrStreaming => [frame, b"\n"].concat().into(),
            Self::EventSource => {
                let mut out = Vec::with_capacity(frame.len() + 16);
                out.extend_from_slice(b"data: ");
                // The client unescapes what it gets, as a URI: a bare % would make it fail. A line break cannot be in
                // a frame, since JSON escapes it.
                for &octet in frame {
                    match octet {
                        b'%' => out.extend_from_slice(b"%25"),
                        _ => out.push(octet),
                    }
                }
                out.extend_from_slice(b"\r\n\r\n");
                out.into()
            }
            Self::HtmlFile(_) => format!("<script>\np({});\n</script>\r\n", script(frame)).into(),
            Self::Jsonp(callback) => format!("/**/{callback}({});\r\n", script(frame)).into(),
        }
    }
}

/// A frame as a string of JavaScript that may stand inside a page: no `<` that could end the script. The frame itself has
/// escaped what JavaScript takes for a line break.
fn script(frame: &[u8]) -> String {
    json!(String::from_utf8_lossy(frame))
        .to_string()
        .replace('<', "\\u003c")
}

/// Fixed by the protocol's test suite, to the octet, with the callback in between.
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

/// The page for clients of other origins that need an iframe: likewise, around the address of the client's script.
pub(super) fn iframe(client_url: &str) -> String {
    format!(
        r#"<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="{client_url}"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transport_wraps_a_frame_in_its_own_way() {
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
    fn a_message_cannot_leave_its_script() {
        let wrapped = Framing::HtmlFile("cb".to_owned()).wrap(b"a[\"</script><!--\"]");
        assert_eq!(
            wrapped,
            "<script>\np(\"a[\\\"\\u003c/script>\\u003c!--\\\"]\");\n</script>\r\n"
        );
    }
}
