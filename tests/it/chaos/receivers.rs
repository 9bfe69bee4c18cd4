//! The receivers of every kind, as processes, and what each must have got in the end.

use std::collections::HashMap;

use crate::webhooks::readme_receiver::{Language, ReadmeReceiver};
use pushpost::domain::EventTypes;

/// The label of the notification of which a picky receiver refuses the end.
pub(super) const POISON: &str = "poison";

/// A receiver, and how often it was killed.
pub(super) struct NamedReceiver {
    pub(super) name: &'static str,
    pub(super) receiver: ReadmeReceiver,
    /// What the process verifies with, or the next one.
    pub(super) secret: &'static str,
    kills: usize,
    /// Types of the events that its webhook has; none: every type.
    types: Option<&'static str>,
    /// Events of a message at most.
    batch_max: usize,
}

/// One receiver of each kind: those of the README, some of them with a changed line.
pub(super) struct Receivers {
    pub(super) python: NamedReceiver,
    pub(super) node: NamedReceiver,
    /// Takes half a second for a message.
    pub(super) slow: NamedReceiver,
    /// Answers 500 to each message that has the end of the notification with the label [`POISON`].
    pub(super) picky: NamedReceiver,
    /// Is not started before [`NamedReceiver::start_again`].
    pub(super) down: NamedReceiver,
    /// Answers 410 to its first message, which disables the webhook.
    pub(super) gone: NamedReceiver,
}

impl Receivers {
    pub(super) async fn start(secret: &'static str) -> Self {
        use Language::{Node, Python};
        let start = |name, language, changes: &[(&str, &str)]| NamedReceiver {
            name,
            receiver: ReadmeReceiver::start_changed(language, secret, changes),
            secret,
            kills: 0,
            types: None,
            batch_max: 100,
        };
        let small = |receiver| NamedReceiver { batch_max: 10, ..receiver };
        let ok = "    response.writeHead(204)";
        let slow = format!("    await new Promise((done) => setTimeout(done, 500));\n{ok}");
        let refuses = format!(
            "        if b'\"{POISON}\"' in body:\n            return self.send_error(500)\n        try:\n"
        );
        let picky = start("picky", Python, &[("        try:\n", &refuses)]);
        let mut all = Self {
            python: small(start("python", Python, &[])),
            node: small(start("node", Node, &[])),
            slow: start("slow", Node, &[(ok, &slow)]),
            picky: NamedReceiver { types: Some("\"notification.done\""), ..small(picky) },
            down: start("down", Python, &[]),
            gone: start("gone", Node, &[("204", "410")]),
        };
        all.down.receiver.kill().await;
        all
    }

    /// The webhooks of the configuration, each signed with all of these secrets.
    pub(super) fn setting(&self, secrets: &[&str]) -> String {
        let patterns = EventTypes::patterns();
        let groups = patterns.iter().filter(|pattern| pattern.ends_with(".*"));
        let groups = groups.map(|group| format!("\"{group}\"")).collect::<Vec<_>>().join(",");
        let secrets = secrets.iter().map(|secret| format!("\"{secret}\"")).collect::<Vec<_>>().join(",");
        let webhook = |of: &NamedReceiver| {
            format!(
                "{{name=\"{}\", url=\"{}\", secrets=[{secrets}], types=[{}], batch_max={}}}",
                of.name,
                of.receiver.url(),
                of.types.unwrap_or(&groups),
                of.batch_max
            )
        };
        let all = [&self.python, &self.node, &self.slow, &self.picky, &self.down, &self.gone];
        format!("[{}]", all.map(webhook).join(", "))
    }

    /// The receiver that is killed in this round.
    pub(super) fn victim(&mut self, round: usize) -> &mut NamedReceiver {
        match round % 3 {
            0 => &mut self.python,
            1 => &mut self.node,
            _ => &mut self.slow,
        }
    }

    /// Kills of receivers while messages came.
    pub(super) fn kills(&self) -> usize {
        [&self.python, &self.node, &self.slow, &self.picky, &self.down, &self.gone]
            .map(|each| each.kills)
            .iter()
            .sum()
    }
}

impl NamedReceiver {
    /// `kill -9`, then a new process.
    pub(super) async fn replace(&mut self) {
        self.receiver.kill().await;
        self.kills += 1;
        self.start_again();
    }

    /// A new process after a kill.
    pub(super) fn start_again(&mut self) {
        self.receiver.start_again(self.secret);
    }

    /// Whether the event has arrived.
    pub(super) fn has(&self, event: &str) -> bool {
        self.receiver.printed().iter().any(|(id, _)| id == event)
    }

    /// Asserts that all these events have arrived in their order, whatever else came, and that for each kill of a node or
    /// of the receiver at most one message came again. Answers how many did.
    pub(super) fn assert_complete(&self, log: &[String], node_kills: usize) -> usize {
        let places: HashMap<&str, usize> =
            log.iter().enumerate().map(|(place, id)| (id.as_str(), place)).collect();
        let printed = self.receiver.printed();
        let arrivals = printed.iter().filter_map(|(id, _)| places.get(id.as_str()));
        let (mut expected, mut previous, mut repeats) = (0, None, 0);
        for &place in arrivals {
            assert!(
                place <= expected,
                "{}: event {place} of the log came before event {expected}",
                self.name
            );
            // A message that comes again begins with its first event.
            repeats += usize::from(previous.is_some_and(|previous| place <= previous));
            previous = Some(place);
            expected = expected.max(place + 1);
        }
        assert_eq!(expected, log.len(), "{}: every event has arrived", self.name);
        let kills = node_kills + self.kills;
        assert!(repeats <= kills, "{}: {repeats} messages came again after {kills} kills", self.name);
        repeats
    }
}
