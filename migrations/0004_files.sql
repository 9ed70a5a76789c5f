create table if not exists binary_contents (
    id           uuid        primary key,
    uploader_id  uuid        constraint binary_contents_uploader references users on delete set null,
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
