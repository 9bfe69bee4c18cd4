//! `[network]`: an HTTP proxy for requests to the providers.

use http::Uri;

use crate::domain::Network;
use crate::provider::PROXY_PORT;
use crate::settings::{Secret, Section};

/// Variables that most programs read a proxy from; the first one that is set counts.
const PROXY_VARIABLES: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];
const NO_PROXY_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The settings of the section `[network]`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NetworkSettings {
    /// The URL of an HTTP proxy, which may have a name and a password.
    pub proxy: Option<Secret>,
    /// Hosts, domains and networks that are reached without the proxy.
    pub no_proxy: Vec<String>,
}

impl NetworkSettings {
    /// `environment` may have `HTTPS_PROXY` and `NO_PROXY`, which apply if the section names no proxy.
    pub(super) fn read(mut section: Section<'_>, environment: &[(String, String)]) -> Self {
        let proxy = section.secret("proxy", "proxy_file");
        let no_proxy = section.parsed_list("no_proxy", exception);
        let given = section.has("proxy") || section.has("proxy_file");
        let settings = match proxy {
            Some(proxy) => {
                if let Err(message) = check(proxy.expose()) {
                    section.fault(if proxy.file().is_some() { "proxy_file" } else { "proxy" }, message);
                }
                Self { proxy: Some(proxy), no_proxy: no_proxy.unwrap_or_default() }
            }
            None if given => Self::default(),
            None => Self::of_environment(&section, environment, no_proxy),
        };
        section.finish();
        settings
    }

    fn of_environment(
        section: &Section<'_>,
        environment: &[(String, String)],
        no_proxy: Option<Vec<String>>,
    ) -> Self {
        let value = |names: [&'static str; 2]| {
            names.into_iter().find_map(|wanted| {
                let found = environment.iter().find(|(name, value)| name == wanted && !value.is_empty());
                found.map(|(_, value)| (wanted, value.as_str()))
            })
        };
        let Some((variable, url)) = value(PROXY_VARIABLES) else { return Self::default() };
        // A proxy without a scheme is an HTTP proxy, as for curl.
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        if let Err(message) = check(&url) {
            section.fault_of_variable(variable, message);
        }
        let listed = || {
            let (variable, list) = value(NO_PROXY_VARIABLES)?;
            let hosts = list.split(',').map(str::trim).filter(|host| !host.is_empty());
            let hosts: Result<_, _> = hosts.map(exception).collect();
            hosts.map_err(|message| section.fault_of_variable(variable, message)).ok()
        };
        let no_proxy = no_proxy.or_else(listed).unwrap_or_default();
        Self { proxy: Some(Secret::inline(url)), no_proxy }
    }

    /// The proxy's URL for logs: with the port, without name and password.
    pub fn shown(&self) -> Option<String> {
        let url: Uri = self.proxy.as_ref()?.expose().parse().ok()?;
        Some(format!("http://{}:{}", url.host()?, url.port_u16().unwrap_or(PROXY_PORT)))
    }
}

/// Checks the URL of a proxy. The message does not repeat the URL, which may have a password.
fn check(url: &str) -> Result<(), &'static str> {
    let wrong = "must be an HTTP proxy such as \"http://proxy:3128\" or \"http://name:password@proxy:3128\"";
    let url: Uri = url.parse().map_err(|_| wrong)?;
    let port = port(&url);
    if port.is_some_and(|port| !matches!(port.parse::<u16>(), Ok(1..))) {
        return Err("has a port that is not a number from 1 to 65535");
    }
    let bare = matches!(url.path(), "" | "/") && url.query().is_none();
    match url.scheme_str() {
        Some("http") if bare && url.host().is_some_and(|host| !host.is_empty()) => Ok(()),
        _ => Err(wrong),
    }
}

/// The text after the host's colon. `Uri` accepts a port that is not a number, and then reports no port.
fn port(url: &Uri) -> Option<&str> {
    let authority = url.authority()?.as_str();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let after_address = place.rsplit_once(']').map_or(place, |(_, rest)| rest);
    after_address.split_once(':').map(|(_, port)| port)
}

/// Checks an entry of `no_proxy`. One that can never match is a fault.
fn exception(text: &str) -> Result<String, &'static str> {
    let is_name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    match Network::parse(text).is_ok() || text == "*" || (!text.is_empty() && is_name(text)) {
        true => Ok(text.to_owned()),
        false => Err("must be host names, domains such as \".example.com\", addresses or networks such as \
                      \"10.0.0.0/8\", without scheme and port"),
    }
}
