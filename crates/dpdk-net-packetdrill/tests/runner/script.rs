//! The language of the scripts: as much of packetdrill's as the scripts of this project and the plain ones of the public suites
//! need.

use std::collections::HashMap;

/// When something happens, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// Since the start.
    At(i64),
    /// Since the event before.
    After(i64),
    /// Between two times since the start.
    Between(i64, i64),
    /// Between two times since the event before.
    AfterBetween(i64, i64),
    /// Whenever.
    Any,
}

/// An argument of a system call.
#[derive(Debug, Clone, PartialEq)]
pub enum Arg {
    Int(i64),
    Any,
    Text(String),
    List(Vec<Arg>),
    Struct(Vec<(String, Arg)>),
}

impl Arg {
    /// The number, also if it stands alone in brackets.
    pub fn int(&self) -> Result<i64, String> {
        match self {
            Arg::Int(value) => Ok(*value),
            Arg::List(list) if list.len() == 1 => list[0].int(),
            other => Err(format!("a number is expected, not {other:?}")),
        }
    }
}

/// A TCP option.
#[derive(Debug, Clone, PartialEq)]
pub enum Opt {
    Mss(u16),
    Nop,
    Eol,
    SackOk,
    Wscale(u8),
    Ts(u32, u32),
    Sack(Vec<(u32, u32)>),
}

