//! What a sender needs on disk to talk to this simulator: its CA, the `.p8`, the service account, and a whole
//! configuration for `pushpost serve`.

use std::path::Path;

use serde_json::{Value, json};

use super::federation;
use super::{Error, Simulator};

/// Writes the four files; `dir` must be absolute, since the configuration names the others by it.
pub(super) fn write(simulator: &Simulator, dir: &Path) -> Result<(), Error> {
    let apns = &simulator.settings().apns;
    let keys = &simulator.shared.keys;
    let key_file = format!("AuthKey_{}.p8", apns.key_id);
    put(dir, "ca.pem", &keys.ca_pem)?;
    put(dir, &key_file, &keys.p8_pem)?;
    put(dir, "service-account.json", &service_account(simulator, &simulator.settings().fcm.client_email))?;
    put(dir, "pushpost.toml", &configuration(simulator, dir, &key_file))
}

fn put(dir: &Path, name: &str, text: &str) -> Result<(), Error> {
    let path = dir.join(name);
    let failed = |source| Error::File { path: path.clone(), source };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path).map_err(failed)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)
}

/// The file of one of the project's service accounts.
pub(super) fn service_account(simulator: &Simulator, client_email: &str) -> String {
    let fcm = &simulator.settings().fcm;
    let account = json!({
        "type": "service_account",
        "project_id": fcm.project_id,
        "private_key_id": "0123456789abcdef0123456789abcdef01234567",
        "private_key": simulator.shared.keys.rsa_pem,
        "client_email": client_email,
        "client_id": "100000000000000000001",
        "auth_uri": format!("{}/auth", simulator.fcm_endpoint()),
        "token_uri": simulator.shared.token_uri,
        "universe_domain": "googleapis.com",
    });
    format!("{account:#}\n")
}

/// The file of a workload identity.
pub(super) fn external_account(simulator: &Simulator, source: &Value, impersonated: Option<&str>) -> String {
    let host = simulator.fcm_endpoint();
    let mut account = json!({
        "type": "external_account",
        "universe_domain": "googleapis.com",
        "audience": federation::AUDIENCE,
        "subject_token_type": federation::SUBJECT_TOKEN_TYPE,
        "token_url": format!("{host}{}", federation::EXCHANGE_PATH),
        "credential_source": source,
    });
    if let Some(impersonated) = impersonated {
        let url = format!("{host}{}", federation::impersonation_path(impersonated));
        account["service_account_impersonation_url"] = url.into();
    }
    format!("{account:#}\n")
}

/// The names are the configuration's.
fn configuration(simulator: &Simulator, dir: &Path, key_file: &str) -> String {
    let file = |name: &str| quoted(&dir.join(name).display().to_string());
    let apns = &simulator.settings().apns;
    let topic = apns.bundles.first().map_or("", String::as_str);
    let sandbox_endpoint = simulator.sandbox_endpoint();
    let sandbox_endpoint =
        sandbox_endpoint.map_or_else(String::new, |url| format!("sandbox_endpoint = {}\n", quoted(&url)));
    format!(
        "# Written by the simulator: `pushpost serve --config {this}` talks to it.\n\
         [server]\n\
         listen = \"127.0.0.1:8080\"\n\n\
         [database]\n\
         data_dir = {data}\n\n\
         [apps.shop.apns]\n\
         key_file = {p8}\n\
         key_id = {key_id}\n\
         team_id = {team_id}\n\
         topic = {topic}\n\
         environment = \"production\"\n\
         endpoint = {apns_endpoint}\n\
         {sandbox_endpoint}\
         ca_file = {ca}\n\n\
         [apps.shop.fcm]\n\
         service_account_file = {account}\n\
         endpoint = {fcm_endpoint}\n\
         ca_file = {ca}\n",
        this = dir.join("pushpost.toml").display(),
        data = file("pushpost-data"),
        p8 = file(key_file),
        key_id = quoted(&apns.key_id),
        team_id = quoted(&apns.team_id),
        topic = quoted(topic),
        apns_endpoint = quoted(&simulator.apns_endpoint()),
        sandbox_endpoint = sandbox_endpoint,
        ca = file("ca.pem"),
        account = file("service-account.json"),
        fcm_endpoint = quoted(&simulator.fcm_endpoint()),
    )
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
