//! Every setting of a node, with its variable, default and unit. Nothing else reads the environment, except
//! libraries the standard variables of their own.

pub mod blob_url;
pub mod env;
pub mod traces;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

use crate::{
    config::{
        blob_url::{AWS_VARIABLES, BlobUrl},
        env::{ConfigErrors, EnvReader},
        traces::TraceExport,
    },
    secret::Secret,
    telemetry::LogFormat,
};

/// The first administrator's account, created once for a database.
#[derive(Clone, Debug)]
pub struct Admin {
    /// `ADMIN_USERNAME`
    pub username: String,
    /// `ADMIN_EMAIL`
    pub email: String,
    /// `ADMIN_PASSWORD`
    pub password: Secret,
}

/// The credentials for Kafka.
#[derive(Clone, Debug)]
pub struct KafkaLogin {
    /// `KAFKA_USERNAME`
    pub username: String,
    /// `KAFKA_PASSWORD`
    pub password: Secret,
    /// `KAFKA_SASL_MECHANISM`
    pub mechanism: &'static str,
}

/// The supported SASL mechanisms; the first is the default.
const SASL_MECHANISMS: [&str; 3] = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"];

/// The settings of one node.
#[derive(Clone, Debug)]
pub struct Config {
    /// `LISTEN`, default `0.0.0.0:8080`: address of the HTTP server.
    pub listen: SocketAddr,
    /// `METRICS_LISTEN`, default none: address on which the node serves its metrics, which no proxy should pass on.
    pub metrics_listen: Option<SocketAddr>,
    /// `DATABASE_URL`, required: `postgres://user:password@host:port/database`, with `?sslmode=verify-full` for TLS.
    pub database_url: Secret,
    /// `MIGRATION_DATABASE_URL`, default none: the same database as the role that owns the schema. The node migrates as this role
    /// at start, and grants the role of `DATABASE_URL` the rights to the rows. Without it, the role of `DATABASE_URL` migrates.
    pub migration_database_url: Option<Secret>,
    /// `DATABASE_POOL`, default 16: maximum connections to PostgreSQL. More than 4 per core of the database gain nothing.
    pub database_pool: u32,
    /// `REDIS_URL`, required: `redis://[user:password@]host:port/[database]`, or `rediss://` for TLS.
    pub redis_url: Secret,
    /// `KAFKA_BROKERS`, required: `host:port,host:port`.
    pub kafka_brokers: String,
    /// `KAFKA_TLS`, default `false`: `true` to connect to Kafka with TLS.
    pub kafka_tls: bool,
    /// `KAFKA_USERNAME`, `KAFKA_PASSWORD`, `KAFKA_SASL_MECHANISM`: the first two or none; default mechanism `SCRAM-SHA-512`.
    pub kafka_login: Option<KafkaLogin>,
    /// `SSL_CERT_FILE`, default the system's file: the authorities that Kafka's client trusts. The other clients read this
    /// variable themselves.
    pub kafka_ca_file: Option<String>,
    /// `KAFKA_TOPIC_PREFIX`, default `discodeit.`: prefix of topic names, so that several systems can share a cluster.
    pub kafka_topic_prefix: String,
    /// `KAFKA_PARTITIONS`, default 6: partitions of a topic that this node creates. Existing topics stay unchanged.
    pub kafka_partitions: i32,
    /// `JWT_SECRET`, required, at least 32 bytes: key that signs access tokens; the same on every node.
    pub jwt_secret: Secret,
    /// `ACCESS_TOKEN_TTL`, default `15m`: lifetime of an access token.
    pub access_token_ttl: Duration,
    /// `SESSION_TTL`, default `30d`: lifetime of a session after its last refresh.
    pub session_ttl: Duration,
    /// `COOKIE_SECURE`, default `false`: `true` if browsers connect over HTTPS.
    pub cookie_secure: bool,
    /// `ADMIN_USERNAME`, `ADMIN_EMAIL`, `ADMIN_PASSWORD`: all three or none.
    pub admin: Option<Admin>,
    /// `NODE_NAME`, default `HOSTNAME`, else `node`: this node's name in logs, in the `Discodeit-Node` header and in Redis.
    pub node_name: String,
    /// `TRUSTED_PROXIES`, default none: networks whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// `LOG`, default `info`: a filter of the `tracing` crate, like `info,discodeit=debug`.
    pub log: String,
    /// `LOG_FORMAT`, default `text`: `json` for machines.
    pub log_format: LogFormat,
    /// `OTEL_…`, default none: where the node exports traces.
    pub traces: Option<TraceExport>,
    /// `MAX_CONNECTIONS`, default 20000: open TCP connections; further ones wait in the listen queue.
    pub max_connections: usize,
    /// `CONNECTIONS_PER_USER`, default 20: maximum STOMP connections of one user on this node, and likewise SSE streams.
    pub connections_per_user: usize,
    /// `FILES_URL`, required and the same for every node: `file:///folder` on a volume that all nodes share, or
    /// `s3://bucket/prefix`.
    pub files: BlobUrl,
    /// The program that makes thumbnails: this one.
    pub program: PathBuf,
    /// `AWS_…`: credentials, region and endpoint of a bucket, under the usual names.
    pub aws: Vec<(&'static str, Secret)>,
    /// `MAX_FILE_SIZE`, default `10MiB`: maximum size of one file.
    pub max_file_size: u64,
    /// `MAX_REQUEST_SIZE`, default `50MiB`: maximum size of a request with files. The proxy must allow as much.
    pub max_request_size: u64,
    /// `MAX_UPLOADS`, default 64: concurrent requests with files, beyond which a request gets 503. Sign-ups have their own
    /// slots. Each request uses 256 KiB of memory for a folder, 5 MiB for a bucket.
    pub max_uploads: usize,
    /// `UPLOADS_PER_USER`, default 6: of these, requests of one user.
    pub uploads_per_user: usize,
    /// `MESSAGE_RATE`, default 20: messages per second of one user on this node, by STOMP and HTTP, with bursts of twice as many.
    /// Further SENDs are delayed; `POST /api/messages` gets 429.
    pub message_rate: u32,
    /// `REQUEST_RATE`, default 100: tokens per second of one user on this node for other requests, with bursts of 5 times as
    /// many, beyond which requests get 429. [`crate::rate_limit::clients`] lists what a request costs.
    pub request_rate: u32,
    /// `REQUESTS_PER_USER`, default 10: requests of one user that this node handles at the same time; further ones wait. Less
    /// than `DATABASE_POOL`, so that one user cannot use all connections.
    pub requests_per_user: usize,
    /// `PRIVATE_CHANNELS_PER_USER`, default 1000: private channels that one user has created and that exist.
    pub private_channels_per_user: u32,
    /// `INVITATIONS_PER_USER`, default 1000: private channels that others have created and that one user is in.
    pub invitations_per_user: u32,
    /// `INVITATIONS_PER_PAIR`, default 30: of these, private channels that the same other user has created.
    pub invitations_per_pair: u32,
    /// `SESSIONS_PER_USER`, default 100: a login beyond it ends the session that was refreshed longest ago.
    pub sessions_per_user: usize,
    /// `STORAGE_PER_USER`, default `10GiB`: size of all files of one user. A file counts as 64 KiB at least.
    pub storage_per_user: u64,
    /// `LOGIN_FAILURES`, default 10: failed logins of one account before delays, counted for each address and for all together. An
    /// address has ten times as many over all accounts.
    pub login_failures: u32,
    /// `HEART_BEAT`, default `10s`: STOMP heart-beat interval offered in both directions; `0s` turns heart-beats off.
    pub heart_beat: Duration,
    /// `SSE_KEEP_ALIVE`, default `15s`: interval of comments on a stream without events. Clients give up after 45 s, proxies
    /// after 60 s.
    pub sse_keep_alive: Duration,
    /// `DRAIN_DELAY`, default `1s`: on SIGTERM the node serves for this long while it is not ready, so that the proxy notices
    /// before the node refuses connections.
    pub drain_delay: Duration,
    /// `DRAIN_SPREAD`, default `5s`: STOMP connections are closed spread over this time, so that not all clients reconnect at
    /// once.
    pub drain_spread: Duration,
}

impl Config {
    /// Reads the settings from `get`, usually the environment.
    ///
    /// # Errors
    /// Every invalid setting at once, none with a secret's value.
    #[expect(clippy::too_many_lines, reason = "all settings in one place")]
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut from = EnvReader {
            get,
            errors: Vec::new(),
        };
        let config = Self {
            listen: from.parsed(
                "LISTEN",
                SocketAddr::from(([0, 0, 0, 0], 8080)),
                "an address and port like 0.0.0.0:8080",
                |v| v.parse().ok(),
            ),
            metrics_listen: from.parsed(
                "METRICS_LISTEN",
                None,
                "an address and port like 0.0.0.0:9090",
                |v| v.parse().ok().map(Some),
            ),
            database_url: Secret::new(from.required("DATABASE_URL")),
            database_pool: from.number("DATABASE_POOL", 16, 2, 1000),
            migration_database_url: from.text("MIGRATION_DATABASE_URL").map(Secret::new),
            redis_url: Secret::new(from.required("REDIS_URL")),
            kafka_brokers: from.required("KAFKA_BROKERS"),
            kafka_tls: from.parsed("KAFKA_TLS", false, "true or false", |v| v.parse().ok()),
            kafka_login: read_kafka_login(&mut from),
            kafka_ca_file: from.text("SSL_CERT_FILE"),
            kafka_topic_prefix: from
                .text("KAFKA_TOPIC_PREFIX")
                .unwrap_or_else(|| "discodeit.".to_owned()),
            kafka_partitions: from.number("KAFKA_PARTITIONS", 6, 1, 1000),
            jwt_secret: Secret::new(from.required("JWT_SECRET")),
            access_token_ttl: from.duration("ACCESS_TOKEN_TTL", Duration::from_mins(15)),
            session_ttl: from.duration("SESSION_TTL", Duration::from_hours(30 * 24)),
            cookie_secure: from.parsed("COOKIE_SECURE", false, "true or false", |v| v.parse().ok()),
            admin: None,
            node_name: from
                .text("NODE_NAME")
                .or_else(|| from.text("HOSTNAME"))
                .unwrap_or_else(|| "node".to_owned()),
            trusted_proxies: from.parsed(
                "TRUSTED_PROXIES",
                Vec::new(),
                "networks like 10.0.0.0/8,192.168.1.7",
                |v| {
                    v.split(',')
                        .map(|network| parse_network(network.trim()))
                        .collect()
                },
            ),
            log: from.text("LOG").unwrap_or_else(|| "info".to_owned()),
            log_format: from.parsed("LOG_FORMAT", LogFormat::Text, "text or json", |v| match v {
                "text" => Some(LogFormat::Text),
                "json" => Some(LogFormat::Json),
                _ => None,
            }),
            traces: TraceExport::read(&mut from),
            max_connections: from.number("MAX_CONNECTIONS", 20_000, 1, 1_000_000),
            connections_per_user: from.number("CONNECTIONS_PER_USER", 20, 1, 100_000),
            files: from.blob_url("FILES_URL"),
            // The kernel finds this program even after another one has replaced its file.
            program: PathBuf::from("/proc/self/exe"),
            aws: AWS_VARIABLES
                .into_iter()
                .filter_map(|name| Some((name, Secret::new(from.text(name)?))))
                .collect(),
            max_file_size: from.size("MAX_FILE_SIZE", 10 << 20, ("256MiB", 256 << 20)),
            max_request_size: from.size("MAX_REQUEST_SIZE", 50 << 20, ("256MiB", 256 << 20)),
            max_uploads: from.number("MAX_UPLOADS", 64, 1, 100_000),
            uploads_per_user: from.number("UPLOADS_PER_USER", 6, 1, 100_000),
            message_rate: from.number("MESSAGE_RATE", 20, 1, 1_000_000),
            request_rate: from.number("REQUEST_RATE", 100, 1, 1_000_000),
            requests_per_user: from.number("REQUESTS_PER_USER", 10, 1, 100_000),
            private_channels_per_user: from.number(
                "PRIVATE_CHANNELS_PER_USER",
                1_000,
                1,
                1_000_000,
            ),
            invitations_per_user: from.number("INVITATIONS_PER_USER", 1_000, 1, 1_000_000),
            invitations_per_pair: from.number("INVITATIONS_PER_PAIR", 30, 1, 1_000_000),
            sessions_per_user: from.number("SESSIONS_PER_USER", 100, 1, 100_000),
            storage_per_user: from.size("STORAGE_PER_USER", 10 << 30, ("1024TiB", 1 << 50)),
            login_failures: from.number("LOGIN_FAILURES", 10, 1, 1_000_000),
            heart_beat: from.duration("HEART_BEAT", Duration::from_secs(10)),
            sse_keep_alive: from.duration("SSE_KEEP_ALIVE", Duration::from_secs(15)),
            drain_delay: from.duration("DRAIN_DELAY", Duration::from_secs(1)),
            drain_spread: from.duration("DRAIN_SPREAD", Duration::from_secs(5)),
        };
        let admin = ["ADMIN_USERNAME", "ADMIN_EMAIL", "ADMIN_PASSWORD"].map(|name| from.text(name));
        let admin = match admin {
            [Some(username), Some(email), Some(password)] => Some(Admin {
                username,
                email,
                password: Secret::new(password),
            }),
            [None, None, None] => None,
            _ => {
                from.errors.push("ADMIN_USERNAME, ADMIN_EMAIL and ADMIN_PASSWORD must be set together or not at all".to_owned());
                None
            }
        };
        config.check(&mut from.errors);
        if from.errors.is_empty() {
            Ok(Self { admin, ..config })
        } else {
            Err(ConfigErrors(from.errors))
        }
    }

