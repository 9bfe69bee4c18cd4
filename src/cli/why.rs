//! `pushpost why`: what the time until a device ended went to. Over HTTP.

use std::fmt::Write as _;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::client::{ServiceArgs, ServiceClient};
use super::command_error::CommandError;
use super::output;

/// Say why a push was late, over HTTP; exit code 2 if the device ended other than accepted
#[derive(Args, Debug)]
pub(super) struct WhyArgs {
    /// The notification, such as ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b
    #[arg(value_name = "NTF", value_parser = id)]
    notification: String,
    /// The device, such as dev_5bf4acbbbcffe5d67fbfee43320f88a6; without it the one that has waited longest, or else ended last
    #[arg(value_name = "DEV", value_parser = id)]
    device: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

/// What is printed of the answer.
#[derive(Deserialize, Debug)]
struct WhyAnswer {
    device: Option<String>,
    status: Option<String>,
    total_seconds: f64,
    segments: Vec<WhySegment>,
    summary: String,
    trace_url: Option<String>,
}

#[derive(Deserialize, Debug)]
struct WhySegment {
    cause: String,
    from: String,
    seconds: f64,
    lane: Option<String>,
    attempt: Option<u16>,
    reason: Option<String>,
    action: Option<String>,
}

impl WhyArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let client = self.service.client()?;
        let answer = ask(&client, &self.notification, self.device.as_deref()).await?;
        let why = read(&answer)?;
        output::line(&if self.json { answer.to_string() } else { why.in_words() })?;
        why.judge()
    }
}

/// The service's answer for a notification, and perhaps one device of it.
pub(super) async fn ask(
    client: &ServiceClient,
    notification: &str,
    device: Option<&str>,
) -> Result<Value, CommandError> {
    let query = device.map(|device| format!("?device={device}")).unwrap_or_default();
    client.get(&format!("/v1/notifications/{notification}/why{query}")).await
}

/// The answer as people read it.
///
/// # Errors
/// The answer is of another version.
pub(super) fn as_text(answer: &Value) -> Result<String, CommandError> {
    read(answer).map(|why| why.in_words())
}

fn read(answer: &Value) -> Result<WhyAnswer, CommandError> {
    WhyAnswer::deserialize(answer).map_err(|_| {
        let failure = CommandError::failed("the answer of the service does not say why a push was late");
        failure.hint("the service may be of another version than this program")
    })
}

impl WhyAnswer {
    /// The segments as a table, what they say in words, and what can be done.
    fn in_words(&self) -> String {
        let mut words = output::table(
            ["CAUSE", "SECONDS", "LANE", "ATTEMPT", "REASON", "FROM"],
            &self.segments.iter().map(WhySegment::as_row).collect::<Vec<_>>(),
        );
        let device = self.device.as_deref().unwrap_or("no device");
        let status = self.status.as_deref().unwrap_or("done");
        let written = write!(words, "\n{device} {status} {:.3} s\n{}", self.total_seconds, self.summary);
        written.expect("a text can always be written");
        let mut actions: Vec<String> = self.segments.iter().filter_map(WhySegment::advice).collect();
        actions.dedup();
        actions.insert(0, words);
        actions.extend(self.trace_url.as_ref().map(|url| format!("trace: {url}")));
        actions.join("\n")
    }

    /// # Errors
    /// Bad news, if the device ended other than accepted, or there is none. A device that waits is none.
    fn judge(&self) -> Result<(), CommandError> {
        match self.status.as_deref() {
            Some("accepted" | "pending") => Ok(()),
            Some(status) => Err(CommandError::bad_news(format_args!("the device ended as {status}"))),
            None => Err(CommandError::bad_news("no device was found")),
        }
    }
}

impl WhySegment {
    fn as_row(&self) -> [String; 6] {
        [
            self.cause.clone(),
            format!("{:.3}", self.seconds),
            self.lane.clone().unwrap_or_default(),
            self.attempt.map(|attempt| attempt.to_string()).unwrap_or_default(),
            self.reason.clone().unwrap_or_default(),
            self.from.clone(),
        ]
    }

    fn advice(&self) -> Option<String> {
        self.action.as_ref().map(|action| format!("{}: {action}", self.cause))
    }
}

/// An id, after which no further part of a path may follow.
fn id(text: &str) -> Result<String, &'static str> {
    let is_id = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_id { Ok(text.to_owned()) } else { Err("an id is letters, digits and _") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: Option<&str>) -> WhyAnswer {
        let segment = |cause: &str, seconds: f64, reason: Option<&str>, action: Option<&str>| {
            json!({"cause": cause, "from": "2026-11-28T09:00:00.000Z", "seconds": seconds, "lane": "fcm", "attempt": null,
                   "reason": reason, "action": action})
        };
        read(&json!({
            "device": "dev_1", "status": status, "total_seconds": 12.4, "summary": "Waited.",
            "trace_url": "https://grafana.example.com/explore?trace=4b",
            "segments": [segment("lane_throttled", 12.0, Some("RESOURCE_EXHAUSTED"), Some("Wait.")),
                         segment("queue", 0.4, None, None)],
        }))
        .expect("an answer")
    }

    #[test]
    fn a_person_reads_the_segments_the_summary_and_what_can_be_done() {
        insta::assert_snapshot!(answer(Some("accepted")).in_words(), @r"
        CAUSE           SECONDS  LANE  ATTEMPT  REASON              FROM
        lane_throttled  12.000   fcm            RESOURCE_EXHAUSTED  2026-11-28T09:00:00.000Z
        queue           0.400    fcm                                2026-11-28T09:00:00.000Z
        dev_1 accepted 12.400 s
        Waited.
        lane_throttled: Wait.
        trace: https://grafana.example.com/explore?trace=4b
        ");
    }

    #[test]
    fn a_device_that_ended_other_than_accepted_is_bad_news() {
        for status in ["accepted", "pending"] {
            assert!(answer(Some(status)).judge().is_ok(), "{status}");
        }
        for status in ["rejected", "token_dead", "expired", "cancelled", "unknown"] {
            assert!(answer(Some(status)).judge().is_err(), "{status}");
        }
        assert!(answer(None).judge().is_err());
    }

    #[test]
    fn an_id_leads_to_no_other_path() {
        assert!(id("ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b").is_ok());
        for text in ["", "../devices", "ntf_1?x", "ntf_1/deliveries", "ntf%2F1"] {
            assert!(id(text).is_err(), "{text}");
        }
    }
}
