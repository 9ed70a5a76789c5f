-- One statement that posts a group of messages, instead of a transaction of five.
-- Nodes of an earlier version do not know the kind message.stored, and leave these rows of the outbox to the newer ones.
create function post_messages(
    ids uuid[], channel_ids uuid[], author_ids uuid[], contents text[], client_ids uuid[], reply_ids uuid[],
    -- Each is an array of ids as text: unnest would flatten an array of arrays.
    mention_lists text[], event_ids uuid[], job_ids uuid[],
    -- [{post, position, id, name, size, type}]; post is the number of the message.
    files jsonb
) returns table (number bigint, outcome text, message_id uuid, seq bigint, at timestamptz, reply_seq bigint, event_row bigint, job_row bigint)
language plpgsql rows 10 as $$
#variable_conflict use_column
begin
    -- In the order of the ids, so that two groups cannot deadlock. Each statement below sees what was committed before its locks.
    perform from channels c where c.id = any(channel_ids) order by c.id for no key update;
    -- After the channels: a participant leaves a private channel only with the channel's lock, so what is visible now stays visible.
    perform from users u where u.id = any(author_ids) order by u.id for key share;

    return query
    with posts as (
        select * from unnest(ids, channel_ids, author_ids, contents, client_ids, reply_ids, mention_lists, event_ids, job_ids) with ordinality
            as p (id, channel_id, author_id, content, client_id, reply_id, mentions, event_id, job_id, number)
    ), targets as materialized (
        -- Each message is at least as late as the one before it.
        select c.id, c.type, c.last_seq, greatest(clock_timestamp(), c.last_message_at) as now,
            exists (select from read_statuses r where r.channel_id = c.id and r.notification_enabled) as notifies
        from channels c where c.id = any(channel_ids)
    ), judged as (
        select p.*, c.last_seq, c.now, c.notifies, o.seq as reply_seq, coalesce(s.id, d.message_id) as earlier,
            case
                when s.id is not null then 'STORED'
                when u.id is null then 'NO_AUTHOR'
                when d.message_id is not null then 'DELETED'
                when (c.type = 'PUBLIC' or exists (select from channel_participants vp where vp.channel_id = c.id and vp.user_id = p.author_id)) is not true
                    then 'NO_CHANNEL'
                when p.reply_id is not null and o.id is null then 'NO_ORIGINAL'
                else 'NEW'
            end as outcome
        from posts p
            left join targets c on c.id = p.channel_id
            left join users u on u.id = p.author_id
            left join messages s on s.author_id = p.author_id and s.client_message_id = p.client_id
            left join deleted_client_ids d on d.author_id = p.author_id and d.client_message_id = p.client_id
            left join messages o on o.id = p.reply_id and o.channel_id = p.channel_id
    ), accepted as materialized (
        select j.*, j.last_seq + row_number() over (partition by j.channel_id order by j.number) as seq from judged j where j.outcome = 'NEW'
    ), moved as (
        update channels c set last_seq = a.seq, last_message_at = a.now
        from (select channel_id, max(seq) as seq, max(now) as now from accepted group by channel_id) a where c.id = a.channel_id
    ), inserted as (
        insert into messages (id, channel_id, seq, author_id, content, client_message_id, created_at, updated_at, reply_to_id, reply_to_seq, mentions)
        select id, channel_id, seq, author_id, content, client_id, now, now, reply_id, reply_seq, mentions::uuid[] from accepted
    ), mentioned as (
        insert into mentions (user_id, channel_id, seq)
        select m.user_id, a.channel_id, a.seq from accepted a, unnest(a.mentions::uuid[]) as m (user_id) on conflict do nothing
    ), attached as (
        insert into binary_contents (id, uploader_id, message_id, position, file_name, size, content_type, status, next_try_at)
        select f.id, a.author_id, a.id, f.position, f.name, f.size, f.type, 'WAITING', clock_timestamp()
        from jsonb_to_recordset(files) as f (post bigint, position smallint, id uuid, name text, size bigint, type text) join accepted a on a.number = f.post
    ), events as (
        -- Who publishes the row of a message reads the message.
        insert into outbox (event_id, topic, key, kind, seq, body)
        select event_id, 'messages', channel_id::text, 'message.stored', seq, '{}' from accepted
        union all
        select job_id, 'jobs', channel_id::text, 'message.created', null, json_build_object('messageId', id)::text from accepted
        where notifies or mentions is not null or reply_id is not null
        returning id, event_id
    )
    select j.number, j.outcome, coalesce(j.earlier, j.id), a.seq, a.now, a.reply_seq, e.id, o.id
    from judged j
        left join accepted a on a.number = j.number
        left join events e on e.event_id = a.event_id
        left join events o on o.event_id = a.job_id
    order by j.number;
end $$;
