-- One statement that posts a group of messages, instead of a transaction of five.
-- Nodes of an earlier version do not know the kind message.stored, and leave these rows of the outbox to the newer ones.
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
