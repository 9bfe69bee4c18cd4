//! The names of our fields in other push APIs: FCM (legacy and v1), OneSignal, Expo, Airship, gorush, Pusher and APNs.
//!
//! A sender that moves here from another API writes that API's names, which are too different from ours to be found by
//! likeness.

/// The most bytes of a name in [`ALIASES`].
const NAME_BYTES_MAX: usize = 40;

/// Our fields, and their names in other APIs in lower case without `_` and `-`. Of several fields the first that the object
/// knows is meant; `to.users` is `users` in the object `to`.
const ALIASES: &[(&[&str], &[&str])] = &[
    (&["title"], &["heading", "headings", "notification", "notificationtitle", "headline"]),
    (&["body"], &["message", "alert", "text", "msg", "content", "contents", "notificationbody", "bodytext"]),
    (&["image"], &["imageurl", "picture", "bigpicture", "iosattachments", "mediaurl", "richcontent", "icon"]),
    (&["sound"], &["soundname", "iossound", "androidsound"]),
    (&["badge"], &["badgecount", "iosbadgecount", "notificationcount"]),
    (&["category"], &["clickaction", "categoryid", "categoryidentifier", "ioscategory"]),
    (&["thread"], &["threadid", "threadidentifier", "androidgroup", "group"]),
    (&["channel"], &["channelid", "androidchannelid", "existingandroidchannelid", "notificationchannel"]),
    (&["url"], &["link", "deeplink", "deeplinkurl", "appurl", "weburl", "launchurl", "openurl"]),
    (&["data"], &["customdata", "custom", "extra", "extras", "payload", "additionaldata", "userinfo"]),
    (&["silent"], &["contentavailable", "background", "dataonly"]),
    (&["priority"], &["importance", "urgency"]),
    (&["ttl"], &["timetolive", "expiry", "expiration", "expires", "expiresat", "validuntil"]),
    (&["collapse_key"], &["collapseid", "apnscollapseid", "notificationtag", "websnstopic"]),
    (&["send_at"], &["sendafter", "scheduledat", "scheduledtime", "schedule", "deliverat", "sendtime"]),
    (&["label"], &["campaign", "campaignid", "analyticslabel", "fcmoptions", "name"]),
    (&["idempotency_key"], &["idempotencyid", "dedupid", "deduplicationid"]),
    (&["apns", "platforms", "to.platforms"], &["ios", "apple", "apn", "iosoptions"]),
    (&["apns"], &["aps", "mutablecontent", "interruptionlevel", "targetcontentid"]),
    (&["fcm", "platforms", "to.platforms"], &["android", "gcm", "google", "androidoptions", "firebase"]),
    (&["fcm"], &["webpush", "web", "chromeweb"]),
    (&["to"], &["audience", "target", "targets", "destination", "destinations"]),
    (
        &["token", "tokens", "to.tokens"],
        &[
            "token",
            "tokens",
            "registrationid",
            "registrationids",
            "registrationtoken",
            "registrationtokens",
            "devicetoken",
            "devicetokens",
            "pushtoken",
            "pushtokens",
            "fcmtoken",
            "fcmtokens",
            "apnstoken",
            "apnstokens",
            "iostokens",
            "includeiostokens",
            "includeandroidregids",
            "multicast",
        ],
    ),
    (
        &["user", "users", "to.users"],
        &[
            "user",
            "users",
            "userid",
            "userids",
            "uid",
            "uids",
            "externalid",
            "externalids",
            "externaluserid",
            "externaluserids",
            "includeexternaluserids",
            "includealiases",
            "alias",
            "aliases",
            "nameduser",
            "namedusers",
            "recipient",
            "recipients",
            "customerid",
            "identity",
        ],
    ),
    (
        &["devices", "to.devices"],
        &[
            "device",
            "devices",
            "deviceid",
            "deviceids",
            "playerid",
            "playerids",
            "includeplayerids",
            "subscriptionid",
            "subscriptionids",
            "includesubscriptionids",
            "ioschannel",
            "androidchannel",
        ],
    ),
    (
        &["topics", "to.topics"],
        &["topic", "topics", "segment", "segments", "includedsegments", "tags", "interests"],
    ),
    (&["topics", "collapse_key"], &["tag"]),
    (&["condition", "to.condition"], &["condition", "filters", "selector"]),
    (&["all", "to.all"], &["all", "broadcast", "everyone", "allusers"]),
    (&["except", "to.except"], &["except", "exclude", "excludedsegments", "excludedexternaluserids"]),
    (
        &["platform", "platforms", "to.platforms"],
        &["platform", "platforms", "devicetype", "devicetypes", "os", "type", "service", "provider"],
    ),
    (&["locale"], &["language", "lang", "languagecode", "devicelocale"]),
    (&["timezone"], &["tz", "timezoneid", "iana"]),
    (&["app_version"], &["version", "appver", "applicationversion", "gameversion"]),
    (&["environment"], &["env", "sandbox", "issandbox", "production", "development", "apnsenvironment"]),
    (&["replaces"], &["oldtoken", "previoustoken", "oldregistrationid", "replacedtoken"]),
    (&["registered_at"], &["lastseen", "lastactive", "updatedat", "tokenupdatedat"]),
];

