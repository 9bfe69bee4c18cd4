//! The `pushpost` binary. It only calls the library, so that everything can be tested there.

use std::process::ExitCode;

/// Memory of an attempt is often freed by another thread than the one that allocated it. With the system's allocator this
/// takes a fifth of a broadcast's time (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pushpost::cli::main(std::env::args_os())
}
