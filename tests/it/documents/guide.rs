//! `docs/guide.md`: every block of the first hour, in all three languages, prints what the guide says.

use std::fs;

use super::{assert_printed, blocks, free_port, run, runnable};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_blocks_of_the_guide_print_what_it_says() {
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide.md")).unwrap();
    let blocks = blocks(&guide);
    for language in ["sh", "python", "js"] {
        let of_language = blocks.iter().filter(|block| block.language == language);
        let compared = of_language.filter(|block| !block.expected().is_empty()).count();
        assert!(compared > 8, "{language}: {compared} blocks say what they print");
    }
    let blocks = runnable(blocks);
    let (service, control) = (free_port(), free_port());
    let simulate = format!("pushpost simulate --apns-port 0 --fcm-port 0 --control-port {control}");
    let replaced =
        [(":8080", format!(":{service}")), (":9445", format!(":{control}")), ("pushpost simulate", simulate)];
    let printed = run(&blocks, service, &replaced).await;
    for (block, printed) in blocks.iter().zip(&printed) {
        assert_printed(block, printed);
    }
}
