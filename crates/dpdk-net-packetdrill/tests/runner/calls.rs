//! System calls of a script: made, in a thread of their own where they may block, and compared.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread;

use super::client::Client;
use super::script::Arg;
use super::{Connection, Family, Outcome, Runner, TOLERANCE};

/// The call as it is handed to the thread that may block.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) args: Vec<Arg>,
    pub(super) result: Arg,
    pub(super) errno: Option<i32>,
}

impl Runner {
    pub(super) fn start_blocking(&mut self, call: Call, until: i64) -> Outcome<()> {
        self.join()?;
        self.note(&call);
        let client = self.client;
        let fds = self.fds.clone();
        let start = self.start;
        let addr = self.socket_addr(self.remote_ip());
        let bound = self.socket_addr(self.local_ip());
        let (tell, told) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            // SAFETY: asks for the number of this thread.
            let _ = tell.send(unsafe { libc::syscall(libc::SYS_gettid) });
            let fd = perform(&client, &fds, &call, addr, bound)?;
            let at = client.now() - start;
            let opened = fd.map(|fd| Ok::<_, String>((call.result.int()?, fd)));
            Ok((at, opened.transpose()?))
        });
        let id = told.recv().map_err(|error| error.to_string())?;
        // As packetdrill does it: the call is under way once its thread sleeps, or is done.
        while !thread.is_finished() {
            let stat = std::fs::read_to_string(format!("/proc/self/task/{id}/stat"));
            let state = stat.ok().and_then(|stat| {
                let (_, rest) = stat.rsplit_once(')')?;
                rest.trim_start().chars().next()
            });
            if state == Some('S') {
                break;
            }
            thread::yield_now();
        }
        self.blocked = Some((thread, until));
        Ok(())
    }

    pub(super) fn join_if_done(&mut self) -> Outcome<()> {
        if self
            .blocked
            .as_ref()
            .is_some_and(|(thread, _)| thread.is_finished())
        {
            return self.join();
        }
        Ok(())
    }

    /// Waits for the call that was left blocked, which must be over by now.
    pub(super) fn join(&mut self) -> Outcome<()> {
        let Some((thread, until)) = self.blocked.take() else {
            return Ok(());
        };
        let patience = std::time::Instant::now();
        while !thread.is_finished() {
            if patience.elapsed().as_secs() >= 2 {
                return Err("a call that should be over by now still blocks".into());
            }
            thread::yield_now();
        }
        let (at, opened) = thread
            .join()
            .map_err(|_| "the thread of the blocking call panicked")??;
        self.fds.extend(opened);
        if (at - until).abs() > TOLERANCE {
            return Err(format!(
                "the blocking call should return at {:.6} s, and did at {:.6} s",
                until as f64 / 1e6,
                at as f64 / 1e6
            ));
        }
        Ok(())
    }

    /// What a call means for the packets that follow.
    fn note(&mut self, call: &Call) {
        if call.name == "connect" && self.connection.local.is_none() {
            self.connection.active = true;
        }
        if call.name == "socket" {
            self.connection = Connection::default();
        }
    }

    pub(super) fn call(&mut self, call: &Call) -> Outcome<()> {
        self.note(call);
        let addr = self.socket_addr(self.remote_ip());
        let bound = self.socket_addr(self.local_ip());
        let mut call = call.clone();
        if call.name == "socket" {
            let domain = match self.family {
                Family::V4 => libc::AF_INET,
                Family::V6 | Family::Mapped => libc::AF_INET6,
            };
            if let Some(first) = call.args.first_mut() {
                *first = Arg::Int(domain.into());
            }
        }
        let opened = perform(&self.client, &self.fds, &call, addr, bound)?;
        if let Some(fd) = opened {
            self.fds.insert(call.result.int()?, fd);
        }
        Ok(())
    }
}

fn bytes_of_option(value: &Arg, len: Option<i64>) -> Outcome<Vec<u8>> {
    Ok(match value {
        Arg::Text(text) => text.clone().into_bytes(),
        Arg::Struct(fields) => {
            let mut bytes = Vec::new();
            for (name, value) in fields {
                let value = value.int()?;
                // struct timeval has 64-bit words, struct linger has ints.
                if name.starts_with("tv_") {
                    bytes.extend(value.to_ne_bytes());
                } else {
                    bytes.extend((value as i32).to_ne_bytes());
                }
            }
            bytes
        }
        other => match len {
            Some(8) => other.int()?.to_ne_bytes().to_vec(),
            _ => (other.int()? as i32).to_ne_bytes().to_vec(),
        },
    })
}

