//! Programs: run to their end within a time and with their output captured, or kept running until the guard is dropped.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(2);

/// How a program ended and what it printed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Output {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error, as text.
    pub stderr: String,
}

impl Output {
    /// Standard output as text, with what is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs a program to its end. An error if it can't be started, takes longer than `timeout` (it is then killed), or fails; the
/// text has the command line and what the program wrote to its standard error.
pub fn run<S: AsRef<OsStr>>(command: &[S], timeout: Duration) -> io::Result<Output> {
    let mut process = Process::start(command)?;
    let Some(status) = process.wait(timeout)? else {
        let stderr = process.stderr();
        let text = format!(
            "`{}` did not end within {timeout:?}: {stderr}",
            process.line
        );
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    };
    let (stdout, stderr) = process.into_output();
    if status.success() {
        return Ok(Output {
            status,
            stdout,
            stderr,
        });
    }
    Err(io::Error::other(format!(
        "`{}` failed, {status}: {}",
        line(command),
        stderr.trim()
    )))
}

fn line<S: AsRef<OsStr>>(command: &[S]) -> String {
    command
        .iter()
        .map(|word| word.as_ref().to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// What a pipe delivers, gathered by a thread.
struct Gather {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Gather {
    fn start(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bytes);
        let thread = thread::spawn(move || {
            let mut chunk = [0; 16 * 1024];
            while let Ok(n @ 1..) = pipe.read(&mut chunk) {
                shared
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(&chunk[..n]);
            }
        });
        Self { bytes, thread }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn finish(self) -> Vec<u8> {
        // It ends with the pipe, that is with the last process that holds it; the process group is gone by then.
        let _ = self.thread.join();
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A program that runs in a process group of its own. When dropped, the whole group is killed.
pub struct Process {
    line: String,
    child: Child,
    ended: Option<ExitStatus>,
    stdout: Option<Gather>,
    stderr: Option<Gather>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("line", &self.line)
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

impl Process {
    /// Starts a program with nothing on its standard input.
    pub fn start<S: AsRef<OsStr>>(command: &[S]) -> io::Result<Self> {
        let (program, args) = command
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"))?;
        let line = line(command);
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| {
                let hint = match error.kind() {
                    io::ErrorKind::NotFound => {
                        " (not installed? `cargo xtask setup` installs what the tests need)"
                    }
                    _ => "",
                };
                io::Error::new(
                    error.kind(),
                    format!("`{line}` can't be started: {error}{hint}"),
                )
            })?;
        let stdout = child.stdout.take().map(Gather::start);
        let stderr = child.stderr.take().map(Gather::start);
        Ok(Self {
            line,
            child,
            ended: None,
            stdout,
            stderr,
        })
    }

    /// Its process id, which is the id of its process group too.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard output so far, as text.
    pub fn stdout(&self) -> String {
        let bytes = self.stdout.as_ref().map(Gather::so_far).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What it has written to its standard error so far, as text.
    pub fn stderr(&self) -> String {
        let bytes = self.stderr.as_ref().map(Gather::so_far).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for its end, at most for `timeout`; `None` if it still runs.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        let end = Instant::now() + timeout;
        loop {
            if self.ended.is_some() {
                return Ok(self.ended);
            }
            self.ended = self.child.try_wait()?;
            if self.ended.is_none() {
                if Instant::now() >= end {
                    return Ok(None);
                }
                thread::sleep(POLL);
            }
        }
    }

    /// Waits until its output (standard output and error together) contains `text`; an error with the output if that does not happen
    /// within `timeout`.
    pub fn wait_for(&mut self, text: &str, timeout: Duration) -> io::Result<()> {
        let end = Instant::now() + timeout;
        loop {
            // Asked for first, so that what an ended program wrote last is still seen.
            let ended = self.wait(Duration::ZERO)?;
            let output = self.stdout() + &self.stderr();
            if output.contains(text) {
                return Ok(());
            }
            if Instant::now() >= end {
                let state =
                    ended.map_or_else(|| "still runs".to_owned(), |status| status.to_string());
                let text = format!(
                    "`{}` ({state}) did not print '{text}' within {timeout:?}: {output}",
                    self.line
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            thread::sleep(POLL);
        }
    }

    /// Sends a signal by name (`TERM`, `INT`, ...) to the process, not to its group.
    pub fn signal(&mut self, name: &str) -> io::Result<()> {
        if self.wait(Duration::ZERO)?.is_some() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("`{}` has ended already", self.line),
            ));
        }
        kill(name, &self.pid().to_string())
    }

    /// Asks it to end (SIGTERM) and waits; an error if it still runs after `timeout`.
    pub fn terminate(&mut self, timeout: Duration) -> io::Result<ExitStatus> {
        if let Some(status) = self.wait(Duration::ZERO)? {
            return Ok(status);
        }
        self.signal("TERM")?;
        self.wait(timeout)?.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("`{}` ignores SIGTERM for {timeout:?}", self.line),
            )
        })
    }

    fn into_output(mut self) -> (Vec<u8>, String) {
        let finish = |gather: Option<Gather>| gather.map(Gather::finish).unwrap_or_default();
        let (stdout, stderr) = (finish(self.stdout.take()), finish(self.stderr.take()));
        (stdout, String::from_utf8_lossy(&stderr).into_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Once the leader is reaped its id, and so that of the group, may belong to somebody else.
        if self.ended.is_none() {
            let _ = kill("KILL", &format!("-{}", self.pid()));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn kill(signal: &str, whom: &str) -> io::Result<()> {
    let status = Command::new("kill")
        .args(["-s", signal, "--", whom])
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "no process {whom} to send SIG{signal} to"
        )))
    }
}
