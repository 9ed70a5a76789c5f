alter table read_statuses
    -- Null until a node of this version writes it: then last_read_at tells the position.
    add column last_read_seq bigint,
    -- Whether mentions and replies notify although notification_enabled is false.
    add column mentions_only boolean not null default false;

-- The users whom a message mentions; null when there are none.
alter table messages add column mentions uuid[];
-- The same by user, to count the mentions that a user has not read.
create table mentions (
    -- No foreign keys, see pending_deletions: the writer of a message locks its channel.
    user_id    uuid   not null,
    channel_id uuid   not null,
    seq        bigint not null,
    constraint mentions_once primary key (user_id, channel_id, seq)
);

-- Why a message notifies its receiver; null for other notifications and for those of earlier versions.
alter table notifications add column reason text constraint notifications_reason_known check (reason in ('MESSAGE', 'MENTION', 'REPLY'));
