//! The lines about what operators do (docs/logs.md#audit).

use std::net::IpAddr;

use super::AUDIT_TARGET;

/// In place of a key: the request had none that an operator may have.
pub const UNKNOWN_KEY: &str = "unknown";

/// An operator's action that has ended.
#[derive(Clone, Debug)]
pub struct AuditedAction<'a> {
    /// The id of the key that it was asked with, [`UNKNOWN_KEY`], or `cli` for a command on the database.
    pub key: &'a str,
    /// The app that it concerns, where it is of one.
    pub app: Option<&'a str>,
    /// What was asked for, such as `lane.pause`.
    pub action: &'a str,
    /// What it was asked for: a lane, a key, a clean-up run, an app. Empty: the action names no object.
    pub object: &'a str,
    /// `done`, or the code of the problem.
    pub result: &'a str,
    /// `dashboard`, if a page of it asked; none: a call of the API, or a command.
    pub via: Option<&'static str>,
    /// The address of the client, where it is known.
    pub address: Option<IpAddr>,
}

impl AuditedAction<'_> {
    /// Logs the action.
    pub fn log(&self) {
        let Self { key, app, action, object, result, via, address } = self;
        let address = address.map(tracing::field::display);
        tracing::info!(
            target: AUDIT_TARGET,
            key,
            app,
            action,
            object,
            result,
            via,
            address,
            "operator's action ended"
        );
    }
}
