use crate::{Errno, Error};
pub(super) fn failed_start(_a: &[String], errno: Errno, log: Vec<String>) -> Error {
    Error::EalInit {
        errno,
        log,
        remedy: "".into(),
    }
}
