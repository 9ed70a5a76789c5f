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
