//! Tests of real nodes in one process, on real PostgreSQL, Redis and Kafka.
//!
//! `make test` starts the stores. A test has its own database, Redis database and Kafka topics (`Cluster::start`) or shares two
//! nodes with other tests (`Cluster::shared`).

#![expect(unreachable_pub, reason = "a test binary exports nothing")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests spawn threads and read the environment"
)]
#![expect(clippy::string_slice, reason = "tests know the strings that they cut")]
#![expect(
    clippy::too_many_lines,
    reason = "a test is easier to read in one piece"
)]

mod a_silent_connection;
mod accounts;
mod activity;
mod administrators;
mod attempts;
mod broker;
mod bucket;
mod channels;
mod commands;
mod crashes;
mod deletions;
mod delivery;
mod drain;
mod errors;
mod events;
mod events_end;
mod events_many;
mod events_resume;
mod events_wire;
mod failover;
mod faults;
mod files;
mod files_download;
mod files_slow;
mod files_storage;
mod files_swept;
mod files_upload;
mod floods;
mod forms;
mod groups;
mod head;
mod hostile;
mod http_rules;
mod lateness;
mod limits;
mod lists;
mod logins;
mod memberships;
mod mentions;
mod messages;
mod metrics;
mod migrations;
mod names;
mod notifications;
mod openapi;
mod pages;
mod people;
mod presence;
mod privileges;
mod quotas;
mod reactions;
mod read_statuses;
mod redis_guide;
mod refresh;
mod replies;
mod restore;
mod search;
mod security;
mod sessions;
mod sign_up;
mod sockjs_http;
mod stalls;
mod stomp;
mod support;
mod thumbnails;
mod tls;
mod traces;
mod typing;
mod unread;
mod visibility;
