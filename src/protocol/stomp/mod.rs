//! STOMP 1.0, 1.1 and 1.2, server side, without IO: frames, their octets, and the rules of one
//! connection.
//!
//! This module does no IO, reads no clock and does not interpret destinations, tokens or message
//! bodies: octets and frames in, frames and actions out, time as an argument.
//!
//! - [`frame`]: the frame, its headers and its encoder
//! - [`codec`]: the decoder and its limits
//! - [`session`]: the rules of one connection, and heart-beating
//!
//! # Example
//!
//! The server's side of one connection: the octets of a client in, actions for the application and
//! frames for the client out.
//!
//! ```
//! use std::time::Duration;
//!
//! use discodeit::protocol::stomp::{
//!     Action, Decoder, Item, Limits, Malformed, Session, Settings, encode, receipt,
//! };
//!
//! let mut decoder = Decoder::new(Limits::default());
//! let mut session = Session::new(Settings::default(), Duration::ZERO);
//! // Time since the connection was opened. A server passes the clock's time to each call.
//! let now = Duration::from_millis(20);
//!
//! decoder.feed(b"CONNECT\naccept-version:1.2\nAuthorization:Bearer secret\n\n\0");
//! let Some(Item::Frame(frame)) = decoder.next()? else {
//!     panic!("a whole frame has arrived");
//! };
//! let token = Some("secret".to_owned());
//! assert_eq!(session.on_frame(frame, now), Action::Authenticate { token });
//!
//! // The application accepts the token.
//! let connected = session.connected("alice", "session-1", now);
//! decoder.set_version(session.version());
//! assert_eq!(
//!     encode(&connected, session.version()),
//!     b"CONNECTED\nversion:1.2\nheart-beat:10000,10000\nuser-name:alice\nsession:session-1\n\n\0"
//! );
//!
//! decoder.feed(b"SUBSCRIBE\nid:0\ndestination:/sub/news\n\n\0");
//! decoder.feed(b"SEND\ndestination:/pub/news\nreceipt:1\n\nHello\0");
//! let mut actions = Vec::new();
//! while let Some(item) = decoder.next()? {
//!     if let Item::Frame(frame) = item {
//!         actions.push(session.on_frame(frame, now));
//!     }
//! }
//! assert_eq!(
//!     actions,
//!     [
//!         Action::Subscribe {
//!             id: "0".to_owned(),
//!             destination: "/sub/news".to_owned(),
//!             after_seq: None,
//!             receipt: None,
//!         },
//!         Action::Send {
//!             destination: "/pub/news".to_owned(),
//!             body: "Hello".into(),
//!             receipt: Some("1".to_owned()),
//!         },
//!     ]
//! );
//!
//! // The application has published the message.
//! assert_eq!(
//!     encode(&receipt("1"), session.version()),
//!     b"RECEIPT\nreceipt-id:1\n\n\0"
//! );
//! # Ok::<(), Malformed>(())
//! ```

pub mod codec;
pub mod frame;
pub mod session;