/// A packet.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    /// Whether it comes in.
    pub inbound: bool,
    /// The ECN bits of the IP header, if they are said.
    pub ecn: Option<u8>,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    Tcp(Tcp),
    /// An ICMP error, about a segment with this number.
    Icmp {
        about: u32,
        kind: String,
        code: String,
        mtu: u32,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tcp {
    pub flags: u8,
    pub seq: u32,
    pub len: u32,
    pub ack: Option<u32>,
    pub win: Option<u32>,
    /// `None`: any.
    pub options: Option<Vec<Opt>>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Packet(Packet),
    Call {
        name: String,
        args: Vec<Arg>,
        result: Arg,
        errno: Option<i32>,
        /// When it returns, if it blocks; as the time of the event, absolute or relative.
        until: Option<i64>,
    },
    Code(String),
    Command,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub line: usize,
    pub when: When,
    pub action: Action,
}

#[derive(Debug, Default)]
pub struct Script {
    pub options: HashMap<String, String>,
    pub events: Vec<Event>,
}

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;
pub const URG: u8 = 32;
pub const ECE: u8 = 64;
pub const CWR: u8 = 128;

#[derive(Debug)]
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

type Parsed<T> = Result<T, String>;

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn line(&self) -> usize {
        self.text[..self.at].matches('\n').count() + 1
    }

    /// Passes over blanks, and comments of the three kinds.
    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("//") || trimmed.starts_with('#') {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                self.at += trimmed.find("*/").map_or(trimmed.len(), |at| at + 2);
            } else {
                return;
            }
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.eat(token) {
            return Ok(());
        }
        let found: String = self.rest().chars().take(24).collect();
        Err(format!("'{token}' is expected at '{found}'"))
    }

    fn take(&mut self, allowed: impl Fn(char) -> bool) -> &'a str {
        self.skip();
        let rest = self.rest();
        let len = rest.find(|c| !allowed(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn word(&mut self) -> &'a str {
        self.take(|c| c.is_alphanumeric() || c == '_')
    }

    fn number(&mut self) -> Parsed<u32> {
        let digits = self.take(|c| c.is_ascii_digit());
        let wide: u64 = digits
            .parse()
            .map_err(|_| format!("a number is expected at '{digits}{:.16}'", self.rest()))?;
        Ok(wide as u32)
    }

    /// Seconds, as microseconds.
    fn time(&mut self) -> Parsed<i64> {
        self.skip();
        let rest = self.rest();
        // "0...0.2": three dots end a number.
        let end = rest.find("...").unwrap_or(rest.len());
        let len = rest[..end]
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(end);
        self.at += len;
        let value: f64 = rest[..len]
            .parse()
            .map_err(|_| format!("a time is expected at '{:.16}'", rest))?;
        Ok((value * 1e6).round() as i64)
    }

    fn when(&mut self) -> Parsed<(When, Option<i64>)> {
        self.skip();
        if self.eat("*") {
            return Ok((When::Any, None));
        }
        let starts_time = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let relative = self.eat("+");
        if !relative && !starts_time(self.rest()) {
            return Ok((When::After(0), None));
        }
        let first = self.time()?;
        if self.eat("...") {
            let until = self.time()?;
            let when = if relative {
                When::After(first)
            } else {
                When::At(first)
            };
            return Ok((when, Some(until)));
        }
        if self.rest().starts_with('~') {
            self.at += 1;
            self.eat("+");
            let last = self.time()?;
            let when = if relative {
                When::AfterBetween(first, last)
            } else {
                When::Between(first, last)
            };
            return Ok((when, None));
        }
        let when = if relative {
            When::After(first)
        } else {
            When::At(first)
        };
        Ok((when, None))
    }

    fn event(&mut self) -> Parsed<Event> {
        self.skip();
        let line = self.line();
        if self.rest().starts_with('`') {
            self.command()?;
            return Ok(Event {
                line,
                when: When::Any,
                action: Action::Command,
            });
        }
        let (when, until) = self.when()?;
        self.skip();
        let rest = self.rest();
        let action = if rest.starts_with('<') || rest.starts_with('>') {
            Action::Packet(self.packet()?)
        } else if self.eat("%{") {
            let rest = self.rest();
            let len = rest.find("}%").ok_or("'}%' is missing")?;
            self.at += len + 2;
            Action::Code(rest[..len].to_string())
        } else if rest.starts_with('`') {
            self.command()?;
            Action::Command
        } else {
            self.call(until)?
        };
        Ok(Event { line, when, action })
    }

    fn command(&mut self) -> Parsed<()> {
        self.expect("`")?;
        let len = self.rest().find('`').ok_or("the closing '`' is missing")?;
        self.at += len + 1;
        Ok(())
    }

    /// `1:1001(1000)`
    fn range(&mut self) -> Parsed<(u32, u32)> {
        let first = self.number()?;
        self.expect(":")?;
        let end = self.number()?;
        self.expect("(")?;
        let len = self.number()?;
        self.expect(")")?;
        if end.wrapping_sub(first) != len {
            return Err(format!("{first}:{end} is not {len} bytes"));
        }
        Ok((first, len))
    }

    fn packet(&mut self) -> Parsed<Packet> {
        let inbound = self.eat("<");
        if !inbound {
            self.expect(">")?;
        }
        let mut ecn = None;
        let mut about = None;
        while self.eat("[") {
            self.skip();
            if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
                about = Some(self.range()?.0);
            } else {
                ecn = Some(match self.word() {
                    "noecn" => 0,
                    "ect1" => 1,
                    "ect0" => 2,
                    "ce" => 3,
                    other => return Err(format!("'{other}' in brackets is not known")),
                });
            }
            self.expect("]")?;
        }
        if self.eat("icmp") {
            let kind = self.word().to_string();
            let mut code = String::new();
            let mut mtu = 0;
            for _ in 0..2 {
                if self.eat("mtu") {
                    mtu = self.number()?;
                } else if kind == "unreachable" && code.is_empty() {
                    code = self.word().to_string();
                }
            }
            return Ok(Packet {
                inbound,
                ecn,
                body: Body::Icmp {
                    about: about.unwrap_or(0),
                    kind,
                    code,
                    mtu,
                },
            });
        }
        let mut flags = 0;
        // "-": none.
        let none = self.eat("-");
        for c in self
            .take(|c| !none && (c.is_ascii_alphabetic() || c == '.'))
            .chars()
        {
            flags |= match c {
                'F' => FIN,
                'S' => SYN,
                'R' => RST,
                'P' => PSH,
                '.' => ACK,
                'U' => URG,
                'E' => ECE,
                'W' => CWR,
                other => return Err(format!("'{other}' is no TCP flag")),
            };
        }
        let (seq, len) = self.range()?;
        let ack = match self.eat("ack") {
            true => Some(self.number()?),
            false => None,
        };
        let win = match self.eat("win") {
            true => Some(self.number()?),
            false => None,
        };
        let options = match self.eat("<") {
            true => self.options()?,
            false => Some(Vec::new()),
        };
        Ok(Packet {
            inbound,
            ecn,
            body: Body::Tcp(Tcp {
                flags,
                seq,
                len,
                ack,
                win,
                options,
            }),
        })
    }

    fn options(&mut self) -> Parsed<Option<Vec<Opt>>> {
        if self.eat("...") {
            self.expect(">")?;
            return Ok(None);
        }
        let mut options = Vec::new();
        while !self.eat(">") {
            options.push(match self.word() {
                "mss" => Opt::Mss(self.number()? as u16),
                "nop" => Opt::Nop,
                "eol" => Opt::Eol,
                "sackOK" => Opt::SackOk,
                "wscale" => Opt::Wscale(self.number()? as u8),
                "TS" => {
                    self.expect("val")?;
                    let value = self.number()?;
                    self.expect("ecr")?;
                    Opt::Ts(value, self.number()?)
                }
                "sack" => {
                    let mut blocks = Vec::new();
                    self.skip();
                    while self.rest().starts_with(|c: char| c.is_ascii_digit()) {
                        let first = self.number()?;
                        self.expect(":")?;
                        blocks.push((first, self.number()?));
                        self.skip();
                    }
                    Opt::Sack(blocks)
                }
                other => return Err(format!("the TCP option '{other}' is not known")),
            });
            self.eat(",");
        }
        Ok(Some(options))
    }

    fn call(&mut self, until: Option<i64>) -> Parsed<Action> {
        let name = self.word().to_string();
        self.expect("(")?;
        let args = self.args(")")?;
        self.expect("=")?;
        let result = self.arg()?;
        self.skip();
        let errno = match self.rest().starts_with('E') {
            true => {
                let name = self.word();
                Some(constant(name).ok_or(format!("the error {name} is not known"))? as i32)
            }
            false => None,
        };
        // What is in parentheses is a remark.
        if self.eat("(") {
            let len = self.rest().find(')').ok_or("')' is missing")?;
            self.at += len + 1;
        }
        self.eat(";");
        Ok(Action::Call {
            name,
            args,
            result,
            errno,
            until,
        })
    }

    fn args(&mut self, end: &str) -> Parsed<Vec<Arg>> {
        let mut args = Vec::new();
        while !self.eat(end) {
            args.push(self.arg()?);
            self.eat(",");
        }
        Ok(args)
    }

    fn arg(&mut self) -> Parsed<Arg> {
        if self.eat("...") {
            return Ok(Arg::Any);
        }
        if self.eat("[") {
            return Ok(Arg::List(self.args("]")?));
        }
        if self.eat("{") {
            let mut fields = Vec::new();
            while !self.eat("}") {
                let name = self.word().to_string();
                if !self.eat("=") {
                    self.expect(":")?;
                }
                fields.push((name, self.arg()?));
                self.eat(",");
            }
            return Ok(Arg::Struct(fields));
        }
        if self.eat("\"") {
            let len = self.rest().find('"').ok_or("'\"' is missing")?;
            let text = self.rest()[..len].to_string();
            self.at += len + 1;
            return Ok(Arg::Text(text));
        }
        let mut value = self.term()?;
        while self.eat("|") {
            value |= self.term()?;
        }
        Ok(Arg::Int(value))
    }

    fn term(&mut self) -> Parsed<i64> {
        let negative = self.eat("-");
        let word = self.word();
        let value = match word.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        };
        let value = value
            .or_else(|| constant(word))
            .ok_or_else(|| format!("'{word}' is not known"))?;
        Ok(if negative { -value } else { value })
    }
}

