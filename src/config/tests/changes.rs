//! Comparing two configurations: what differs, what a reload adds, and what needs a restart.

use super::*;

#[test]
fn configurations_differ_if_a_named_file_differs() {
    let folder = Folder::new(SHOP);
    let before = folder.load(&[]).unwrap();
    assert_eq!(before, folder.load(&[]).unwrap());
    folder.write("AuthKey_ABC123DEFG.p8", &P8.replace("c2Vj", "b3Ro"));
    assert_ne!(before, folder.load(&[]).unwrap());
}

#[test]
fn content_hash_changes_with_the_content_only() {
    let folder = Folder::new(SHOP);
    let sources = Sources::new(Some(&folder.0.path().join("pushpost.toml")), pairs(&[]));
    let (right, config) = sources.read();
    assert_eq!((sources.read().0, config.unwrap()), (right, sources.load().unwrap()));
    let mut seen = vec![right];
    for broken in ["no key", "no key either", ""] {
        folder.write("AuthKey_ABC123DEFG.p8", broken);
        let (content, config) = sources.read();
        assert!(config.is_err());
        assert_eq!(content, sources.read().0);
        assert!(!seen.contains(&content), "{broken}");
        seen.push(content);
    }
}

#[test]
fn only_changes_that_need_a_restart_are_listed() {
    let changes = |toml: &str, env: &[(&str, &str)]| {
        let before = Folder::new(SHOP).load(&[]).unwrap();
        let folder = Folder::new(toml);
        folder.write("AuthKey_ABC123DEFG.p8", &P8.replace("c2Vj", "b3Ro"));
        before.changes_for_restart(&folder.load(env).unwrap())
    };
    let mut taken_over = vec![("PUSHPOST__SERVER__RELOAD_INTERVAL", "1m")];
    taken_over.push(("PUSHPOST__DATABASE__DATA_DIR", "x"));
    taken_over.push(("PUSHPOST__APPS__SHOP__APNS__KEY_ID", "OTHER"));
    taken_over.push(("PUSHPOST__APPS__SHOP__APNS__ENDPOINT", "https://localhost:1"));
    assert_eq!(changes(SHOP, &taken_over), ["database.data_dir"], "each folder has another");
    let named = changes(
        &format!(
            "{SHOP}[limits]\ntargets = 5\nmax_pending = 7\n[delivery]\nretry_throttled = \"1s\"\n[apps.other.fcm]\nservice_account_file = \"firebase.json\"\n"
        ),
        &[
            ("PUSHPOST__DATABASE__DATA_DIR", "x"),
            ("PUSHPOST__SERVER__LISTEN", "127.0.0.1:1"),
            ("PUSHPOST__RETENTION__CONTENT", "1d"),
            ("PUSHPOST__APPS__SHOP__APNS__ENVIRONMENT", "sandbox"),
            ("PUSHPOST__APPS__SHOP__FCM__SERVICE_ACCOUNT", ACCOUNT),
        ],
    );
    insta::assert_snapshot!(named.join("\n"), @r"
    server.listen
    database.data_dir
    delivery.retry_throttled
    limits.targets
    limits.max_pending
    retention.content
    apps.shop.apns.environment
    ");
}

#[test]
fn new_apps_and_platforms_are_added_and_removed_ones_need_a_restart() {
    const FCM: &str = "[apps.shop.fcm]\nservice_account_file = \"firebase.json\"\n";
    let (shop, market) = (Folder::new(SHOP), SHOP.replace("apps.shop", "apps.market"));
    let more = Folder::new(&format!("{SHOP}{FCM}{market}{}", FCM.replace("shop", "market")));
    let (before, after) = (shop.load(&[]).unwrap(), more.load(&[]).unwrap());
    let added = before.with_added_apps(&after);
    assert_eq!(added.apps["market"], after.apps["market"]);
    let section = |config: &Config, platform| config.apps["shop"].providers.get(&platform).cloned();
    let of_apns = section(&before, apns::PLATFORM);
    assert_eq!(section(&added, apns::PLATFORM), of_apns, "what is there stays as it is");
    assert_eq!(section(&added, fcm::PLATFORM), section(&after, fcm::PLATFORM));
    assert_eq!(added.limits, before.limits);
    assert_eq!(added.with_added_apps(&before), added, "nothing goes");

    let mut removed = added.changes_for_restart(&before);
    removed.retain(|key| key.starts_with("apps"));
    assert_eq!(removed, ["apps.market (removed)", "apps.shop.fcm (removed)"]);
}
