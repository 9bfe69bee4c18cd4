//! The messages of the Postgres protocol, as far as a proxy needs them
//! (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).

use std::collections::HashMap;

use tokio::io::{AsyncRead, AsyncReadExt};

/// One message, whole: its type, or none for the first of a client, and all its bytes.
pub(super) struct Message {
    pub(super) kind: Option<u8>,
    pub(super) bytes: Vec<u8>,
}

impl Message {
    /// The next message; none at the end of the connection.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin), has_kind: bool) -> Option<Self> {
        let kind = match has_kind {
            true => Some(from.read_u8().await.ok()?),
            false => None,
        };
        let length = from.read_u32().await.ok()?;
        let mut bytes: Vec<u8> = kind.into_iter().chain(length.to_be_bytes()).collect();
        let head = bytes.len();
        bytes.resize(head - 4 + length as usize, 0);
        from.read_exact(&mut bytes[head..]).await.ok()?;
        Some(Self { kind, bytes })
    }

    /// A simple query.
    pub(super) fn query(sql: &str) -> Vec<u8> {
        let length = u32::try_from(4 + sql.len() + 1).unwrap();
        [&b"Q"[..], &length.to_be_bytes(), sql.as_bytes(), &[0]].concat()
    }

    /// Does the server answer with `ReadyForQuery`?
    pub(super) fn asks_for_ready(&self) -> bool {
        matches!(self.kind, None | Some(b'Q' | b'S'))
    }

    /// Is this `ReadyForQuery`, and the session in no transaction?
    pub(super) fn is_ready_and_idle(&self) -> Option<bool> {
        (self.kind == Some(b'Z')).then(|| self.bytes.last() == Some(&b'I'))
    }

    /// The text from `at` in the message's content to its end of text.
    fn text(&self, at: usize) -> String {
        let content = self.bytes.get(5 + at..).unwrap_or_default();
        String::from_utf8_lossy(content.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    }
}

/// The statements of one connection.
#[derive(Default)]
pub(super) struct Statements {
    prepared: HashMap<String, String>,
    carried: Vec<String>,
}

impl Statements {
    /// Notes what a client's message prepares or runs. The statement that it runs.
    pub(super) fn note(&mut self, message: &Message) -> Option<String> {
        let run = match message.kind? {
            b'Q' => message.text(0),
            b'P' => {
                let name = message.text(0);
                let sql = message.text(name.len() + 1);
                self.prepared.insert(name, sql);
                return None;
            }
            b'B' => {
                let portal = message.text(0);
                self.prepared.get(&message.text(portal.len() + 1)).cloned().unwrap_or_default()
            }
            _ => return None,
        };
        if !self.carried.contains(&run) {
            self.carried.push(run.clone());
        }
        Some(run)
    }

    pub(super) fn has_carried(&self, sql: &str) -> bool {
        self.carried.iter().any(|carried| carried.contains(sql))
    }
}
