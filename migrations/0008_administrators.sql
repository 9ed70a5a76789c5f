-- Has a row once the administrator of the settings is created: it is created once, never by its name. A database with an
-- administrator has one already.
create table admin_bootstrap (
    once boolean     primary key default true constraint admin_bootstrap_once check (once),
    at   timestamptz not null default clock_timestamp()
);
insert into admin_bootstrap (once) select true where exists (select from users where role = 'ADMIN');

-- Finds the administrators, of whom one must stay.
create index users_admins on users (id) where role = 'ADMIN';
