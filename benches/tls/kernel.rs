//! The rival: the same ends on the kernel's TCP over loopback, on one thread with tokio's current-thread runtime.

use std::time::Instant;

use tokio::net::{TcpListener, TcpStream};

use crate::ends::{Case, Ends};

/// Seconds that a case takes.
pub(crate) fn run(case: Case) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ends = Ends::new(case)?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let local = listener.local_addr()?;
        let own = ends.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // As every server over TLS does: our own stack has no Nagle delay to be turned off for this pattern.
                let _ = stream.set_nodelay(true);
                tokio::spawn(own.clone().serve(stream));
            }
        });
        let connect = move || async move {
            let stream = TcpStream::connect(local).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let prepared = ends.prepare(connect).await?;
        let start = Instant::now();
        prepared.run().await?;
        Ok(start.elapsed().as_secs_f64())
    })
}
