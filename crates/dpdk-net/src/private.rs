//! What the attributes expand to calls of. Not for use by hand.

use std::future::Future;
#[cfg(feature = "config")]
use std::io::IsTerminal;
#[cfg(feature = "config")]
use std::path::PathBuf;
use std::process::{ExitCode, Termination};

use crate::runtime::RuntimeKind;
use crate::{AppBuilder, Context, Error};

/// Runs the application of a file: the one named, or else that of the command line or the environment.
#[cfg(feature = "config")]
pub fn file<F, Fut>(named: Option<&str>, runtime: Option<RuntimeKind>, program: F) -> ExitCode
where
    F: Fn(Context) -> Fut + Sync,
    Fut: Future,
    Fut::Output: Termination + Send,
{
    let path = named.map(PathBuf::from);
    let path = path.or_else(|| std::env::args_os().nth(1).map(PathBuf::from));
    let path = path.or_else(|| std::env::var_os("DPDK_NET_CONFIG").map(PathBuf::from));
    let path = path.unwrap_or_else(|| PathBuf::from("dpdk-net.toml"));
    let app = crate::App::from_file(path).map(|app| match runtime {
        Some(runtime) => app.configure(|builder| builder.runtime(runtime)),
        None => app,
    });
    report(app.and_then(|app| app.run(program)))
}

/// Runs what a builder describes.
pub fn builder<F, Fut>(builder: AppBuilder, runtime: Option<RuntimeKind>, program: F) -> ExitCode
where
    F: Fn(Context) -> Fut + Sync,
    Fut: Future,
    Fut::Output: Termination + Send,
{
    let builder = match runtime {
        Some(runtime) => builder.runtime(runtime),
        None => builder,
    };
    report(builder.run_each(program))
}

/// Tells people of an error. The exit code of the first program that failed, or of an error, or else of success.
fn report<T: Termination>(outcome: Result<Vec<Result<T, Error>>, Error>) -> ExitCode {
    let queues = match outcome {
        // Whoever ends a service by a signal means it to end.
        Err(Error::Stopped { .. }) => return ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            return ExitCode::FAILURE;
        }
        Ok(queues) => queues,
    };
    let mut code = ExitCode::SUCCESS;
    for output in queues.into_iter().flatten() {
        let own = output.report();
        if code == ExitCode::SUCCESS {
            code = own;
        }
    }
    code
}

fn tell(error: &Error) {
    #[cfg(feature = "config")]
    if let Error::Config(problems) = error {
        let colours = std::io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        eprint!("{}", problems.render(colours, 100));
        return;
    }
    eprintln!("error: {error}");
}
