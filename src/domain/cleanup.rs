//! Clean-up runs: which devices match, which share of an app's devices a run may quarantine, and how a run stands.

use super::wire_enum::wire_enum;
use super::{CronSchedule, Environment, Platform, Platforms};

/// Which devices a clean-up run quarantines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CleanupCriteria {
    /// Devices that were last registered at least so many days ago match; if never registered, created.
    pub inactive_days: u16,
    /// Only devices of these platforms. None: of all.
    pub platforms: Option<Vec<Platform>>,
    /// Only devices of these environments, which platforms without environments never are. None: of all.
    pub environments: Option<Vec<Environment>>,
    /// Only devices with a version of the app below this one. None: with any version, or none.
    pub app_version_below: Option<DottedVersion>,
    /// The largest share of the devices in question that a run may quarantine.
    pub max_share: ShareLimit,
}

/// Clean-up runs that a configuration starts by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CleanupSchedule {
    /// The name, which is unique within its app.
    pub name: String,
    /// When a run starts.
    pub schedule: CronSchedule,
    /// Which devices each run quarantines.
    pub criteria: CleanupCriteria,
}

impl CleanupCriteria {
    /// The smallest and the largest number of [`Self::inactive_days`].
    pub const INACTIVE_DAYS: std::ops::RangeInclusive<u64> = 1..=3650;

    /// The devices in question, as platforms with the numbers of their environments. None: all devices of an app.
    pub fn lanes(&self, known: &Platforms) -> Option<Vec<(Platform, i16)>> {
        if self.platforms.is_none() && self.environments.is_none() {
            return None;
        }
        let is_named =
            |platform: &Platform| self.platforms.as_ref().is_none_or(|some| some.contains(platform));
        let has_environment = |environment: Option<Environment>| match (&self.environments, environment) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(some), Some(own)) => some.iter().any(|named| named.as_str() == own.as_str()),
        };
        let lanes =
            known.lanes().filter(|lane| is_named(&lane.platform()) && has_environment(lane.environment()));
        Some(lanes.map(|lane| (lane.platform(), Environment::code(lane.environment()))).collect())
    }

    /// True if platforms and environments are named, and no device can be of both.
    pub fn is_contradictory(&self, known: &Platforms) -> bool {
        let is_named = self.platforms.as_ref().is_some_and(|some| !some.is_empty())
            && self.environments.as_ref().is_some_and(|some| !some.is_empty());
        is_named && self.lanes(known).is_some_and(|lanes| lanes.is_empty())
    }
}

/// A version of an app of whole numbers and dots: `5.2.0`. Compared number by number; `5.2` equals `5.2.0`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DottedVersion(String);

impl DottedVersion {
    /// Longest version, in bytes.
    pub const MAX: usize = 64;

    /// Parses a version. None: it does not have the form.
    pub fn parse(text: &str) -> Option<Self> {
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        (text.len() <= Self::MAX && text.split('.').all(is_number)).then(|| Self(text.to_owned()))
    }

    /// The version as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A share from 0 to 1, in millionths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ShareLimit(u32);

impl Default for ShareLimit {
    fn default() -> Self {
        Self(200_000)
    }
}

impl ShareLimit {
    const WHOLE: u32 = 1_000_000;

    /// A share, rounded to millionths. None: it is not from 0 to 1.
    pub fn from_fraction(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then(|| Self((share * f64::from(Self::WHOLE)).round() as u32))
    }

    /// The number in the database.
    pub fn millionths(self) -> i32 {
        self.0.cast_signed()
    }

    /// The value of a number in the database.
    pub fn from_millionths(millionths: i32) -> Option<Self> {
        u32::try_from(millionths).ok().filter(|share| *share <= Self::WHOLE).map(Self)
    }

    /// The share as requests and answers write it.
    pub fn as_fraction(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE)
    }

    /// True if a run must not begin to quarantine. A run that matches nothing is never refused, because it would change
    /// nothing.
    pub fn is_exceeded(self, counts: CleanupCounts) -> bool {
        let [matched, recent, active] =
            [counts.matched, counts.recently_quarantined, counts.scanned].map(i128::from);
        matched > 0 && (matched + recent) * i128::from(Self::WHOLE) > active * i128::from(self.0)
    }
}

