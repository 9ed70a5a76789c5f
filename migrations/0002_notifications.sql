create table if not exists notifications (
    id           uuid        primary key,
    receiver_id  uuid        not null constraint notifications_receiver references users on delete cascade,
    type         text        not null constraint notifications_type_known check (type in ('NEW_MESSAGE', 'ROLE_CHANGED', 'ASYNC_FAILED')),
    cause_id     uuid        not null,
    title        text        not null,
    content      text        not null,
    target_id    uuid,
    created_at   timestamptz not null,
    dismissed_at timestamptz,
    constraint notifications_once unique (cause_id, receiver_id)
);
create index if not exists notifications_by_receiver on notifications (receiver_id, id) where dismissed_at is null;
create index if not exists notifications_dismissed on notifications (dismissed_at) where dismissed_at is not null;
