-- After the triggers, in a transaction of its own, so that it blocks no writer and misses no message.
insert into unindexed_messages select id from messages on conflict do nothing;
