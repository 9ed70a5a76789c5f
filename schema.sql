-- The whole schema, for people to read. Nodes do not run this file: they run migrations/, which lead from the first schema to
-- this one. A test (tests/integration/migrations.rs) proves that both give the same database.
--
-- Constraints have names because the node maps a violated constraint's name to an API error (src/store/).

create table users (
    id            uuid        primary key,
    username      text        not null,
    -- The name in the form that is equal for all its spellings, computed by the node: the result of lower() would depend on the
    -- database's locale.
    username_key  text        not null constraint users_username_unique unique,
    email         text        not null,
    -- The address, case-folded likewise.
    email_key     text        not null constraint users_email_unique unique,
    password_hash text        not null,
    role          text        not null constraint users_role_known check (role in ('USER', 'CHANNEL_MANAGER', 'ADMIN')),
    created_at    timestamptz not null default clock_timestamp(),
    -- The skeleton of the name, computed by the node: equal for names that look the same. Null for a name that an earlier version
    -- accepted although it looks like another one.
    username_look text        constraint users_username_look_unique unique
);
-- The beginning of a name finds its users, for the completion of mentions.
create index users_by_name on users (username_key text_pattern_ops);
create index users_by_creation on users (created_at, id);
-- Finds the administrators, of whom one must stay.
create index users_admins on users (id) where role = 'ADMIN';

-- Has a row once the administrator of the settings is created: it is created once, never by its name.
create table admin_bootstrap (
    once boolean     primary key default true constraint admin_bootstrap_once check (once),
    at   timestamptz not null default clock_timestamp()
);

create table channels (
    id              uuid        primary key,
    type            text        not null constraint channels_type_known check (type in ('PUBLIC', 'PRIVATE')),
    name            text,
    description     text,
    -- The position of the channel's newest message. The writer of a message locks this row until its commit, so messages become
    -- visible in the order of their positions, without gaps.
    last_seq        bigint      not null default 0,
    last_message_at timestamptz,
    created_at      timestamptz not null default clock_timestamp(),
    -- The user who created a private channel, for a quota. No foreign key, see pending_deletions.
    created_by      uuid,
    -- Whether participants who are added later see the messages from before.
    with_history    boolean     not null default false
);
create index channels_by_creation on channels (created_at, id);
create index channels_by_creator on channels (created_by) where created_by is not null;

-- The users in a private channel. A public channel has no rows here.
create table channel_participants (
    channel_id uuid not null constraint channel_participants_channel references channels on delete cascade,
    user_id    uuid not null constraint channel_participants_user references users on delete cascade,
    -- The other user who put this one into the channel, for quotas. No foreign key, see pending_deletions.
    invited_by uuid,
    -- The participant sees messages after this position.
    visible_after bigint not null default 0,
    constraint channel_participants_once primary key (channel_id, user_id)
);
create index channel_participants_by_user on channel_participants (user_id);
create index channel_participants_invited on channel_participants (user_id, invited_by) where invited_by is not null;

-- Deleted channels, accounts and messages with rows left to purge. A channel may have millions of messages, more than one
-- statement can delete before its timeout. So a deletion removes only the channel's own row, which hides the other rows, and
-- workers delete those in batches. For the same reason several columns below refer to channels and users without a foreign key.
create table pending_deletions (
    number bigint generated always as identity primary key,
    kind   text   not null constraint pending_deletions_kind_known check (kind in ('CHANNEL', 'USER', 'MESSAGE')),
    id     uuid   not null
);

-- The earlier name of pending_deletions. Nodes of the earlier version read and write it during a rolling upgrade.
create view remains as select number, kind, id from pending_deletions;

create table messages (
    id                uuid        primary key,
    -- No foreign keys to the channel and the author, see pending_deletions: the writer of a message locks both rows.
    channel_id        uuid        not null,
    seq               bigint      not null,
    author_id         uuid,
    content           text        not null,
    client_message_id uuid,
    created_at        timestamptz not null,
    updated_at        timestamptz not null,
    -- The message that this one replies to. Its position stays known after it is deleted.
    reply_to_id       uuid,
    reply_to_seq      bigint,
    -- The users whom a message mentions; null when there are none.
    mentions          uuid[],
    constraint messages_position unique (channel_id, seq)
);
-- For pages whose cursor is an instant.
create index messages_by_time on messages (channel_id, created_at);
-- For the purge of a deleted account.
create index messages_by_author on messages (author_id);
-- A client that sends the same clientMessageId again gets the first message.
create unique index messages_once on messages (author_id, client_message_id) where client_message_id is not null;

-- The terms of the messages, for search. A node computes them after a message is committed: a term takes longer to insert than a
-- message.
create table message_terms (
    -- 1, 2, 3 … in the order of the messages of all channels.
    number     bigint   constraint message_terms_pkey primary key,
    message_id uuid     not null constraint message_terms_once unique constraint message_terms_message references messages on delete cascade,
    terms      bigint[] not null
);
-- Without pending entries, which each search would read.
create index message_terms_by_term on message_terms using gin (terms) with (fastupdate = off);

