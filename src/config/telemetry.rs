//! `[telemetry]`: where traces go, and which requests are traced. OpenTelemetry's own variables fill what is absent.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use crate::settings::{CaFile, Section};
use crate::telemetry::trace::TracePage;

/// What OpenTelemetry adds to the base URL of a collector for traces.
const TRACES_PATH: &str = "/v1/traces";
/// As OpenTelemetry has it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of the section `[telemetry]`.
#[derive(Clone, PartialEq, Debug)]
pub struct TelemetrySettings {
    /// The URL that spans are posted to, with its path. None: nothing is traced.
    pub endpoint: Option<Uri>,
    /// Headers of each post. Their values are not shown by `Debug`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long the collector may take to answer.
    pub timeout: Duration,
    /// Certificates that are trusted besides the system's.
    pub ca_file: Option<CaFile>,
    /// The share of requests without a sampled `traceparent` that are traced, from 0 to 1.
    pub sample_ratio: f64,
    /// The attribute `service.name`.
    pub service_name: String,
    /// Further attributes of the resource.
    pub resource: Vec<(String, String)>,
    /// The page that shows a trace.
    pub trace_url: TracePage,
}

/// The ratio is never NaN.
impl Eq for TelemetrySettings {}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers: Vec::new(),
            timeout: TIMEOUT,
            ca_file: None,
            sample_ratio: 0.01,
            service_name: "pushpost".to_owned(),
            resource: Vec::new(),
            trace_url: TracePage::default(),
        }
    }
}

impl TelemetrySettings {
    /// `environment` may have variables of OpenTelemetry. They count for keys that are absent, and only if there is an
    /// endpoint: a platform sets them for all its services.
    pub(super) fn read(mut section: Section<'_>, environment: &[(String, String)]) -> Self {
        let default = Self::default();
        let variables = Variables { section: &section, environment };
        let of_environment = match section.has("otlp_endpoint") {
            true => None,
            false => variables.endpoint(),
        };
        let is_on = section.has("otlp_endpoint") || of_environment.is_some();
        let variables = Variables { section: &section, environment: if is_on { environment } else { &[] } };
        let absent = |key: &str| !section.has(key);
        let headers = (absent("otlp_headers") && absent("otlp_headers_file")).then(|| variables.headers());
        let sample_ratio = absent("sample_ratio").then(|| variables.sample_ratio()).flatten();
        let service_name = absent("service_name").then(|| variables.service_name()).flatten();
        let (timeout, resource) = (variables.timeout(), variables.resource());
        let ca_file = variables.ca_file();

        let endpoint = section.parsed("otlp_endpoint", |text| endpoint(text, TRACES_PATH)).or(of_environment);
        let secret = section.secret("otlp_headers", "otlp_headers_file");
        let stated = secret.map(|secret| {
            let key = if secret.file().is_some() { "otlp_headers_file" } else { "otlp_headers" };
            let lines = secret.expose().lines().filter(|line| !line.trim().is_empty());
            let headers: Result<Vec<_>, _> = lines.map(header).collect();
            headers.map_err(|message| section.fault(key, message)).unwrap_or_default()
        });
        let settings = Self {
            endpoint,
            headers: stated.or(headers).unwrap_or_default(),
            timeout: timeout.unwrap_or(default.timeout),
            ca_file,
            sample_ratio: section.fraction("sample_ratio", sample_ratio.unwrap_or(default.sample_ratio)),
            service_name: section
                .parsed("service_name", not_empty)
                .or(service_name)
                .unwrap_or(default.service_name),
            resource,
            trace_url: section.parsed("trace_url", TracePage::parse).unwrap_or_default(),
        };
        section.finish();
        settings
    }
}

/// The standard variables of OpenTelemetry
/// (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).
struct Variables<'a, 's> {
    section: &'a Section<'s>,
    environment: &'a [(String, String)],
}

impl Variables<'_, '_> {
    /// The first of these variables that is set and not empty.
    fn value(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        names.iter().find_map(|wanted| {
            let found = self.environment.iter().find(|(name, value)| name == wanted && !value.is_empty());
            found.map(|(_, value)| (*wanted, value.trim()))
        })
    }

