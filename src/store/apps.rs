//! Apps, their lanes, and the installation's secret key: read when a node starts, and when its configuration adds apps.

use std::collections::BTreeMap;

use super::Error;
use crate::domain::{AppId, Environment, InstallationKey, LaneId, LaneKey};
use crate::store::Session;

/// An app with its lanes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppRows {
    /// The app's number.
    pub id: AppId,
    /// The app's name in the configuration.
    pub name: String,
    /// Its lanes: all that this node knows.
    pub lanes: BTreeMap<LaneKey, LaneId>,
}

/// Makes the named apps and lanes that are missing, and reads all named ones: in order of names, each once.
///
/// Nodes that start together may call this together. Existing rows are left alone, so that a start uses up no numbers
/// of the small identity columns.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn ensure(conn: &mut Session, names: &[String]) -> Result<Vec<AppRows>, Error> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    sqlx::query!(
        "insert into apps (name)
         select name from unnest($1::text[]) as n(name)
         where not exists (select from apps where apps.name = n.name)
         on conflict (name) do nothing",
        &names
    )
    .execute(&mut *conn)
    .await?;
    let known = conn.platforms().clone();
    let platforms: Vec<i16> = known.lanes().map(|key| key.platform().code()).collect();
    let environments: Vec<i16> = known.lanes().map(|key| Environment::code(key.environment())).collect();
    sqlx::query!(
        "insert into lanes (app_id, platform, environment)
         select a.app_id, k.platform, k.environment
         from apps a cross join unnest($2::smallint[], $3::smallint[]) as k(platform, environment)
         where a.name = any($1) and not exists (
           select from lanes l
           where l.app_id = a.app_id and l.platform = k.platform and l.environment = k.environment)
         order by a.app_id, k.platform, k.environment
         on conflict (app_id, platform, environment) do nothing",
        &names,
        &platforms,
        &environments
    )
    .execute(&mut *conn)
    .await?;
    read(conn, &names).await
}

/// Reads the installation's secret key.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn installation_key(conn: &mut Session) -> Result<InstallationKey, Error> {
    let key = sqlx::query_scalar!("select key from installation").fetch_one(conn).await?;
    let bytes = <[u8; 32]>::try_from(key.as_slice());
    let bytes = bytes.map_err(|_| Error::Inconsistent { table: "installation", column: "key", row: 1 })?;
    Ok(InstallationKey::new(bytes))
}

async fn read(conn: &mut Session, names: &[String]) -> Result<Vec<AppRows>, Error> {
    let known = conn.platforms().clone();
    let rows = sqlx::query!(
        "select a.app_id, a.name, l.lane_id, l.platform, l.environment
         from apps a join lanes l using (app_id) where a.name = any($1) order by a.name",
        names
    )
    .fetch_all(conn)
    .await?;
    let mut apps: Vec<AppRows> = Vec::new();
    for row in rows {
        // A lane of a provider that this node lacks is for other nodes.
        let Some(platform) = known.from_code(row.platform) else { continue };
        let key = LaneKey::new(platform, platform.environment_from_code(row.environment));
        let id = AppId(row.app_id);
        if apps.last().is_none_or(|last| last.id != id) {
            apps.push(AppRows { id, name: row.name, lanes: BTreeMap::new() });
        }
        if let Some(app) = apps.last_mut() {
            app.lanes.insert(key, LaneId(row.lane_id));
        }
    }
    Ok(apps)
}
