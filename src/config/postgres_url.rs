//! Parses a Postgres URL as libpq (`psql`) does, and reports what is wrong with it, because the driver accepts less and
//! its messages may contain the password.
//!
//! `postgres://user:password@host:port,host:port/database?parameter=value`, every part but the scheme optional; a host
//! may be an IPv6 address in brackets or, percent-encoded or as the parameter `host`, the folder of a Unix socket
//! (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>). No message repeats the
//! password or any other value of the URL.

use std::fmt::Write as _;
use std::net::IpAddr;

/// Postgres's own port.
const PORT: u16 = 5432;
/// Parameters of libpq that are accepted, but have no effect here.
const WITHOUT_EFFECT: [&str; 22] = [
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "passfile",
    "requirepeer",
    "sslcompression",
    "sslcrl",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslnegotiation",
    "sslsni",
    "tcp_user_timeout",
];
/// Parameters that are passed to the driver as they are.
const PASSED_ON: [&str; 6] =
    ["application_name", "options", "sslcert", "sslkey", "sslrootcert", "statement-cache-capacity"];
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// A parsed URL.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// The hosts in the order in which they are tried; never empty.
    pub hosts: Vec<PostgresHost>,
    /// Parameters of libpq that have no effect here, by name.
    pub without_effect: Vec<&'static str>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    parameters: Vec<(&'static str, String)>,
}

/// A host of the URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PostgresHost {
    /// A name, an address without brackets, or the absolute path of a socket's folder; none for libpq's default.
    pub name: Option<String>,
    /// TCP port, or the number in the socket's name; none for libpq's default.
    pub port: Option<u16>,
}

/// What is wrong with a URL, as words that follow the name of the key.
type UrlFault = String;

impl PostgresUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// Which part is wrong, without its value.
    pub fn parse(text: &str) -> Result<Self, UrlFault> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let rest = rest.ok_or("must begin with postgres://")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        let mut url = Self {
            hosts: Vec::new(),
            without_effect: Vec::new(),
            user: non_empty(decoded(user, "user")?),
            password: password.map(|password| decoded(password, "password")).transpose()?.and_then(non_empty),
            database: non_empty(decoded(database, "database")?),
            parameters: Vec::new(),
        };
        let mut places = HostList::of_authority(hosts)?;
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            url.parameter(parameter, &mut places)?;
        }
        url.hosts = places.into_hosts()?;
        Ok(url)
    }

    fn parameter(&mut self, text: &str, places: &mut HostList) -> Result<(), UrlFault> {
        let (name, value) =
            text.split_once('=').ok_or("has a parameter without a value: write name=value")?;
        let name = decoded(name, "parameter")?;
        let value = decoded(value, &format!("parameter {name}"))?;
        match name.as_str() {
            "host" => places.names = Some(listed(&value)),
            "hostaddr" => {
                let addresses = listed(&value);
                if addresses.iter().any(|address| address.parse::<IpAddr>().is_err()) {
                    return Err("has a hostaddr that is not an IP address".to_owned());
                }
                places.addresses = Some(addresses);
            }
            "port" => places.ports = Some(listed(&value)),
            "user" => self.user = non_empty(value),
            "password" => self.password = non_empty(value),
            "dbname" => self.database = non_empty(value),
            "sslmode" => {
                let modes = || format!("has an unknown sslmode: it is one of {}", SSL_MODES.join(", "));
                let mode = SSL_MODES.iter().find(|mode| **mode == value);
                self.parameters.push(("sslmode", (*mode.ok_or_else(modes)?).to_owned()));
            }
            // The service always needs a server that takes writes.
            "target_session_attrs" => match value.as_str() {
                "any" | "prefer-standby" => self.without_effect.push("target_session_attrs"),
                "read-write" | "primary" => {}
                "read-only" | "standby" => {
                    return Err("asks for a server that takes no writes (target_session_attrs)".to_owned());
                }
                _ => return Err("has an unknown target_session_attrs: use read-write".to_owned()),
            },
            name => {
                if let Some(known) = PASSED_ON.iter().find(|known| **known == name) {
                    self.parameters.push((known, value));
                } else if let Some(known) = WITHOUT_EFFECT.iter().find(|known| **known == name) {
                    self.without_effect.push(known);
                } else {
                    let shown: String = name.chars().filter(|c| c.is_ascii_graphic()).take(40).collect();
                    return Err(format!("has an unknown parameter {shown:?}"));
                }
            }
        }
        Ok(())
    }

    /// Whether the URL names a user.
    pub fn has_user(&self) -> bool {
        self.user.is_some()
    }

    /// A URL of one host, as the driver reads it. Parameters without effect are left out, because the driver logs a
    /// warning with the value of each parameter that it does not know.
    pub fn url_of(&self, host: &PostgresHost) -> String {
        let mut url = "postgres://".to_owned();
        if let Some(user) = &self.user {
            url.push_str(&encoded(user));
            if let Some(password) = &self.password {
                let _ = write!(url, ":{}", encoded(password));
            }
            url.push('@');
        }
        // As a parameter, the driver accepts any host: addresses without brackets, and folders of sockets.
        url.push_str("localhost/");
        url.push_str(&self.database.as_deref().map(encoded).unwrap_or_default());
        let mut parameters: Vec<(&str, String)> = Vec::new();
        parameters.extend(host.name.clone().map(|name| ("host", name)));
        parameters.extend(host.port.map(|port| ("port", port.to_string())));
        parameters.extend(self.parameters.iter().cloned());
        if self.user.is_none() {
            parameters.extend(self.password.clone().map(|password| ("password", password)));
        }
        for (n, (name, value)) in parameters.iter().enumerate() {
            let _ = write!(url, "{}{name}={}", if n == 0 { '?' } else { '&' }, encoded(value));
        }
        url
    }
}

