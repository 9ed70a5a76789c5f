-- The clientMessageIds of messages deleted in the last day: the first try of a message may arrive after it was sent again and deleted.
create table deleted_client_ids (
    author_id         uuid        not null,
    client_message_id uuid        not null,
    message_id        uuid        not null,
    deleted_at        timestamptz not null default clock_timestamp(),
    primary key (author_id, client_message_id)
);
create index deleted_client_ids_by_time on deleted_client_ids (deleted_at);
