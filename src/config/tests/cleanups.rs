//! Schedules of clean-up runs: their values, and the faults of wrong ones.

use super::{Folder, faults};
use crate::domain::{CleanupSchedule, ShareLimit};

const STALE: &str =
    "[apps.shop]\n[[apps.shop.cleanups]]\nname = \"stale\"\nschedule = \"0 3 * * 0\"\ninactive_days = 270\n";

fn schedules(toml: &str) -> Vec<CleanupSchedule> {
    Folder::new(toml).load(&[]).expect("the configuration is right").apps["shop"].cleanups.clone()
}

#[test]
fn a_schedule_has_the_criteria_of_a_request() {
    let plain = schedules(STALE).remove(0);
    assert_eq!((plain.name.as_str(), plain.schedule.as_str()), ("stale", "0 3 * * 0"));
    assert_eq!((plain.criteria.inactive_days, plain.criteria.max_share), (270, ShareLimit::default()));
    assert_eq!((&plain.criteria.platforms, &plain.criteria.environments), (&None, &None));
    let narrow = format!(
        "{STALE}platforms = [\"apns\"]\nenvironments = [\"sandbox\"]\napp_version_below = \"5.0\"\nmax_share = 0.5\n"
    );
    let criteria = schedules(&narrow).remove(0).criteria;
    assert_eq!(criteria.platforms.map(|all| all.len()), Some(1));
    assert_eq!(criteria.environments.map(|all| all.len()), Some(1));
    assert_eq!(criteria.app_version_below.as_ref().map(|version| version.as_str()), Some("5.0"));
    assert_eq!(criteria.max_share, ShareLimit::from_fraction(0.5).expect("a share"));
    // A whole number is a share too.
    let whole = schedules(&format!("{STALE}max_share = 1\n")).remove(0).criteria.max_share;
    assert_eq!(whole, ShareLimit::from_fraction(1.0).expect("a share"));
}

#[test]
fn every_fault_of_a_schedule_has_its_line() {
    let wrong = "[apps.shop]\n[[apps.shop.cleanups]]\nname = \"a b\"\nschedule = \"0 25 * * *\"\ninactive_days = 3651\n\
                 platforms = [\"hms\"]\nenvironments = []\napp_version_below = \"v5\"\nmax_share = 1.5\nmax_shares = 1\n";
    let faults = faults(wrong, &[]);
    let keys =
        ["name", "schedule", "inactive_days", "platforms", "environments", "app_version_below", "max_share"];
    for (line, key) in (3..).zip(keys) {
        let place = format!("pushpost.toml:{line}: apps.shop.cleanups[0].{key}");
        assert!(faults.iter().any(|fault| fault.starts_with(&place)), "{place} in {faults:#?}");
    }
    assert!(
        faults.iter().any(|fault| fault.contains("max_shares") && fault.contains("max_share")),
        "{faults:#?}"
    );
}

#[test]
fn a_wrong_platform_is_one_fault_and_platforms_without_the_environments_another() {
    let wrong = faults(&format!("{STALE}platforms = [\"hms\"]\nenvironments = [\"prod\"]\n"), &[]);
    assert_eq!(wrong.len(), 2, "each list is named once: {wrong:#?}");
    let contradictory = faults(&format!("{STALE}platforms = [\"fcm\"]\nenvironments = [\"sandbox\"]\n"), &[]);
    let [fault] = contradictory.as_slice() else { panic!("{contradictory:#?}") };
    assert!(
        fault.contains("environments: no device of these platforms has one of these environments"),
        "{fault}"
    );
}

#[test]
fn a_schedule_needs_a_name_of_its_own_a_time_and_an_inactivity() {
    let missing = faults("[apps.shop]\n[[apps.shop.cleanups]]\n", &[]).join("\n");
    for key in ["name", "schedule", "inactive_days"] {
        assert!(missing.contains(&format!("cleanups[0].{key}")), "{key} in {missing}");
    }
    let (_, one) = STALE.split_once('\n').expect("lines");
    let twice = faults(&format!("{STALE}{one}"), &[]).join("\n");
    assert!(twice.contains("\"stale\""), "{twice}");
    let never = faults(&STALE.replace("0 3 * * 0", "0 3 30 2 *"), &[]).join("\n");
    assert!(never.contains("schedule") && never.contains("never"), "{never}");
}

#[test]
fn schedules_are_taken_over_without_a_restart() {
    let (old, new) = (Folder::new("[apps.shop]\n"), Folder::new(STALE));
    let [old, mut new] = [old, new].map(|folder| folder.load(&[]).expect("right"));
    new.database.data_dir.clone_from(&old.database.data_dir);
    assert_eq!(old.changes_for_restart(&new), Vec::<String>::new());
    assert_eq!(old.with_added_apps(&new).apps["shop"].cleanups.len(), 1);
    assert_eq!(new.with_added_apps(&old).apps["shop"].cleanups.len(), 0);
}
