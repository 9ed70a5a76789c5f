-- The message that a message replies to. Its position stays known after it is deleted.
alter table messages add column reply_to_id uuid, add column reply_to_seq bigint;

create table reactions (
    -- No foreign keys, see pending_deletions: the writer of a reaction locks the rows of the message and of the user.
    message_id uuid        not null,
    emoji      text        not null,
    user_id    uuid        not null,
    created_at timestamptz not null default clock_timestamp(),
    constraint reactions_once primary key (message_id, emoji, user_id)
);
-- For the purge of a deleted account.
create index reactions_by_user on reactions (user_id);
