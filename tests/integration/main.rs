//! Real nodes, several in one process, on real PostgreSQL, Redis and Kafka; each test with a database, a Redis database and
//! Kafka topics of its own. `make test` starts the stores.

#![expect(unreachable_pub, reason = "a test binary exports nothing")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests spawn, and read what `make test` sets"
)]
#![expect(clippy::string_slice, reason = "tests know what they cut")]
#![expect(clippy::too_many_lines, reason = "a test tells its whole story")]

mod accounts;
mod broker;
mod bucket;
mod channels;
mod deletions;
mod delivery;
mod drain;
mod errors;
mod events;
mod events_end;
mod events_many;
mod events_resume;
mod faults;
mod files;
mod files_download;
mod files_swept;
mod files_upload;
mod floods;
mod head;
mod hostile;
mod lateness;
mod limits;
mod logins;
mod memberships;
mod messages;
mod migrations;
mod notifications;
mod pages;
mod presence;
mod read_statuses;
mod readme;
mod sessions;
mod sockjs_http;
mod stalls;
mod stomp;
mod support;
mod typing;
mod visibility;
