//! The program: one crypto provider for the whole process, then the command line.

use std::process::ExitCode;

/// A request makes hundreds of small allocations on several threads, which the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Libraries that ask for the process's default get the same provider as everything else. Nobody was here before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    chancery::cli::run()
}