    fn check(&self, errors: &mut Vec<String>) {
        let secret = self.jwt_secret.expose();
        if !secret.is_empty() && secret.len() < 32 {
            errors.push("JWT_SECRET must have at least 32 bytes".to_owned());
        }
        let urls = [
            ("DATABASE_URL", Some(&self.database_url)),
            (
                "MIGRATION_DATABASE_URL",
                self.migration_database_url.as_ref(),
            ),
        ];
        for (name, url) in urls {
            let url = url.map_or("", Secret::expose);
            if !url.is_empty() && !has_scheme(url, &["postgres", "postgresql"]) {
                errors.push(format!("{name} must begin with postgres://"));
            }
        }
        let redis_url = self.redis_url.expose();
        if !redis_url.is_empty() && !has_scheme(redis_url, &["redis", "rediss"]) {
            errors.push("REDIS_URL must begin with redis:// or rediss://".to_owned());
        }
        let is_header_value =
            |text: &str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic());
        if !is_header_value(&self.node_name) {
            errors.push("NODE_NAME must be 1 to 64 visible ASCII characters".to_owned());
        }
        let is_topic_char = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.kafka_topic_prefix.len() > 200
            || !self.kafka_topic_prefix.chars().all(is_topic_char)
        {
            errors.push("KAFKA_TOPIC_PREFIX must be at most 200 letters, digits, dots, underscores and hyphens".to_owned());
        }
        if self.access_token_ttl < Duration::from_secs(10)
            || self.session_ttl < self.access_token_ttl
        {
            errors.push(
                "ACCESS_TOKEN_TTL must be at least 10s and SESSION_TTL not shorter".to_owned(),
            );
        }
        // Below 1 s a client would do little but send heart-beats. Above 40 s clients and proxies would cut a silent stream.
        if !self.heart_beat.is_zero() && self.heart_beat < Duration::from_secs(1)
            || self.heart_beat > Duration::from_mins(10)
        {
            errors.push("HEART_BEAT must be 0s, or 1s to 600s".to_owned());
        }
        if self.sse_keep_alive < Duration::from_millis(100)
            || self.sse_keep_alive > Duration::from_secs(40)
        {
            errors.push("SSE_KEEP_ALIVE must be 100ms to 40s".to_owned());
        }
        if self.max_file_size > self.max_request_size {
            errors.push("MAX_FILE_SIZE must not be larger than MAX_REQUEST_SIZE".to_owned());
        }
        if self.drain_delay + self.drain_spread > Duration::from_secs(15) {
            errors.push("DRAIN_DELAY and DRAIN_SPREAD must not exceed 15s together".to_owned());
        }
    }
}

