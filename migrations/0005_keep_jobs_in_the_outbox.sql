alter table outbox add column if not exists sent_at timestamptz;
create index if not exists outbox_jobs on outbox (event_id) where topic = 'jobs';
