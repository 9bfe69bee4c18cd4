//! `pushpost demo` without `--once`: it begins with the way to the dashboard.

use std::process::Stdio;

use pushpost_testkit::processes::{command, program, signal};
use pushpost_testkit::wait::WAIT_MAX;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use super::{Browser, apps_of};
use crate::event_streams::client::StreamClient;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_opens_with_the_dashboard_and_a_key_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(program());
    command.args(["demo", "--devices", "200", "--notifications", "20"]).current_dir(folder.path());
    let mut demo = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut after = async |text: &str| loop {
        let line = timeout(WAIT_MAX, lines.next_line()).await.expect("the demo goes on").unwrap();
        if let Some((_, rest)) = line.expect("the demo goes on").split_once(text) {
            return rest.to_owned();
        }
    };
    let address = after("Watch it in the dashboard: ").await;
    let key = after("log in with the key ").await;
    let origin = address.strip_suffix("/dashboard").unwrap();
    let mut browser = Browser::at(origin.to_owned());
    assert_eq!(browser.get("/dashboard/").await.status, 200);
    let session = browser.log_in(&key).await;
    assert_eq!(apps_of(&session.body), [("shop", true)], "{session:?}");
    let mut stream = StreamClient::read(browser.look("shop", None).await, "text/event-stream").await;
    let mut seen = (false, false);
    while seen != (true, true) {
        let block = stream.block().await.expect("the stream goes on");
        seen.0 |= block.event.as_deref() == Some("snapshot");
        seen.1 |= block.event.as_deref() == Some("delivery.recorded");
    }
    drop(stream);
    signal("-INT", demo.id().unwrap()).await;
    assert!(timeout(WAIT_MAX, demo.wait()).await.expect("it ends").is_ok());
}
