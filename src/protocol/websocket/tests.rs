use proptest::prelude::*;

use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked client frame. `first` is the octet with FIN and the opcode.
fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    let (mut head, size) = server_header(0, payload.len());
    head[0] = first;
    head[1] |= 0x80;
    let mut out = head[..size].to_vec();
    out.extend_from_slice(&MASK);
    out.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(octet, key)| octet ^ key),
    );
    out
}

/// All events of `input` fed in pieces that end at `cuts`.
fn decode_cut(input: &[u8], cuts: &[usize]) -> (Vec<Event>, Option<Violation>) {
    let mut decoder = Decoder::new(300);
    let mut events = Vec::new();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.push(input.len());
    ends.sort_unstable();
    let mut from = 0;
    for to in ends {
        decoder.feed(&input[from..to]);
        from = to;
        while let Some(event) = match decoder.next() {
            Ok(event) => event,
            Err(violation) => {
                assert_eq!(decoder.next(), Err(violation), "it stays in error");
                return (events, Some(violation));
            }
        } {
            events.push(event);
        }
    }
    (events, None)
}

fn decode(input: &[u8]) -> (Vec<Event>, Option<Violation>) {
    decode_cut(input, &[])
}

fn refused(input: &[u8]) -> u16 {
    decode(input).1.expect("a violation").code
}

/// The events of one close frame, or the code with which it is refused.
fn close_with(code: u16, reason: &[u8]) -> Result<Vec<Event>, u16> {
    let payload = [&code.to_be_bytes(), reason].concat();
    match decode(&client(0x88, &payload)) {
        (events, None) => Ok(events),
        (_, Some(violation)) => Err(violation.code),
    }
}

