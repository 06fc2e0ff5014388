//! The process edge: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(claustrum::cli::main().code())
}