/// What a run counted before it quarantined anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CleanupCounts {
    /// Active devices of the platforms and environments in question.
    pub scanned: i64,
    /// Devices among them that match.
    pub matched: i64,
    /// Devices that runs quarantined in the last 30 days and that were not restored.
    pub recently_quarantined: i64,
}

impl CleanupCounts {
    /// The share that a run would quarantine, together with earlier runs. 0 if no device is in question.
    pub fn share(&self) -> f64 {
        let taken = self.matched + self.recently_quarantined;
        if self.scanned == 0 { 0.0 } else { taken as f64 / self.scanned as f64 }
    }
}

wire_enum! {
    /// How a clean-up run stands.
    CleanupStatus {
        /// Devices are counted or quarantined.
        Running = 0 "running",
        /// The run came to its end.
        Done = 1 "done",
        /// The run was refused before it changed anything.
        Failed = 2 "failed",
        /// An operator stopped the run or its restoration.
        Cancelled = 3 "cancelled",
        /// Devices that the run quarantined are restored.
        Restoring = 4 "restoring",
        /// All devices that the run had quarantined, and that were still quarantined by it, are active again.
        Restored = 5 "restored",
    }
}

wire_enum! {
    /// Why a clean-up run changed nothing.
    CleanupProblem {
        /// Too large a share of the devices matched.
        ShareExceeded = 1 "share_exceeded",
    }
}

impl CleanupStatus {
    /// True while devices are counted, quarantined or restored.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Restoring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_platform::{EAST, STRUCTURED};

    fn counts(matched: i64, recently_quarantined: i64, scanned: i64) -> CleanupCounts {
        CleanupCounts { scanned, matched, recently_quarantined }
    }

    #[test]
    fn a_share_up_to_its_limit_is_allowed() {
        let fifth = ShareLimit::default();
        for (counts, is_exceeded) in [
            (counts(20, 0, 100), false),
            (counts(21, 0, 100), true),
            (counts(1, 19, 100), false),
            (counts(1, 20, 100), true),
            (counts(0, 90, 100), false),
            (counts(0, 0, 0), false),
            (counts(i64::MAX, i64::MAX, i64::MAX), true),
        ] {
            assert_eq!(fifth.is_exceeded(counts), is_exceeded, "{counts:?}");
        }
        let [none, all] = [0.0, 1.0].map(|share| ShareLimit::from_fraction(share).expect("a share"));
        assert!(none.is_exceeded(counts(1, 0, 1_000_000_000)));
        assert!(!all.is_exceeded(counts(10, 0, 10)));
    }

    #[test]
    fn a_share_is_from_0_to_1() {
        for wrong in [-0.1, 1.000_001, f64::NAN, f64::INFINITY] {
            assert_eq!(ShareLimit::from_fraction(wrong), None, "{wrong}");
        }
        let fifth = ShareLimit::from_fraction(0.2).expect("a share");
        assert_eq!((fifth, fifth.as_fraction()), (ShareLimit::default(), 0.2));
        assert_eq!(ShareLimit::from_millionths(fifth.millionths()), Some(fifth));
        assert_eq!([-1, 1_000_001].map(ShareLimit::from_millionths), [None, None]);
    }

    #[test]
    fn a_version_is_numbers_and_dots() {
        for right in ["5", "5.2.0", "0.0.1", "2026.11.28.1", "00012", &"1".repeat(64)] {
            assert!(DottedVersion::parse(right).is_some(), "{right}");
        }
        for wrong in ["", ".", "5.", ".5", "5..2", "v5.2", "5.2-beta", "5.2 ", "5,2", "٥.٢", &"1".repeat(65)]
        {
            assert_eq!(DottedVersion::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_lanes_in_question_are_those_of_the_named_platforms_and_environments() {
        let known = Platforms::new([STRUCTURED]);
        let criteria =
            |platforms: Option<Vec<Platform>>, environments: Option<Vec<Environment>>| CleanupCriteria {
                inactive_days: 30,
                platforms,
                environments,
                app_version_below: None,
                max_share: ShareLimit::default(),
            };
        let east = Environment::code(Some(EAST));
        assert_eq!(criteria(None, None).lanes(&known), None);
        assert_eq!(criteria(None, Some(vec![EAST])).lanes(&known), Some(vec![(STRUCTURED, east)]));
        let both = criteria(Some(vec![STRUCTURED]), None).lanes(&known).expect("a platform is named");
        assert_eq!(both.len(), 2);
    }
}
