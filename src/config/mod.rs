//! Every setting: where it comes from, its default, its unit and its reason. Nothing else reads the environment.

pub mod blob_url;
pub mod env;

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use crate::{
    config::{
        blob_url::{AWS_VARIABLES, BlobUrl},
        env::{ConfigErrors, EnvReader},
    },
    secret::Secret,
    telemetry::LogFormat,
};

/// The account that is created at start when its username does not exist.
#[derive(Clone, Debug)]
pub struct Admin {
    /// `ADMIN_USERNAME`
    pub username: String,
    /// `ADMIN_EMAIL`
    pub email: String,
    /// `ADMIN_PASSWORD`
    pub password: Secret,
}

/// A block of addresses, `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Whether the address lies in the block. An IPv4 address inside IPv6 counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                (u32::from(net) ^ u32::from(ip))
                    .checked_shr(32 - self.prefix)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                (u128::from(net) ^ u128::from(ip))
                    .checked_shr(128 - self.prefix)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(drop)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), str::parse).map_err(drop)?;
        if prefix <= longest {
            Ok(Self { address, prefix })
        } else {
            Err(())
        }
    }
}

/// The settings of one node.
#[derive(Clone, Debug)]
pub struct Config {
    /// `LISTEN`, default `0.0.0.0:8080`: where HTTP is served.
    pub listen: SocketAddr,
    /// `DATABASE_URL`, required: `postgres://user:password@host:port/database`.
    pub database_url: Secret,
    /// `DATABASE_POOL`, default 16: connections to PostgreSQL at most. More than 4 a core of the database gains nothing.
    pub database_pool: u32,
    /// `REDIS_URL`, required: `redis://[:password@]host:port/[database]`.
    pub redis_url: Secret,
    /// `KAFKA_BROKERS`, required: `host:port,host:port`.
    pub kafka_brokers: String,
    /// `KAFKA_TOPIC_PREFIX`, default `discodeit.`: lets several systems share a cluster.
    pub kafka_topic_prefix: String,
    /// `KAFKA_PARTITIONS`, default 6: partitions of a topic that this node has to create. Existing topics stay as they are.
    pub kafka_partitions: i32,
    /// `JWT_SECRET`, required, at least 32 bytes: signs access tokens; the same on every node.
    pub jwt_secret: Secret,
    /// `ACCESS_TOKEN_TTL`, default `15m`.
    pub access_token_ttl: Duration,
    /// `SESSION_TTL`, default `30d`: how long a session lives after its last refresh.
    pub session_ttl: Duration,
    /// `COOKIE_SECURE`, default `false`: `true` where browsers come by HTTPS.
    pub cookie_secure: bool,
    /// `ADMIN_USERNAME`, `ADMIN_EMAIL`, `ADMIN_PASSWORD`: all or none.
    pub admin: Option<Admin>,
    /// `NODE_NAME`, default `HOSTNAME`, else `node`: names this node in logs, in the `Discodeit-Node` header and in Redis.
    pub node_name: String,
    /// `TRUSTED_PROXIES`, default none: networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// `LOG`, default `info`: a filter of the `tracing` kind, like `info,discodeit=debug`.
    pub log: String,
    /// `LOG_FORMAT`, `text` (default) or `json`.
    pub log_format: LogFormat,
    /// `MAX_CONNECTIONS`, default 20000: open TCP connections; the next ones wait in the listen queue.
    pub max_connections: usize,
    /// `CONNECTIONS_PER_USER`, default 20: STOMP connections, and as many SSE streams, of one user on this node.
    pub connections_per_user: usize,
    /// `FILES_URL`, required, since every node must have the same: `file:///folder`, a folder that all of them see, or
    /// `s3://bucket/prefix`.
    pub files: BlobUrl,
    /// `AWS_…`, the usual ones: credentials, region and endpoint of a bucket.
    pub aws: Vec<(&'static str, Secret)>,
    /// `MAX_FILE_SIZE`, default `10MiB`.
    pub max_file_size: u64,
    /// `MAX_REQUEST_SIZE`, default `50MiB`: a request with files. A proxy in front must let as much through.
    pub max_request_size: u64,
    /// `MAX_UPLOADS`, default 64: requests with files at the same time, then 503; sign-ups have slots of their own. Each holds
    /// 256 KiB for a folder, 5 MiB for a bucket.
    pub max_uploads: usize,
    /// `MESSAGE_RATE`, default 20: STOMP SENDs a second and connection, with bursts of twice as many.
    pub message_rate: u32,
    /// `LOGIN_FAILURES`, default 10: wrong passwords in a minute for one username from one address, then 429.
    pub login_failures: u32,
    /// `HEART_BEAT`, default `10s`: the STOMP heart-beat offered both ways; `0s` is none.
    pub heart_beat: Duration,
    /// `SSE_KEEP_ALIVE`, default `15s`: a comment after this long without an event. Clients give up at 45 s, proxies at 60 s.
    pub sse_keep_alive: Duration,
    /// `DRAIN_DELAY`, default `1s`: not ready, still serving, so that the proxy notices before connections are refused.
    pub drain_delay: Duration,
    /// `DRAIN_SPREAD`, default `5s`: STOMP connections are closed spread over this time, so that they do not all come back at once.
    pub drain_spread: Duration,
}

impl Config {
    /// Reads the settings from `get`, usually the environment.
    ///
    /// # Errors
    /// Every mistake at once, none with a secret's value.
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut from = EnvReader {
            get,
            mistakes: Vec::new(),
        };
        let config = Self {
            listen: from.parsed(
                "LISTEN",
                SocketAddr::from(([0, 0, 0, 0], 8080)),
                "an address and port like 0.0.0.0:8080",
                |v| v.parse().ok(),
            ),
            database_url: Secret::new(from.required("DATABASE_URL")),
            database_pool: from.number("DATABASE_POOL", 16, 2, 1000),
            redis_url: Secret::new(from.required("REDIS_URL")),
            kafka_brokers: from.required("KAFKA_BROKERS"),
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
                        .map(|network| network.trim().parse().ok())
                        .collect()
                },
            ),
            log: from.text("LOG").unwrap_or_else(|| "info".to_owned()),
            log_format: from.parsed("LOG_FORMAT", LogFormat::Text, "text or json", |v| match v {
                "text" => Some(LogFormat::Text),
                "json" => Some(LogFormat::Json),
                _ => None,
            }),
            max_connections: from.number("MAX_CONNECTIONS", 20_000, 1, 1_000_000),
            connections_per_user: from.number("CONNECTIONS_PER_USER", 20, 1, 100_000),
            files: from.place("FILES_URL"),
            aws: AWS_VARIABLES
                .into_iter()
                .filter_map(|name| Some((name, Secret::new(from.text(name)?))))
                .collect(),
            max_file_size: from.size("MAX_FILE_SIZE", 10 << 20),
            max_request_size: from.size("MAX_REQUEST_SIZE", 50 << 20),
            max_uploads: from.number("MAX_UPLOADS", 64, 1, 100_000),
            message_rate: from.number("MESSAGE_RATE", 20, 1, 1_000_000),
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
                from.mistakes.push("ADMIN_USERNAME, ADMIN_EMAIL and ADMIN_PASSWORD must be set together or not at all".to_owned());
                None
            }
        };
        config.check(&mut from.mistakes);
        if from.mistakes.is_empty() {
            Ok(Self { admin, ..config })
        } else {
            Err(ConfigErrors(from.mistakes))
        }
    }

    fn check(&self, mistakes: &mut Vec<String>) {
        let secret = self.jwt_secret.expose();
        if !secret.is_empty() && secret.len() < 32 {
            mistakes.push("JWT_SECRET must have at least 32 bytes".to_owned());
        }
        for (name, url, schemes) in [
            (
                "DATABASE_URL",
                &self.database_url,
                ["postgres://", "postgresql://"],
            ),
            ("REDIS_URL", &self.redis_url, ["redis://", "rediss://"]),
        ] {
            if !url.expose().is_empty()
                && !schemes
                    .iter()
                    .any(|scheme| url.expose().starts_with(scheme))
            {
                mistakes.push(format!("{name} must begin with {}", schemes[0]));
            }
        }
        let header = |text: &str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic());
        if !header(&self.node_name) {
            mistakes.push("NODE_NAME must be 1 to 64 visible ASCII characters".to_owned());
        }
        let topic = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.kafka_topic_prefix.len() > 200 || !self.kafka_topic_prefix.chars().all(topic) {
            mistakes.push("KAFKA_TOPIC_PREFIX must be at most 200 letters, digits, dots, underscores and hyphens".to_owned());
        }
        if self.access_token_ttl < Duration::from_secs(10)
            || self.session_ttl < self.access_token_ttl
        {
            mistakes.push(
                "ACCESS_TOKEN_TTL must be at least 10s and SESSION_TTL not shorter".to_owned(),
            );
        }
        // A client that is told less than a second would beat without end; a stream kept alive more seldom than clients
        // and proxies wait would be cut by them.
        if !self.heart_beat.is_zero() && self.heart_beat < Duration::from_secs(1)
            || self.heart_beat > Duration::from_mins(10)
        {
            mistakes.push("HEART_BEAT must be 0s, or 1s to 600s".to_owned());
        }
        if self.sse_keep_alive < Duration::from_millis(100)
            || self.sse_keep_alive > Duration::from_secs(40)
        {
            mistakes.push("SSE_KEEP_ALIVE must be 100ms to 40s".to_owned());
        }
        if self.max_file_size > self.max_request_size {
            mistakes.push("MAX_FILE_SIZE must not be larger than MAX_REQUEST_SIZE".to_owned());
        }
        if self.drain_delay + self.drain_spread > Duration::from_secs(15) {
            mistakes.push("DRAIN_DELAY and DRAIN_SPREAD together must not pass 15s".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        env::{duration, size},
        *,
    };

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
    fn five_settings_are_enough() {
        let config = read(&[]).expect("the required settings are there");
        assert_eq!(config.listen.port(), 8080);
        assert_eq!(config.access_token_ttl, Duration::from_mins(15));
        assert_eq!(config.max_file_size, 10 * 1024 * 1024);
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let Err(ConfigErrors(mistakes)) = read(&[
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
        assert_eq!(mistakes.len(), 8, "{mistakes:?}");
        assert!(
            !mistakes.concat().contains("short\"") && !mistakes.concat().contains("key:"),
            "a secret's value is in {mistakes:?}"
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
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("30d"), Some(Duration::from_hours(30 * 24)));
        for wrong in [
            "",
            "5",
            "s",
            "-5s",
            "5 s",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(size("64KiB"), Some(65_536));
        assert_eq!(size("7"), Some(7));
        for wrong in ["", "MiB", "5MB", "5 MiB", "-1", "99999999999GiB"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_network_contains_its_addresses_only() {
        let network: Network = "10.1.0.0/16".parse().expect("a network");
        assert!(network.contains("10.1.255.1".parse().expect("an address")));
        assert!(network.contains("::ffff:10.1.0.9".parse().expect("an address")));
        assert!(!network.contains("10.2.0.1".parse().expect("an address")));
        let all: Network = "0.0.0.0/0".parse().expect("a network");
        assert!(all.contains("8.8.8.8".parse().expect("an address")));
        assert!("10.0.0.0/33".parse::<Network>().is_err());
    }
}
