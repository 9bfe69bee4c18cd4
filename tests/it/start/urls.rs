//! Every form of `database.url` that psql takes leads to the database, and a wrong one is told without its password.

use pushpost::simulator::Settings;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::crash::site::Site;
use crate::database::TestDatabase;
use crate::proxy::Proxy;

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
async fn what_psql_takes_leads_to_the_database() {
    let (site, database) = (Site::new(Settings::default(), "").await, TestDatabase::create().await);
    let (proxy, mut tasks) = (Proxy::of(&database).await, JoinSet::new());
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
        let listed = site.run_with(&["keys", "list"], &[(URL, &url)]).await;
        assert!(listed.status.success(), "{url}: {listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_that_can_not_be_read_is_told_by_its_wrong_part() {
    let site = Site::new(Settings::default(), "").await;
    for (url, fault) in [
        ("postgres://me:hunter2@db:54x/d", "database.url: has a port that is no number from 1 to 65535"),
        ("postgres://me:hunter2@db/d?sslmod=require", "database.url: has an unknown parameter \"sslmod\""),
        ("postgres://me:hunter2%@db/d", "database.url: has a \"%\" in its password"),
    ] {
        let told = site.run_with(&["keys", "list"], &[(URL, url)]).await;
        let told = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.contains(fault) && !told.contains("hunter2"), "{told}");
    }
    let url = "postgres://me:hunter2@127.0.0.1:1,127.0.0.1:2/d";
    let told = site.run_with(&["keys", "list"], &[(URL, url)]).await;
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    let each = "127.0.0.1:1: connection refused; 127.0.0.1:2: connection refused";
    assert!(told.contains(each), "{told}");
}
