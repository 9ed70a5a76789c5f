-- Published revocations stay for some seconds, and every node reads the recent ones.
create index outbox_control on outbox (created_at) where topic = 'control';
