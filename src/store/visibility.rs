//! The visibility rule.
//!
//! A channel is visible to a user when it is public or the user participates in it. A message in it is visible too, except to a
//! participant who was added after the message without the history.
//!
//! Every query that reads a channel, its messages, its files or its notifications for a user contains this condition. No other
//! file states the rule, except the function `post_messages` of schema.sql, which the tests below check.
//! `tests/integration/visibility.rs` tries every reader as a stranger.

/// The visibility rule as an SQL condition.
///
/// The first form takes the alias of a row of `channels` in the query, and an expression for the user's id. The second form is for
/// queries without such a row; its `kind` must be the type of the channel `id`. With `seq`, the rule is that of the channel's message
/// at this position.
macro_rules! visible {
    ($channel:literal, $user:literal $(, seq: $seq:literal)?) => {
        visible!(
            kind: concat!($channel, ".type"),
            id: concat!($channel, ".id"),
            user: $user
            $(, seq: $seq)?
        )
    };
    (kind: $kind:expr, id: $id:expr, user: $user:literal $(, seq: $seq:literal)?) => {
        concat!(
            "(",
            $kind,
            " = 'PUBLIC' or exists (select from channel_participants vp where vp.channel_id = ",
            $id,
            " and vp.user_id = ",
            $user,
            $(" and vp.visible_after < ", $seq,)?
            "))"
        )
    };
}

pub(super) use visible;

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    /// Occurrences of a text in the files below `src/`, by file.
    fn occurrences(text: &str) -> BTreeMap<String, usize> {
        fn visit(folder: &Path, text: &str, found: &mut BTreeMap<String, usize>) {
            for entry in fs::read_dir(folder).expect("a readable folder") {
                let path = entry.expect("a readable entry").path();
                if path.is_dir() {
                    visit(&path, text, found);
                } else {
                    let source = fs::read_to_string(&path).expect("a readable file");
                    let count = source.matches(text).count();
                    if count > 0 {
                        found.insert(path.display().to_string(), count);
                    }
                }
            }
        }
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = BTreeMap::new();
        visit(&src, text, &mut found);
        let prefix = format!("{}/", src.display());
        found
            .into_iter()
            .map(|(path, count)| (path.replace(&prefix, ""), count))
            .collect()
    }

    #[test]
    fn only_this_file_compares_a_channel_with_public_in_sql() {
        // Written in two parts, so that this test does not find itself.
        let literal = concat!("'PUB", "LIC'");
        let expected = [
            // The insert of a public channel.
            ("store/channels.rs".to_owned(), 1),
            ("store/visibility.rs".to_owned(), 1),
        ];
        assert_eq!(occurrences(literal), BTreeMap::from(expected));
    }

    #[test]
    fn only_files_that_manage_participants_read_their_table() {
        let table = concat!("channel_", "participants");
        let files: Vec<_> = occurrences(table).into_keys().collect();
        assert_eq!(
            files,
            [
                "store/channels.rs",
                // Deletes private channels without participants.
                "store/purge.rs",
                "store/visibility.rs"
            ]
        );
    }

    #[test]
    fn the_function_that_posts_messages_states_the_same_rule() {
        let rule = visible!("c", "p.author_id");
        for schema in [
            include_str!("../../schema.sql"),
            include_str!("../../migrations/0020_post_messages.sql"),
        ] {
            let function = schema.split("create function post_messages(").nth(1);
            assert!(function.is_some_and(|function| function.contains(rule)));
        }
    }
}
