-- The first schema. A database from before migrations has no record of the steps that it already contains, so steps 1 to 6
-- skip objects that exist.

create table if not exists users (
    id            uuid        primary key,
    username      text        not null,
    -- The name, case-folded by the node: the result of lower() would depend on the database's locale.
    username_key  text        not null constraint users_username_unique unique,
    email         text        not null,
    email_key     text        not null constraint users_email_unique unique,
    password_hash text        not null,
    role          text        not null constraint users_role_known check (role in ('USER', 'CHANNEL_MANAGER', 'ADMIN')),
    created_at    timestamptz not null default clock_timestamp()
);
create index if not exists users_by_creation on users (created_at, id);

create table if not exists channels (
    id              uuid        primary key,
    type            text        not null constraint channels_type_known check (type in ('PUBLIC', 'PRIVATE')),
    name            text,
    description     text,
    -- The position of the channel's newest message. The writer of a message locks this row until its commit, so messages
    -- become visible in the order of their positions, without gaps.
    last_seq        bigint      not null default 0,
    last_message_at timestamptz,
    created_at      timestamptz not null default clock_timestamp()
);
create index if not exists channels_by_creation on channels (created_at, id);

create table if not exists channel_participants (
    channel_id uuid not null constraint channel_participants_channel references channels on delete cascade,
    user_id    uuid not null constraint channel_participants_user references users on delete cascade,
    constraint channel_participants_once primary key (channel_id, user_id)
);
create index if not exists channel_participants_by_user on channel_participants (user_id);

create table if not exists messages (
    id                uuid        primary key,
    channel_id        uuid        not null constraint messages_channel references channels on delete cascade,
    seq               bigint      not null,
    author_id         uuid        constraint messages_author references users on delete set null,
    content           text        not null,
    client_message_id uuid,
    created_at        timestamptz not null,
    updated_at        timestamptz not null,
    constraint messages_position unique (channel_id, seq)
);
-- For pages whose cursor is an instant.
create index if not exists messages_by_time on messages (channel_id, created_at);
-- For the deletion of an account, and for a client that sends the same clientMessageId again.
create index if not exists messages_by_author on messages (author_id);
create unique index if not exists messages_once on messages (author_id, client_message_id) where client_message_id is not null;

create table if not exists read_statuses (
    id                   uuid        primary key,
    user_id              uuid        not null constraint read_statuses_user references users on delete cascade,
    channel_id           uuid        not null constraint read_statuses_channel references channels on delete cascade,
    last_read_at         timestamptz not null,
    notification_enabled boolean     not null,
    constraint read_statuses_once unique (user_id, channel_id)
);
create index if not exists read_statuses_by_channel on read_statuses (channel_id);

-- Committed events that Kafka has not acknowledged yet. A row lives for some milliseconds.
create table if not exists outbox (
    id         bigint      generated always as identity primary key,
    event_id   uuid        not null,
    topic      text        not null,
    key        text        not null,
    kind       text        not null,
    seq        bigint,
    body       text        not null,
    created_at timestamptz not null default clock_timestamp()
);
