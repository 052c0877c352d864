//! The client: a question, an answer, or what follows an answer.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{ControlError, LONGEST_QUESTION, VERSION, find};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection is good for another question: the application closes one that is silent for twice as long.
const IDLE: Duration = Duration::from_secs(30);
/// The longest answer, in bytes.
const LONGEST: u64 = 256 << 20;

/// A connection to a running application's control socket. It blocks: threads are for those who can't wait.
///
/// ```no_run
/// use dpdk_net::control::{Client, find};
/// use serde_json::json;
///
/// let mut client = Client::connect(find()?)?;
/// let queues = client.ask(&json!({ "command": "queues" }))?;
/// println!("{queues:#}");
/// # Ok::<(), dpdk_net::control::ControlError>(())
/// ```
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
    /// When the last answer came.
    heard: Instant,
}

impl Client {
    /// Connects to the socket, if who listens there is to be believed: a process of root's or of one's own user. Root asks processes of
    /// other users too, where the directory of the socket is that user's.
    ///
    /// # Errors
    /// [`ControlError::NoSocket`], [`ControlError::NobodyListens`], [`ControlError::Denied`], [`ControlError::Stranger`],
    /// [`ControlError::Io`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ControlError> {
        let path = path.as_ref().to_owned();
        let stream = UnixStream::connect(&path).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let stranger = stranger(&stream, &path)?;
            Ok((stream, stranger))
        });
        match stream {
            Ok((_, Some(uid))) => Err(ControlError::Stranger { path, uid }),
            Ok((stream, None)) => Ok(Self {
                path,
                stream: BufReader::new(stream),
                heard: Instant::now(),
            }),
            Err(error) => Err(match error.kind() {
                ErrorKind::NotFound => ControlError::NoSocket(path),
                ErrorKind::ConnectionRefused => ControlError::NobodyListens(path),
                ErrorKind::PermissionDenied => ControlError::Denied(path),
                _ => ControlError::Io {
                    path,
                    source: error,
                },
            }),
        }
    }

    /// Connects to the only application that runs: [`find`].
    ///
    /// # Errors
    /// As [`find`] and [`connect`](Self::connect).
    pub fn find() -> Result<Self, ControlError> {
        Self::connect(find()?)
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The `result` of the answer to a question, `{"command": ..}`. A connection that has been silent for half a minute is made anew
    /// first: the application closes those that are silent for a whole one.
    ///
    /// # Errors
    /// [`ControlError::Refused`] with what the application says, [`ControlError::TooLong`] before anything is asked; after any other one the connection is of no use any more. As
    /// [`connect`](Self::connect), where the connection is made anew.
    pub fn ask(&mut self, question: &Value) -> Result<Value, ControlError> {
        let line = format!("{question}\n");
        if line.len() > LONGEST_QUESTION {
            return Err(ControlError::TooLong(line.len()));
        }
        if self.heard.elapsed() >= IDLE {
            *self = Self::connect(&self.path)?;
        }
        match self.stream.get_mut().write_all(line.as_bytes()) {
            // One that is turned away is told why before the connection is closed.
            Err(error) if is_closed(&error) => {}
            Err(error) => return Err(self.broken(error)),
            Ok(()) => {}
        }
        let mut answer = Vec::new();
        let mut bounded = (&mut self.stream).take(LONGEST);
        match bounded.read_until(b'\n', &mut answer) {
            Err(error) if is_closed(&error) => return Err(ControlError::Closed),
            Err(error) => return Err(self.broken(error)),
            Ok(_) if answer.last() != Some(&b'\n') => return Err(ControlError::Closed),
            Ok(_) => {}
        }
        self.heard = Instant::now();
        result(&answer)
    }

    /// The same of a command whose answer is followed by something else, which can then be read until one side closes the connection.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn stream(mut self, question: &Value) -> Result<(Value, ControlStream), ControlError> {
        let answer = self.ask(question)?;
        let stream = self.stream.get_ref();
        let patient = stream.set_read_timeout(None);
        patient.map_err(|error| self.broken(error))?;
        Ok((answer, ControlStream(self.stream)))
    }

    fn broken(&self, source: io::Error) -> ControlError {
        match source.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => ControlError::Silent(PATIENCE.as_secs()),
            _ => ControlError::Io {
                path: self.path.clone(),
                source,
            },
        }
    }
}

