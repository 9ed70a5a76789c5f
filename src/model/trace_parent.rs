//! The place of a span in a trace, in the form of the header `traceparent` (W3C Trace Context).

use std::{fmt, num::NonZero};

/// The name of the HTTP header, and of the header of a Kafka record.
pub const TRACEPARENT: &str = "traceparent";

/// A span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: NonZero<u128>,
    /// The span.
    pub span_id: NonZero<u64>,
    /// Whether the span is recorded.
    pub sampled: bool,
}

impl TraceParent {
    /// Parses a header's value. A value of a later version may have more fields, which are ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let version = hex(fields.next()?, 2)?;
        let trace_id = NonZero::new(hex(fields.next()?, 32)?)?;
        let span_id = NonZero::new(u64::try_from(hex(fields.next()?, 16)?).ok()?)?;
        let flags = hex(fields.next()?, 2)?;
        if version == 0xff || version == 0 && fields.next().is_some() {
            return None;
        }
        Some(Self {
            trace_id,
            span_id,
            sampled: flags & 1 == 1,
        })
    }

    /// The id of the trace, for log lines.
    pub fn trace(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

/// Parses `digits` hexadecimal digits in lower case.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == digits && text.bytes().all(is_digit))
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(
            f,
            "00-{:032x}-{:016x}-{flags:02x}",
            self.trace_id, self.span_id
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_span_is_parsed_from_its_text() {
        for text in [
            format!("00-{TRACE}-00f067aa0ba902b7-01"),
            "00-00000000000000000000000000000001-0000000000000001-00".to_owned(),
        ] {
            let parsed = TraceParent::parse(&text).expect("valid");
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn a_later_version_may_have_more_fields_and_flags() {
        for (text, sampled) in [
            (format!("00-{TRACE}-00f067aa0ba902b7-03"), true),
            (format!("cc-{TRACE}-00f067aa0ba902b7-02"), false),
            (format!("cc-{TRACE}-00f067aa0ba902b7-01-more-fields"), true),
        ] {
            let parsed = TraceParent::parse(&text);
            assert_eq!(parsed.map(|parsed| parsed.sampled), Some(sampled), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            String::new(),
            TRACE.to_owned(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-1"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-+{}-00f067aa0ba902b7-01", TRACE.trim_start_matches('4')),
            format!(" 00-{TRACE}-00f067aa0ba902b7-01"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01.more"),
        ] {
            assert_eq!(TraceParent::parse(&text), None, "{text:?}");
        }
    }
}
