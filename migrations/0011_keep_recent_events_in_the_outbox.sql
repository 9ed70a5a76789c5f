-- Published events without a position stay for some seconds: revocations, and changes of messages. Nodes read the recent ones.
create index outbox_recent on outbox (created_at) where seq is null and topic in ('control', 'messages');