/// Hosts and ports, from the authority and the parameters of the URL.
#[derive(Default)]
struct HostList {
    names: Option<Vec<String>>,
    addresses: Option<Vec<String>>,
    ports: Option<Vec<String>>,
}

impl HostList {
    /// Parses a list of hosts such as `a:1,[::1]:2,c`.
    fn of_authority(text: &str) -> Result<Self, UrlFault> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let (mut names, mut ports) = (Vec::new(), Vec::new());
        for host in text.split(',') {
            let (name, port) = match host.strip_prefix('[') {
                Some(rest) => {
                    let (address, rest) =
                        rest.split_once(']').ok_or("has a host with \"[\" and without \"]\"")?;
                    if address.parse::<std::net::Ipv6Addr>().is_err() {
                        return Err("has a host in brackets that is not an IPv6 address".to_owned());
                    }
                    let port = match rest.strip_prefix(':') {
                        Some(port) => port,
                        None if rest.is_empty() => "",
                        None => return Err("has something other than a port after \"]\"".to_owned()),
                    };
                    (address.to_owned(), port)
                }
                None => {
                    let (name, port) = host.split_once(':').unwrap_or((host, ""));
                    if port.contains(':') {
                        return Err("has an IPv6 address without brackets".to_owned());
                    }
                    (decoded(name, "host")?, port)
                }
            };
            names.push(name);
            ports.push(port.to_owned());
        }
        let ports = ports.iter().any(|port| !port.is_empty()).then_some(ports);
        Ok(Self { names: Some(names), addresses: None, ports })
    }

    /// Combines hosts and ports. A single port applies to all hosts.
    fn into_hosts(self) -> Result<Vec<PostgresHost>, UrlFault> {
        let names = self.addresses.or(self.names).unwrap_or_else(|| vec![String::new()]);
        let ports = self.ports.unwrap_or_default();
        if ports.len() > 1 && ports.len() != names.len() {
            return Err(format!("has {} hosts and {} ports", names.len(), ports.len()));
        }
        let several = names.len() > 1;
        let host = |(n, name): (usize, String)| {
            if name.starts_with('@') {
                return Err("names an abstract socket, which is not supported".to_owned());
            }
            let port = ports.get(n).or(ports.first().filter(|_| ports.len() == 1));
            let port = match port.map(String::as_str) {
                None | Some("") => several.then_some(PORT),
                Some(port) => match port.parse::<u16>() {
                    Ok(1..) => port.parse().ok(),
                    _ => return Err("has a port that is not a number from 1 to 65535".to_owned()),
                },
            };
            Ok(PostgresHost { name: non_empty(name), port })
        };
        names.into_iter().enumerate().map(host).collect()
    }
}

fn listed(value: &str) -> Vec<String> {
    value.split(',').map(str::to_owned).collect()
}

