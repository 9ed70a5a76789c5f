//! Reads environment variables and collects every error before any is returned.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use crate::config::blob_url::BlobUrl;

/// Every invalid setting of an environment, one sentence each.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Reads variables and collects an error for each invalid one.
pub(super) struct EnvReader<'a> {
    pub(super) get: &'a dyn Fn(&str) -> Option<String>,
    pub(super) errors: Vec<String>,
}

impl EnvReader<'_> {
    /// The trimmed value. An empty one counts as unset: Compose sets `${VAR:-}` to the empty string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        (self.get)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    pub(super) fn required(&mut self, name: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.errors.push(format!("{name} is required"));
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
            self.errors
                .push(format!("{name} must be {form}, not {value:?}"));
            default
        })
    }

    pub(super) fn number<T: FromStr + PartialOrd + fmt::Display + Copy>(
        &mut self,
        name: &str,
        default: T,
        min: T,
        max: T,
    ) -> T {
        let form = format!("a number from {min} to {max}");
        self.parsed(name, default, &form, |value| {
            value
                .parse()
                .ok()
                .filter(|number| (min..=max).contains(number))
        })
    }

    /// Reads a size in bytes of at most `max`, with its name for the error.
    pub(super) fn size(&mut self, name: &str, default: u64, max: (&str, u64)) -> u64 {
        let form = format!("a size from 1 to {}, like 512KiB or 10MiB", max.0);
        self.parsed(name, default, &form, |value| {
            parse_size(value).filter(|size| (1..=max.1).contains(size))
        })
    }

    /// Reads a required [`BlobUrl`]. The error omits the value, because people put keys into URLs.
    pub(super) fn blob_url(&mut self, name: &str) -> BlobUrl {
        let text = self.required(name);
        BlobUrl::parse(&text).unwrap_or_else(|| {
            if !text.is_empty() {
                self.errors.push(format!(
                    "{name} must be file:///folder or s3://bucket/prefix"
                ));
            }
            BlobUrl::Folder(PathBuf::new())
        })
    }

    pub(super) fn duration(&mut self, name: &str, default: Duration) -> Duration {
        let form = "a duration like 500ms, 15s, 10m, 2h or 30d";
        self.parsed(name, default, form, |value| {
            humantime::parse_duration(value).ok()
        })
    }
}

/// Parses a size in bytes: `512`, `64KiB`, `10MiB`, `1GiB`, `1TiB`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let unit = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let read = |value: &'static str| {
            let get = |_: &str| Some(value.to_owned());
            let mut reader = EnvReader {
                get: &get,
                errors: Vec::new(),
            };
            let duration = reader.duration("D", Duration::MAX);
            reader.errors.is_empty().then_some(duration)
        };
        for (text, expected) in [
            ("500ms", Duration::from_millis(500)),
            ("0s", Duration::ZERO),
            ("007s", Duration::from_secs(7)),
            ("15s", Duration::from_secs(15)),
            ("10m", Duration::from_mins(10)),
            ("2h", Duration::from_hours(2)),
            ("30d", Duration::from_hours(30 * 24)),
            ("1h 30m", Duration::from_mins(90)),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
        for wrong in [
            "5",
            "s",
            "-5s",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(
            read(""),
            Some(Duration::MAX),
            "an empty value is the default"
        );
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("7"), Some(7));
        for wrong in ["", "MiB", "5MB", "5 MiB", "-1", "99999999999GiB"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }
}
