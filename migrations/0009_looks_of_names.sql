-- PostgreSQL cannot compute the looks of the existing names: each node does so at its start, after the migrations.
alter table users add column username_look text constraint users_username_look_unique unique;
