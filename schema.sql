-- The whole database of Discodeit. Every node runs this file at start, under an advisory lock; each statement may run again.
-- Constraints are named because the API's answers are chosen by these names (src/store/mod.rs).

create table if not exists users (
    id            uuid        primary key,
    username      text        not null,
    -- Case-folded by the node, not by lower(): its result would depend on the database's locale.
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
    -- The position of the channel's newest message. Taking the next one locks this row until the commit, so positions
    -- become visible in their own order and without holes.
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

-- What a deleted channel, account or message may have left behind. A channel may have millions of messages, more than one
-- statement can delete in its time: so its row goes at once, which makes the rest invisible, and the rest goes in batches.
-- That is why several columns below refer to channels and users without a foreign key.
create table if not exists remains (
    number bigint generated always as identity primary key,
    kind   text   not null constraint remains_kind_known check (kind in ('CHANNEL', 'USER', 'MESSAGE')),
    id     uuid   not null
);

create table if not exists messages (
    id                uuid        primary key,
    -- No foreign key, see remains: the writer of a message holds its channel's lock and its author's.
    channel_id        uuid        not null,
    seq               bigint      not null,
    author_id         uuid,
    content           text        not null,
    client_message_id uuid,
    created_at        timestamptz not null,
    updated_at        timestamptz not null,
    constraint messages_position unique (channel_id, seq)
);
-- A plain instant is accepted as a page's cursor.
create index if not exists messages_by_time on messages (channel_id, created_at);
-- Deleting a user finds their messages; sending the same clientMessageId again finds the first.
create index if not exists messages_by_author on messages (author_id);
create unique index if not exists messages_once on messages (author_id, client_message_id) where client_message_id is not null;

create table if not exists read_statuses (
    id                   uuid        primary key,
    user_id              uuid        not null constraint read_statuses_user references users on delete cascade,
    -- No foreign key, see remains: whoever makes one holds the channel's lock.
    channel_id           uuid        not null,
    last_read_at         timestamptz not null,
    notification_enabled boolean     not null,
    constraint read_statuses_once unique (user_id, channel_id)
);
create index if not exists read_statuses_by_channel on read_statuses (channel_id);
-- Whom a new message is notified to; asked for each message, so that a channel where nobody wants to hear of it costs nothing.
create index if not exists read_statuses_notified on read_statuses (channel_id, user_id) where notification_enabled;

create table if not exists notifications (
    id           uuid        primary key,
    -- No foreign key, see remains: whoever writes one holds the receiver's lock.
    receiver_id  uuid        not null,
    type         text        not null constraint notifications_type_known check (type in ('NEW_MESSAGE', 'ROLE_CHANGED', 'ASYNC_FAILED')),
    -- What happened: the message, the failed file, the change. However often the work is done again, there is one for each receiver.
    cause_id     uuid        not null,
    title        text        not null,
    content      text        not null,
    target_id    uuid,
    created_at   timestamptz not null,
    -- A notification that its receiver has deleted stays for a while, so that work done again does not bring it back.
    dismissed_at timestamptz,
    constraint notifications_once unique (cause_id, receiver_id)
);
create index if not exists notifications_by_receiver on notifications (receiver_id, id) where dismissed_at is null;
create index if not exists notifications_dismissed on notifications (dismissed_at) where dismissed_at is not null;

-- Files. Their bytes are in object storage, under the id. What is neither attached to a message nor a user's picture is
-- nobody's: it cannot be seen, and is deleted with its bytes.
create table if not exists binary_contents (
    id           uuid        primary key,
    -- No foreign key, see remains.
    uploader_id  uuid,
    message_id   uuid        constraint binary_contents_message references messages on delete set null,
    position     smallint    not null,
    picture_of   uuid        constraint binary_contents_picture_of references users on delete set null,
    file_name    text        not null,
    size         bigint      not null,
    content_type text        not null,
    status       text        not null constraint binary_contents_status_known check (status in ('WAITING', 'SUCCESS', 'FAILED')),
    tries        smallint    not null default 0,
    next_try_at  timestamptz not null,
    constraint binary_contents_position unique (message_id, position),
    constraint binary_contents_one_picture unique (picture_of),
    constraint binary_contents_one_owner check (message_id is null or picture_of is null)
);
create index if not exists binary_contents_by_uploader on binary_contents (uploader_id);
create index if not exists binary_contents_waiting on binary_contents (next_try_at) where status = 'WAITING';
create index if not exists binary_contents_orphans on binary_contents (id) where message_id is null and picture_of is null;

-- Events whose cause is committed and which are not known to be in Kafka yet. A row lives for some milliseconds.
-- A job's row lives until the job is done: Kafka carries it, and may lose it.
create table if not exists outbox (
    id         bigint      generated always as identity primary key,
    event_id   uuid        not null,
    topic      text        not null,
    key        text        not null,
    kind       text        not null,
    seq        bigint,
    body       text        not null,
    created_at timestamptz not null default clock_timestamp(),
    -- Of a job: when Kafka had it.
    sent_at    timestamptz
);
alter table outbox add column if not exists sent_at timestamptz;
create index if not exists outbox_jobs on outbox (event_id) where topic = 'jobs';

-- Foreign keys that earlier databases have and that made large deletions impossible. Looked for first: dropping one that is
-- not there would lock its table all the same.
do $$
declare
    old record;
begin
    for old in select conrelid::regclass as of_table, conname from pg_constraint
        where contype = 'f' and connamespace = current_schema()::regnamespace and conname in
            ('messages_channel', 'messages_author', 'read_statuses_channel', 'notifications_receiver', 'binary_contents_uploader')
    loop
        execute format('alter table %s drop constraint %I', old.of_table, old.conname);
        if old.conname = 'messages_channel' then
            -- Notifications of messages that are gone waited for a sweep that is no more.
            insert into remains (kind, id) select distinct 'MESSAGE', cause_id from notifications n
                where type = 'NEW_MESSAGE' and not exists (select from messages m where m.id = n.cause_id);
        end if;
    end loop;
end $$;
