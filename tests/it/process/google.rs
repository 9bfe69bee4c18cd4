//! Environment variables that could lead to another Google credential than the configured one.

use pushpost_testkit::processes::TestProcess;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_in_the_environment_is_never_taken_for_the_metadata_server_s() {
    let mut process = TestProcess::create().await;
    let toml = process.read("pushpost.toml");
    let toml = toml.lines().map(|line| match line.starts_with("service_account_file = ") {
        true => "credentials = \"default\"\nproject_id = \"shop-1\"\n".to_owned(),
        false => format!("{line}\n"),
    });
    process.write("pushpost.toml", &toml.collect::<String>());
    process.variable("GOOGLE_APPLICATION_CREDENTIALS", &process.path("service-account.json"));
    let (ended, said) = process.refuse().await;
    assert_eq!(ended.code(), Some(1), "{said}");
    for part in ["lane shop/fcm", "the variable GOOGLE_APPLICATION_CREDENTIALS names another credential"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(process.simulator.ledger().entries().len(), 0, "nothing was asked for");
}
