//! The client: a question, an answer, or what follows an answer.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::{ControlError, VERSION, find};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
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
}

impl Client {
    /// Connects to the socket.
    ///
    /// # Errors
    /// [`ControlError::NoSocket`], [`ControlError::NobodyListens`], [`ControlError::Denied`], [`ControlError::Io`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ControlError> {
        let path = path.as_ref().to_owned();
        let stream = UnixStream::connect(&path).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        match stream {
            Ok(stream) => Ok(Self {
                path,
                stream: BufReader::new(stream),
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

    /// The `result` of the answer to a question, `{"command": ..}`.
    ///
    /// # Errors
    /// [`ControlError::Refused`] with what the application says; after any other one the connection is of no use any more.
    pub fn ask(&mut self, question: &Value) -> Result<Value, ControlError> {
        let line = format!("{question}\n");
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
