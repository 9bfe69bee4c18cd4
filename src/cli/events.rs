//! `pushpost events`: the event log. Over HTTP.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use http::HeaderName;
use serde_json::Value;
use tokio::time::sleep;

use super::client::{LineStream, ServiceArgs, ServiceClient};
use super::command_error::CommandError;
use super::output;
use super::signals::StopSignals;
use crate::domain::DeviceDetail;

const EVENTS: &str = "/v1/events";
/// The end of the log: no event was logged later than this.
const FROM_NOW_ON: &str = "since=9999-12-31T00:00:00Z";
/// The pause before the next connection, unless the service names one.
const RECONNECT: Duration = Duration::from_secs(2);

/// Read the event log, over HTTP
#[derive(Args, Debug)]
pub(super) struct EventsArgs {
    #[command(subcommand)]
    command: EventsCommand,
}

#[derive(Subcommand, Debug)]
enum EventsCommand {
    Tail(TailArgs),
}

/// Print the events that are kept, the oldest first; with --follow those from now on, or from the named place on, until interrupted
#[derive(Args, Debug)]
struct TailArgs {
    /// Begin after this event
    #[arg(long, value_name = "EVT", value_parser = event_id)]
    after: Option<String>,
    /// Begin with what was logged at this time or later, such as 2026-12-01T09:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "after")]
    since: Option<String>,
    /// Only events of this type, such as notification.done or delivery.*; may be given several times
    #[arg(long = "type", value_name = "TYPE", value_parser = event_type)]
    types: Vec<String>,
    /// Which devices a delivery.recorded lists: failed leaves the accepted ones to its counts, none leaves out all
    #[arg(long, value_name = "WHICH", value_parser = device_details(), default_value = "all")]
    devices: String,
    /// Stay connected and print events as they happen
    #[arg(long)]
    follow: bool,
    /// Print each event as JSON, one per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

/// Why a stream is not read on.
enum Pause {
    /// The reader of the output has gone.
    Unread,
    /// The connection has ended.
    Ended,
}

impl EventsArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let EventsCommand::Tail(tail) = self.command;
        let client = tail.service.client()?;
        if !tail.follow {
            return tail.print_all(&client).await;
        }
        let mut signals = StopSignals::catch()?;
        tokio::select! {
            followed = tail.follow(&client) => followed,
            () = signals.next() => Ok(()),
        }
    }
}

impl TailArgs {
    async fn print_all(&self, client: &ServiceClient) -> Result<(), CommandError> {
        let begin = self.begin();
        let mut lines = client.lines(&self.path(begin.as_deref()), "application/x-ndjson", None).await?;
        while let Some(line) = lines.next().await? {
            if !line.is_empty() && !self.print(&line)? {
                break;
            }
        }
        Ok(())
    }

    /// Connects again, after the last event, whenever the connection ends.
    async fn follow(&self, client: &ServiceClient) -> Result<(), CommandError> {
        let begin = match self.begin() {
            Some(begin) => begin,
            // A place to go on from, even if the connection ends before the first event.
            None => {
                let now = client.get(&format!("{EVENTS}?limit=1&{FROM_NOW_ON}")).await?;
                let cursor = now["next_cursor"].as_str().ok_or_else(unreadable)?;
                format!("cursor={cursor}")
            }
        };
        let path = self.path(Some(&begin));
        let mut last = None;
        let mut connected = client.lines(&path, "text/event-stream", None).await;
        let mut pause = RECONNECT;
        let mut is_told = false;
        loop {
            match connected {
                Ok(mut lines) => {
                    is_told = false;
                    match self.print_stream(&mut lines, &mut last, &mut pause).await? {
                        Pause::Unread => return Ok(()),
                        Pause::Ended => {}
                    }
                }
                Err(error) if !error.is_unavailable() => return Err(error),
                Err(error) if !is_told => {
                    eprintln!("{error}\nconnecting again");
                    is_told = true;
                }
                Err(_) => {}
            }
            sleep(pause).await;
            let header = last.clone().map(|id| (HeaderName::from_static("last-event-id"), id));
            connected = client.lines(&path, "text/event-stream", header).await;
        }
    }

    /// Prints the events of a connection until it ends.
    async fn print_stream(
        &self,
        lines: &mut LineStream,
        last: &mut Option<String>,
        pause: &mut Duration,
    ) -> Result<Pause, CommandError> {
        let mut id = None;
        loop {
            let line = match lines.next().await {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(Pause::Ended),
                Err(error) if error.is_unavailable() => return Ok(Pause::Ended),
                Err(error) => return Err(error),
            };
            match line.split_once(": ") {
                Some(("id", new)) => id = Some(new.to_owned()),
                Some(("data", json)) => {
                    if !self.print(json)? {
                        return Ok(Pause::Unread);
                    }
                    *last = id.take().or(last.take());
                }
                Some(("retry", ms)) => *pause = ms.parse().map_or(RECONNECT, Duration::from_millis),
                _ => {}
            }
        }
    }

