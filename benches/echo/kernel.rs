//! The rival: the same echo program on the kernel's TCP over loopback with tokio's current-thread runtime.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use dpdk_net_bench::cpu;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// CPU time of the server's thread per request, with `busy` of `connections` connections at work.
pub(crate) fn run(connections: usize, busy: usize, duration: Duration) -> anyhow::Result<f64> {
    let (tell, told) = std::sync::mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicU64::new(0));
    let server = {
        let (stop, served) = (stop.clone(), served.clone());
        std::thread::spawn(move || -> anyhow::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                tell.send((listener.local_addr()?, rustix::thread::gettid()))?;
                tokio::spawn(accept(listener, served));
                while !stop.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                anyhow::Ok(())
            })
        })
    };
    let (address, thread) = told.recv().context("the kernel server did not start")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let mut idle = Vec::with_capacity(connections);
        for _ in busy..connections {
            idle.push(TcpStream::connect(address).await?);
        }
        for _ in 0..busy {
            tokio::spawn(client(address));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (requests, cpu) = (served.load(Ordering::Relaxed), cpu::of_thread(thread)?);
        tokio::time::sleep(duration).await;
        let requests = served.load(Ordering::Relaxed) - requests;
        let cpu = cpu::of_thread(thread)? - cpu;
        anyhow::Ok(cpu.as_nanos() as f64 / requests.max(1) as f64)
    });
    stop.store(true, Ordering::Relaxed);
    drop(runtime);
    server
        .join()
        .map_err(|_| anyhow::anyhow!("the kernel server panicked"))??;
    result
}

async fn accept(listener: TcpListener, served: Arc<AtomicU64>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let served = served.clone();
        tokio::spawn(async move {
            let mut buf = [0; 64];
            while let Ok(len @ 1..) = stream.read(&mut buf).await {
                if stream.write_all(&buf[..len]).await.is_err() {
                    break;
                }
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

async fn client(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buf = [b'x'; 64];
    loop {
        stream.write_all(&buf).await?;
        stream.read_exact(&mut buf).await?;
    }
}
