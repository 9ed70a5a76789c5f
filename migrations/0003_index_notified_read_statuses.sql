create index if not exists read_statuses_notified on read_statuses (channel_id, user_id) where notification_enabled;
