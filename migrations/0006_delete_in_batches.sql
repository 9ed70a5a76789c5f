create table if not exists remains (
    number bigint generated always as identity primary key,
    kind   text   not null constraint remains_kind_known check (kind in ('CHANNEL', 'USER', 'MESSAGE')),
    id     uuid   not null
);

-- These foreign keys delete all rows of a channel or an account in one statement, which exceeds the statement timeout when they
-- are many. Each is looked up first, because a drop locks its table even when there is nothing to drop.
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
            -- Earlier versions had a sweep for the notifications of deleted messages. This version has none, so queue them here.
            insert into remains (kind, id) select distinct 'MESSAGE', cause_id from notifications n
                where type = 'NEW_MESSAGE' and not exists (select from messages m where m.id = n.cause_id);
        end if;
    end loop;
end $$;
