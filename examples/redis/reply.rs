//! Replies are frames of RESP3; an older client gets what RESP2 has for them.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use redis_protocol::resp2::types::BytesFrame as Frame2;
pub(super) use redis_protocol::resp3::types::BytesFrame as Frame;
use redis_protocol::resp3::types::Resp3Frame;
use redis_protocol::{resp2, resp3};

pub(super) type Failure = Cow<'static, str>;
pub(super) type Reply = Result<Frame, Failure>;

pub(super) const WRONG_TYPE: Failure =
    Cow::Borrowed("WRONGTYPE Operation against a key holding the wrong kind of value");
pub(super) const NOT_A_NUMBER: Failure =
    Cow::Borrowed("ERR value is not an integer or out of range");
pub(super) const SYNTAX: Failure = Cow::Borrowed("ERR syntax error");

const TOO_LARGE: Failure = Cow::Borrowed("ERR the reply is larger than this server makes them");

/// Values that are put together to one reply, for as long as that is no larger than it may be.
pub(super) struct Values {
    frames: Vec<Frame>,
    /// What they take at least once they are encoded: how much exactly is looked at there.
    bytes: usize,
    limit: usize,
}

impl Values {
    pub(super) fn new(limit: usize) -> Self {
        let (frames, bytes) = (Vec::new(), 0);
        Self {
            frames,
            bytes,
            limit,
        }
    }

    pub(super) fn add(&mut self, value: Option<&Bytes>) -> Result<(), Failure> {
        // `$0\r\n\r\n` or `_\r\n`.
        self.bytes += value.map_or(3, |value| 6 + value.len());
        if self.bytes > self.limit {
            return Err(TOO_LARGE);
        }
        let frame = value.map_or(Frame::Null, |value| text(value.clone()));
        self.frames.push(frame);
        Ok(())
    }

    pub(super) fn frames(self) -> Vec<Frame> {
        self.frames
    }
}

pub(super) fn simple(text: &'static str) -> Frame {
    let (data, attributes) = (Bytes::from_static(text.as_bytes()), None);
    Frame::SimpleString { data, attributes }
}

pub(super) fn text(data: impl Into<Bytes>) -> Frame {
    let (data, attributes) = (data.into(), None);
    Frame::BlobString { data, attributes }
}

pub(super) fn count(data: impl TryInto<i64>) -> Frame {
    let (data, attributes) = (data.try_into().unwrap_or(i64::MAX), None);
    Frame::Number { data, attributes }
}

pub(super) fn array(data: Vec<Frame>) -> Frame {
    let attributes = None;
    Frame::Array { data, attributes }
}

pub(super) fn map(pairs: impl IntoIterator<Item = (Frame, Frame)>) -> Frame {
    let (data, attributes) = (pairs.into_iter().collect(), None);
    Frame::Map { data, attributes }
}

pub(super) fn in_resp2(frame: Frame) -> Frame2 {
    match frame {
        Frame::SimpleString { data, .. } => Frame2::SimpleString(data),
        Frame::SimpleError { data, .. } => Frame2::Error(data),
        Frame::BlobString { data, .. } => Frame2::BulkString(data),
        Frame::Number { data, .. } => Frame2::Integer(data),
        Frame::Array { data, .. } => Frame2::Array(data.into_iter().map(in_resp2).collect()),
        Frame::Set { data, .. } => Frame2::Array(data.into_iter().map(in_resp2).collect()),
        Frame::Map { data, .. } => {
            let flat = data.into_iter().flat_map(|(key, value)| [key, value]);
            Frame2::Array(flat.map(in_resp2).collect())
        }
        // There are no others here.
        _ => Frame2::Null,
    }
}

/// Puts a reply behind those that wait.
pub(super) fn encode(resp3: bool, limit: usize, reply: Reply, output: &mut BytesMut) {
    let error = |told: Failure| {
        let (data, attributes) = (told.into_owned().into(), None);
        Frame::SimpleError { data, attributes }
    };
    let mut frame = reply.unwrap_or_else(error);
    if frame.encode_len(false) > limit {
        frame = error(TOO_LARGE);
    }
    // The buffer grows as needed, and a frame of ours is one of those that there are: nothing here can fail.
    let _ = match resp3 {
        true => resp3::encode::complete::extend_encode(output, &frame, false),
        false => resp2::encode::extend_encode(output, &in_resp2(frame), false),
    };
}
