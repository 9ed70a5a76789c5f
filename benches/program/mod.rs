//! What the small measuring programs share: the errors, the start, and the output.

use std::{error::Error, io::Write as _, process::ExitCode};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;
pub(crate) type Outcome<T> = Result<T, Failure>;

/// Runs a program on one thread with the arguments that `parse` reads. Errors go to standard error.
pub(crate) fn run<A>(
    usage: &str,
    parse: impl FnOnce(&mut dyn Iterator<Item = String>) -> Outcome<A>,
    measure: impl AsyncFnOnce(&A) -> Outcome<()>,
) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    // `cargo bench` adds a flag for its own harness.
    let mut arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let result = match (runtime, parse(&mut arguments)) {
        (Ok(runtime), Ok(args)) => runtime.block_on(measure(&args)),
        (_, Err(error)) => Err(format!("{error}\n{usage}").into()),
        (Err(error), _) => Err(error.into()),
    };
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    // Fails when standard error is closed.
    drop(writeln!(std::io::stderr(), "{error}"));
    ExitCode::FAILURE
}

/// Writes a line to standard output.
pub(crate) fn print(line: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
