//! The standard variables of OpenTelemetry that a node reads itself. Its exporter reads the others.

use http::Uri;

use crate::config::env::EnvReader;

/// Where a node exports traces, and which of them.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceExport {
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, else `OTEL_EXPORTER_OTLP_ENDPOINT` with `/v1/traces`: a URL of HTTP.
    pub endpoint: String,
    /// `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`, default `parentbased_always_on`.
    pub sampler: Sampler,
}

/// Decides which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// The share of the traces, from 0 to 1.
    pub ratio: f64,
    /// Whether the caller's decision is taken over, if there is one.
    pub parent_based: bool,
}

impl TraceExport {
    /// Reads the variables; `None` when no endpoint is set, or traces are switched off.
    pub(super) fn read(from: &mut EnvReader<'_>) -> Option<Self> {
        let specific = from.text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let endpoint = specific.or_else(|| {
            let base = from.text("OTEL_EXPORTER_OTLP_ENDPOINT")?;
            Some(format!("{}/v1/traces", base.trim_end_matches('/')))
        })?;
        // Any other value than `true` is false (OpenTelemetry's specification of environment variables).
        let is_true = |value: String| value.eq_ignore_ascii_case("true");
        if from.text("OTEL_SDK_DISABLED").is_some_and(is_true) {
            return None;
        }
        let exporter = from.parsed("OTEL_TRACES_EXPORTER", true, "otlp or none", |v| match v {
            "otlp" => Some(true),
            "none" => Some(false),
            _ => None,
        });
        if !exporter {
            return None;
        }
        for name in [
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        ] {
            from.parsed(name, (), "http/protobuf", |value| {
                (value == "http/protobuf").then_some(())
            });
        }
        let url: Option<Uri> = endpoint.parse().ok();
        let scheme = url.as_ref().and_then(Uri::scheme_str);
        if !matches!(scheme, Some("http" | "https")) {
            // Without the value, because people put keys into URLs.
            let error = "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL with http:// or https://";
            from.errors.push(error.to_owned());
        }
        let ratio = from.number("OTEL_TRACES_SAMPLER_ARG", 1.0, 0.0, 1.0);
        let parent_based = Sampler {
            ratio: 1.0,
            parent_based: true,
        };
        let form = "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or parentbased_traceidratio";
        let sampler = from.parsed("OTEL_TRACES_SAMPLER", parent_based, form, |value| {
            let base = value.strip_prefix("parentbased_");
            Some(Sampler {
                ratio: match base.unwrap_or(value) {
                    "always_on" => 1.0,
                    "always_off" => 0.0,
                    "traceidratio" => ratio,
                    _ => return None,
                },
                parent_based: base.is_some(),
            })
        });
        Some(Self { endpoint, sampler })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    fn read(variables: &[(&str, &str)]) -> Result<Option<TraceExport>, Vec<String>> {
        let get = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let mut from = EnvReader {
            get: &get,
            errors: Vec::new(),
        };
        let export = TraceExport::read(&mut from);
        if from.errors.is_empty() {
            Ok(export)
        } else {
            Err(from.errors)
        }
    }

    #[test]
    fn traces_are_off_without_an_endpoint_or_when_disabled() {
        for variables in [
            &[][..],
            &[("OTEL_SERVICE_NAME", "chat")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "True")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            // Without an endpoint, what is set for other programs does no harm.
            &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
        ] {
            assert_eq!(read(variables), Ok(None), "{variables:?}");
        }
    }

    #[test]
    fn an_endpoint_for_traces_is_used_as_it_is() {
        let endpoint = |variables: &[_]| {
            let export = read(variables).expect("valid").expect("on");
            export.endpoint
        };
        assert_eq!(endpoint(&[ENDPOINT]), "http://collector:4318/v1/traces");
        let specific = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://x/y");
        let allowed = [
            ENDPOINT,
            specific,
            ("OTEL_SDK_DISABLED", "no"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ];
        assert_eq!(endpoint(&allowed), "https://x/y");
    }

    #[test]
    fn samplers_have_their_standard_names() {
        for (name, ratio, parent_based) in [
            ("", 1.0, true),
            ("always_on", 1.0, false),
            ("always_off", 0.0, false),
            ("traceidratio", 0.25, false),
            ("parentbased_always_on", 1.0, true),
            ("parentbased_always_off", 0.0, true),
            ("parentbased_traceidratio", 0.25, true),
        ] {
            let variables = [
                ENDPOINT,
                ("OTEL_TRACES_SAMPLER", name),
                ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ];
            let export = read(&variables).expect("valid").expect("on");
            let expected = Sampler {
                ratio,
                parent_based,
            };
            assert_eq!(export.sampler, expected, "{name}");
        }
    }

    #[test]
    fn invalid_values_are_refused() {
        for wrong in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "key:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://key host/"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
            ("OTEL_TRACES_SAMPLER_ARG", "NaN"),
        ] {
            let errors = read(&[ENDPOINT, wrong]).expect_err("refused");
            assert_eq!(errors.len(), 1, "{wrong:?}: {errors:?}");
            assert!(!errors[0].contains("key"), "{errors:?}");
        }
    }
}
