//! Every form of `database.url` that psql takes is accepted, and an invalid one is reported without its password.

use pushpost_simulator::Settings;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::processes::TestMachine;

const URL: &str = "PUSHPOST__DATABASE__URL";

/// Login, `host:port` and database of a proxy's URL.
fn parts(url: &str) -> (&str, &str, &str) {
    let (authority, path) = url.split_once("://").unwrap().1.split_once('/').unwrap();
    let (login, server) = authority.rsplit_once('@').unwrap();
    (login, server, path.split('?').next().unwrap())
}

/// Passes connections to the loopback address of IPv6 on; none where the machine has none.
async fn by_ipv6(to: String, tasks: &mut JoinSet<()>) -> Option<u16> {
    let listener = TcpListener::bind("[::1]:0").await.ok()?;
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        let mut links = JoinSet::new();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let to = to.clone();
            links.spawn(async move {
                let mut server = TcpStream::connect(to).await.unwrap();
                let _cut = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    Some(port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urls_of_psql_are_accepted() {
    let (machine, database) = (TestMachine::new(Settings::default(), "").await, TestDatabase::create().await);
    let (proxy, mut tasks) = (PostgresProxy::of(&database).await, JoinSet::new());
    let (login, server, name) = parts(proxy.url());
    let (host, port) = server.split_once(':').unwrap();
    let mut urls = vec![
        format!("postgresql://{login}@{server}/{name}?sslmode=disable"),
        format!("postgres://{login}@/{name}?host={host}&port={port}&sslmode=disable"),
        format!(
            "postgres://{login}@127.0.0.1:1,{server}/{name}?target_session_attrs=read-write&sslmode=disable"
        ),
        format!("postgres://{login}@/{name}?host=/nowhere,{host}&port=5432,{port}&sslmode=disable"),
    ];
    if let Some((_, folder)) = database.url().split_once("@%2F") {
        let (folder, port) = folder.split_once('/').unwrap().0.split_once(':').unwrap();
        let folder = folder.replace("%2F", "/");
        urls.push(format!("postgres://{login}@/{name}?host=/{folder}&port={port}"));
    }
    if let Some(port) = by_ipv6(server.to_owned(), &mut tasks).await {
        urls.push(format!("postgres://{login}@[::1]:{port}/{name}?sslmode=disable"));
    }
    for url in urls {
        let listed = machine.run_with(&["keys", "list"], &[(URL, &url)]).await;
        assert!(listed.status.success(), "{url}: {listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_url_is_reported_with_its_wrong_part() {
    let machine = TestMachine::new(Settings::default(), "").await;
    for (url, fault) in [
        ("postgres://me:hunter2@db:54x/d", "database.url: has a port that is not a number from 1 to 65535"),
        ("postgres://me:hunter2@db/d?sslmod=require", "database.url: has an unknown parameter \"sslmod\""),
        ("postgres://me:hunter2%@db/d", "database.url: has a \"%\" in its password"),
        (
            "postgres://",
            "database.url: the user is missing: write postgres://user:password@host:5432/database",
        ),
    ] {
        let told = machine.run_with(&["keys", "list"], &[(URL, url)]).await;
        let told = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.contains(fault) && !told.contains("hunter2"), "{told}");
    }
    let url = "postgres://me:hunter2@127.0.0.1:1,127.0.0.1:2/d";
    let told = machine.run_with(&["keys", "list"], &[(URL, url)]).await;
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    let each = "127.0.0.1:1: connection refused; 127.0.0.1:2: connection refused";
    assert!(told.contains(each), "{told}");
}

/// With `PGPORT` and `PGHOST` unset, as the harness has them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_lines_name_every_host_of_every_form_and_no_parameter_is_repeated() {
    let without_effect = "connect_timeout=7777&keepalives=0&channel_binding=prefer&gssencmode=disable\
                          &passfile=/run/7777&target_session_attrs=any";
    for (url, server) in [
        ("postgres://me:hunter2@/d?host=/nowhere/pg&port=54321".to_owned(), "/nowhere/pg/.s.PGSQL.54321"),
        ("postgres://me:hunter2@127.0.0.1:1,[::1]:2/d".to_owned(), "127.0.0.1:1, [::1]:2"),
        ("postgres://me:hunter2@name.invalid:1/d?hostaddr=127.0.0.1".to_owned(), "127.0.0.1:1"),
        ("postgres://me:hunter2#x@127.0.0.1:1/d".to_owned(), "127.0.0.1:1"),
        (format!("postgres://me:hunter2@127.0.0.1:1/d?{without_effect}"), "127.0.0.1:1"),
    ] {
        let machine = TestMachine::new(Settings::default(), "").await;
        let variables = [(URL, url.as_str()), ("PUSHPOST__DATABASE__START_TIMEOUT", "0s")];
        assert_eq!(machine.start_as(&["serve"], &variables).ended().await.code(), Some(69));
        let lines = machine.log_lines();
        let line = lines.iter().find(|line| line["message"] == "database is on a Postgres server");
        let line = line.unwrap_or_else(|| panic!("no line for {url}: {}", machine.log_text()));
        assert_eq!(
            (&line["server"], &line["database"], &line["user"]),
            (&server.into(), &"d".into(), &"me".into())
        );
        let log = machine.log_text();
        assert!(!log.contains("sqlx") && !log.contains("hunter2") && !log.contains("7777"), "{log}");
    }
}