/// Makes the call and compares. Gives the descriptor where one was opened.
fn perform(
    client: &Client,
    fds: &HashMap<i64, i32>,
    call: &Call,
    remote: SocketAddr,
    local: SocketAddr,
) -> Outcome<Option<i32>> {
    let args = &call.args;
    let arg = |index: usize| {
        args.get(index)
            .ok_or(format!("{} needs more arguments", call.name))
    };
    let int = |index: usize| arg(index)?.int();
    let fd_of = |script: i64| {
        fds.get(&script)
            .copied()
            .ok_or(format!("the descriptor {script} is not open"))
    };
    let fd = |index: usize| fd_of(int(index)?);
    let flags = |index: usize| args.get(index).map_or(Ok(0), Arg::int).map(|f| f as i32);
    let filler = |len: i64| -> Vec<u8> { (0..len).map(|at| at as u8).collect() };
    let mut opened = false;
    let returned = match call.name.as_str() {
        "socket" => {
            opened = true;
            client.socket(int(0)? as i32, int(1)? as i32, int(2)? as i32)
        }
        "bind" => client.bind(fd(0)?, local),
        "listen" => client.listen(fd(0)?, int(1)? as i32),
        "accept" => {
            opened = true;
            client.accept(fd(0)?)
        }
        "connect" => client.connect(fd(0)?, remote),
        "read" => client.read(fd(0)?, int(2)? as usize).0,
        "recv" | "recvfrom" => client.recv(fd(0)?, int(2)? as usize, flags(3)?).0,
        "write" => client.write(fd(0)?, &filler(int(2)?)),
        "send" | "sendto" => client.send(fd(0)?, &filler(int(2)?), flags(3)?),
        "writev" => {
            let Arg::List(list) = arg(1)? else {
                return Err("writev needs a list".into());
            };
            let mut parts = Vec::new();
            for piece in list {
                match piece {
                    Arg::Struct(fields) => {
                        let len = fields.iter().find(|(name, _)| name == "iov_len");
                        parts.push(filler(len.map_or(Ok(0), |(_, len)| len.int())?));
                    }
                    other => return Err(format!("no piece: {other:?}")),
                }
            }
            client.writev(fd(0)?, &parts)
        }
        "close" => client.close(fd(0)?),
        "shutdown" => client.shutdown(fd(0)?, int(1)? as i32),
        "fcntl" => {
            let result = client.fcntl(fd(0)?, int(1)? as i32, flags(2)?);
            // Which other flags a file has is not what a script wants to know.
            if int(1)? == i64::from(libc::F_GETFL) && result.value >= 0 {
                let wanted = call.result.int()?;
                let value = result.value & i64::from(libc::O_NONBLOCK | libc::O_RDWR);
                return match value == wanted {
                    true => Ok(None),
                    false => Err(format!("the flags are {value:#o}")),
                };
            }
            result
        }
        "ioctl" => {
            let (returned, value) = client.ioctl(fd(0)?, int(1)? as u64);
            if returned.value == 0 && i64::from(value) != int(2)? {
                return Err(format!("it tells {value}"));
            }
            returned
        }
        "getsockopt" => {
            let room = arg(4)?.int()? as usize;
            let (returned, value) = client.getsockopt(fd(0)?, int(1)? as i32, int(2)? as i32, room);
            let expected = arg(3)?;
            if returned.value == 0 && *expected != Arg::Any {
                let expected = bytes_of_option(expected, Some(room as i64))?;
                if !value.starts_with(&expected) {
                    return Err(format!("it tells {value:?}, not {expected:?}"));
                }
            }
            returned
        }
        "setsockopt" => {
            let value = bytes_of_option(arg(3)?, args.get(4).and_then(|len| len.int().ok()))?;
            client.setsockopt(fd(0)?, int(1)? as i32, int(2)? as i32, &value)
        }
        "poll" => {
            let Arg::List(list) = arg(0)? else {
                return Err("poll needs a list".into());
            };
            let mut entries = Vec::new();
            let mut expected = Vec::new();
            for entry in list {
                let Arg::Struct(fields) = entry else {
                    return Err("poll needs a list of structures".into());
                };
                let get = |name: &str| {
                    let found = fields.iter().find(|(field, _)| field == name);
                    found.map_or(Ok(0), |(_, value)| value.int())
                };
                entries.push(libc::pollfd {
                    fd: fd_of(get("fd")?)?,
                    events: get("events")? as i16,
                    revents: 0,
                });
                expected.push(get("revents")? as i16);
            }
            let returned = client.poll(&mut entries, int(2)? as i32);
            let found: Vec<i16> = entries.iter().map(|entry| entry.revents).collect();
            if found != expected {
                return Err(format!("poll finds {found:?}, not {expected:?}"));
            }
            returned
        }
        other => return Err(format!("the call {other} is not known")),
    };
    let expected = match &call.result {
        Arg::Any => returned.value,
        result => result.int()?,
    };
    let as_expected = if opened && expected >= 0 {
        returned.value >= 0
    } else {
        returned.value == expected
    };
    if !as_expected || call.errno.is_some_and(|errno| errno != returned.errno) {
        let error = std::io::Error::from_raw_os_error(returned.errno);
        return Err(format!(
            "{} returns {} ({error})",
            call.name, returned.value
        ));
    }
    Ok((opened && expected >= 0).then_some(returned.value as i32))
}
