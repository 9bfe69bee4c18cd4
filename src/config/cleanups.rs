//! `[[apps.<name>.cleanups]]`: clean-up runs that start by themselves, each by a schedule.

use std::cell::Cell;

use crate::domain::{CleanupCriteria, CleanupSchedule, CronSchedule, DottedVersion, Platforms, ShareLimit};
use crate::settings::Section;

/// Longest name of a schedule, in bytes.
const NAME_MAX: usize = 64;

/// Reads the list of an app. None: one of the schedules has faults.
pub(super) fn read(app: &mut Section<'_>, platforms: &Platforms) -> Option<Vec<CleanupSchedule>> {
    let sections = app.section_list("cleanups");
    let schedules: Vec<_> = sections.into_iter().map(|section| schedule(section, platforms)).collect();
    let names: Vec<_> = schedules.iter().flatten().map(|schedule| schedule.name.as_str()).collect();
    if let Some(twice) = (1..names.len()).find(|index| names[..*index].contains(&names[*index])) {
        app.fault("cleanups", format!("two schedules have the name {:?}", names[twice]));
    }
    schedules.into_iter().collect()
}

fn schedule(mut section: Section<'_>, platforms: &Platforms) -> Option<CleanupSchedule> {
    let name = section.parsed("name", |text| {
        is_name(text).then(|| text.to_owned()).ok_or("must be 1 to 64 of A-Z, a-z, 0-9, '-', '_' and '.'")
    });
    let name = section.required("name", name);
    let schedule = section.parsed("schedule", CronSchedule::parse);
    let schedule = section.required("schedule", schedule);
    let days = section.integer("inactive_days", CleanupCriteria::INACTIVE_DAYS, 0);
    let inactive_days = section.required("inactive_days", u16::try_from(days).ok().filter(|days| *days > 0));
    // Whether a list has an item, right or wrong.
    let (has_platform, has_environment) = (Cell::new(false), Cell::new(false));
    let platform = |name: &str| {
        has_platform.set(true);
        platforms.parse(name).ok_or_else(|| format!("must be some of {}", platforms.names().join(", ")))
    };
    let environments = platforms.stated_environments();
    let environment = |name: &str| {
        has_environment.set(true);
        let names: Vec<_> = environments.iter().map(|environment| environment.as_str()).collect();
        let found = environments.iter().find(|environment| environment.as_str() == name);
        found.copied().ok_or_else(|| format!("must be some of {}", names.join(", ")))
    };
    let criteria = CleanupCriteria {
        inactive_days: inactive_days.unwrap_or_default(),
        platforms: section.parsed_list("platforms", platform),
        environments: section.parsed_list("environments", environment),
        app_version_below: section.parsed("app_version_below", |text| {
            DottedVersion::parse(text).ok_or("must be whole numbers and dots, such as \"5.2.0\"")
        }),
        max_share: ShareLimit::from_fraction(
            section.fraction("max_share", ShareLimit::default().as_fraction()),
        )
        .unwrap_or_default(),
    };
    for (key, is_empty, has_item) in [
        ("platforms", criteria.platforms.as_ref().is_some_and(Vec::is_empty), has_platform.get()),
        ("environments", criteria.environments.as_ref().is_some_and(Vec::is_empty), has_environment.get()),
    ] {
        if is_empty && !has_item {
            section.fault(key, "names none, so no device would match");
        }
    }
    if criteria.is_contradictory(platforms) {
        section.fault("environments", "no device of these platforms has one of these environments");
    }
    section.finish();
    inactive_days.and(Some(CleanupSchedule { name: name?, schedule: schedule?, criteria }))
}

fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(known)
}