macro_rules! constants {
    ($name:expr; $($constant:ident),* $(,)?) => {
        match $name {
            $(stringify!($constant) => Some(libc::$constant as i64),)*
            "SIOCINQ" => Some(libc::FIONREAD as i64),
            "SIOCOUTQ" => Some(libc::TIOCOUTQ as i64),
            "SIOCOUTQNSD" => Some(0x894b),
            "TCP_NOTSENT_LOWAT" => Some(25),
            _ => None,
        }
    };
}

fn constant(name: &str) -> Option<i64> {
    constants!(name;
        AF_INET, AF_INET6, SOCK_STREAM, SOCK_DGRAM, SOCK_NONBLOCK, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IP, IPPROTO_IPV6,
        SOL_SOCKET, SOL_TCP, SOL_IP, SOL_IPV6, SO_REUSEADDR, SO_ERROR, SO_KEEPALIVE, SO_LINGER, SO_RCVBUF, SO_SNDBUF,
        SO_RCVTIMEO, SO_SNDTIMEO, TCP_NODELAY, TCP_MAXSEG, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT,
        TCP_USER_TIMEOUT, TCP_CONGESTION, TCP_QUICKACK, TCP_CORK, TCP_INFO, TCP_DEFER_ACCEPT, IP_TOS, IP_TTL,
        IP_MTU_DISCOVER, O_RDWR, O_NONBLOCK, F_GETFL, F_SETFL, SHUT_RD, SHUT_WR, SHUT_RDWR, MSG_DONTWAIT, MSG_PEEK,
        MSG_WAITALL, MSG_TRUNC, MSG_NOSIGNAL, MSG_MORE, MSG_OOB, MSG_EOR, MSG_ZEROCOPY, MSG_FASTOPEN,
        POLLIN, POLLOUT, POLLERR, POLLHUP, POLLRDHUP, POLLPRI, FIONREAD,
        EAGAIN, EINPROGRESS, EALREADY, EISCONN, ECONNREFUSED, ECONNRESET, ECONNABORTED, ETIMEDOUT, EPIPE, ENOTCONN,
        EINVAL, EADDRINUSE, EHOSTUNREACH, ENETUNREACH, EMSGSIZE, EBADF, EOPNOTSUPP, ENOPROTOOPT, EDEADLK,
    )
}

/// Reads a script.
pub fn parse(text: &str) -> Result<Script, String> {
    let mut reader = Reader { text, at: 0 };
    let mut script = Script::default();
    reader.skip();
    while reader.rest().starts_with("--") {
        let rest = reader.rest();
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let (name, value) = line[2..].split_once('=').unwrap_or((&line[2..], ""));
        let value = value.split("//").next().unwrap_or_default().trim();
        script
            .options
            .insert(name.trim().to_string(), value.to_string());
        reader.at += line.len();
        reader.skip();
    }
    while !reader.rest().is_empty() {
        let line = reader.line();
        let event = reader.event().map_err(|error| format!("{line}: {error}"))?;
        script.events.push(event);
        reader.skip();
    }
    Ok(script)
}
