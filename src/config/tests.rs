//! Tests of reading a configuration: values, their order of precedence, and the faults of wrong ones.

mod changes;
mod cleanups;
mod further_provider;
mod telemetry;
mod user_tokens;
mod webhooks;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::domain::{Ttl, UserTokenAlgorithm};
use crate::provider::apns::{self, ApnsSettings};
use crate::provider::fcm::{self, FcmSettings, GoogleCredential};

/// A public key of P-256.
const USERS_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEoAXl4uha64rpFCsasMQPI7ObRhgN\nb+OwcA9FwF8/1lTWS/kSFB4O8k/KPzCF942LCG638j/hsejjvF5kZOtO2g==\n-----END PUBLIC KEY-----\n";
const EXAMPLE: &str = include_str!("../../config.example.toml");
const P8: &str = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
const ACCOUNT: &str = r#"{"type":"service_account","project_id":"shop-1","client_email":"a@b","private_key":"-----BEGIN PRIVATE KEY-----x","token_uri":"https://oauth2.example/token"}"#;

/// A folder with a configuration and the files that the example names.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(toml: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("pushpost.toml", toml);
        folder.write("AuthKey_ABC123DEFG.p8", P8);
        folder.write("firebase.json", ACCOUNT);
        folder.write("ca.pem", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
        folder.write("users.pem", USERS_PEM);
        folder.write("otlp-headers", "x-api-key=abc\n");
        folder.write("whsec-new", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
        folder.write("whsec-old", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n");
        folder
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn load(&self, env: &[(&str, &str)]) -> Result<Config, Error> {
        Config::load(Some(&self.0.path().join("pushpost.toml")), pairs(env))
    }
}

fn pairs(env: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
}

fn apns_of(app: &AppSettings) -> &ApnsSettings {
    app.providers[&apns::PLATFORM].get().unwrap()
}

fn fcm_of(app: &AppSettings) -> &FcmSettings {
    app.providers[&fcm::PLATFORM].get().unwrap()
}

/// The faults of a configuration, as texts that begin with the line or the variable.
fn faults(toml: &str, env: &[(&str, &str)]) -> Vec<String> {
    let folder = Folder::new(toml);
    let error = folder.load(env).expect_err("the configuration is wrong");
    let prefix = folder.0.path().to_string_lossy().into_owned() + "/";
    error.faults().iter().map(|fault| fault.to_string().replace(&prefix, "")).collect()
}

const SHOP: &str = r#"
[apps.shop.apns]
key_file = "AuthKey_ABC123DEFG.p8"
key_id = "ABC123DEFG"
team_id = "DEF123GHIJ"
topic = "com.example.shop"
"#;

#[test]
fn example_has_the_defaults() {
    let folder = Folder::new(EXAMPLE);
    let mut config = folder.load(&[]).expect("the example is right");
    assert_eq!(config.database.data_dir, folder.0.path().join("./pushpost-data"));
    config.database.data_dir = Config::default().database.data_dir;
    assert_eq!(config, Config::default());
}

#[test]
fn example_has_every_key_once() {
    let uncommented = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting,
        _ => line,
    });
    let folder = Folder::new(&uncommented.collect::<Vec<_>>().join("\n"));
    let config = folder.load(&[]).expect("what is commented out is right too");
    let shop = &config.apps["shop"];
    let (apns, fcm) = (apns_of(shop), fcm_of(shop));
    assert!(config.server.internal_listen.is_some() && config.database.url.is_some());
    assert!(config.database.postgres_bin_dir.is_some());
    assert!(apns.endpoint.is_some() && apns.sandbox_endpoint.is_some() && apns.ca_file.is_some());
    assert!(fcm.endpoint.is_some() && fcm.ca_file.is_some() && fcm.channel.is_some());
    assert_eq!(fcm.messages_per_minute, 600_000);
    assert_eq!(fcm.project_id, "shop-1");
    let cloud = fcm_of(&config.apps["cloud"]);
    let metadata = GoogleCredential::MetadataServer(Some("http://127.0.0.1:9445".to_owned()));
    assert_eq!((&cloud.credential, cloud.project_id.as_str()), (&metadata, "shop-1"));
    let tokens = shop.user_tokens.as_ref().unwrap();
    assert_eq!((tokens.audience.as_str(), tokens.max_age), ("pushpost:shop", Duration::from_secs(86_400)));
    assert_eq!(tokens.keys[0].kid.as_deref(), Some("2026-11"));
}

#[test]
fn defaults_apply_without_a_file() {
    assert_eq!(
        Config::load(None, pairs(&[("HOME", "/root"), ("PUSHPOST_LOG", "debug")])).unwrap(),
        Config::default()
    );
}

