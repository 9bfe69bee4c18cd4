//! Keeps libpq's variables away from the embedded Postgres.
//!
//! The driver takes its defaults from them. `embedded_postgres` sets all but one anew: what `PGOPTIONS` holds is sent
//! to the server whatever is set beside it. So the program is executed again without the variable, in the same process.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;

/// The parameters that sessions of libpq's programs begin with.
const OPTIONS: &str = "PGOPTIONS";

/// Returns if the variable is not set; else the program begins anew. So nothing may have been begun yet.
///
/// # Errors
/// The program's file is gone.
pub(super) fn drop_libpq_options() -> anyhow::Result<()> {
    if env::var_os(OPTIONS).is_none() {
        return Ok(());
    }
    let program = env::current_exe().context("cannot start again without PGOPTIONS")?;
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command.args(arguments).env_remove(OPTIONS).exec();
    Err(error).context("cannot start again without PGOPTIONS")
}