-- Messages whose terms are missing or out of date.
create table unindexed_messages (
    message_id uuid constraint unindexed_messages_pkey primary key
);

-- Triggers, because nodes of an earlier version write messages during a rolling upgrade.
create function add_unindexed_messages() returns trigger language plpgsql as $$
begin
    insert into unindexed_messages select id from written on conflict do nothing;
    return null;
end $$;
create trigger messages_inserted after insert on messages
    referencing new table as written for each statement execute function add_unindexed_messages();

create function add_unindexed_message() returns trigger language plpgsql as $$
begin
    -- The update locks the row: a node that indexes the message takes the row before this transaction begins, or after it ends.
    insert into unindexed_messages values (new.id) on conflict (message_id) do update set message_id = excluded.message_id;
    return null;
end $$;
create trigger messages_content_updated after update of content on messages
    for each row execute function add_unindexed_message();

-- The mentions of messages by user, to count those that a user has not read.
create table mentions (
    -- No foreign keys, see pending_deletions: the writer of a message locks its channel.
    user_id    uuid   not null,
    channel_id uuid   not null,
    seq        bigint not null,
    constraint mentions_once primary key (user_id, channel_id, seq)
);

-- Emoji with which users react to messages.
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

-- The clientMessageIds of messages deleted in the last day: the first try of a message may arrive after it was sent again and deleted.
create table deleted_client_ids (
    author_id         uuid        not null,
    client_message_id uuid        not null,
    message_id        uuid        not null,
    deleted_at        timestamptz not null default clock_timestamp(),
    primary key (author_id, client_message_id)
);
create index deleted_client_ids_by_time on deleted_client_ids (deleted_at);

create table read_statuses (
    id                   uuid        primary key,
    user_id              uuid        not null constraint read_statuses_user references users on delete cascade,
    -- No foreign key, see pending_deletions: the transaction that inserts a read status locks the channel's row.
    channel_id           uuid        not null,
    last_read_at         timestamptz not null,
    notification_enabled boolean     not null,
    -- Null until a node of this version writes it: then last_read_at tells the position.
    last_read_seq        bigint,
    -- Whether mentions and replies notify although notification_enabled is false.
    mentions_only        boolean     not null default false,
    constraint read_statuses_once unique (user_id, channel_id)
);
create index read_statuses_by_channel on read_statuses (channel_id);
-- The users to notify of a new message. Queried for each message, so it must be cheap when nobody has notifications on.
create index read_statuses_notified on read_statuses (channel_id, user_id) where notification_enabled;

create table notifications (
    id           uuid        primary key,
    -- No foreign key, see pending_deletions: the transaction that inserts a notification locks the receiver's row.
    receiver_id  uuid        not null,
    type         text        not null constraint notifications_type_known check (type in ('NEW_MESSAGE', 'ROLE_CHANGED', 'ASYNC_FAILED')),
    -- The message, the file or the role change that caused the notification. A job that runs again inserts no second one.
    cause_id     uuid        not null,
    title        text        not null,
    content      text        not null,
    target_id    uuid,
    created_at   timestamptz not null,
    -- When the receiver deleted it. The row stays for 8 days, without its texts, so that a job that runs again does not restore it.
    dismissed_at timestamptz,
    -- Why a message notifies its receiver; null for other notifications and for those of earlier versions.
    reason       text        constraint notifications_reason_known check (reason in ('MESSAGE', 'MENTION', 'REPLY')),
    constraint notifications_once unique (cause_id, receiver_id)
);
create index notifications_by_receiver on notifications (receiver_id, id) where dismissed_at is null;
create index notifications_dismissed on notifications (dismissed_at) where dismissed_at is not null;

-- Files: attachments of messages and profile pictures. Object storage holds the bytes under the id. A file that is neither
-- attached nor a picture is invisible, and a worker deletes it with its bytes.
create table binary_contents (
    id           uuid        primary key,
    -- No foreign key, see pending_deletions.
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
    -- Of a picture that has thumbnails, in pixels.
    width        integer,
    height       integer,
    constraint binary_contents_position unique (message_id, position),
    constraint binary_contents_one_picture unique (picture_of),
    constraint binary_contents_one_owner check (message_id is null or picture_of is null)
);
-- With the sizes, so that the sum of a user's files is read from the index.
create index binary_contents_by_uploader on binary_contents (uploader_id) include (size);
create index binary_contents_waiting on binary_contents (next_try_at) where status = 'WAITING';
create index binary_contents_orphans on binary_contents (id) where message_id is null and picture_of is null;

-- Committed events that Kafka has not acknowledged yet. A row lives for some milliseconds; a job's row lives until a node has
-- done the job, because Kafka may lose the record.
create table outbox (
    id         bigint      generated always as identity primary key,
    event_id   uuid        not null,
    topic      text        not null,
    key        text        not null,
    kind       text        not null,
    seq        bigint,
    body       text        not null,
    created_at timestamptz not null default clock_timestamp(),
    -- When Kafka acknowledged the event. Rows of messages and SSE events are deleted then.
    sent_at    timestamptz
);
create index outbox_jobs on outbox (event_id) where topic = 'jobs';
create index outbox_recent on outbox (created_at) where seq is null and topic in ('control', 'messages');

