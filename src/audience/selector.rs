//! The audience of a request: the selectors of `to`, and what narrows them. The API reads it; [`super::resolve()`] finds
//! its devices.
//!
//! A new kind of audience is a variant of [`AudienceSelector`]. The compiler then asks how many names it has, which
//! platforms it may reach, and how its devices are found: by keys at once, or page by page as a [`FanOutPart`].

use super::{Resolved, sorted};
use crate::domain::{
    App, Condition, DeviceId, DeviceToken, Environment, FanOut, FanOutPart, Kind, LaneKey, Platform,
    References, RejectedToken, TopicName, UserId,
};

/// One way in which `to` names devices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AudienceSelector {
    /// Devices by their ids.
    Devices(Vec<NamedDevice>),
    /// The devices of these users.
    Users(Vec<UserId>),
    /// Tokens. One that is unknown becomes a device.
    Tokens(Vec<AddressedToken>),
    /// Devices that had the tokens of a scheduled request when it was accepted.
    TokenDevices(Vec<TokenDevice>),
    /// Devices that have any of these topics, by a subscription of their own or of their user. They are found page by page.
    Topics(Vec<TopicName>),
    /// Devices for which the condition holds, over their own topics and those of their user. They are found page by page.
    Condition(Condition),
    /// All active devices that were registered or imported. They are found page by page.
    All,
}

/// A device id as a request wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedDevice {
    /// As written, for the answer.
    pub public_id: String,
    /// The id that it stands for; none: it can't be an id of this app.
    pub id: Option<DeviceId>,
}

/// A token in an audience.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressedToken {
    /// The platform that issued it.
    pub platform: Platform,
    /// The token at that platform.
    pub token: DeviceToken,
    /// The environment of a token that is unknown; none: the app's default.
    pub environment: Option<Environment>,
    /// The kind of a token that is unknown; none: the kind that the notification needs.
    pub kind: Option<Kind>,
    /// The sender's own name for the token, repeated in its delivery.
    pub reference: Option<String>,
}

/// A device that a scheduled request named by tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenDevice {
    /// The device that had the tokens when the request was accepted.
    pub device: DeviceId,
    /// Its lane then; none: it is of a provider that this node lacks.
    pub lane: Option<LaneKey>,
    /// The sender's own names for the tokens.
    pub references: References,
}

/// A validated `to`. The audience is the union of its selectors, narrowed by the other fields.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audience {
    /// In no particular order; a selector may be there more than once.
    pub selectors: Vec<AudienceSelector>,
    /// Only devices of these platforms; none: of all platforms.
    pub platforms: Option<Vec<Platform>>,
    /// The devices of these users are left out.
    pub except_users: Vec<UserId>,
    /// These devices are left out.
    pub except_devices: Vec<DeviceId>,
    /// Devices are left out if they, or their users, have any of these topics.
    pub except_topics: Vec<TopicName>,
    /// Tokens that have no device. The request wants them as targets that are rejected.
    pub rejected_tokens: Vec<RejectedToken>,
}

/// What a request names and what can be looked up at once. A name may be there more than once.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    pub(super) devices: Vec<DeviceId>,
    pub(super) users: Vec<UserId>,
    pub(super) tokens: Vec<&'a AddressedToken>,
}

impl AudienceSelector {
    /// The names that are looked up before the answer.
    fn name_count(&self) -> usize {
        match self {
            Self::Devices(devices) => devices.len(),
            Self::Users(users) => users.len(),
            Self::Tokens(tokens) => tokens.len(),
            Self::TokenDevices(devices) => devices.len(),
            Self::Topics(_) | Self::Condition(_) | Self::All => 0,
        }
    }

    /// Can it name a device of this platform, as far as its names tell?
    fn may_reach(&self, platform: Platform) -> bool {
        match self {
            Self::Devices(devices) => devices.iter().any(|device| device.id.is_some()),
            Self::Users(users) => !users.is_empty(),
            Self::Tokens(tokens) => tokens.iter().any(|token| token.platform == platform),
            Self::TokenDevices(devices) => {
                devices.iter().any(|token| token.lane.is_some_and(|lane| lane.platform() == platform))
            }
            Self::Topics(topics) => !topics.is_empty(),
            Self::Condition(_) | Self::All => true,
        }
    }

    /// What is found page by page, after the answer. None: its devices are looked up before it, or it has none.
    fn part(&self) -> Option<FanOutPart> {
        match self {
            Self::Devices(_) | Self::Users(_) | Self::Tokens(_) | Self::TokenDevices(_) => None,
            Self::Topics(topics) if topics.is_empty() => None,
            Self::Topics(topics) => Some(FanOutPart::Topics(sorted(topics.iter().cloned()))),
            Self::Condition(condition) => Some(FanOutPart::Condition(condition.clone())),
            Self::All => Some(FanOutPart::All),
        }
    }
}

