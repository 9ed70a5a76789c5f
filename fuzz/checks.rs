//! Properties of the decoders for any bytes, called by the fuzz targets and by a test on the corpus.

use discodeit::{
    delivery::destination::{ChannelStream, send, subscribe},
    events::position::{Cursor, Position},
    ids::UserId,
    protocol::{sockjs as sj, stomp as st, websocket as ws},
};

/// Splits the input at a place that its first byte determines.
fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let at = data
        .first()
        .map_or(0, |first| usize::from(*first) * data.len() / 256);
    data.split_at(at)
}

/// Checks that frames do not depend on the split of their octets, and that a decoded frame survives a round trip.
pub(crate) fn stomp(data: &[u8]) {
    let decode = |pieces: &[&[u8]], version: Option<st::Version>| {
        let mut decoder = st::Decoder::new(st::Limits::default());
        if let Some(version) = version {
            decoder.set_version(version);
        }
        let (mut items, mut failure) = (Vec::new(), None);
        for piece in pieces {
            decoder.feed(piece);
            loop {
                match decoder.next() {
                    Ok(Some(item)) => items.push(item),
                    Ok(None) => break,
                    Err(malformed) => {
                        failure = Some(malformed.code());
                        break;
                    }
                }
            }
        }
        (items, failure)
    };
    for version in [
        None,
        Some(st::Version::V10),
        Some(st::Version::V11),
        Some(st::Version::V12),
    ] {
        let (whole, failure) = decode(&[data], version);
        let (first, second) = halves(data);
        let (split, split_failure) = decode(&[first, second], version);
        assert_eq!(format!("{whole:?}"), format!("{split:?}"));
        assert_eq!(failure, split_failure);
        if version == Some(st::Version::V12) {
            for item in whole {
                if let st::Item::Frame(frame) = item {
                    let octets = st::encode(&frame, st::Version::V12);
                    let (again, failure) = decode(&[&octets], version);
                    // Escapes and content-length may make the encoded frame longer than the input.
                    if matches!(
                        failure,
                        Some("HEADER_TOO_LONG" | "FRAME_TOO_LARGE" | "TOO_MANY_HEADERS")
                    ) {
                        assert!(again.is_empty());
                        continue;
                    }
                    let [st::Item::Frame(again)] = &again[..] else {
                        panic!("{frame:?} decodes to {again:?}, {failure:?} after a round trip");
                    };
                    assert_eq!(failure, None);
                    assert_eq!(frame.command, again.command);
                    assert_eq!(frame.body, again.body);
                    let headers = |frame: &st::Frame| -> Vec<(String, String)> {
                        let counted = frame
                            .headers
                            .iter()
                            .filter(|(name, _)| *name != "content-length");
                        counted
                            .map(|(name, value)| (name.to_owned(), value.to_owned()))
                            .collect()
                    };
                    assert_eq!(headers(&frame), headers(again));
                }
            }
        }
    }
}

/// Checks that a decoded payload survives a round trip.
pub(crate) fn sockjs(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(messages) = sj::decode(text) {
        let frame = sj::messages(messages.iter().map(String::as_str));
        let array = frame.strip_prefix('a').unwrap_or_default();
        assert_eq!(sj::decode(array).ok(), Some(messages));
    }
}

/// Checks that events do not depend on the split of their octets.
pub(crate) fn websocket(data: &[u8]) {
    let decode = |pieces: &[&[u8]]| {
        let mut decoder = ws::Decoder::new(64 * 1024);
        let mut events = Vec::new();
        for piece in pieces {
            decoder.feed(piece);
            loop {
                match decoder.next() {
                    Ok(Some(event)) => events.push(format!("{event:?}")),
                    Ok(None) => break,
                    Err(violation) => {
                        events.push(format!("{violation:?}"));
                        return events;
                    }
                }
            }
        }
        events
    };
    let (first, second) = halves(data);
    assert_eq!(decode(&[data]), decode(&[first, second]));
}

/// Checks that a parsed `Last-Event-ID` or Redis position has one meaning: its printed form parses to the same value.
pub(crate) fn positions(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let owner = UserId(uuid::Uuid::nil());
    if let Some(cursor) = Cursor::parse(text, owner) {
        assert_eq!(Cursor::parse(&cursor.to_string(), owner), Some(cursor));
    }
    if let Some(position) = Position::parse(text) {
        assert_eq!(Position::parse(&position.to_string()), Some(position));
        assert!(position.previous() <= position);
    }
}

/// Checks that no destination accepts both SEND and SUBSCRIBE, and that a channel's printed destination names that channel.
pub(crate) fn destinations(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    assert!(subscribe(text).is_none() || send(text).is_none());
    if let Some((channel, stream)) = ChannelStream::parse(text) {
        let printed = stream.destination(channel);
        assert_eq!(ChannelStream::parse(&printed), Some((channel, stream)));
    }
}