fn non_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn decoded(text: &str, part: &str) -> Result<String, UrlFault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit(), digit());
                let code = high.zip(low).map(|(high, low)| high * 16 + low);
                let code = code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
                code.ok_or_else(|| {
                    format!("has a \"%\" in its {part} without two hexadecimal digits: a \"%\" itself is %25")
                })?
            }
            byte => byte,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).map_err(|_| format!("has a {part} that is not UTF-8"))
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => encoded.push(char::from(byte)),
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> PostgresUrl {
        PostgresUrl::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    #[test]
    fn urls_of_psql_are_parsed() {
        for (text, urls) in [
            ("postgres://", &["postgres://localhost/"][..]),
            ("postgresql://db", &["postgres://localhost/?host=db"]),
            ("postgres://u@db/d", &["postgres://u@localhost/d?host=db"]),
            ("postgres://u:p@[::1]:5433/d", &["postgres://u:p@localhost/d?host=%3A%3A1&port=5433"]),
            ("postgres://u:p@[fe80::1]/d", &["postgres://u:p@localhost/d?host=fe80%3A%3A1"]),
            (
                "postgres://u:p@/d?host=/run/pg&port=5433",
                &["postgres://u:p@localhost/d?host=%2Frun%2Fpg&port=5433"],
            ),
            ("postgres://u:p@%2Frun%2Fpg:5433/d", &["postgres://u:p@localhost/d?host=%2Frun%2Fpg&port=5433"]),
            ("postgres://u:p%40%2F%3A@db/d", &["postgres://u:p%40%2F%3A@localhost/d?host=db"]),
            ("postgres://u:a@b:c@db/d", &["postgres://u:a%40b%3Ac@localhost/d?host=db"]),
            (
                "postgres://a:1,b/d?target_session_attrs=read-write",
                &["postgres://localhost/d?host=a&port=1", "postgres://localhost/d?host=b&port=5432"],
            ),
            (
                "postgres:///d?host=a,/run/pg&port=5433&user=u",
                &[
                    "postgres://u@localhost/d?host=a&port=5433",
                    "postgres://u@localhost/d?host=%2Frun%2Fpg&port=5433",
                ],
            ),
            (
                "postgres://db/d?sslmode=verify-full&sslrootcert=/a%20b.pem",
                &["postgres://localhost/d?host=db&sslmode=verify-full&sslrootcert=%2Fa%20b.pem"],
            ),
        ] {
            let url = read(text);
            assert_eq!(url.hosts.iter().map(|host| url.url_of(host)).collect::<Vec<_>>(), urls, "{text}");
        }
        let pooled = read("postgres://db/d?sslmode=require&channel_binding=require&connect_timeout=5");
        assert_eq!(pooled.without_effect, ["channel_binding", "connect_timeout"]);
        assert_eq!(pooled.url_of(&pooled.hosts[0]), "postgres://localhost/d?host=db&sslmode=require");
        assert_eq!(read("postgres://db/d?target_session_attrs=any").without_effect, ["target_session_attrs"]);
    }

    #[test]
    fn faults_are_reported_without_the_secret() {
        for (text, fault) in [
            ("mysql://u:hunter2@db/d", "must begin with postgres://"),
            ("postgres://u:hunter2@db:54x/d", "has a port that is not a number from 1 to 65535"),
            ("postgres://u:hunter2@db:0/d", "has a port that is not a number from 1 to 65535"),
            ("postgres://u:hunter2@::1:5432/d", "has an IPv6 address without brackets"),
            ("postgres://u:hunter2@[::1/d", "has a host with \"[\" and without \"]\""),
            ("postgres://u:hunter2@[db]/d", "has a host in brackets that is not an IPv6 address"),
            ("postgres://u:hunter2@[::1]5432/d", "has something other than a port after \"]\""),
            (
                "postgres://u:hunter2%@db/d",
                "has a \"%\" in its password without two hexadecimal digits: a \"%\" itself is %25",
            ),
            (
                "postgres://u:hunter2@db/d?sslmode=yes",
                "has an unknown sslmode: it is one of disable, allow, prefer, require, verify-ca, verify-full",
            ),
            ("postgres://u:hunter2@db/d?sslmod=require", "has an unknown parameter \"sslmod\""),
            ("postgres://u:hunter2@db/d?sslmode", "has a parameter without a value: write name=value"),
            ("postgres://u:hunter2@a:1,b:2,c/d?port=1,2", "has 3 hosts and 2 ports"),
            (
                "postgres://u:hunter2@db/d?target_session_attrs=standby",
                "asks for a server that takes no writes (target_session_attrs)",
            ),
            ("postgres://u:hunter2@db/d?hostaddr=db", "has a hostaddr that is not an IP address"),
        ] {
            assert_eq!(PostgresUrl::parse(text).err().as_deref(), Some(fault), "{text}");
            assert!(!fault.contains("hunter2"));
        }
    }
}
