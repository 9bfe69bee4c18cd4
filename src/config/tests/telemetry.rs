//! `[telemetry]`, and the variables of OpenTelemetry.

use super::*;
use crate::domain::TraceId;

const ON: &str = "[telemetry]\notlp_endpoint = \"http://collector:4318/\"\n";

fn read(toml: &str, env: &[(&str, &str)]) -> TelemetrySettings {
    Folder::new(toml).load(env).expect("it is right").telemetry
}

fn endpoint(toml: &str, env: &[(&str, &str)]) -> Option<String> {
    read(toml, env).endpoint.map(|endpoint| endpoint.to_string())
}

fn headers(settings: &TelemetrySettings) -> Vec<(&str, &[u8])> {
    settings.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
}

#[test]
fn nothing_is_traced_without_an_endpoint() {
    let env = [
        ("OTEL_SERVICE_NAME", "push"),
        ("OTEL_TRACES_SAMPLER", "what is this"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "x"),
    ];
    assert_eq!(read("", &env), TelemetrySettings::default(), "the variables are those of other services");
}

#[test]
fn the_path_of_traces_is_added_to_a_base_url() {
    let url = |text: &str| endpoint(&format!("[telemetry]\notlp_endpoint = \"{text}\"\n"), &[]);
    assert_eq!(url("http://collector:4318").as_deref(), Some("http://collector:4318/v1/traces"));
    assert_eq!(url("https://otel.example/team/").as_deref(), Some("https://otel.example/team/v1/traces"));
    let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://base:4318/x");
    assert_eq!(endpoint("", &[general]).as_deref(), Some("http://base:4318/x/v1/traces"));
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/as/it/is");
    assert_eq!(endpoint("", &[general, own]).as_deref(), Some("http://traces:4318/as/it/is"));
    assert_eq!(endpoint("", &[general, ("OTEL_SDK_DISABLED", "true")]), None);
    assert_eq!(endpoint("", &[general, ("OTEL_TRACES_EXPORTER", "none")]), None);
}

#[test]
fn the_variables_of_opentelemetry_fill_what_is_absent() {
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://elsewhere:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=a%20b, x-team = push"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=staging,service.name=push,service.version=9",
        ),
    ];
    let filled = read(ON, &env);
    assert_eq!(
        filled.endpoint.as_ref().map(ToString::to_string).as_deref(),
        Some("http://collector:4318/v1/traces")
    );
    assert_eq!(headers(&filled), [("x-api-key", &b"a b"[..]), ("x-team", b"push")]);
    assert_eq!((filled.timeout, filled.sample_ratio), (Duration::from_millis(2_500), 0.5));
    assert_eq!(filled.service_name, "push");
    assert_eq!(filled.resource, [("deployment.environment.name".to_owned(), "staging".to_owned())]);

    let stated = "otlp_headers_file = \"otlp-headers\"\nsample_ratio = 1\nservice_name = \"own\"\n";
    let stated = read(&format!("{ON}{stated}"), &env);
    assert_eq!(headers(&stated), [("x-api-key", &b"abc"[..])]);
    assert_eq!((stated.sample_ratio, stated.service_name.as_str()), (1.0, "own"));
    let off = [env[0], ("OTEL_TRACES_SAMPLER", "always_off"), ("OTEL_SERVICE_NAME", "named")];
    assert_eq!((read(ON, &off).sample_ratio, read(ON, &off).service_name.as_str()), (0.0, "named"));
}

#[test]
fn a_header_of_the_collector_is_not_shown() {
    let settings = read(&format!("{ON}otlp_headers = \"x-api-key=very-secret\"\n"), &[]);
    assert_eq!(headers(&settings), [("x-api-key", &b"very-secret"[..])]);
    assert!(!format!("{settings:?}").contains("very-secret"));
}

#[test]
fn a_link_names_the_trace() {
    let page = format!("{ON}trace_url = \"https://grafana.example/explore?trace={{trace_id}}&x=1\"\n");
    let link = read(&page, &[]).trace_url.url(TraceId([0x4b; 16]));
    assert_eq!(
        link.as_deref(),
        Some("https://grafana.example/explore?trace=4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b&x=1")
    );
    assert_eq!(read(ON, &[]).trace_url.url(TraceId([0x4b; 16])), None);
}

#[test]
fn what_can_not_be_used_is_a_fault() {
    let faults = faults(
        "[telemetry]\notlp_endpoint = \"collector:4318\"\notlp_headers = \"no pair\"\nsample_ratio = 2\nservice_name = \"\"\ntrace_url = \"https://grafana.example\"\n",
        &[
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
        ],
    );
    let places = [
        "telemetry.otlp_endpoint",
        "telemetry.otlp_headers",
        "telemetry.sample_ratio",
        "telemetry.service_name",
        "telemetry.trace_url",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
    ];
    for place in places {
        assert!(faults.iter().any(|fault| fault.contains(place)), "{place} in {faults:#?}");
    }
    assert_eq!(faults.len(), places.len(), "{faults:#?}");
}
