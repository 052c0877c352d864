//! The attributes of `dpdk-net`: use them from there.
#![forbid(unsafe_code)]

mod main_attribute;

use proc_macro::TokenStream;

/// Makes an `async fn main` the program of an application: it is called for each queue of each port, on the worker that serves it, with
/// a `Context` if it takes one.
///
/// Without arguments the application is that of a file: the first argument of the command line, or the environment variable
/// `DPDK_NET_CONFIG`, or `dpdk-net.toml`. `file = "web.toml"` names another one; `builder = expression` is for what an `AppBuilder` describes.
///
/// `runtime = "local"` says what the tasks run on, whatever the file says: `"tokio"`, `"local"`, `"smol"` or `"compio"`, the last two with
/// the feature of that name.
///
/// What is wrong with the file, or at start, is written to standard error for people, and the process ends with exit code 1. Else the exit
/// code is that of what the programs returned, as with any `main`: of the first one that failed, if one did.
///
/// ```no_run
/// #[dpdk_net::main]
/// async fn main(ctx: dpdk_net::Context) -> std::io::Result<()> {
///     let listener = ctx.listener("http")?;
///     loop {
///         let (stream, peer) = listener.accept().await?;
///         println!("{peer} came to queue {}", ctx.queue_id());
///         drop(stream);
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    main_attribute::expand(arguments.into(), item.into()).into()
}