    fn parsed<T, E: std::fmt::Display>(
        &self,
        names: &[&'static str],
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let (name, text) = self.value(names)?;
        let read = read(text);
        read.map_err(|message| self.section.fault_of_variable(name, &message.to_string())).ok()
    }

    /// None also if the variables turn tracing off.
    fn endpoint(&self) -> Option<Uri> {
        let is = |name, wanted: &str| {
            self.value(&[name]).is_some_and(|(_, text)| text.eq_ignore_ascii_case(wanted))
        };
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return None;
        }
        match self.value(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]) {
            Some((name, _)) => self.parsed(&[name], |text| endpoint(text, "")),
            None => self.parsed(&["OTEL_EXPORTER_OTLP_ENDPOINT"], |text| endpoint(text, TRACES_PATH)),
        }
    }

    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let names = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
        let headers = self.parsed(&names, |text| {
            let headers = pairs(text).map(|pair| pair.and_then(|(name, value)| named_header(name, &value)));
            headers.collect::<Result<Vec<_>, _>>()
        });
        headers.unwrap_or_default()
    }

    fn timeout(&self) -> Option<Duration> {
        let names = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
        self.parsed(&names, |text| match text.parse() {
            Ok(millis @ 1..=600_000) => Ok(Duration::from_millis(millis)),
            _ => Err("must be milliseconds, from 1 to 600000"),
        })
    }

    /// Read as the file of a provider is, so that a change of the file is a change of the configuration.
    fn ca_file(&self) -> Option<CaFile> {
        let names = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
        self.parsed(&names, |path| {
            self.section
                .ca_file_at(std::path::Path::new(path))
                .map_err(|error| format!("cannot read it: {error}"))
        })
    }

    fn sample_ratio(&self) -> Option<f64> {
        let (name, sampler) = self.value(&["OTEL_TRACES_SAMPLER"])?;
        match sampler.strip_prefix("parentbased_").unwrap_or(sampler) {
            "always_on" => Some(1.0),
            "always_off" => Some(0.0),
            "traceidratio" => {
                let ratio = self.parsed(&["OTEL_TRACES_SAMPLER_ARG"], |text| match text.parse::<f64>() {
                    Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
                    _ => Err("must be a number from 0 to 1"),
                });
                Some(ratio.unwrap_or(1.0))
            }
            _ => {
                let message =
                    "must be always_on, always_off or traceidratio, perhaps with parentbased_ before it";
                self.section.fault_of_variable(name, message);
                None
            }
        }
    }

    fn service_name(&self) -> Option<String> {
        let own = self.value(&["OTEL_SERVICE_NAME"]).map(|(_, name)| name.to_owned());
        own.or_else(|| {
            self.resource_attributes()
                .into_iter()
                .find(|(name, _)| name == "service.name")
                .map(|(_, name)| name)
        })
    }

    /// The attributes of the resource that Pushpost does not set itself.
    fn resource(&self) -> Vec<(String, String)> {
        let own = ["service.name", "service.version", "service.instance.id"];
        let mut attributes = self.resource_attributes();
        attributes.retain(|(name, _)| !own.contains(&name.as_str()));
        attributes
    }

    fn resource_attributes(&self) -> Vec<(String, String)> {
        let attributes = self.parsed(&["OTEL_RESOURCE_ATTRIBUTES"], |text| {
            let attributes = pairs(text).map(|pair| pair.map(|(name, value)| (name.to_owned(), value)));
            attributes.collect::<Result<Vec<_>, _>>()
        });
        attributes.unwrap_or_default()
    }
}

/// A URL of a collector, with `path` added.
fn endpoint(text: &str, path: &str) -> Result<Uri, &'static str> {
    const WRONG: &str = "must be http:// or https:// and a host, such as \"http://127.0.0.1:4318\"";
    let base: Uri = text.parse().map_err(|_| WRONG)?;
    let authority = base.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(WRONG)?;
    let scheme = base.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https")).ok_or(WRONG)?;
    if base.query().is_some() || authority.host().is_empty() {
        return Err(WRONG);
    }
    let path = match path {
        "" => base.path().to_owned(),
        path => format!("{}{path}", base.path().trim_end_matches('/')),
    };
    format!("{scheme}://{authority}{path}").parse().map_err(|_| WRONG)
}

/// Reads a line of the file of headers.
fn header(line: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let (name, value) = line.split_once('=').ok_or("must be lines such as \"x-api-key=…\"")?;
    named_header(name.trim(), value.trim())
}

fn named_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name = HeaderName::try_from(name).map_err(|_| "has a name that is not the name of a header")?;
    let mut value = HeaderValue::try_from(value).map_err(|_| "has a value that no header can have")?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// Pairs as OpenTelemetry's variables have them: `name=value,name=value`, the values percent-encoded.
fn pairs(text: &str) -> impl Iterator<Item = Result<(&str, String), &'static str>> {
    const WRONG: &str = "must be pairs such as \"name=value,name=value\", with percent-encoded values";
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').ok_or(WRONG)?;
        Ok((name.trim(), percent_decoded(value.trim()).ok_or(WRONG)?))
    })
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        match first {
            b'%' => {
                let (digits, after) = after.split_first_chunk::<2>()?;
                bytes.extend(hex::decode(digits).ok()?);
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn not_empty(text: &str) -> Result<String, &'static str> {
    (!text.is_empty()).then(|| text.to_owned()).ok_or("must not be empty")
}
