use proptest::prelude::*;

use super::*;

/// All items of `input` fed in pieces that end at `cuts`.
fn decode_cut(version: Version, input: &[u8], cuts: &[usize]) -> (Vec<Item>, Option<Malformed>) {
    let mut decoder = Decoder::new(Limits {
        frame_bytes: 200,
        headers: 5,
        header_line_bytes: 40,
    });
    decoder.set_version(version);
    let mut items = Vec::new();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.push(input.len());
    ends.sort_unstable();
    let mut from = 0;
    for to in ends {
        decoder.feed(&input[from..to]);
        from = to;
        while let Some(item) = match decoder.next() {
            Ok(item) => item,
            Err(malformed) => {
                assert_eq!(decoder.next(), Err(malformed), "it stays in error");
                return (items, Some(malformed));
            }
        } {
            items.push(item);
        }
    }
    (items, None)
}

fn frames(version: Version, input: &[u8]) -> Vec<Frame> {
    let (items, malformed) = decode_cut(version, input, &[]);
    assert_eq!(malformed, None, "{}", input.escape_ascii());
    let frame = |item| match item {
        Item::Frame(frame) => Some(frame),
        Item::HeartBeat => None,
    };
    items.into_iter().filter_map(frame).collect()
}

fn header(version: Version, input: &[u8], name: &str) -> Option<String> {
    let frames = frames(version, input);
    frames[0].headers.get(name).map(str::to_owned)
}

fn refused(version: Version, input: &[u8]) -> &'static str {
    let malformed = decode_cut(version, input, &[]).1;
    malformed.map_or("accepted", Malformed::code)
}

#[test]
fn frames_and_heart_beats_may_be_split_and_merged_anywhere() {
    let input =
        b"\nSUBSCRIBE\r\nid:1\r\ndestination:/sub/a\n\n\0\n\r\n\0\nSEND\ndestination:/pub/a\n\
        content-length:5\n\nhe\0lo\0SEND\n\nx\0";
    let whole = decode_cut(Version::V12, input, &[]);
    let kinds: Vec<_> = whole
        .0
        .iter()
        .map(|item| matches!(item, Item::Frame(_)))
        .collect();
    assert_eq!(kinds, [false, true, false, false, false, true, true]);
    for cut in 0..input.len() {
        assert_eq!(decode_cut(Version::V12, input, &[cut]), whole);
    }
    let every: Vec<usize> = (0..input.len()).collect();
    assert_eq!(decode_cut(Version::V12, input, &every), whole);
}

#[test]
fn content_length_counts_octets_and_must_end_before_a_null() {
    let frames = frames(
        Version::V12,
        "SEND\ncontent-length:11\n\n{\"a\":\"한\"}\0SEND\n\na\0".as_bytes(),
    );
    assert_eq!(frames[0].body, "{\"a\":\"한\"}".as_bytes());
    assert_eq!(frames[1].body, "a");
    for (input, code) in [
        (&b"SEND\ncontent-length:1\n\nxyz\0"[..], "MISSING_NULL"),
        (b"SEND\ncontent-length:4\n\nxyz\0\n", "MISSING_NULL"),
        (b"SEND\ncontent-length:-1\n\nx\0", "BAD_CONTENT_LENGTH"),
        (b"SEND\ncontent-length:+1\n\nx\0", "BAD_CONTENT_LENGTH"),
        (b"SEND\ncontent-length:\n\nx\0", "BAD_CONTENT_LENGTH"),
        (b"SEND\ncontent-length: 1\n\nx\0", "BAD_CONTENT_LENGTH"),
    ] {
        assert_eq!(
            refused(Version::V12, input),
            code,
            "{}",
            input.escape_ascii()
        );
    }
}

