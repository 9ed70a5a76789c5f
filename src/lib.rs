//! Discodeit: a real-time chat backend.
//!
//! A node keeps no durable state. What people write is in PostgreSQL, sessions and the SSE history are in Redis, and Kafka
//! carries events to every node. From the edge inwards:
//!
//! - [`node`] starts and ends everything; [`config`] is its settings, [`tasks`] its tasks, [`app`] its parts.
//! - [`server`] accepts connections; [`http`] answers requests; [`sockjs`] makes a [`link`] of each WebSocket and of each
//!   client's requests, on which [`socket`] serves STOMP.
//! - [`websocket`] and [`stomp`] are protocols without IO, as is the framing of SockJS. [`wire`] combines them, [`access`]
//!   says who may do what with which destination.
//! - [`ops`] is what the system does, and clears up after it; [`group_commit`] writes new messages; [`store`] is the SQL,
//!   [`files`] the bytes of files.
//! - [`outbox`] hands committed events to [`bus`] (Kafka) and, for SSE, to [`history`] (Redis) before.
//! - [`jobs`] is the work that one node does after a commit: notifications.
//! - [`hub`] and [`feeds`] are the sockets of this node and what each follows; [`sequence`] is the rule by which they deliver
//!   once and in order; [`repair`] reads what is missing; [`mailbox`] bounds what waits for one connection, [`limits`] is what
//!   a client may do at most.
//! - [`presence`] says who is online; [`sessions`], [`token`] and [`password`] say who somebody is; [`model`], [`ids`] and [`problem`] are the words.

pub mod access;
pub mod app;
pub mod bus;
pub mod config;
pub mod feeds;
pub mod files;
pub mod group_commit;
pub mod history;
pub mod http;
pub mod hub;
pub mod ids;
pub mod jobs;
pub mod limits;
pub mod link;
pub mod mailbox;
pub mod model;
pub mod node;
pub mod ops;
pub mod outbox;
pub mod password;
pub mod presence;
pub mod problem;
pub mod repair;
pub mod sequence;
pub mod server;
pub mod sessions;
pub mod socket;
pub mod sockjs;
pub mod stomp;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod token;
pub mod websocket;
pub mod wire;

pub use config::Config;
pub use node::Node;