/// The user who listens at the other end, if that one is not to be believed. What listens was made by whom the kernel says (unix(7),
/// `SO_PEERCRED`), whatever the file says.
pub(super) fn stranger(stream: &UnixStream, path: &Path) -> io::Result<Option<u32>> {
    let uid = rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw();
    let own = rustix::process::geteuid().as_raw();
    let owner = || {
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        std::fs::metadata(directory).map(|directory| directory.uid())
    };
    Ok((!is_believed(uid, own, || owner().ok())).then_some(uid))
}

/// Whether who asks as `own` may believe an answer of `uid`. Root can't be fooled by whom the directory belongs to anyway.
fn is_believed(uid: u32, own: u32, directory: impl FnOnce() -> Option<u32>) -> bool {
    uid == 0 || uid == own || own == 0 && directory() == Some(uid)
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}

/// What an answer says.
fn result(answer: &[u8]) -> Result<Value, ControlError> {
    let bad = |why: String| ControlError::BadAnswer(why);
    let mut answer: Value =
        serde_json::from_slice(answer).map_err(|error| bad(error.to_string()))?;
    match answer.get("version").and_then(Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => return Err(ControlError::OtherVersion(version)),
        None => return Err(bad("it has no version".to_owned())),
    }
    match answer.get("ok").and_then(Value::as_bool) {
        Some(true) => match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(bad("it has no result".to_owned())),
        },
        Some(false) => match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(ControlError::Refused(error.to_owned())),
            None => Err(bad("it has no error".to_owned())),
        },
        None => Err(bad("it is neither ok nor an error".to_owned())),
    }
}

/// What follows an answer. Dropping it ends the command.
#[derive(Debug)]
pub struct ControlStream(BufReader<UnixStream>);

impl ControlStream {
    /// The connection, for who waits for several things at once. What [`Read`] has taken from it already is not there any more.
    pub fn get_ref(&self) -> &UnixStream {
        self.0.get_ref()
    }
}