impl From<FanOutPart> for AudienceSelector {
    fn from(part: FanOutPart) -> Self {
        match part {
            FanOutPart::All => Self::All,
            FanOutPart::Topics(topics) => Self::Topics(topics),
            FanOutPart::Condition(condition) => Self::Condition(condition),
        }
    }
}

impl From<AudienceSelector> for Audience {
    fn from(selector: AudienceSelector) -> Self {
        Self { selectors: vec![selector], ..Self::default() }
    }
}

impl Audience {
    /// The devices that the backlog must have room for before any of them is looked up: one for each name, and at least
    /// one for an audience that is found page by page.
    pub fn expected_devices(&self) -> usize {
        let named: usize = self.selectors.iter().map(AudienceSelector::name_count).sum();
        named.max(usize::from(self.parts().next().is_some()))
    }

    /// Devices by id, as written, in the order given.
    pub fn devices(&self) -> impl Iterator<Item = &NamedDevice> {
        self.selectors.iter().flat_map(|selector| match selector {
            AudienceSelector::Devices(devices) => devices.as_slice(),
            _ => &[],
        })
    }

    /// Users, in the order given.
    pub fn users(&self) -> impl Iterator<Item = &UserId> {
        self.selectors.iter().flat_map(|selector| match selector {
            AudienceSelector::Users(users) => users.as_slice(),
            _ => &[],
        })
    }

    /// Devices by the tokens that they had when the request was accepted.
    pub(super) fn token_devices(&self) -> impl Iterator<Item = &TokenDevice> {
        self.selectors.iter().flat_map(|selector| match selector {
            AudienceSelector::TokenDevices(devices) => devices.as_slice(),
            _ => &[],
        })
    }

    /// The rejected tokens that are targets: those of the platforms that the audience includes.
    pub fn rejected_targets(&self) -> impl Iterator<Item = &RejectedToken> {
        self.rejected_tokens.iter().filter(|token| match token.platform {
            Some(platform) => self.includes(platform),
            None => self.platforms.is_none(),
        })
    }

    /// May a device of this platform be a target?
    pub fn includes(&self, platform: Platform) -> bool {
        self.platforms.as_ref().is_none_or(|some| some.contains(&platform))
    }

    /// Could a device of this platform be a target, as far as can be told without the database?
    pub fn may_reach(&self, platform: Platform) -> bool {
        self.includes(platform) && self.selectors.iter().any(|selector| selector.may_reach(platform))
    }

    /// What [`super::resolve()`] looks up.
    pub(super) fn names(&self) -> Names<'_> {
        let mut names = Names::default();
        for selector in &self.selectors {
            match selector {
                AudienceSelector::Devices(devices) => {
                    names.devices.extend(devices.iter().filter_map(|device| device.id));
                }
                AudienceSelector::Users(users) => names.users.extend_from_slice(users),
                AudienceSelector::Tokens(tokens) => names.tokens.extend(tokens),
                AudienceSelector::TokenDevices(devices) => {
                    names.devices.extend(devices.iter().map(|token| token.device));
                }
                AudienceSelector::Topics(_) | AudienceSelector::Condition(_) | AudienceSelector::All => {}
            }
        }
        names
    }

    /// All selectors that are found page by page, as one fan-out, once the named devices are `resolved`. None: there are no
    /// such selectors.
    ///
    /// APNs devices need tokens of `kind`. The platforms are those that have lanes at this moment on this node: a node
    /// that reads a page later may know others.
    pub fn fan_out(&self, app: &App, resolved: &Resolved, kind: Kind) -> Option<FanOut> {
        let mut parts: Vec<FanOutPart> = self.parts().collect();
        if parts.is_empty() {
            return None;
        }
        if parts.contains(&FanOutPart::All) {
            parts = vec![FanOutPart::All];
        }
        let known = app.platforms();
        let reached = known.iter().filter(|platform| app.has_platform(*platform) && self.includes(*platform));
        let targets = resolved.targets.iter().map(|target| target.device);
        Some(FanOut {
            kind,
            platforms: Some(reached.map(|platform| platform.as_str().to_owned()).collect()),
            parts,
            except_users: self.except_users.clone(),
            except_devices: sorted(self.except_devices.iter().copied().chain(targets)),
            except_topics: sorted(self.except_topics.iter().cloned()),
        })
    }

    /// Is a part of the audience found page by page, after the answer?
    pub(super) fn is_paged(&self) -> bool {
        self.parts().next().is_some()
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = FanOutPart> {
        self.selectors.iter().filter_map(AudienceSelector::part)
    }
}