-- Posts a group of messages in one statement: judges each one, inserts what it causes, and answers for it. src/store/new_messages.rs
-- calls it.
create function post_messages(
    ids uuid[], channel_ids uuid[], author_ids uuid[], contents text[], client_ids uuid[], reply_ids uuid[],
    -- Each is an array of ids as text: unnest would flatten an array of arrays.
    mention_lists text[], event_ids uuid[], job_ids uuid[],
    -- [{post, position, id, name, size, type}]; post is the number of the message.
    files jsonb
) returns table (
    number bigint, outcome text, message_id uuid, seq bigint, at timestamptz, author_id uuid, reply_id uuid, reply_seq bigint, event_row bigint, job_row bigint
)
-- Planned once in a session, perhaps while the tables are empty: so the plan must not depend on what they hold. A plan for each call
-- would cost more than the call.
language plpgsql rows 1 set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
begin
    -- In the order of the ids, so that two groups cannot deadlock. Each statement below sees what was committed before its locks.
    perform from channels c where c.id = any(channel_ids) order by c.id for no key update;
    -- After the channels: a participant leaves a private channel only with the channel's lock, so what is visible now stays visible.
    perform from users u where u.id = any(author_ids) order by u.id for key share;

    return query
    with posts as (
        select p.*, c.last_seq, greatest(t.now, c.last_message_at) as at, o.seq as reply_seq, coalesce(s.id, d.message_id) as earlier,
            p.mentions is not null or p.reply_id is not null or v.is_watched as notifies,
            case
                when s.id is not null then 'STORED'
                when u.id is null then 'NO_AUTHOR'
                when d.message_id is not null then 'DELETED'
                when v.is_visible is not true then 'NO_CHANNEL'
                when p.reply_id is not null and o.id is null then 'NO_ORIGINAL'
                else 'NEW'
            end as outcome
        from unnest(ids, channel_ids, author_ids, contents, client_ids, reply_ids, mention_lists, event_ids, job_ids) with ordinality
                as p (id, channel_id, author_id, content, client_id, reply_id, mentions, event_id, job_id, number)
            cross join (select clock_timestamp() as now) t
            left join channels c on c.id = p.channel_id
            left join users u on u.id = p.author_id
            left join messages s on s.author_id = p.author_id and s.client_message_id = p.client_id
            left join deleted_client_ids d on d.author_id = p.author_id and d.client_message_id = p.client_id
            left join messages o on o.id = p.reply_id and o.channel_id = p.channel_id
            -- "offset 0" plans these for one message. For several, the plan may read all rows of a table that was small.
            cross join lateral (
                select (c.type = 'PUBLIC' or exists (select from channel_participants vp where vp.channel_id = c.id and vp.user_id = p.author_id)) as is_visible,
                    exists (select from read_statuses r where r.channel_id = c.id and r.notification_enabled) as is_watched
                offset 0
            ) v
    ), judged as materialized (
        select p.*,
            p.last_seq + count(*) filter (where p.outcome = 'NEW') over (partition by p.channel_id order by p.number) as seq,
            case when p.outcome = 'NEW' then nextval('outbox_id_seq') end as event_row,
            case when p.outcome = 'NEW' and p.notifies then nextval('outbox_id_seq') end as job_row
        from posts p
    ), moved as (
        update channels c set last_seq = j.seq, last_message_at = j.at
        from (select channel_id, max(seq) as seq, max(at) as at from judged where outcome = 'NEW' group by channel_id) j where c.id = j.channel_id
    ), inserted as (
        insert into messages (id, channel_id, seq, author_id, content, client_message_id, created_at, updated_at, reply_to_id, reply_to_seq, mentions)
        select id, channel_id, seq, author_id, content, client_id, at, at, reply_id, reply_seq, mentions::uuid[] from judged where outcome = 'NEW'
    ), mentioned as (
        insert into mentions (user_id, channel_id, seq)
        select m.user_id, j.channel_id, j.seq from judged j, unnest(j.mentions::uuid[]) as m (user_id) where j.outcome = 'NEW' on conflict do nothing
    ), attached as (
        insert into binary_contents (id, uploader_id, message_id, position, file_name, size, content_type, status, next_try_at)
        select f.id, j.author_id, j.id, f.position, f.name, f.size, f.type, 'WAITING', clock_timestamp()
        from jsonb_to_recordset(files) as f (post bigint, position smallint, id uuid, name text, size bigint, type text)
            join judged j on j.number = f.post where j.outcome = 'NEW'
    ), published as (
        -- Who publishes the row of a message reads the message.
        insert into outbox (id, event_id, topic, key, kind, seq, body) overriding system value
        select event_row, event_id, 'messages', channel_id::text, 'message.stored', seq, '{}' from judged where event_row is not null
        union all
        select job_row, job_id, 'jobs', channel_id::text, 'message.created', null, json_build_object('messageId', id)::text from judged where job_row is not null
    )
    select number, outcome, coalesce(earlier, id), seq, at, author_id, reply_id, reply_seq, event_row, job_row from judged order by number;
end $$;