impl Read for ControlStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl BufRead for ControlStream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use serde_json::json;

    use super::*;

    /// What a client makes of one that answers with this, whatever it is asked, and closes.
    fn answered(answer: &str) -> Result<Value, ControlError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut client = Client::connect(&path).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        drop(stream);
        client.ask(&json!({ "command": "stats" }))
    }

    #[test]
    fn an_answer_is_a_result_or_says_why_not() {
        let result = answered("{\"version\":1,\"ok\":true,\"result\":[1]}\n");
        assert_eq!(result.unwrap(), json!([1]));
        for (answer, told) in [
            ("{\"version\":1,\"ok\":false,\"error\":\"no\"}\n", "no"),
            (
                "{\"version\":2,\"ok\":true,\"result\":1}\n",
                "speaks version 2",
            ),
            ("{\"ok\":true,\"result\":1}\n", "no version"),
            ("{\"version\":1}\n", "neither ok nor"),
            ("{\"version\":1,\"ok\":true}\n", "no result"),
            ("{\"version\":1,\"ok\":false}\n", "has no error"),
            ("hello\n", "no answer"),
            (
                "{\"version\":1,\"ok\":true,\"result\"",
                "closed the connection",
            ),
            ("", "closed the connection"),
        ] {
            let error = answered(answer).unwrap_err().to_string();
            assert!(error.contains(told), "{answer}: {error}");
        }
    }

    #[test]
    fn a_question_that_is_too_long_is_not_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut client = Client::connect(&path).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .write_all(b"{\"version\":1,\"ok\":true,\"result\":1}\n")
            .unwrap();
        // With `{"names":""}` and the line's end.
        let of = |len: usize| json!({ "names": "x".repeat(len - 13) });
        let error = client.ask(&of(LONGEST_QUESTION + 1)).unwrap_err();
        let told = "the question has 65537 bytes, at most 65536 can be";
        assert_eq!(error.to_string(), told);
        assert_eq!(client.ask(&of(LONGEST_QUESTION)).unwrap(), json!(1));
        let mut asked = String::new();
        BufReader::new(stream).read_line(&mut asked).unwrap();
        assert_eq!(asked.len(), LONGEST_QUESTION);
    }

    #[test]
    fn what_follows_an_answer_is_read_to_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let client = Client::connect(&path).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .write_all(b"{\"version\":1,\"ok\":true,\"result\":{}}\nand more\nof it")
            .unwrap();
        drop(stream);
        let (answer, mut rest) = client.stream(&json!({ "command": "capture" })).unwrap();
        assert_eq!(answer, json!({}));
        let mut text = String::new();
        rest.read_to_string(&mut text).unwrap();
        assert_eq!(text, "and more\nof it");
    }

    #[test]
    fn a_connection_that_was_silent_for_long_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let serving = std::thread::spawn(move || {
            // As an application does: the first one is closed as it was silent, the second one is answered.
            drop(listener.accept().unwrap());
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = String::new();
            BufReader::new(&stream).read_line(&mut question).unwrap();
            let answer = b"{\"version\":1,\"ok\":true,\"result\":2}\n";
            stream.write_all(answer).unwrap();
        });
        let mut client = Client::connect(&path).unwrap();
        client.heard = client.heard.checked_sub(IDLE).unwrap();
        let answer = client.ask(&json!({ "command": "stats" }));
        assert_eq!(answer.unwrap(), json!(2));
        assert!(client.heard.elapsed() < IDLE);
        serving.join().unwrap();
        // Where the application has ended meanwhile that is what is told.
        client.heard = client.heard.checked_sub(IDLE).unwrap();
        let ended = client.ask(&json!({ "command": "stats" })).unwrap_err();
        assert!(matches!(ended, ControlError::NobodyListens(_)), "{ended}");
    }

    #[test]
    fn only_root_and_oneself_are_believed_and_by_root_whose_directory_it_is() {
        const SELF: u32 = 1_000;
        const OTHER: u32 = 1_001;
        for (uid, own, directory, believed) in [
            (0, SELF, OTHER, true),
            (SELF, SELF, OTHER, true),
            (OTHER, SELF, OTHER, false),
            (OTHER, SELF, SELF, false),
            (0, 0, OTHER, true),
            (OTHER, 0, OTHER, true),
            (OTHER, 0, 0, false),
            (OTHER, 0, SELF, false),
        ] {
            let told = is_believed(uid, own, || Some(directory));
            assert_eq!(told, believed, "{uid} {own} {directory}");
        }
        assert!(!is_believed(OTHER, 0, || None));
    }

    #[test]
    fn somebody_elses_process_is_not_believed() {
        const NOBODY: u32 = 65_534;
        let users = std::fs::read_to_string("/proc/self/uid_map").unwrap();
        let all = users.split_whitespace().nth(2) == Some("4294967295");
        if !(rustix::process::geteuid().is_root() && all) {
            let needs = "needs root outside of a user namespace: the socket of another user";
            assert!(std::env::var_os("CI").is_none(), "{needs}");
            eprintln!("not tried, {needs}");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
        std::fs::set_permissions(directory.path(), anybody).unwrap();
        let path = directory.path().join("socket.sock");
        // The thread alone becomes somebody else.
        let listening = path.clone();
        let listener = std::thread::spawn(move || {
            let nobody = rustix::process::Uid::from_raw(NOBODY);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            UnixListener::bind(listening).unwrap()
        });
        let listener = listener.join().unwrap();
        let refused = Client::connect(&path).unwrap_err();
        assert!(
            matches!(&refused, ControlError::Stranger { uid: NOBODY, .. }),
            "{refused}"
        );
        assert!(refused.to_string().contains("65534"), "{refused}");
        drop(listener);
    }

    #[test]
    fn a_socket_that_can_not_be_had_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let none = Client::connect(&path).unwrap_err();
        assert!(matches!(none, ControlError::NoSocket(_)), "{none}");
        drop(UnixListener::bind(&path).unwrap());
        let ended = Client::connect(&path).unwrap_err();
        assert!(matches!(ended, ControlError::NobodyListens(_)), "{ended}");
    }
}
