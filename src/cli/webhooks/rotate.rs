//! `pushpost webhooks rotate`: a new secret for a webhook that the API made.

use clap::Args;
use serde_json::json;

use super::{WebhookArgs, unreadable};
use crate::cli::command_error::CommandError;
use crate::cli::output;

/// What a refusal calls by the names of the body, as the flags are called.
const FLAGS: &[(&str, &str)] =
    &[("`keep_old` `0s`", "--keep-old 0s"), ("`drop_oldest`", "--drop-oldest"), ("#/keep_old", "--keep-old")];

/// Make a new secret for a webhook of the API, and print it on stdout; it can't be shown again
///
/// The old secrets sign beside it for a while, so that the receiver may be configured meanwhile. At most three secrets sign.
#[derive(Args, Debug)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    webhook: WebhookArgs,
    /// How long the old secrets sign on: digits and one of ms, s, m, h, d, w, at most 30d; 24h if left out; 0s: they end at once
    #[arg(long, value_name = "DURATION")]
    keep_old: Option<String>,
    /// End the oldest secret at once if three sign already, instead of failing
    #[arg(long)]
    drop_oldest: bool,
}

impl RotateArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let (client, path) = self.webhook.find().await?;
        let body = json!({"keep_old": self.keep_old, "drop_oldest": self.drop_oldest});
        let answer = client.post(&format!("{path}/rotate"), Some(&body)).await;
        let answer = answer.map_err(|error| error.reworded(FLAGS))?;
        if self.webhook.json {
            return Ok(output::line(&answer.to_string())?);
        }
        let secret = answer["secret"].as_str().ok_or_else(unreadable)?;
        output::line(secret)?;
        let old = answer["secrets"].as_array().into_iter().flatten().filter_map(|secret| {
            let ends = secret["expires_at"].as_str()?;
            Some(format!("the secret …{} signs until {ends}", secret["hint"].as_str()?))
        });
        old.for_each(|line| eprintln!("{line}"));
        Ok(())
    }
}
