//! DPDK's telemetry: a Unix socket in EAL's [runtime directory](crate::Eal::runtime_dir) on which `dpdk-telemetry.py` asks, with commands
//! of the program's own.
//!
//! EAL serves it unless [`no_telemetry`](crate::EalBuilder::no_telemetry) is given; the thread is DPDK's. What a command of ours is answered
//! with is asked of a closure there. DPDK has no way to take a command back: one whose [`Registered`] is gone stays listed and is
//! answered with null.
//!
//! What holds: DPDK calls `on_command` on any thread, at any time from registration on, after EAL's cleanup too; it touches nothing but
//! what is registered, and never unwinds into C.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use dpdk_net_sys as sys;

use crate::Error;

/// What a command is answered with. Beyond what DPDK has room for, entries are left out: 256 figures or 512 texts, and of each name or
/// text 127 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Figures by their names: letters, digits, `_` and `/`; one of other characters is left out.
    Figures(Vec<(String, u64)>),
    /// Texts.
    Texts(Vec<String>),
}

/// Answers a command: it is given what came behind the comma, and has nothing to say to parameters that make no sense.
type Answering = dyn Fn(&str) -> Option<Answer> + Send + Sync;

/// Those that were registered, by their commands; `None` where nobody answers any more.
static COMMANDS: Mutex<BTreeMap<CString, Option<Arc<Answering>>>> = Mutex::new(BTreeMap::new());

/// A command that is answered for as long as this lives.
#[derive(Debug)]
#[must_use = "the command is answered as long as this lives"]
pub struct Registered(CString);

impl Drop for Registered {
    fn drop(&mut self) {
        let answering = commands().get_mut(&self.0).and_then(Option::take);
        // Outside the lock: it is the program's.
        drop(answering);
    }
}

fn commands() -> std::sync::MutexGuard<'static, BTreeMap<CString, Option<Arc<Answering>>>> {
    COMMANDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers `command`, a path such as `/shop/stats`, by a closure (`rte_telemetry_register_cmd`). It runs on DPDK's thread, one call at a
/// time, and should be quick.
///
/// # Errors
/// [`Error::InvalidArgument`] for one that is no path of at most 55 letters, digits, `_` and `/`, or that is answered already;
/// [`Error::Dpdk`] where DPDK has no room for another one.
pub fn register(
    command: &str,
    help: &str,
    answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static,
) -> Result<Registered, Error> {
    let invalid = |problem: &str| Error::InvalidArgument {
        what: format!("the telemetry command {command:?}"),
        problem: problem.to_owned(),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/');
    if !command.starts_with('/') || !command.chars().all(plain) || command.len() > LONGEST_COMMAND {
        return Err(invalid(
            "it is a path of at most 55 letters, digits, _ and /",
        ));
    }
    let path = CString::new(command).map_err(|_| invalid("there is a NUL in it"))?;
    let help = CString::new(help).map_err(|_| invalid("there is a NUL in its help"))?;
    let mut all = commands();
    match all.get_mut(&path) {
        Some(Some(_)) => return Err(invalid("it is answered already")),
        // DPDK knows it since it was registered first.
        Some(place) => *place = Some(Arc::new(answer)),
        None => {
            // SAFETY: both strings are NUL-terminated and copied; `on_command` has the type that is wanted, lives for ever and does not
            // unwind. Commands may be registered at any time, from any thread.
            let rc = unsafe {
                sys::dn_telemetry_register(path.as_ptr(), Some(on_command), help.as_ptr())
            };
            if rc != 0 {
                let subject = format!("the telemetry command {command}");
                return Err(Error::from_rc("rte_telemetry_register_cmd", subject, rc));
            }
            all.insert(path.clone(), Some(Arc::new(answer)));
        }
    }
    Ok(Registered(path))
}

/// Bytes of a command that DPDK keeps (`MAX_CMD_LEN`), less its NUL.
const LONGEST_COMMAND: usize = 55;

/// What DPDK calls for each command of ours.
extern "C" fn on_command(
    command: *const c_char,
    parameters: *const c_char,
    data: *mut sys::rte_tel_data,
) -> c_int {
    if command.is_null() || data.is_null() {
        return -libc::EINVAL;
    }
    // SAFETY: DPDK passes a NUL-terminated string that lives until this returns.
    let command = unsafe { CStr::from_ptr(command) };
    let parameters = if parameters.is_null() {
        c""
    } else {
        // SAFETY: as the command.
        unsafe { CStr::from_ptr(parameters) }
    };
    let answer = catch_unwind(AssertUnwindSafe(|| {
        let answering = commands().get(command).cloned().flatten()?;
        answering(&parameters.to_string_lossy())
    }));
    match answer {
        Ok(Some(Answer::Figures(figures))) => {
            // SAFETY: `data` is DPDK's to be filled by this call.
            unsafe { sys::dn_tel_dict(data) };
            for (name, value) in figures.iter().take(sys::DN_TEL_DICT_ENTRIES) {
                if let Some(name) = text(name) {
                    // SAFETY: as above, and `name` is NUL-terminated and copied. A name that DPDK does not take is left out.
                    unsafe { sys::dn_tel_dict_number(data, name.as_ptr(), *value) };
                }
            }
            0
        }
        Ok(Some(Answer::Texts(texts))) => {
            // SAFETY: as above.
            unsafe { sys::dn_tel_strings(data) };
            let room = sys::DN_TEL_ARRAY_ENTRIES;
            for text in texts.iter().filter_map(|it| text(it)).take(room) {
                // SAFETY: as above.
                unsafe { sys::dn_tel_string(data, text.as_ptr()) };
            }
            0
        }
        Ok(None) | Err(_) => -libc::EINVAL,
    }
}

/// As much of a text as DPDK takes.
fn text(text: &str) -> Option<CString> {
    let end = text.floor_char_boundary(sys::DN_TEL_STRING_LEN - 1);
    CString::new(text.get(..end)?).ok()
}