    /// The parameter of the place that the arguments name. None: they name no place.
    fn begin(&self) -> Option<String> {
        let after = self.after.as_ref().map(|after| format!("after={after}"));
        after.or_else(|| self.since.as_ref().map(|since| format!("since={since}")))
    }

    fn path(&self, begin: Option<&str>) -> String {
        let mut path = format!("{EVENTS}?devices={}", self.devices);
        let types = self.types.iter().map(|each| format!("type={each}"));
        for parameter in types.chain(begin.map(str::to_owned)) {
            path.push('&');
            path.push_str(&parameter);
        }
        path
    }

    /// False: the output is read no more.
    fn print(&self, json: &str) -> Result<bool, CommandError> {
        if self.json {
            return Ok(output::line_to_reader(json)?);
        }
        let event: Value = serde_json::from_str(json).map_err(|_| unreadable())?;
        Ok(output::line_to_reader(&in_words(&event))?)
    }
}

/// Time, type, and the members of the data that are short.
fn in_words(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let mut words = format!("{}  {:<22}", text("at"), text("type"));
    for (name, value) in event["data"].as_object().into_iter().flatten() {
        let shown = match value {
            Value::Null | Value::Object(_) if name != "counts" => continue,
            Value::Array(items) => items.len().to_string(),
            Value::Object(counts) => {
                let counts =
                    counts.iter().filter(|(name, count)| *name != "targets" && count.as_u64() != Some(0));
                for (name, count) in counts {
                    write!(words, " {name}={count}").expect("a string takes any text");
                }
                continue;
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        write!(words, " {name}={shown}").expect("a string takes any text");
    }
    words
}

fn event_id(text: &str) -> Result<String, String> {
    let is_id = text.starts_with("evt_") && text[4..].bytes().all(|b| b.is_ascii_alphanumeric());
    if is_id { Ok(text.to_owned()) } else { Err("the id of an event begins with evt_".to_owned()) }
}

fn event_type(text: &str) -> Result<String, String> {
    let is_type = |b: u8| b.is_ascii_lowercase() || matches!(b, b'.' | b'_' | b'*');
    if !text.is_empty() && text.bytes().all(is_type) {
        Ok(text.to_owned())
    } else {
        Err("a type is such as notification.done, or delivery.*".to_owned())
    }
}

/// The time in UTC, because the `+` of an offset means a space in a query.
fn time(text: &str) -> Result<String, String> {
    let time = DateTime::parse_from_rfc3339(text)
        .map_err(|_| "a time is such as 2026-12-01T09:00:00Z, or 2026-12-01T10:00:00+01:00".to_owned())?;
    Ok(time.to_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

fn device_details() -> PossibleValuesParser {
    PossibleValuesParser::new(DeviceDetail::ALL.iter().map(|detail| detail.as_str()))
}

fn unreadable() -> CommandError {
    let failure = CommandError::failed("the answer of the service is no list of events");
    failure.hint("the service may be of another version than this program")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_person_reads_time_type_and_what_is_short() {
        let recorded = json!({
            "id": "evt_1", "type": "delivery.recorded", "app": "shop", "at": "2026-11-28T09:00:00.120Z",
            "data": {"notification": "ntf_1", "label": null, "lane": "fcm", "attempt": 1,
                     "counts": {"targets": 3, "accepted": 2, "rejected": 1, "expired": 0}, "devices": [{}, {}, {}],
                     "devices_omitted": 0},
        });
        insta::assert_snapshot!(
            in_words(&recorded),
            @"2026-11-28T09:00:00.120Z  delivery.recorded      notification=ntf_1 lane=fcm attempt=1 accepted=2 rejected=1 devices=3 devices_omitted=0"
        );
    }

    #[test]
    fn an_id_or_type_leads_to_no_other_query() {
        assert!(event_id("evt_0a").is_ok() && event_type("delivery.*").is_ok());
        for text in ["", "evt", "ntf_1", "evt_1&limit=1", "evt_é"] {
            assert!(event_id(text).is_err(), "{text}");
        }
        for text in ["", "a&b", "a b", "a%2e"] {
            assert!(event_type(text).is_err(), "{text}");
        }
        for text in ["", "yesterday", "2026-12-01", "2026-12-01T09:00:00", "2026-12-01T09:00:00Z&limit=1"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_with_an_offset_is_the_same_time_in_utc() {
        for text in
            ["2026-12-01T09:00:00.25Z", "2026-12-01T10:00:00.25+01:00", "2026-12-01T04:00:00.250-05:00"]
        {
            assert_eq!(time(text).as_deref(), Ok("2026-12-01T09:00:00.250Z"), "{text}");
        }
    }
}
