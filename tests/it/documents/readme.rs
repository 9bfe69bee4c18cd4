//! The README's blocks. The test replaces ports, and the address of the external Postgres, which is an example.

use std::fs;

use pushpost_testkit::database::TestDatabase;

use super::{blocks, free_port, run, runnable};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_blocks_of_the_readme_do_what_they_say() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let blocks = blocks(&readme);
    let languages: Vec<_> = blocks.iter().map(|block| block.language.clone()).collect();
    assert_eq!(languages, ["sh", "sh", "sh", "python", "js", "sh", "sh"], "the blocks of the README");
    let blocks = runnable(blocks);

    let database = TestDatabase::empty().await;
    let (first, second) = (free_port(), free_port());
    let replaced = [
        (":8080", format!(":{first}")),
        (":8081", format!(":{second}")),
        ("pushpost simulate", "pushpost simulate --apns-port 0 --fcm-port 0 --control-port 0".to_owned()),
        ("postgres://pushpost@db/pushpost", format!("'{}'", database.url())),
    ];
    let answers = run(&blocks, first, &replaced).await;

    let answer = |language: &str, code: &str| {
        let at = blocks.iter().position(|block| block.language == language && block.code.contains(code));
        at.map(|at| &answers[at])
    };
    let registered = answer("sh", r#""user":"u42""#).unwrap();
    assert!(registered.contains(r#""user":"u42""#) && registered.contains("dev_"), "{registered}");
    let deliveries = answer("sh", "/deliveries").unwrap();
    assert!(deliveries.contains(r#""status":"accepted","attempts":1"#), "{deliveries}");
    for language in ["python", "js"] {
        assert!(answer(language, "").is_none_or(|answer| answer.contains("\nntf_")), "{answers:?}");
    }
    let anonymous = answer("sh", "--scope register").unwrap();
    assert!(anonymous.contains(r#""bound":false"#) && anonymous.contains("news"), "{anonymous}");
    assert!(
        answer("sh", "readyz").unwrap().matches("ready").count() >= 2,
        "both nodes are ready: {answers:?}"
    );
}
