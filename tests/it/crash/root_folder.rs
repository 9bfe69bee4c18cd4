//! A checkout in root's home, which the user that runs Postgres may not enter (docs/queue.md#embedded-postgres).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pushpost_testkit::processes::{Posts, duplicates, register};
use pushpost_testkit::processes::{TestMachine, providers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_works_below_a_folder_that_only_root_may_enter() {
    if fs::metadata("/proc/self").map_or(u32::MAX, |process| process.uid()) != 0 {
        eprintln!("not root: there is no folder that only we may enter");
        return;
    }
    let machine =
        Arc::new(TestMachine::below(Path::new("/root"), 0o700, providers(Duration::ZERO), "").await);
    let mut node = machine.serve().await;
    let key = machine.key("send,read,devices").await;
    register(&machine, &key).await;
    let posts = Posts::default();
    for _ in 0..16 {
        posts.post(&machine, &key).await;
    }
    assert_eq!(posts.answers().keys().copied().collect::<Vec<_>>(), [Some(202)]);
    assert_eq!(duplicates(&posts.assert_kept(&machine, &key).await), 0);
    node.terminate().await;
    assert_eq!(node.ended().await.code(), Some(0));
    assert_eq!(machine.postmaster(), None);
}
