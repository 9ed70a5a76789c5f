alter table remains rename to pending_deletions;
alter table pending_deletions rename constraint remains_kind_known to pending_deletions_kind_known;
alter table pending_deletions rename constraint remains_pkey to pending_deletions_pkey;
alter sequence remains_number_seq rename to pending_deletions_number_seq;

-- During a rolling upgrade, nodes of the earlier version read and write the old name. They also run
-- `create table if not exists remains` at start, which this view turns into a no-op. A later step drops the view.
create view remains as select number, kind, id from pending_deletions;