/// The field that the unknown name `name` means in an object with the fields `known`, such as `body` or `to.users`.
pub(super) fn field_meant(name: &str, known: &[&str]) -> Option<&'static str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let name: String =
        name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect();
    let meant = ALIASES.iter().filter(|(_, aliases)| aliases.contains(&name.as_str()));
    let mut fields = meant.flat_map(|(fields, _)| fields.iter());
    fields.find(|field| field.split('.').next().is_some_and(|first| known.contains(&first))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEND: [&str; 9] = ["to", "title", "body", "data", "ttl", "apns", "fcm", "collapse_key", "send_at"];
    const TO: [&str; 6] = ["devices", "users", "tokens", "topics", "platforms", "all"];
    const DEVICE: [&str; 6] = ["platform", "token", "user", "topics", "environment", "replaces"];

    #[test]
    fn the_names_of_other_apis_lead_to_the_field_where_it_is() {
        for (name, known, meant) in [
            ("message", &SEND[..], Some("body")),
            ("alert", &SEND, Some("body")),
            ("user_id", &SEND, Some("to.users")),
            ("userId", &TO, Some("users")),
            ("user_id", &DEVICE, Some("user")),
            ("registration_ids", &SEND, Some("to.tokens")),
            ("registration_ids", &TO, Some("tokens")),
            ("registration_id", &DEVICE, Some("token")),
            ("ios", &SEND, Some("apns")),
            ("ios", &TO, Some("platforms")),
            ("time_to_live", &SEND, Some("ttl")),
            ("collapse-id", &SEND, Some("collapse_key")),
            ("included_segments", &SEND, Some("to.topics")),
            ("device_types", &SEND, Some("to.platforms")),
            ("tag", &SEND, Some("collapse_key")),
            ("tag", &TO, Some("topics")),
            ("message", &DEVICE, None),
            ("zzzzzz", &SEND, None),
        ] {
            assert_eq!(field_meant(name, known), meant, "{name} among {known:?}");
        }
        assert_eq!(field_meant(&"a".repeat(8 << 20), &SEND), None);
    }

    #[test]
    fn each_name_is_written_as_it_is_compared_and_leads_to_one_place() {
        let mut seen = std::collections::HashSet::new();
        for (_, aliases) in ALIASES {
            for name in *aliases {
                assert!(name.bytes().all(|byte| byte.is_ascii_lowercase()), "{name}");
                assert!(name.len() <= NAME_BYTES_MAX && seen.insert(name), "{name}");
            }
        }
    }
}
