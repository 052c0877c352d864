//! A program in a terminal of its own, and what is on its screen.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// The program's terminal, from the outside.
pub(crate) struct Pty {
    master: std::fs::File,
    /// Kept, so that its modes can be looked at when the program is gone.
    slave: OwnedFd,
    child: Child,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    screen: vt100::Parser,
    bytes: Vec<u8>,
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Pty {
    /// Starts a program in a terminal of 80 columns and 24 rows, which is its controlling one.
    pub(crate) fn start(command: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        tcsetwinsize(&master, size(80, 24)).unwrap();
        let end = || slave.try_clone().unwrap();
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .args(command)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let master = std::fs::File::from(master);
        let seen = Arc::new(Mutex::new(Seen {
            screen: vt100::Parser::new(24, 80, 0),
            bytes: Vec::new(),
        }));
        let (mut reading, shared) = (master.try_clone().unwrap(), seen.clone());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reading.read(&mut buffer) {
                let mut seen = shared.lock().unwrap();
                seen.screen.process(&buffer[..length]);
                seen.bytes.extend_from_slice(&buffer[..length]);
            }
        });
        Self {
            master,
            slave,
            child,
            seen,
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.seen
            .lock()
            .unwrap()
            .screen
            .screen_mut()
            .set_size(rows, columns);
        tcsetwinsize(&self.master, size(columns, rows)).unwrap();
    }

    /// What is on the screen.
    pub(crate) fn screen(&self) -> String {
        self.seen.lock().unwrap().screen.screen().contents()
    }

    /// Waits until the screen is as wished; the test fails with what is on it if that takes too long.
    pub(crate) fn wait_until(&self, what: &str, patience: Duration, is: impl Fn(&str) -> bool) {
        let end = Instant::now() + patience;
        while !is(&self.screen()) {
            assert!(Instant::now() < end, "{what}:\n{}", self.screen());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The same, until a text is on it.
    pub(crate) fn wait_for(&self, text: &str, patience: Duration) {
        self.wait_until(text, patience, |screen| screen.contains(text));
    }

    /// The process in the terminal, behind the one that made it its own.
    pub(crate) fn pid(&self) -> String {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap();
        children
            .split_whitespace()
            .next()
            .map_or(pid.to_string(), str::to_owned)
    }

    /// Waits for its end. The terminal has to be as it was: the screen that was there before, the cursor, and lines.
    pub(crate) fn ended(&mut self, patience: Duration) -> ExitStatus {
        let end = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it runs on:\n{}", self.screen());
            thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.signal(), None);
        let modes = tcgetattr(self.slave.as_fd()).unwrap().local_modes;
        assert!(
            modes.contains(LocalModes::ICANON | LocalModes::ECHO),
            "{modes:?}"
        );
        // What was written last may still be on its way.
        while {
            let seen = self.seen.lock().unwrap();
            let text = String::from_utf8_lossy(&seen.bytes).into_owned();
            let was_full = text.contains("\u{1b}[?1049h");
            was_full
                && (seen.screen.screen().alternate_screen() || seen.screen.screen().hide_cursor())
        } {
            assert!(Instant::now() < end, "the terminal is not restored");
            thread::sleep(Duration::from_millis(5));
        }
        status
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