pub use codec::{Decoder, Item, Limits, Malformed};
pub use frame::{Command, Frame, Headers, Message, Version, encode};
pub use session::{Action, Refusal, Session, Settings, Tick, receipt};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn fresh() -> Session {
        Session::new(Settings::default(), seconds(0))
    }

    fn frame(octets: &str) -> Frame {
        let mut decoder = Decoder::new(Limits::default());
        decoder.feed(octets.as_bytes());
        match decoder.next() {
            Ok(Some(Item::Frame(frame))) => frame,
            other => panic!("{octets:?} is {other:?}"),
        }
    }

    fn act(session: &mut Session, octets: &str) -> Action {
        session.on_frame(frame(octets), seconds(0))
    }

    fn refused(session: &mut Session, octets: &str) -> &'static str {
        match act(session, octets) {
            Action::Refuse(refusal) => refusal.code,
            other => panic!("{octets:?} gives {other:?}"),
        }
    }

    /// A session connected at zero seconds with these headers, and its `CONNECTED`.
    fn connected(settings: Settings, headers: &str) -> (Session, Frame) {
        let mut session = Session::new(settings, seconds(0));
        let action = act(&mut session, &format!("CONNECT\n{headers}\n\0"));
        assert!(matches!(action, Action::Authenticate { .. }), "{action:?}");
        let frame = session.connected("alice", "s-1", seconds(0));
        (session, frame)
    }

    fn open() -> Session {
        connected(Settings::default(), "accept-version:1.2\n").0
    }

    fn beating(heart_beat: &str) -> Session {
        connected(
            Settings::default(),
            &format!("accept-version:1.2\nheart-beat:{heart_beat}\n"),
        )
        .0
    }

    #[test]
    fn connect_of_browsers_needs_no_host_and_may_be_called_stomp() {
        for command in ["CONNECT", "STOMP"] {
            let octets = format!(
                "{command}\nAuthorization:Bearer a.b:c\naccept-version:1.2,1.1,1.0\nheart-beat:4000,4000\n\n\0"
            );
            let mut session = fresh();
            let token = Some("a.b:c".to_owned());
            assert_eq!(act(&mut session, &octets), Action::Authenticate { token });
            let answer = session.connected("alice", "s-1", seconds(1));
            let headers: Vec<_> = answer.headers.iter().collect();
            let expected = [
                ("version", "1.2"),
                ("heart-beat", "10000,10000"),
                ("user-name", "alice"),
                ("session", "s-1"),
            ];
            assert_eq!(
                (answer.command, headers),
                (Command::Connected, expected.to_vec())
            );
        }
    }

    #[test]
    fn only_bearer_tokens_are_tokens() {
        for (header, token) in [
            ("", None),
            ("Authorization:\n", None),
            ("Authorization:Bearer \n", None),
            ("Authorization:Basic abc\n", None),
            ("Authorization:abc\n", None),
            ("authorization:bearer abc\n", Some("abc".to_owned())),
            (
                "Authorization:Bearer one\nAuthorization:Bearer two\n",
                Some("one".to_owned()),
            ),
        ] {
            let action = act(&mut fresh(), &format!("CONNECT\n{header}\n\0"));
            assert_eq!(action, Action::Authenticate { token }, "{header}");
        }
    }

    #[test]
    fn the_highest_version_in_common_is_taken() {
        for (headers, version) in [
            ("accept-version:1.2,1.1,1.0\n", Version::V12),
            ("accept-version:1.0,1.1\n", Version::V11),
            ("accept-version:1.0, 1.2\n", Version::V12),
            ("accept-version:3.0 ,\t1.1 \n", Version::V11),
            ("accept-version:1.0\n", Version::V10),
            ("accept-version:\n", Version::V10),
            ("", Version::V10),
        ] {
            let (session, answer) = connected(Settings::default(), headers);
            assert_eq!(session.version(), version, "{headers}");
            assert_eq!(answer.headers.get("version"), Some(version.as_str()));
        }
    }

    #[test]
    fn no_version_in_common_is_an_error_that_lists_ours() {
        for versions in ["2.0", "11.2", "1.22", "1", ","] {
            let mut session = fresh();
            let connect = format!("CONNECT\naccept-version:{versions}\nreceipt:r\n\n\0");
            let Action::Refuse(refusal) = act(&mut session, &connect) else {
                panic!("{versions} was accepted");
            };
            let error = refusal.frame();
            assert_eq!(error.headers.get("version"), Some("1.0,1.1,1.2"));
            assert_eq!(
                error.headers.get("receipt-id"),
                None,
                "CONNECT may not ask for a receipt"
            );
            assert_eq!(error.headers.get("code"), Some("UNSUPPORTED_VERSION"));
            assert_eq!(session.deadline(), None);
        }
    }

    #[test]
    fn connected_carries_the_servers_offer_and_not_the_maximum() {
        let settings = Settings {
            heart_beat_ms: (3000, 5000),
            ..Settings::default()
        };
        let (session, answer) = connected(settings, "accept-version:1.1\nheart-beat:20000, 1000\n");
        assert_eq!(answer.headers.get("heart-beat"), Some("3000,5000"));
        assert!(session.beats());
        assert_eq!(session.deadline(), Some(Duration::from_millis(2700)));
    }

    #[test]
    fn beats_go_out_within_each_period_after_the_last_write() {
        let mut session = beating("4000,4000");
        assert!(session.beats());
        assert_eq!(session.deadline(), Some(seconds(9)));
        assert_eq!(session.on_tick(seconds(8)), Tick::Nothing);
        session.on_sent(seconds(8));
        assert_eq!(session.on_tick(seconds(9)), Tick::Nothing);
        assert_eq!(session.deadline(), Some(seconds(17)));
        assert_eq!(session.on_tick(seconds(17)), Tick::Beat);
        assert_eq!(session.on_tick(seconds(17)), Tick::Nothing);
        assert_eq!(session.deadline(), Some(seconds(26)));
    }

    #[test]
    fn heart_beats_need_both_sides() {
        let off = Settings {
            heart_beat_ms: (0, 0),
            ..Settings::default()
        };
        let silent = [
            beating("0,0"),
            connected(off, "accept-version:1.2\nheart-beat:4000,4000\n").0,
            connected(Settings::default(), "accept-version:1.2\n").0,
            // In 1.0 there is no heart-beating, and clients that ended up with it stay silent.
            connected(
                Settings::default(),
                "accept-version:1.0\nheart-beat:4000,4000\n",
            )
            .0,
        ];
        for mut session in silent {
            assert!(!session.beats());
            assert_eq!(session.deadline(), None);
            assert_eq!(session.on_tick(seconds(1_000_000)), Tick::Nothing);
        }
        assert!(!beating("4000,0").beats());
        assert_eq!(beating("4000,0").deadline(), Some(seconds(60)));
        assert_eq!(beating("0,4000").deadline(), Some(seconds(9)));
    }

    #[test]
    fn a_late_client_lives_and_a_silent_client_times_out() {
        // Three of its periods, but never under a minute.
        for (heart_beat, limit) in [("10000,0", 60), ("30000,0", 90)] {
            let mut session = beating(heart_beat);
            for beat in 1..5 {
                let now = seconds(beat * (limit - 1));
                assert_eq!(session.on_tick(now), Tick::Nothing);
                session.on_bytes(now);
            }
            let last = 4 * (limit - 1);
            assert_eq!(session.on_tick(seconds(last + limit - 1)), Tick::Nothing);
            let Tick::TimedOut(refusal) = session.on_tick(seconds(last + limit)) else {
                panic!("it lives");
            };
            assert_eq!(refusal.code, "HEART_BEAT_TIMEOUT");
            assert_eq!(session.deadline(), None);
            assert_eq!(session.on_tick(seconds(last + limit)), Tick::Nothing);
        }
    }

    #[test]
    fn a_heart_beat_header_is_two_numbers() {
        for header in [
            "4000", "abc,1", "1,abc", "", ",", "-1,0", "+1,0", "1,2,3", "1.5,0",
        ] {
            let connect = format!("CONNECT\nheart-beat:{header}\n\n\0");
            assert_eq!(
                refused(&mut fresh(), &connect),
                "BAD_HEART_BEAT",
                "{header}"
            );
        }
        assert!(beating(" 4000 , 4000 ").beats());
        assert!(beating("0,99999999999").beats());
    }

    #[test]
    fn connect_has_a_deadline() {
        let mut session = fresh();
        assert_eq!(session.deadline(), Some(seconds(60)));
        session.on_bytes(seconds(59));
        assert_eq!(session.on_tick(seconds(59)), Tick::Nothing);
        let Tick::TimedOut(refusal) = session.on_tick(seconds(60)) else {
            panic!("it waits on");
        };
        assert_eq!(refusal.code, "CONNECT_TIMEOUT");
    }

    #[test]
    fn nothing_but_connect_is_allowed_before_connect_and_its_answer() {
        let subscribe = "SUBSCRIBE\nid:1\ndestination:/sub/a\n\n\0";
        for octets in [
            subscribe,
            "SEND\ndestination:/pub/a\n\n\0",
            "DISCONNECT\n\n\0",
            "ACK\nid:1\n\n\0",
        ] {
            assert_eq!(refused(&mut fresh(), octets), "NOT_CONNECTED");
        }
        let mut session = fresh();
        act(&mut session, "CONNECT\n\n\0");
        assert_eq!(refused(&mut session, subscribe), "NOT_CONNECTED");
    }

    #[test]
    fn a_second_connect_is_refused_and_so_is_all_that_follows() {
        let mut session = open();
        assert_eq!(refused(&mut session, "CONNECT\n\n\0"), "ALREADY_CONNECTED");
        assert_eq!(
            refused(&mut session, "SEND\ndestination:/pub/a\n\n\0"),
            "SESSION_ENDED"
        );
    }

    #[test]
    fn commands_of_servers_are_refused() {
        for command in ["CONNECTED", "MESSAGE", "RECEIPT", "ERROR"] {
            let octets = format!("{command}\ndestination:/sub/a\n\n\0");
            assert_eq!(refused(&mut open(), &octets), "UNEXPECTED_COMMAND");
        }
    }

    #[test]
    fn subscriptions_need_an_id_of_their_own_and_a_destination() {
        for (octets, code) in [
            ("SUBSCRIBE\ndestination:/sub/a\n\n\0", "MISSING_HEADER"),
            ("SUBSCRIBE\nid:\ndestination:/sub/a\n\n\0", "MISSING_HEADER"),
            ("SUBSCRIBE\nid:2\n\n\0", "MISSING_HEADER"),
            (
                "SUBSCRIBE\nid:2\ndestination:/sub/a\nafter-seq:x\n\n\0",
                "BAD_AFTER_SEQ",
            ),
            (
                "SUBSCRIBE\nid:1\ndestination:/sub/b\n\n\0",
                "DUPLICATE_SUBSCRIPTION",
            ),
            ("UNSUBSCRIBE\ndestination:/sub/a\n\n\0", "MISSING_HEADER"),
            ("SEND\n\nbody\0", "MISSING_HEADER"),
        ] {
            let mut session = open();
            act(&mut session, "SUBSCRIBE\nid:1\ndestination:/sub/a\n\n\0");
            assert_eq!(refused(&mut session, octets), code, "{octets}");
        }
        let long = format!(
            "SUBSCRIBE\nid:{}\ndestination:/sub/a\n\n\0",
            "x".repeat(257)
        );
        assert_eq!(refused(&mut open(), &long), "ID_TOO_LONG");
    }

    #[test]
    fn a_subscription_id_is_free_again_after_its_end() {
        let mut session = open();
        let subscribe = "SUBSCRIBE\nid:s\\c1\ndestination:/sub/a\nafter-seq:7\nreceipt:r1\n\n\0";
        let subscribed = Action::Subscribe {
            id: "s:1".to_owned(),
            destination: "/sub/a".to_owned(),
            after_seq: Some(7),
            receipt: Some("r1".to_owned()),
        };
        assert_eq!(act(&mut session, subscribe), subscribed);
        let (id, receipt) = ("s:1".to_owned(), Some("r2".to_owned()));
        let unsubscribe = "UNSUBSCRIBE\nid:s\\c1\nreceipt:r2\n\n\0";
        assert_eq!(
            act(&mut session, unsubscribe),
            Action::Unsubscribe {
                id,
                receipt: receipt.clone()
            }
        );
        assert_eq!(
            act(&mut session, unsubscribe),
            Action::Acknowledge { receipt }
        );
        assert_eq!(act(&mut session, subscribe), subscribed);
        session.forget("s:1");
        session.forget("s:1");
        assert_eq!(act(&mut session, subscribe), subscribed);
    }

    #[test]
    fn subscriptions_are_bounded() {
        let mut session = open();
        for id in 0..100 {
            let octets = format!("SUBSCRIBE\nid:{id}\ndestination:/sub/a\n\n\0");
            assert!(matches!(
                act(&mut session, &octets),
                Action::Subscribe { .. }
            ));
        }
        let octets = "SUBSCRIBE\nid:x\ndestination:/sub/a\n\n\0";
        assert_eq!(refused(&mut session, octets), "TOO_MANY_SUBSCRIPTIONS");
    }

    #[test]
    fn stomp_1_0_subscriptions_are_named_by_their_destination() {
        let mut session = connected(Settings::default(), "").0;
        let action = act(&mut session, "SUBSCRIBE\ndestination:/sub/a\n\n\0");
        assert!(matches!(action, Action::Subscribe { id, .. } if id == "/sub/a"));
        let action = act(&mut session, "UNSUBSCRIBE\ndestination:/sub/a\n\n\0");
        assert!(matches!(action, Action::Unsubscribe { id, .. } if id == "/sub/a"));
    }

    #[test]
    fn send_acts_on_its_first_destination() {
        let octets = "SEND\ndestination:/pub/a\ndestination:/pub/b\nreceipt:r\n\nhi\0";
        let sent = Action::Send {
            destination: "/pub/a".to_owned(),
            body: "hi".into(),
            receipt: Some("r".to_owned()),
        };
        assert_eq!(act(&mut open(), octets), sent);
    }

    #[test]
    fn acknowledgements_and_transactions_cost_nothing_but_a_receipt() {
        let mut session = open();
        for command in ["ACK", "NACK", "BEGIN", "COMMIT", "ABORT"] {
            let receipt = Some("r".to_owned());
            let octets = format!("{command}\nid:1\nreceipt:r\n\n\0");
            assert_eq!(act(&mut session, &octets), Action::Acknowledge { receipt });
        }
        assert_eq!(receipt("r").headers.get("receipt-id"), Some("r"));
    }

    #[test]
    fn nothing_may_follow_disconnect() {
        let mut session = beating("4000,4000");
        let receipt = Some("close-1".to_owned());
        assert_eq!(
            act(&mut session, "DISCONNECT\nreceipt:close-1\n\n\0"),
            Action::Disconnect { receipt }
        );
        assert_eq!((session.deadline(), session.beats()), (None, false));
        let Action::Refuse(refusal) = act(&mut session, "SEND\nreceipt:r\n\n\0") else {
            panic!("it was allowed");
        };
        let headers = refusal.frame().headers;
        assert_eq!(headers.get("code"), Some("DISCONNECTED"));
        assert_eq!(headers.get("receipt-id"), Some("r"));
    }

    #[test]
    fn a_malformed_frame_becomes_a_refusal_with_its_code() {
        let frame = Refusal::from(Malformed::FrameTooLarge).frame();
        let headers: Vec<_> = frame.headers.iter().collect();
        assert_eq!(
            headers,
            [
                ("message", "The frame is too large"),
                ("code", "FRAME_TOO_LARGE")
            ]
        );
    }

    #[test]
    fn a_session_is_small() {
        assert!(size_of::<Session>() <= 192, "{}", size_of::<Session>());
    }

    proptest! {
        #[test]
        fn before_connected_only_authenticate_and_refuse_are_possible(
            commands in prop::collection::vec(prop::sample::select(Command::ALL.to_vec()), 0..20),
            headers in prop::collection::vec(
                (prop::sample::select(vec!["id", "destination", "receipt", "accept-version", "heart-beat"]),
                 prop::sample::select(vec!["1", "/sub/a", "1.2", "1,1"])), 0..5),
            ticks in prop::collection::vec(0_u64..30, 20),
        ) {
            let mut session = fresh();
            let mut now = seconds(0);
            for (command, tick) in commands.into_iter().zip(ticks) {
                now += seconds(tick);
                let frame = headers.iter().fold(Frame::new(command), |frame, (name, value)| frame.header(*name, *value));
                let action = session.on_frame(frame, now);
                let harmless = matches!(action, Action::Authenticate { .. } | Action::Refuse(_));
                prop_assert!(harmless, "{action:?}");
                prop_assert!(session.on_tick(now) != Tick::Beat && !session.beats());
            }
        }
    }
}