#[test]
fn escapes_are_undone_in_one_pass_and_by_version() {
    let send = |line: &str| format!("SEND\n{line}\n\n\0").into_bytes();
    let value = |version, line: &str| header(version, &send(line), "x");
    assert_eq!(value(Version::V12, r"x:a\\nb").as_deref(), Some(r"a\nb"));
    assert_eq!(
        value(Version::V12, r"x:a\cb\nc\\d\r").as_deref(),
        Some("a:b\nc\\d\r")
    );
    assert_eq!(
        value(Version::V11, r"x:a\cb\nc\\d").as_deref(),
        Some("a:b\nc\\d")
    );
    assert_eq!(
        value(Version::V10, r"x:a\cb\t\").as_deref(),
        Some(r"a\cb\t\")
    );
    assert_eq!(
        header(Version::V12, &send(r"a\cb:1"), "a:b").as_deref(),
        Some("1")
    );
    assert_eq!(refused(Version::V11, &send(r"x:a\r")), "BAD_ESCAPE");
    for line in [r"x:a\tb", r"x:a\", r"x\t:a", r"x:\C"] {
        assert_eq!(refused(Version::V12, &send(line)), "BAD_ESCAPE", "{line}");
    }
}

#[test]
fn the_headers_of_connect_and_stomp_are_taken_literally() {
    for command in ["CONNECT", "STOMP", "CONNECTED"] {
        let input = format!("{command}\nAuthorization:Bearer a\\q:b\\\\c\n\n\0");
        let value = header(Version::V12, input.as_bytes(), "Authorization");
        assert_eq!(value.as_deref(), Some("Bearer a\\q:b\\\\c"));
    }
}

#[test]
fn values_are_split_at_the_first_colon_and_not_trimmed() {
    let input = b"SEND\nk: v \nurl:http://x:1/\nempty:\n\n\0";
    let frames = frames(Version::V12, input);
    let headers: Vec<_> = frames[0].headers.iter().collect();
    assert_eq!(
        headers,
        [("k", " v "), ("url", "http://x:1/"), ("empty", "")]
    );
}

#[test]
fn the_first_of_repeated_headers_counts_also_for_the_length() {
    let input = b"SEND\ncontent-length:5\ncontent-length:1\n\nhe\0lo\0";
    assert_eq!(frames(Version::V12, input)[0].body, &b"he\0lo"[..]);
}

#[test]
fn invalid_frames_are_refused() {
    for (input, code) in [
        (&b"FOO\n\n\0"[..], "UNKNOWN_COMMAND"),
        (b"send\n\n\0", "UNKNOWN_COMMAND"),
        (b" SEND\n\n\0", "UNKNOWN_COMMAND"),
        (b"SEND\nnocolon\n\n\0", "BAD_HEADER"),
        (b"SEND\n:v\n\n\0", "BAD_HEADER"),
        (b"SEND\na:b\rc\n\n\0", "BAD_LINE_END"),
        (b"SEND\na:b\r\r\n\n\0", "BAD_LINE_END"),
        (b"\rSEND\n\n\0", "BAD_LINE_END"),
        (b"SEND\0", "UNEXPECTED_NULL"),
        (b"SEND\na:b\0", "UNEXPECTED_NULL"),
        (b"SEND\na:\xff\n\n\0", "BAD_ENCODING"),
        (b"SUBSCRIBE\nid:1\n\nbody\0", "UNEXPECTED_BODY"),
        (b"CONNECT\n\n\n\0", "UNEXPECTED_BODY"),
        (b"CONNECT\ncontent-length:4\n\n", "UNEXPECTED_BODY"),
    ] {
        assert_eq!(
            refused(Version::V12, input),
            code,
            "{}",
            input.escape_ascii()
        );
    }
    assert_eq!(
        frames(Version::V12, b"ACK\ncontent-length:0\n\n\0").len(),
        1
    );
}

#[test]
fn limits_hold_to_the_octet() {
    let v = Version::V12;
    let body = |length| [b"SEND\n\n".to_vec(), vec![b'x'; length], vec![0]].concat();
    assert_eq!(frames(v, &body(194))[0].body.len(), 194);
    assert_eq!(refused(v, &body(195)), "FRAME_TOO_LARGE");
    assert_eq!(
        refused(v, &body(195)[..201]),
        "FRAME_TOO_LARGE",
        "before it ends"
    );
    let line = |length| format!("SEND\na:{}\n\n\0", "x".repeat(length)).into_bytes();
    assert_eq!(frames(v, &line(38)).len(), 1);
    assert_eq!(refused(v, &line(39)), "HEADER_TOO_LONG");
    assert_eq!(
        refused(v, &line(39)[..46]),
        "HEADER_TOO_LONG",
        "before it ends"
    );
    assert_eq!(
        refused(v, &[b'A'; 41]),
        "HEADER_TOO_LONG",
        "the command too"
    );
    let many = |count| format!("SEND\n{}\n\0", "a:b\n".repeat(count)).into_bytes();
    assert_eq!(frames(v, &many(5)).len(), 1);
    assert_eq!(refused(v, &many(6)), "TOO_MANY_HEADERS");
    let long = format!("SEND\n{}\n\0", format!("a:{}\n", "x".repeat(38)).repeat(5));
    assert_eq!(
        refused(v, long.as_bytes()),
        "FRAME_TOO_LARGE",
        "the lines together"
    );
}

#[test]
fn a_length_over_the_limit_is_refused_when_it_is_announced() {
    for length in ["176", "65536", "999999999999999999999999"] {
        let input = format!("SEND\ncontent-length:{length}\n\n");
        assert_eq!(refused(Version::V12, input.as_bytes()), "FRAME_TOO_LARGE");
    }
    assert_eq!(
        refused(Version::V12, b"SEND\ncontent-length:175\n\n"),
        "accepted"
    );
}

#[test]
fn an_idle_decoder_owns_no_memory_and_a_waiting_one_no_more_than_it_must() {
    let mut decoder = Decoder::new(Limits::default());
    let mut input = b"SEND\n\n".to_vec();
    input.resize(60_000, b'x');
    input.extend_from_slice(b"\0SEND\n\n");
    decoder.feed(&input);
    assert!(matches!(decoder.next(), Ok(Some(Item::Frame(_)))));
    assert_eq!(decoder.next(), Ok(None));
    assert!(decoder.pending.capacity() < 100);
    decoder.feed(b"\0\n");
    assert!(matches!(decoder.next(), Ok(Some(Item::Frame(_)))));
    assert_eq!(decoder.next(), Ok(Some(Item::HeartBeat)));
    assert_eq!(decoder.next(), Ok(None));
    assert_eq!(decoder.pending.capacity(), 0);
    assert!(decoder.partial.is_none());
}

/// Octets that look like frames often enough to get beyond the command.
fn frame_like() -> impl Strategy<Value = Vec<u8>> {
    let pieces = "SEND|CONNECT|ACK|\n|\n|\r\n|\r|\0|\n\n|a|b:c|:|\\n|\\|x:\\r|content-length:|12|\n\nabc\0|\
        content-length:3\n|aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa|é";
    let pieces: Vec<&str> = pieces.split('|').collect();
    prop::collection::vec(prop::sample::select(pieces), 0..30)
        .prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_cut_of_anything_gives_the_same(
        input in prop_oneof![frame_like(), prop::collection::vec(any::<u8>(), 0..200)],
        cuts: Vec<usize>, version in prop::sample::select(Version::ALL.to_vec()),
    ) {
        prop_assert_eq!(decode_cut(version, &input, &cuts), decode_cut(version, &input, &[]));
    }
}
