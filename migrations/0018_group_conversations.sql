-- Whether participants who are added later see the messages from before.
alter table channels add column with_history boolean not null default false;
-- The participant sees messages after this position.
alter table channel_participants add column visible_after bigint not null default 0;
