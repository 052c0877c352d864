//! An end of the rival: the kernel's sockets, a thread a stream.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::{CHUNK, End, GRACE, PORT, Role, megabits, say};

pub(crate) fn run(end: &End) -> anyhow::Result<()> {
    match end.role {
        Role::Send => send(end),
        Role::Receive => receive(end),
    }
}

fn send(end: &End) -> anyhow::Result<()> {
    let threads: Vec<_> = (0..end.streams)
        .map(|_| {
            std::thread::spawn(|| {
                let to = (Ipv4Addr::new(198, 18, 0, 2), PORT);
                let mut stream = TcpStream::connect(to)?;
                let chunk = vec![0x5a; CHUNK];
                while stream.write_all(&chunk).is_ok() {}
                std::io::Result::Ok(())
            })
        })
        .collect();
    for thread in threads {
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("a sender panicked"))??;
    }
    Ok(())
}

fn receive(end: &End) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    say("up");
    let bytes = Arc::new(AtomicU64::new(0));
    for _ in 0..end.streams {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(GRACE))?;
        let bytes = bytes.clone();
        std::thread::spawn(move || {
            let mut chunk = vec![0; CHUNK];
            while let Ok(n @ 1..) = stream.read(&mut chunk) {
                bytes.fetch_add(n as u64, Ordering::Relaxed);
            }
        });
    }
    // Slow start is not what is measured.
    std::thread::sleep(Duration::from_millis(500));
    let (started, before) = (Instant::now(), bytes.load(Ordering::Relaxed));
    std::thread::sleep(end.duration());
    let got = bytes.load(Ordering::Relaxed) - before;
    (got > 0).then_some(()).context("nothing arrived")?;
    say(&format!("{:.1} Mbit/s", megabits(got, started.elapsed())));
    Ok(())
}
