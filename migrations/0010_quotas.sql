-- Who created a private channel, and who put a user into it: for quotas. Unknown for rows of earlier versions, which count for
-- nobody.
alter table channels add column created_by uuid;
create index channels_by_creator on channels (created_by) where created_by is not null;
alter table channel_participants add column invited_by uuid;
create index channel_participants_invited on channel_participants (user_id, invited_by) where invited_by is not null;

-- With the sizes, so that the sum of a user's files is read from the index.
drop index binary_contents_by_uploader;
create index binary_contents_by_uploader on binary_contents (uploader_id) include (size);
