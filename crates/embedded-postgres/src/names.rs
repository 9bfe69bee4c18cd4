//! A name for a user that the system does not know. initdb refuses a user id without an entry in the system's list of
//! users, and some platforms (OpenShift) give containers such ids. nss_wrapper shows a program another list.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use super::NAME;
use super::account::Account;
use super::error::Error;
use super::home::{self, Home};
use super::run;

/// Found by the system's linker; Debian's package is libnss-wrapper.
const LIBRARY: &str = "libnss_wrapper.so";

/// The account, with the environment in which it has a name.
pub(super) async fn ensure(home: &Home) -> Result<Account, Error> {
    let account = home.account().clone();
    // The other user is from the system's own list.
    if account.is_other() || has_name(&account, home.folder()).await {
        return Ok(account);
    }
    let (uid, gid) = (account.uid(), account.gid());
    let [users, groups] = ["passwd", "group"].map(|name| home.folder().join(name));
    let user = format!("{NAME}:x:{uid}:{gid}::/nonexistent:/bin/false\n");
    home::write_whole(&users, user.as_bytes(), 0o644, None)?;
    home::write_whole(&groups, format!("{NAME}:x:{gid}:\n").as_bytes(), 0o644, None)?;
    let variables = [
        ("LD_PRELOAD", OsString::from(LIBRARY)),
        ("NSS_WRAPPER_PASSWD", users.into()),
        ("NSS_WRAPPER_GROUP", groups.into()),
    ];
    let named = account.with_variables(variables);
    if has_name(&named, home.folder()).await { Ok(named) } else { Err(Error::NoName { uid }) }
}

async fn has_name(account: &Account, folder: &Path) -> bool {
    let mut command: Command = account.command(Path::new("id"), folder);
    command.arg("-un");
    run::output("id", command, run::SHORT).await.is_ok_and(|output| output.status.success())
}
