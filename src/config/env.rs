//! Reads environment variables and collects every error before any is returned.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use crate::config::blob_url::BlobUrl;

/// What a node's start has to say about the environment: every mistake at once.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Reads variables and collects what is wrong with them.
pub(super) struct EnvReader<'a> {
    pub(super) get: &'a dyn Fn(&str) -> Option<String>,
    pub(super) mistakes: Vec<String>,
}

impl EnvReader<'_> {
    /// The variable; one that is set to nothing counts as unset, which is what Compose makes of `${VAR:-}`.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        (self.get)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    pub(super) fn required(&mut self, name: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.mistakes.push(format!("{name} must be set"));
            String::new()
        })
    }

    pub(super) fn parsed<T>(
        &mut self,
        name: &str,
        default: T,
        form: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        let Some(value) = self.text(name) else {
            return default;
        };
        parse(&value).unwrap_or_else(|| {
            self.mistakes
                .push(format!("{name} must be {form}, not {value:?}"));
            default
        })
    }

    pub(super) fn number<T: FromStr + PartialOrd + fmt::Display + Copy>(
        &mut self,
        name: &str,
        default: T,
        least: T,
        most: T,
    ) -> T {
        let form = format!("a number from {least} to {most}");
        self.parsed(name, default, &form, |value| {
            value
                .parse()
                .ok()
                .filter(|number| (least..=most).contains(number))
        })
    }

    pub(super) fn size(&mut self, name: &str, default: u64) -> u64 {
        let form = "a size from 1 to 256MiB, like 512KiB or 10MiB";
        self.parsed(name, default, form, |value| {
            size(value).filter(|size| (1..=256 << 20).contains(size))
        })
    }

    /// The value is not repeated: people put keys into URLs.
    pub(super) fn place(&mut self, name: &str) -> BlobUrl {
        let text = self.required(name);
        BlobUrl::parse(&text).unwrap_or_else(|| {
            if !text.is_empty() {
                self.mistakes.push(format!(
                    "{name} must be file:///folder or s3://bucket/prefix"
                ));
            }
            BlobUrl::Folder(PathBuf::new())
        })
    }

    pub(super) fn duration(&mut self, name: &str, default: Duration) -> Duration {
        self.parsed(
            name,
            default,
            "a duration like 500ms, 15s, 10m, 2h or 30d",
            duration,
        )
    }
}

/// Parses `512`, `64KiB`, `10MiB`, `1GiB`.
pub(super) fn size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let unit = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Parses `500ms`, `15s`, `10m`, `2h`, `30d`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}