#[test]
fn the_accept_key_is_that_of_the_rfc() {
    assert_eq!(
        accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
}

#[test]
fn the_masked_hello_of_the_rfc_is_a_text() {
    let hello = [
        0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    assert_eq!(
        decode(&hello),
        (vec![Event::Text("Hello".to_owned())], None)
    );
}

#[test]
fn control_frames_may_come_between_fragments() {
    let input = [
        client(0x01, "한".as_bytes().split_at(1).0),
        client(0x89, b"p"),
        client(0x00, b""),
        client(0x8a, b""),
        client(0x80, "한".as_bytes().split_at(1).1),
        client(0x82, b"\xff"),
        client(0x88, b""),
        client(0x81, b"after the close"),
    ]
    .concat();
    let events = vec![
        Event::Ping(b"p".to_vec()),
        Event::Pong,
        Event::Text("한".to_owned()),
        Event::Binary(vec![0xff]),
        Event::Close { code: 1005 },
    ];
    assert_eq!(decode(&input), (events, None));
}

#[test]
fn broken_frames_are_protocol_errors() {
    assert_eq!(refused(&text(b"unmasked")), 1002);
    for reserved in [0xc1, 0xa1, 0x91] {
        assert_eq!(refused(&client(reserved, b"")), 1002);
    }
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        assert_eq!(refused(&client(0x80 | opcode, b"")), 1002);
    }
    for control in [0x08, 0x09, 0x0a] {
        assert_eq!(refused(&client(control, b"")), 1002, "fragmented");
        assert_eq!(
            refused(&client(0x80 | control, &[0; 126])),
            1002,
            "too long"
        );
    }
    assert_eq!(refused(&client(0x80, b"")), 1002, "nothing to continue");
    let twice = [client(0x01, b"a"), client(0x81, b"b")].concat();
    assert_eq!(refused(&twice), 1002, "a message inside another");
    assert_eq!(
        refused(&[0x82, 0xfe, 0, 125]),
        1002,
        "not the shortest length"
    );
    assert_eq!(
        refused(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
        1002,
        "not the shortest length"
    );
    assert_eq!(
        refused(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        1002,
        "the highest bit"
    );
}

#[test]
fn text_must_be_utf8_as_a_whole_message() {
    assert_eq!(refused(&client(0x81, b"\xc3\x28")), 1007);
    assert_eq!(refused(&client(0x81, b"\xed\xa0\x80")), 1007, "a surrogate");
    let cut_off = [client(0x01, b"ok"), client(0x80, b"\xe2\x82")].concat();
    assert_eq!(refused(&cut_off), 1007);
}

#[test]
fn messages_over_the_limit_are_refused_by_their_header() {
    assert_eq!(decode(&client(0x82, &[7; 300])).0.len(), 1);
    assert_eq!(refused(&client(0x82, &[0; 301])[..4]), 1009);
    assert_eq!(
        refused(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        1009
    );
    let joined = [client(0x02, &[0; 200]), client(0x80, &[0; 101])].concat();
    assert_eq!(refused(&joined), 1009, "the sum over fragments counts");
}

#[test]
fn an_idle_decoder_owns_no_memory_and_an_announcement_reserves_none() {
    let mut decoder = Decoder::new(1 << 30);
    decoder.feed(&client(0x81, &[b'x'; 5000]));
    assert!(matches!(decoder.next(), Ok(Some(Event::Text(_)))));
    assert_eq!(decoder.next(), Ok(None));
    assert_eq!(
        (decoder.pending.capacity(), decoder.message.capacity()),
        (0, 0)
    );
    decoder.feed(&[
        0x82, 0xff, 0, 0, 0, 0, 0x3f, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5,
    ]);
    assert_eq!(decoder.next(), Ok(None));
    assert!(decoder.pending.capacity() + decoder.message.capacity() < 100);
}

#[test]
fn allowed_close_codes_are_passed_on() {
    let known = (1000..=1003).chain(1007..=1014);
    for code in known.chain([3000, 3999, 4000, 4999]) {
        assert_eq!(close_with(code, b"bye"), Ok(vec![Event::Close { code }]));
    }
}

#[test]
fn reserved_close_codes_are_protocol_errors() {
    let reserved = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000];
    for code in reserved.into_iter().chain([u16::MAX]) {
        assert_eq!(close_with(code, b""), Err(1002), "{code}");
    }
    assert_eq!(refused(&client(0x88, b"\x03")), 1002, "half a code");
}

#[test]
fn a_close_reason_must_be_utf8() {
    assert_eq!(close_with(1000, b"\xff"), Err(1007));
}

#[test]
fn frames_have_the_shortest_header() {
    assert_eq!(text(b"Hello")[..], *b"\x81\x05Hello");
    assert_eq!(text(&[b'x'; 126])[..4], [0x81, 126, 0, 126]);
    assert_eq!(
        text(&vec![b'x'; 65536])[..10],
        [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]
    );
    assert_eq!(pong(b"a")[..], *b"\x8a\x01a");
    assert_eq!(pong(&[0; 200]).len(), 127);
    for len in [0, 125, 126, 65535, 65536] {
        let payload = vec![b'x'; len];
        assert_eq!(
            text_with(3, |out| out.extend_from_slice(&payload)),
            text(&payload)
        );
    }
}

#[test]
fn a_close_reason_is_cut_at_a_character() {
    assert_eq!(close(1000, "bye")[..], *b"\x88\x05\x03\xe8bye");
    assert_eq!(close(1005, "bye")[..], *b"\x88\x00");
    let long = close(1001, &"한".repeat(100));
    assert_eq!(long[1], 125);
    let longer = close(1001, &format!("x{}", "한".repeat(100)));
    assert_eq!(longer[1], 2 + 1 + 40 * 3);
    assert!(str::from_utf8(&longer[4..]).is_ok());
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_events(
        frames in prop::collection::vec(
            (prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88]),
             prop::collection::vec(any::<u8>(), 0..140)), 0..8),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let input: Vec<u8> = frames.iter().flat_map(|(first, payload)| client(*first, payload)).collect();
        prop_assert_eq!(decode_cut(&input, &cuts), decode(&input));
    }

    #[test]
    fn any_cut_of_a_fragmented_text_gives_the_text(
        message in "\\PC{0,60}", pieces in prop::collection::vec(any::<usize>(), 0..4),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let mut at: Vec<usize> = pieces.iter().map(|piece| piece % (message.len() + 1)).collect();
        at.push(message.len());
        at.sort_unstable();
        let mut input = Vec::new();
        let mut from = 0;
        for (index, &to) in at.iter().enumerate() {
            let first = u8::from(index == 0) | if index + 1 == at.len() { 0x80 } else { 0 };
            input.extend(client(first, &message.as_bytes()[from..to]));
            from = to;
        }
        prop_assert_eq!(decode_cut(&input, &cuts), (vec![Event::Text(message)], None));
    }

    #[test]
    fn random_octets_never_panic(
        input in prop::collection::vec(any::<u8>(), 0..200), cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        prop_assert_eq!(decode_cut(&input, &cuts), decode(&input));
    }
}
