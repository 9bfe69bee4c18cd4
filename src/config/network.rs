//! `[network]`: the way to the providers where it leads through a proxy.

use http::Uri;

use super::secret::Secret;
use super::section::Section;

/// What most programs read a proxy from, in the order in which it counts.
const PROXY_VARIABLES: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];
const NO_PROXY_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// `[network]`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NetworkSettings {
    /// The URL of an HTTP proxy, perhaps with a name and a password.
    pub proxy: Option<Secret>,
    /// Hosts, domains and networks that are reached without it.
    pub no_proxy: Vec<String>,
}

impl NetworkSettings {
    /// `environment`: `HTTPS_PROXY` and `NO_PROXY` count where the section names no proxy.
    pub(super) fn read(mut section: Section<'_>, environment: &[(String, String)]) -> Self {
        let proxy = section.secret("proxy", "proxy_file");
        let no_proxy = section.parsed_list("no_proxy", host);
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
        // As curl has it, a proxy without a scheme is one that speaks HTTP.
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        if let Err(message) = check(&url) {
            section.fault_of_variable(variable, message);
        }
        let listed = value(NO_PROXY_VARIABLES).map_or("", |(_, list)| list);
        let listed =
            || listed.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect();
        Self { proxy: Some(Secret::inline(url)), no_proxy: no_proxy.unwrap_or_else(listed) }
    }

    /// The proxy as logs may show it: without name and password.
    pub fn shown(&self) -> Option<String> {
        let url: Uri = self.proxy.as_ref()?.expose().parse().ok()?;
        let port = url.port_u16().map_or_else(String::new, |port| format!(":{port}"));
        Some(format!("http://{}{port}", url.host()?))
    }
}

/// The message never repeats the URL, which may have a password.
fn check(url: &str) -> Result<(), &'static str> {
    let wrong = "must be an HTTP proxy such as \"http://proxy:3128\" or \"http://name:password@proxy:3128\"";
    let url: Uri = url.parse().map_err(|_| wrong)?;
    let bare = matches!(url.path(), "" | "/") && url.query().is_none();
    match url.scheme_str() {
        Some("http") if bare && url.host().is_some_and(|host| !host.is_empty()) => Ok(()),
        _ => Err(wrong),
    }
}

fn host(text: &str) -> Result<String, &'static str> {
    match text.is_empty() || text.contains(char::is_whitespace) {
        true => Err("must be host names, domains such as \".example.com\", addresses or networks"),
        false => Ok(text.to_owned()),
    }
}
