//! Signatures as the libraries of Standard Webhooks for Python and Node verify them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use chrono::Utc;
use pushpost::domain::{WebhookSecret, sign};
use pushpost_testkit::webhook_libraries::{node_folder, python};
use serde_json::{Value, json};

const PYTHON: &str = "\
import json, sys
from standardwebhooks import Webhook, WebhookVerificationError
for case in json.load(sys.stdin):
    try:
        Webhook(case['secret']).verify(case['body'], case['headers'])
        print('verified')
    except WebhookVerificationError:
        print('refused')
";
const NODE: &str = "\
import { readFileSync } from 'node:fs';
import { Webhook, WebhookVerificationError } from 'standardwebhooks';
for (const { secret, body, headers } of JSON.parse(readFileSync(0, 'utf8'))) {
  try {
    new Webhook(secret).verify(body, headers);
    console.log('verified');
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) throw error;
    console.log('refused');
  }
}
";

fn case(
    secret: &WebhookSecret,
    signers: &[&WebhookSecret],
    timestamp: i64,
    body: &str,
    posted: &str,
) -> Value {
    let signature = sign(signers.iter().copied(), "msg_1", timestamp, body.as_bytes());
    let headers = json!({
        "webhook-id": "msg_1", "webhook-timestamp": timestamp.to_string(), "webhook-signature": signature,
    });
    json!({"secret": secret.expose(), "body": posted, "headers": headers})
}

/// What the library says of each case.
fn verified(mut command: Command, cases: &Value) -> Vec<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(cases.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the libraries compare with this machine's clock")]
fn the_libraries_of_receivers_verify_a_signature_with_the_old_and_the_new_secret() {
    let now = Utc::now().timestamp();
    let (old, new, other) = (WebhookSecret::random(), WebhookSecret::random(), WebhookSecret::random());
    let body = r#"{"type":"pushpost.events","data":{"app":"shop","events":[{"é":1}]}}"#;
    let cases = json!([
        case(&old, &[&new, &old], now, body, body),
        case(&new, &[&new, &old], now, body, body),
        case(&old, &[&old], now - 200, body, body),
        case(&other, &[&new, &old], now, body, body),
        case(&old, &[&old], now, body, &body.replace("shop", "ship")),
        case(&old, &[&old], now - 400, body, body),
    ]);
    let expected = ["verified", "verified", "verified", "refused", "refused", "refused"];

    let mut in_python = Command::new(python());
    in_python.args(["-c", PYTHON]);
    assert_eq!(verified(in_python, &cases), expected, "Python");

    let mut in_node = Command::new("node");
    in_node.args(["--input-type=module", "--eval", NODE]).current_dir(node_folder());
    assert_eq!(verified(in_node, &cases), expected, "Node");
}
