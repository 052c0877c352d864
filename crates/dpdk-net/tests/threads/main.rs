//! Sockets that are used from the threads of a multi-thread runtime while their worker polls, and tasks that other threads have a worker
//! spawn.

#[path = "../common/mod.rs"]
mod common;
mod ends;
mod sockets;
mod spawned;

use std::future::Future;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Threads of the runtime beside the worker.
const THREADS: usize = 4;

/// Runs a task on a multi-thread runtime, and waits for it on the worker, which polls meanwhile.
async fn elsewhere<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
    let (tell, told) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_time()
            .build()
            .unwrap();
        let result = runtime.block_on(runtime.spawn(task));
        // Whoever waited for it may be gone, as a test has failed.
        let _ = tell.send(result.unwrap());
    });
    let result = told.await.expect("the threads' task ends well");
    thread.join().unwrap();
    result
}
