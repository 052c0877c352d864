//! SIGTERM while clients ask as fast as they can: no request on a connection that was accepted is lost.

mod common;

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::configured::{KERNEL, OURS, Site, files};

/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clients at a time, of each kind.
const CLIENTS: usize = 4;
/// Requests after which each client opens another connection, so that some are on their way whenever the signal comes.
const PER_CONNECTION: usize = 7;
/// Answers before the signal.
const BEFORE: u64 = 400;
/// The bodies that come in one piece.
const BODY: usize = 20_000;

/// A connection that is kept, as a client sees it.
struct Client {
    stream: BufReader<TcpStream>,
}

/// An answer that came whole.
struct Answer {
    status: u16,
    body: usize,
    closes: bool,
}

impl Client {
    /// # Errors
    /// That of a connection that was not accepted.
    fn connect() -> io::Result<Self> {
        let server: SocketAddr = format!("{OURS}:80").parse().unwrap();
        let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    fn ask(&mut self, path: &str) -> io::Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {OURS}\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_ascii_lowercase()),
        }
    }

    /// Status, length and whether the connection ends.
    fn head(&mut self) -> io::Result<Answer> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut answer = Answer {
            status: status.ok_or(ErrorKind::InvalidData)?,
            body: 0,
            closes: false,
        };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(answer);
            }
            if let Some(length) = line.strip_prefix("content-length: ") {
                answer.body = length.parse().map_err(|_| ErrorKind::InvalidData)?;
            }
            answer.closes |= line == "connection: close";
        }
    }

    fn body(&mut self, length: usize) -> io::Result<()> {
        self.stream.read_exact(&mut vec![0; length])
    }

    fn exchange(&mut self, path: &str) -> io::Result<Answer> {
        self.ask(path)?;
        let answer = self.head()?;
        self.body(answer.body)?;
        Ok(answer)
    }
}

/// What became of the requests.
#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    /// Answers that said that their connection ends.
    closing: AtomicU64,
    lost: AtomicU64,
}

/// Asks back to back until nobody listens any more.
fn ask_on(path: &str, tally: &Tally) {
    // Refused, or the host is gone: not accepted.
    while let Ok(mut client) = Client::connect() {
        for _ in 0..PER_CONNECTION {
            match client.exchange(path) {
                Ok(answer) if answer.status == 200 && answer.body == BODY => {
                    tally.answered.fetch_add(1, Ordering::Relaxed);
                    if answer.closes {
                        tally.closing.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                }
                Ok(answer) => {
                    eprintln!("{path}: status {}", answer.status);
                    tally.lost.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Err(error) => {
                    eprintln!("{path}: {error}");
                    tally.lost.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        }
    }
}

/// Answers on one connection for as long as it is kept. What is asked for as `/slow` stops in the middle until `finish` comes.
fn upstream(stream: TcpStream, finish: &Mutex<mpsc::Receiver<()>>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut slow = false;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            slow |= line.starts_with("GET /up/slow");
            if line == "\r\n" {
                break;
            }
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
        let body = [b'x'; BODY];
        stream.get_mut().write_all(head.as_bytes())?;
        let (first, rest) = body.split_at(BODY / 2);
        stream.get_mut().write_all(first)?;
        if slow {
            let _ = finish.lock().unwrap().recv();
        }
        stream.get_mut().write_all(rest)?;
    }
}

#[test]
fn sigterm_under_load_loses_no_request_that_was_accepted() {
    let directory = Site::directory();
    fs::write(directory.path().join("www/file"), [b'x'; BODY]).unwrap();
    let rest = format!(
        "[[listener]]\nname = \"http\"\naddress = \"{OURS}:80\"\n{}\
         [[route]]\npath = \"/up\"\nproxy = {{ upstreams = [\"http://{KERNEL}:8080\"] }}\n",
        files(directory.path())
    );
    let mut site = Site::start(directory, &rest, &[]);

    let bind = site
        .kernel
        .spawn(|| TcpListener::bind(format!("{KERNEL}:8080")).unwrap());
    let listener = bind.join().unwrap();
    let (finish, finished) = mpsc::channel();
    thread::spawn(move || {
        let finished = Arc::new(Mutex::new(finished));
        while let Ok((stream, _)) = listener.accept() {
            let finished = finished.clone();
            thread::spawn(move || upstream(stream, &finished));
        }
    });

    // A response of which half has come before the signal, on a connection that is asked once more afterwards.
    let (begun, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let slow = site.kernel.spawn(move || -> io::Result<(bool, bool)> {
        let mut client = Client::connect()?;
        client.ask("/up/slow")?;
        let first = client.head()?;
        client.body(BODY / 2)?;
        begun.send(()).unwrap();
        let _ = may_go_on.recv();
        finish.send(()).unwrap();
        client.body(BODY - BODY / 2)?;
        let next = client.exchange("/file")?;
        assert_eq!((next.status, next.body), (200, BODY));
        Ok((first.closes, next.closes))
    });
    has_begun.recv_timeout(PATIENCE).unwrap();

    // One that asks nothing any more is closed once that is sure.
    let (quiet, is_quiet) = mpsc::channel();
    let idle = site.kernel.spawn(move || -> io::Result<usize> {
        let mut client = Client::connect()?;
        client.exchange("/file")?;
        quiet.send(()).unwrap();
        client.stream.read(&mut [0])
    });
    is_quiet.recv_timeout(PATIENCE).unwrap();

    let tally = Arc::new(Tally::default());
    let clients: Vec<_> = ["/file", "/up/quick"]
        .into_iter()
        .flat_map(|path| [path; CLIENTS])
        .map(|path| {
            let tally = tally.clone();
            site.kernel.spawn(move || ask_on(path, &tally))
        })
        .collect();
    let end = Instant::now() + PATIENCE;
    while tally.answered.load(Ordering::Relaxed) < BEFORE {
        assert!(Instant::now() < end, "nobody is answered");
        thread::sleep(Duration::from_millis(1));
    }
    site.process.signal("TERM").unwrap();
    // All others have ended by the time that the slow one goes on.
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(idle.join().unwrap().unwrap(), 0, "it ends in good order");
    assert!(site.process.wait(Duration::ZERO).unwrap().is_none());
    go_on.send(()).unwrap();
    let closes = slow
        .join()
        .unwrap()
        .expect("the slow response is whole, and the next one");
    assert_eq!(closes, (false, true));
    let status = site.process.wait(PATIENCE).unwrap().expect("it ends");
    let log = site.process.stdout() + &site.process.stderr();
    assert!(status.success(), "{status}: {log}");
    assert_eq!(
        tally.lost.load(Ordering::Relaxed),
        0,
        "requests were lost: {log}"
    );
    assert!(
        tally.closing.load(Ordering::Relaxed) > 0,
        "none was told that its connection ends"
    );
    for cut in ["were reset", "were cut"] {
        assert!(!log.contains(cut), "{log}");
    }
}
