//! Questions to the database of a [`TestService`], and changes of it that no API makes.

use sqlx::AssertSqlSafe;
use tokio::time::{Instant, sleep};

use super::{PATIENCE, POLL, TestService};

impl TestService {
    pub async fn execute(&self, sql: &str) -> u64 {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.database.pool).await.unwrap().rows_affected()
    }

    pub async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.database.pool).await.unwrap()
    }

    /// Milliseconds since 1970.
    pub async fn now_ms(&self) -> i64 {
        self.count("select (extract(epoch from clock_timestamp()) * 1000)::bigint").await
    }

    /// Waits until a count is what it should be.
    pub async fn until_count(&self, sql: &str, wanted: i64) {
        let until = Instant::now() + PATIENCE;
        let mut found = self.count(sql).await;
        while found != wanted {
            assert!(Instant::now() < until, "{sql}: {found}");
            sleep(POLL).await;
            found = self.count(sql).await;
        }
    }
}
