//! An end of ours: a worker on one core over a vhost or virtio-user port.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net::{App, AppBuilder, IdlePolicy};
use dpdk_net_rte::Eal;
use dpdk_net_rte::port::{Offload, OffloadRequest, Wish};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{CHUNK, Device, End, Offloads, PORT, Role, megabits, say};

/// Those of checksums.
const CHECKSUMS: [Offload; 6] = [
    Offload::RxIpv4Checksum,
    Offload::RxTcpChecksum,
    Offload::RxUdpChecksum,
    Offload::TxIpv4Checksum,
    Offload::TxTcpChecksum,
    Offload::TxUdpChecksum,
];

pub(crate) fn run(end: &End) -> anyhow::Result<()> {
    let app = app(end)?;
    let end = end.clone();
    app.run(|_| async move {
        // The socket is there now.
        say("up");
        match end.role {
            Role::Send => send(end).await,
            Role::Receive => receive(end).await,
        }
    })?
}

/// Vhost has the first core and virtio-user the second one.
fn app(end: &End) -> anyhow::Result<AppBuilder> {
    let socket = &end.socket;
    let (core, vdev) = match end.device {
        Device::Vhost => ("0", format!("net_vhost0,iface={socket},queues=1,tso=1")),
        Device::Virtio => (
            "1",
            format!(
                "net_virtio_user0,path={socket},queues=1,packed_vq=1,mac=02:00:00:00:00:07,queue_size=256"
            ),
        ),
    };
    let eal = Eal::builder("bulk")
        .lcores(core)
        .vdev(vdev)
        .no_huge()
        .no_pci()
        .no_shconf()
        .no_telemetry()
        .memory_mb(512)
        .file_prefix(format!("bench-bulk-{}", std::process::id()))
        .init()?;
    let host = if end.role == Role::Send { 1 } else { 2 };
    let off = end.offloads == Offloads::Off;
    let mut app = App::builder()
        .with_eal(eal)
        .address(format!("198.18.0.{host}/24"))
        .mtu(end.mtu)
        .idle(IdlePolicy::Spin)
        .drain_timeout(Duration::from_millis(100))
        .link_timeout(Duration::from_millis(if end.device == Device::Vhost {
            0
        } else {
            5_000
        }))
        .stack(move |stack| {
            stack.dad = false;
            stack.gro = !off;
            stack.gso = !off;
        });
    let (offloads, send_memory) = match end.offloads {
        Offloads::Off | Offloads::Software => (&[][..], 0),
        Offloads::Checksum => (&CHECKSUMS[..], 0),
        Offloads::All => (&Offload::ALL[..], 32 << 20),
    };
    let request = offloads
        .iter()
        .filter(|offload| **offload != Offload::FastFree)
        .fold(OffloadRequest::NONE, |request, offload| {
            request.with(*offload, Wish::Auto)
        });
    app = app
        .offloads(request.with(Offload::Scatter, Wish::Auto))
        .send_memory(send_memory);
    Ok(app)
}

async fn send(end: End) -> anyhow::Result<()> {
    let mut streams = Vec::new();
    for _ in 0..end.streams {
        let until = Instant::now() + crate::GRACE;
        // The other end may still come up.
        let stream = loop {
            match TcpStream::connect(("198.18.0.2", PORT)).await {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > until => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        streams.push(tokio::spawn(write(stream)));
    }
    for stream in streams {
        stream.await?;
    }
    Ok(())
}

async fn write(mut stream: TcpStream) {
    let chunk = vec![0x5a; CHUNK];
    while stream.write_all(&chunk).await.is_ok() {}
}

async fn receive(end: End) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("198.18.0.2", PORT)).await?;
    let bytes = Rc::new(Cell::new(0u64));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            for _ in 0..end.streams {
                let (mut stream, _) = listener.accept().await?;
                let bytes = bytes.clone();
                tokio::task::spawn_local(async move {
                    let mut chunk = vec![0; CHUNK];
                    while let Ok(n @ 1..) = stream.read(&mut chunk).await {
                        bytes.set(bytes.get() + n as u64);
                    }
                });
            }
            // Slow start is not what is measured.
            tokio::time::sleep(Duration::from_millis(500)).await;
            let (started, before) = (Instant::now(), bytes.get());
            tokio::time::sleep(end.duration()).await;
            let got = bytes.get() - before;
            (got > 0).then_some(()).context("nothing arrived")?;
            say(&format!("{:.1} Mbit/s", megabits(got, started.elapsed())));
            Ok(())
        })
        .await
}
