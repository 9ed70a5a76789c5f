-- The roles of the database. A superuser runs this with psql before the nodes start; it may run again.
--   OWNER_PASSWORD=… NODE_PASSWORD=… psql -f roles.sql
-- discodeit_owner owns the schema and migrates it. discodeit_node is the nodes' role: it reads and writes rows. The nodes grant it
-- these rights when they migrate, see MIGRATION_DATABASE_URL.
\set ON_ERROR_STOP on
\getenv owner_password OWNER_PASSWORD
\getenv node_password NODE_PASSWORD

select format('create role %I login', name) from unnest(array['discodeit_owner', 'discodeit_node']) name
where not exists (select from pg_roles where rolname = name) \gexec

alter role discodeit_owner password :'owner_password';
alter role discodeit_node password :'node_password';

-- Without the detail of an error in PostgreSQL's log: that of a duplicate key is the name or the address of a user. Only a
-- superuser can change this setting.
alter role discodeit_owner set log_error_verbosity = terse;
alter role discodeit_node set log_error_verbosity = terse;

-- Earlier versions created the schema as the superuser. The sequences of identity columns follow their tables.
select format('alter database %I owner to discodeit_owner', current_database()) \gexec
select format('alter %s %I owner to discodeit_owner', case relkind when 'v' then 'view' else 'table' end, relname)
from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v') and relowner <> 'discodeit_owner'::regrole \gexec
