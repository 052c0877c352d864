//! The rival: the same program on the kernel's TCP over loopback, with tokio's current-thread runtime.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use dpdk_net_bench::cpu;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// ns of CPU time of the server's thread a request, user and system, over so many connections.
pub(crate) fn run(connections: usize) -> anyhow::Result<f64> {
    let (tell, told) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = std::thread::spawn(move || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            tell.send((listener.local_addr()?, rustix::thread::gettid()))?;
            tokio::select! {
                served = axum::serve(listener, crate::site()) => served?,
                _ = stopped => {}
            }
            anyhow::Ok(())
        })
    });
    let (address, thread) = told.recv().context("the kernel server did not start")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let answered = Arc::new(AtomicU64::new(0));
        for _ in 0..connections {
            tokio::spawn(client(address, answered.clone()));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (before, cpu) = (answered.load(Ordering::Relaxed), cpu::of_thread(thread)?);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let requests = answered.load(Ordering::Relaxed) - before;
        let cpu = cpu::of_thread(thread)? - cpu;
        anyhow::ensure!(requests > 0, "the kernel's server answered nothing");
        Ok(cpu.as_nanos() as f64 / requests as f64)
    });
    drop(stop);
    server
        .join()
        .map_err(|_| anyhow::anyhow!("the kernel server panicked"))??;
    result
}

async fn client(address: SocketAddr, answered: Arc<AtomicU64>) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buf = [0; 512];
    loop {
        stream.write_all(crate::REQUEST).await?;
        let mut len = 0;
        while !buf[..len].ends_with(crate::ANSWER) {
            match stream.read(&mut buf[len..]).await? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                more => len += more,
            }
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
}