#[test]
fn environment_overrides_the_file() {
    let env = [
        ("PUSHPOST__SERVER__LISTEN", "0.0.0.0:81"),
        ("PUSHPOST__SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
        ("PUSHPOST__SERVER__RELOAD_INTERVAL", ""),
        ("PUSHPOST__SERVER__KEEP_ALIVE", "620s"),
        ("PUSHPOST__SERVER__CORS_ORIGINS", "capacitor://localhost, https://app.example.com"),
        ("PUSHPOST__DATABASE__MIGRATE", "false"),
        ("PUSHPOST__DATABASE__DATA_DIR", "here"),
        ("PUSHPOST__LIMITS__TARGETS", "7"),
        ("PUSHPOST__DELIVERY__DEFAULT_TTL", "1h"),
        ("PUSHPOST__APPS__SHOP__APNS__KEY_ID", "OTHER"),
        ("PUSHPOST__APPS__SHOP__APNS__KEY", P8),
        ("PUSHPOST__APPS__SHOP__APNS__ENVIRONMENT", "sandbox"),
        ("PUSHPOST__APPS__SHOP__FCM__SERVICE_ACCOUNT", ACCOUNT),
        (
            "PUSHPOST__APPS__SHOP__USER_TOKENS__KEYS",
            r#"[{algorithm = "HS256", secret = "0123456789abcdef0123456789abcdef"}]"#,
        ),
        ("DATABASE_URL", "postgres://u@db/x"),
    ];
    let config = Folder::new(SHOP).load(&env).expect("all of it is right");
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:81");
    assert_eq!(config.server.health_address().to_string(), "127.0.0.1:81");
    assert!(config.server.trusted_proxies[0].contains([10, 1, 1, 1].into()));
    assert_eq!(config.server.reload_interval, Duration::from_secs(15));
    assert_eq!(config.server.keep_alive, Duration::from_secs(620));
    let origins: Vec<_> = config.server.cors_origins.iter().map(|origin| origin.as_str()).collect();
    assert_eq!(origins, ["capacitor://localhost", "https://app.example.com"]);
    assert!(!config.database.migrate);
    assert_eq!(config.database.data_dir, Path::new("here"));
    assert_eq!(config.database.url.as_ref().unwrap().expose(), "postgres://u@db/x");
    assert_eq!(config.limits.targets, 7);
    assert_eq!(config.delivery.default_ttl, Ttl::parse("1h").unwrap());
    let shop = &config.apps["shop"];
    let apns = apns_of(shop);
    assert_eq!((apns.key_id.as_str(), apns.team_id.as_str()), ("OTHER", "DEF123GHIJ"));
    assert_eq!((apns.key.expose(), apns.key.file()), (P8, None));
    assert_eq!(apns.environment, apns::SANDBOX);
    assert_eq!(fcm_of(shop).project_id, "shop-1");
    assert_eq!(shop.user_tokens.as_ref().unwrap().keys[0].algorithm, UserTokenAlgorithm::Hs256);
}

#[test]
fn pushpost_variable_overrides_database_url() {
    let folder = Folder::new("[database]\nurl = \"postgres://u@file/x\"");
    folder.write("url", "postgres://u@from-file/x\n");
    let url = |env: &[(&str, &str)]| folder.load(env).unwrap().database.url.unwrap().expose().to_owned();
    let given = ("DATABASE_URL", "postgres://u@given/x");
    assert_eq!(url(&[]), "postgres://u@file/x");
    assert_eq!(url(&[given]), "postgres://u@given/x");
    assert_eq!(url(&[("PUSHPOST__DATABASE__URL", "postgres://u@own/x"), given]), "postgres://u@own/x");
    let file = folder.0.path().join("url").to_string_lossy().into_owned();
    assert_eq!(url(&[("PUSHPOST__DATABASE__URL_FILE", &file), given]), "postgres://u@from-file/x");
}

#[test]
fn proxy_of_the_environment_applies_without_one_in_the_file() {
    let network = |toml: &str, env: &[(&str, &str)]| Folder::new(toml).load(env).unwrap().network;
    let given = [("HTTPS_PROXY", "http://u:hunter2@env:3128"), ("NO_PROXY", "a.example, .b.example,")];
    let from_env = network("", &given);
    assert_eq!(from_env.shown().as_deref(), Some("http://env:3128"));
    assert_eq!(from_env.no_proxy, ["a.example", ".b.example"]);
    assert_eq!(network("", &[("https_proxy", "bare:1")]).shown().as_deref(), Some("http://bare:1"));
    let own = network("[network]\nproxy = \"http://own:1\"\n", &given);
    assert_eq!((own.shown().as_deref(), own.no_proxy.len()), (Some("http://own:1"), 0));
    assert_eq!(network("", &[]), NetworkSettings::default());
    for wrong in ["https://p:1", "socks5://p:1", "http://", "http://p/x"] {
        let told = faults("", &[("HTTPS_PROXY", wrong)]);
        assert!(told.len() == 1 && told[0].starts_with("$HTTPS_PROXY: "), "{told:?}");
        assert_eq!(faults(&format!("[network]\nproxy = \"{wrong}\"\n"), &[]).len(), 1, "{wrong}");
    }
}

#[test]
fn port_of_a_proxy_is_checked_and_shown() {
    for wrong in
        ["http://u:hunter2@127.0.0.1:31x", "http://u:hunter2@[::1]:99999", "http://proxy:0", "http://proxy:"]
    {
        let rule = "has a port that is not a number from 1 to 65535";
        let of_file = faults(&format!("[network]\nproxy = \"{wrong}\"\n"), &[]);
        assert_eq!(of_file, [format!("pushpost.toml:2: network.proxy: {rule}")], "{wrong}");
        let of_variable = faults("", &[("HTTPS_PROXY", wrong)]);
        assert_eq!(of_variable, [format!("$HTTPS_PROXY: network: {rule}")], "{wrong}");
    }
    let folder = Folder::new("[network]\nproxy = \"http://u:hunter2@proxy\"\n");
    assert_eq!(folder.load(&[]).unwrap().network.shown().as_deref(), Some("http://proxy:1080"));
}

#[test]
fn exceptions_that_never_match_are_faults() {
    for right in ["a.example", ".example.com", "10.0.0.0/8", "::1", "fd00::/8", "*", "my_host"] {
        let of_file = format!("[network]\nproxy = \"http://p:1\"\nno_proxy = [\"{right}\"]\n");
        assert_eq!(Folder::new(&of_file).load(&[]).unwrap().network.no_proxy, [right]);
    }
    for wrong in ["10.0.0.0/99", "http://x", "x:443", "a b"] {
        let of_file = format!("[network]\nproxy = \"http://p:1\"\nno_proxy = [\"{wrong}\"]\n");
        let told = faults(&of_file, &[]);
        assert!(told.len() == 1 && told[0].contains("network.no_proxy: must be"), "{told:?}");
        let told = faults("", &[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", wrong)]);
        assert!(told.len() == 1 && told[0].starts_with("$NO_PROXY: "), "{told:?}");
    }
}

#[test]
fn database_url_needs_a_user_unless_pguser_is_set() {
    let without = ("DATABASE_URL", "postgres://:hunter2@db/x");
    let told = faults("", &[without]);
    assert!(
        told.len() == 1 && told[0].contains("the user is missing") && !told[0].contains("hunter2"),
        "{told:?}"
    );
    assert!(Folder::new("").load(&[without, ("PGUSER", "u")]).is_ok());
    assert!(Folder::new("").load(&[("DATABASE_URL", "postgres://db/x?user=u")]).is_ok());
}

#[test]
fn variable_finds_an_app_with_capitals_and_hyphens() {
    let folder = Folder::new(&SHOP.replace("apps.shop", "apps.My-Shop"));
    let config = folder.load(&[("PUSHPOST__APPS__MY_SHOP__APNS__TOPIC", "com.example.other")]).unwrap();
    assert_eq!(apns_of(&config.apps["My-Shop"]).topic, "com.example.other");
}

#[test]
fn all_faults_are_reported_with_their_lines() {
    let toml = r#"[server]
listn = "127.0.0.1:1"
reload_interval = "15 s"
keep_alive = 75
trusted_proxies = ["10.0.0.0/99"]
[delivery]
max_in_flight = "many"
retry_max = "1s"
[limits]
targets = 0
[apps.shop.apns]
key_file = "missing.p8"
topic = 1.5
[sever]
"#;
    insta::assert_snapshot!(faults(toml, &[("PUSHPOST__LIMITS__TARGTS", "1")]).join("\n"), @r#"
    pushpost.toml:2: server.listn: unknown key; the nearest known key is "listen"
    pushpost.toml:3: server.reload_interval: a duration is digits and one of ms, s, m, h, d, w
    pushpost.toml:4: server.keep_alive: must be a string such as "75s", not a number
    pushpost.toml:5: server.trusted_proxies: must be IP addresses or ranges, such as "10.0.0.0/8" or "::1"
    pushpost.toml:7: delivery.max_in_flight: must be a whole number, not a text
    pushpost.toml:8: delivery.retry_max: retry_max must not be less than retry_initial
    pushpost.toml:10: limits.targets: must be from 1 to 1000000
    pushpost.toml:11: apps.shop.apns.key_id: is missing
    pushpost.toml:11: apps.shop.apns.team_id: is missing
    pushpost.toml:12: apps.shop.apns.key_file: cannot read missing.p8: No such file or directory (os error 2)
    pushpost.toml:13: apps.shop.apns.topic: must be a text, not a float
    pushpost.toml:14: sever: unknown key; the nearest known key is "server"
    $PUSHPOST__LIMITS__TARGTS: limits.targts: unknown key; the nearest known key is "targets"
    "#);
}

#[test]
fn durations_beyond_their_bounds_are_faults() {
    let toml = r#"[server]
reload_interval = "400d"
keep_alive = "25h"
[database]
start_timeout = "25h"
[delivery]
retry_initial = "29d"
retry_throttled = "29d"
retry_max = "29d"
node_timeout = "25h"
drain_timeout = "25h"
[retention]
notifications = "36501d"
content = "213503982334601d"
quarantine = "0s"
[apps.shop.user_tokens]
max_age = "9999999d"
keys = [{algorithm = "HS256", secret = "0123456789abcdef0123456789abcdef"}]
"#;
    insta::assert_snapshot!(faults(toml, &[]).join("\n"), @r#"
    pushpost.toml:2: server.reload_interval: must be at most 365d
    pushpost.toml:3: server.keep_alive: must be at most 1d
    pushpost.toml:5: database.start_timeout: must be at most 1d
    pushpost.toml:7: delivery.retry_initial: must be at most 28d
    pushpost.toml:8: delivery.retry_throttled: must be at most 28d
    pushpost.toml:9: delivery.retry_max: must be at most 28d
    pushpost.toml:10: delivery.node_timeout: must be at most 1d
    pushpost.toml:11: delivery.drain_timeout: must be at most 1d
    pushpost.toml:13: retention.notifications: must be at most 36500d
    pushpost.toml:14: retention.content: the duration is too long
    pushpost.toml:15: retention.quarantine: must be at least 1s
    pushpost.toml:17: apps.shop.user_tokens.max_age: must be at most 3650d
    "#);
}

#[test]
fn a_project_has_one_quota() {
    let fcm = |app: &str, quota: &str| {
        format!("[apps.{app}.fcm]\nservice_account_file = \"firebase.json\"\n{quota}\n")
    };
    let same = fcm("a", "messages_per_minute = 300") + &fcm("b", "messages_per_minute = 300");
    assert_eq!(Folder::new(&same).load(&[]).unwrap().apps.len(), 2);
    let other = fcm("a", "messages_per_minute = 300") + &fcm("b", "") + &fcm("c", "messages_per_minute = 7");
    assert_eq!(
        faults(&other, &[]),
        [
            "pushpost.toml:4: apps.b.fcm: messages_per_minute is 600000, but 300 in apps.a.fcm, which shares the \
             quota of \"shop-1\"",
            "pushpost.toml:7: apps.c.fcm: messages_per_minute is 7, but 300 in apps.a.fcm, which shares the quota \
             of \"shop-1\"",
        ]
    );
}

#[test]
fn invalid_toml_is_reported_without_quoting_the_line() {
    let all = faults("[database]\nurl = \"postgres://u:hunter2@db\n", &[]);
    assert!(all[0].starts_with("pushpost.toml:2: "), "{all:?}");
    assert!(!all.concat().contains("hunter2"), "{all:?}");
}

#[test]
fn a_secret_is_given_once() {
    let toml = format!("{SHOP}key = \"x\"");
    assert_eq!(
        faults(&toml, &[]),
        ["pushpost.toml:7: apps.shop.apns.key: give either this or key_file, not both"]
    );
}

#[test]
fn invalid_secrets_are_reported_without_their_text() {
    let env = [
        ("PUSHPOST__APPS__SHOP__APNS__KEY", "hunter2"),
        ("PUSHPOST__APPS__SHOP__FCM__SERVICE_ACCOUNT", r#"{"project_id":"hunter2"}"#),
        ("PUSHPOST__DATABASE__URL", "mysql://hunter2@db"),
        ("PUSHPOST__APPS__SHOP__USER_TOKENS__KEYS", r#"[{algorithm = "HS256", secret = "hunter2"}]"#),
    ];
    let all = faults(SHOP, &env).join("\n");
    assert_eq!(all.lines().count(), 4, "{all}");
    assert!(!all.contains("hunter2"), "{all}");
}

#[test]
fn debug_shows_no_secrets() {
    let env = [
        ("DATABASE_URL", "postgres://u:hunter2@db"),
        ("PUSHPOST__APPS__SHOP__FCM__SERVICE_ACCOUNT", ACCOUNT),
    ];
    let shown = format!("{:?}", Folder::new(SHOP).load(&env).unwrap());
    assert!(!shown.contains("hunter2") && !shown.contains("PRIVATE KEY"), "{shown}");
    assert!(shown.contains("com.example.shop"));
}

#[test]
fn file_that_cannot_be_read_is_named() {
    let error = Config::load(Some(Path::new("/nowhere/pushpost.toml")), pairs(&[])).unwrap_err();
    assert!(error.to_string().contains("/nowhere/pushpost.toml"), "{error}");
}
