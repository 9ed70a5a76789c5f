//! Discodeit: a real-time chat backend.
//!
//! A node keeps no durable state. PostgreSQL holds users, channels and messages, Redis holds sessions, presence and the SSE
//! history, and Kafka carries events to every node. `docs/architecture.md` follows a message, an event, an upload and a login
//! through these modules:
//!
//! - [`node`]: builds the parts of a node, starts its tasks, drains it
//! - [`commands`]: commands for operators
//! - [`api`]: the URL space, one file for each resource
//! - [`ws`]: STOMP at `/ws`
//! - [`sockjs`]: SockJS over any application
//! - [`workers`]: background work: notifications, files, purging
//! - [`http`]: the HTTP server, requests and responses
//! - [`ops`]: operations: each changes the stores and records its events
//! - [`app`]: the parts of a node, for handlers and tasks
//! - [`group_commit`]: new messages, many in one transaction
//! - [`delivery`]: delivers events to the clients of this node
//! - [`events`]: outbox, Kafka, SSE history: from a commit to every node
//! - [`store`]: statements of PostgreSQL
//! - [`auth`]: tokens, passwords, sessions, login limits
//! - [`blobs`]: bytes of files
//! - [`thumbnails`]: thumbnails of pictures, made by a process of its own
//! - [`traces`]: traces of requests and messages, for a collector
//! - [`rate_limit`]: token buckets, and the rates of each client
//! - [`model`]: values and their rules
//! - [`protocol`]: WebSocket, STOMP, SockJS and SSE without IO
//! - [`config`]: settings from the environment
//! - [`telemetry`]: the log
//! - [`tasks`]: task ownership, backoff
//! - [`redis_client`]: the connection to Redis
//! - [`crash`]: points at which a test ends the process
//! - [`metrics`]: what a node counts and times
//! - [`problem`]: errors and their HTTP statuses
//! - [`secret`]: values that must not reach a log
//! - [`ids`]: typed identifiers
//! - [`limits`]: limits of one client
//!
//! A module imports only modules below it in this list; `tests/architecture.rs` checks that.

pub mod api;
pub mod app;
pub mod auth;
pub mod blobs;
pub mod commands;
pub mod config;
pub mod crash;
pub mod delivery;
pub mod events;
pub mod group_commit;
pub mod http;
pub mod ids;
pub mod limits;
pub mod metrics;
pub mod model;
pub mod node;
pub mod ops;
pub mod problem;
pub mod protocol;
pub mod rate_limit;
pub mod redis_client;
pub mod secret;
pub mod sockjs;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod thumbnails;
pub mod traces;
pub mod workers;
pub mod ws;

pub use config::Config;
pub use node::Node;
