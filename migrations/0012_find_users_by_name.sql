-- The beginning of a name finds its users, for the completion of mentions.
create index users_by_name on users (username_key text_pattern_ops);