fn read_kafka_login(from: &mut EnvReader<'_>) -> Option<KafkaLogin> {
    let form = format!("one of {}", SASL_MECHANISMS.join(", "));
    let mechanism = from.parsed("KAFKA_SASL_MECHANISM", SASL_MECHANISMS[0], &form, |value| {
        SASL_MECHANISMS.into_iter().find(|known| *known == value)
    });
    match ["KAFKA_USERNAME", "KAFKA_PASSWORD"].map(|name| from.text(name)) {
        [Some(username), Some(password)] => Some(KafkaLogin {
            username,
            password: Secret::new(password),
            mechanism,
        }),
        [None, None] => None,
        _ => {
            let error = "KAFKA_USERNAME and KAFKA_PASSWORD must be set together or not at all";
            from.errors.push(error.to_owned());
            None
        }
    }
}

fn has_scheme(url: &str, schemes: &[&str]) -> bool {
    url.split_once("://")
        .is_some_and(|(scheme, _)| schemes.contains(&scheme))
}

/// Parses a network in CIDR notation, or one address.
fn parse_network(text: &str) -> Option<IpNet> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(extra: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
        let base = [
            ("DATABASE_URL", "postgres://u:hunter2@localhost/d"),
            ("REDIS_URL", "redis://localhost"),
            ("KAFKA_BROKERS", "localhost:9092"),
            ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
            ("FILES_URL", "file:///tmp/files"),
        ];
        let find = |name: &str| {
            extra
                .iter()
                .chain(&base)
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Config::read(&find)
    }

    #[test]
    fn five_settings_are_required() {
        let config = read(&[]).expect("the required settings are set");
        assert_eq!(config.listen.port(), 8080);
        assert_eq!(config.access_token_ttl, Duration::from_mins(15));
        assert_eq!(config.max_file_size, 10 * 1024 * 1024);
    }

    #[test]
    fn every_invalid_setting_is_reported_at_once() {
        let Err(ConfigErrors(errors)) = read(&[
            ("DATABASE_URL", ""),
            ("REDIS_URL", "localhost:6379"),
            ("JWT_SECRET", "short"),
            ("LISTEN", "8080"),
            ("HEART_BEAT", "10"),
            ("ADMIN_USERNAME", "root"),
            ("FILES_URL", "https://key:short@example.org/"),
            ("MAX_FILE_SIZE", "60MiB"),
        ]) else {
            panic!("accepted")
        };
        assert_eq!(errors.len(), 8, "{errors:?}");
        assert!(
            !errors.concat().contains("short\"") && !errors.concat().contains("key:"),
            "a secret's value is in {errors:?}"
        );
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let extra = [("AWS_SECRET_ACCESS_KEY", "hunter2")];
        let shown = format!("{:?}", read(&extra).expect("valid"));
        assert!(
            !shown.contains("hunter2") && !shown.contains("0123456789abcdef"),
            "{shown}"
        );
    }

    #[test]
    fn stores_are_reached_with_credentials_and_tls() {
        let config = read(&[
            ("REDIS_URL", "rediss://node:hunter2@localhost"),
            ("MIGRATION_DATABASE_URL", "postgres://owner@localhost/d"),
            ("KAFKA_TLS", "true"),
            ("KAFKA_USERNAME", "node"),
            ("KAFKA_PASSWORD", "hunter2"),
        ]);
        let config = config.expect("valid");
        let mechanism = config.kafka_login.as_ref().map(|login| login.mechanism);
        assert_eq!((config.kafka_tls, mechanism), (true, Some("SCRAM-SHA-512")));
        assert!(!format!("{config:?}").contains("hunter2"));
        for wrong in [
            ("MIGRATION_DATABASE_URL", "mysql://hunter2@localhost/d"),
            ("KAFKA_PASSWORD", "hunter2"),
            ("KAFKA_USERNAME", "node"),
            ("KAFKA_SASL_MECHANISM", "GSSAPI"),
            ("KAFKA_TLS", "yes"),
        ] {
            let Err(ConfigErrors(errors)) = read(&[wrong]) else {
                panic!("accepted {wrong:?}")
            };
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(!errors[0].contains("hunter2"));
        }
    }

    #[test]
    fn trusted_proxies_are_networks_or_addresses() {
        let proxies = |text| {
            let config = read(&[("TRUSTED_PROXIES", text)]).map_err(|ConfigErrors(errors)| errors);
            config.map(|config| config.trusted_proxies)
        };
        let expected = ["10.0.0.0/8", "192.168.1.7/32", "::1/128", "fd00::/8"];
        assert_eq!(
            proxies("10.0.0.0/8, 192.168.1.7,::1,fd00::/8"),
            Ok(expected
                .map(|network| network.parse().expect("a network"))
                .to_vec())
        );
        let contains = |network, address: &str| {
            let network = parse_network(network).expect("a network");
            network.contains(&address.parse::<IpAddr>().expect("an address"))
        };
        assert!(contains("10.1.0.0/16", "10.1.255.1"));
        assert!(!contains("10.1.0.0/16", "10.2.0.1"));
        assert!(contains("0.0.0.0/0", "8.8.8.8"));
        for wrong in ["10.0.0.0/33", "10.0.0.0/", "proxy", "10.0.0.1,,10.0.0.2"] {
            assert_eq!(proxies(wrong).map_err(|errors| errors.len()), Err(1));
        }
    }
}
