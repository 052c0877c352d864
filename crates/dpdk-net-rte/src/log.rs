//! DPDK's log as `tracing` events.
//!
//! What lives here: the sink that the shim's log stream writes to. It puts lines together again, one buffer a thread
//! (stdio hands messages over in pieces, and DPDK builds some lines from several messages), turns each into an event
//! with target `dpdk` and the level it was logged at, and remembers the last warnings and errors for error texts. No
//! line is lost: one that lacks its newline is emitted when the buffer is full or, if its thread ended, with the next
//! line of any thread or when the EAL is cleaned up.
//!
//! What holds: the sink is called by C on any thread; it never unwinds into C and never calls DPDK.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};

use dpdk_net_sys as sys;

/// How much DPDK logs. The order is DPDK's: each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum LogLevel {
    /// The system is unusable.
    Emergency = sys::RTE_LOG_EMERG,
    /// Action must be taken at once.
    Alert = sys::RTE_LOG_ALERT,
    /// Critical conditions.
    Critical = sys::RTE_LOG_CRIT,
    /// Errors.
    Error = sys::RTE_LOG_ERR,
    /// Warnings.
    Warning = sys::RTE_LOG_WARNING,
    /// Normal but significant.
    Notice = sys::RTE_LOG_NOTICE,
    /// What is going on; DPDK's default.
    Info = sys::RTE_LOG_INFO,
    /// For debugging.
    Debug = sys::RTE_LOG_DEBUG,
}

/// Lines longer than this are cut into several events: a message that never ends must not grow for ever.
const MAX_LINE: usize = 4096;
/// Warnings and errors remembered for error texts.
const REMEMBERED: usize = 16;

/// The last warnings and errors, oldest first.
static RECENT: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// Sends DPDK's log to `tracing` from now on. Done once; later calls do nothing.
pub(crate) fn redirect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `sink` is an `extern "C"` function of the type that the shim declares, lives for ever and does not
        // unwind. DPDK allows its log stream to be set before the EAL is initialised.
        let rc = unsafe { sys::dn_log_redirect(Some(sink)) };
        if rc != 0 {
            tracing::warn!(target: "dpdk", "no memory for DPDK's log stream: its log stays on standard error");
        }
    });
}

/// The last warnings and errors since the last call, oldest first.
pub(crate) fn take_recent() -> Vec<String> {
    flush();
    RECENT
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .drain(..)
        .collect()
}

/// Bytes of one thread that do not end in a newline yet, and the level of the first of them.
#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    level: u32,
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            // Not emitted here: when a thread's locals go, those of the subscriber may be gone already.
            let mut orphans = ORPHANS.lock().unwrap_or_else(PoisonError::into_inner);
            orphans.push((self.level, std::mem::take(&mut self.bytes)));
        }
    }
}

/// Lines whose threads ended before they did. Emptied with the next line.
static ORPHANS: Mutex<Vec<(u32, Vec<u8>)>> = Mutex::new(Vec::new());

/// Emits what threads that ended have left.
pub(crate) fn flush() {
    let orphans = std::mem::take(&mut *ORPHANS.lock().unwrap_or_else(PoisonError::into_inner));
    for (level, line) in orphans {
        emit(level, &line);
    }
}

thread_local! {
    static PARTIAL: RefCell<Partial> = RefCell::default();
}

/// What the shim's stream calls with each piece.
extern "C" fn sink(level: u32, bytes: *const c_char, len: usize) {
    if bytes.is_null() || len == 0 {
        return;
    }
    // SAFETY: the stream passes a readable buffer of `len` bytes for the duration of this call.
    let bytes = unsafe { core::slice::from_raw_parts(bytes.cast::<u8>(), len) };
    // A panicking subscriber must not unwind into C.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        flush();
        let buffered = PARTIAL.try_with(|partial| match partial.try_borrow_mut() {
            Ok(mut partial) => {
                assemble(&mut partial, level, bytes, emit);
                true
            }
            // The subscriber itself made DPDK log: pass that on as it is.
            Err(_) => false,
        });
        if buffered != Ok(true) {
            emit(level, bytes);
        }
    }));
}

/// Adds `bytes` to `partial` and calls `line` for each line that is complete.
fn assemble(partial: &mut Partial, level: u32, mut bytes: &[u8], mut line: impl FnMut(u32, &[u8])) {
    while !bytes.is_empty() {
        if partial.bytes.is_empty() {
            partial.level = level;
        }
        let room = MAX_LINE - partial.bytes.len();
        let window = &bytes[..bytes.len().min(room)];
        let (taken, complete) = match window.iter().position(|&byte| byte == b'\n') {
            Some(end) => (end, true),
            None => (window.len(), false),
        };
        partial.bytes.extend_from_slice(&bytes[..taken]);
        bytes = &bytes[taken + usize::from(complete)..];
        if complete || partial.bytes.len() == MAX_LINE {
            let text = std::mem::take(&mut partial.bytes);
            line(partial.level, &text);
        }
    }
}

/// One line as an event, and into the memory of recent ones.
fn emit(level: u32, line: &[u8]) {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end();
    if text.is_empty() {
        return;
    }
    if (1..=sys::RTE_LOG_WARNING).contains(&level) {
        let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(text.to_owned());
    }
    match level {
        1..=sys::RTE_LOG_ERR => tracing::error!(target: "dpdk", "{text}"),
        sys::RTE_LOG_WARNING => tracing::warn!(target: "dpdk", "{text}"),
        // 0: written to the stream outside of a message, as DPDK's dump functions do.
        0 | sys::RTE_LOG_NOTICE | sys::RTE_LOG_INFO => tracing::info!(target: "dpdk", "{text}"),
        _ => tracing::debug!(target: "dpdk", "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn lines(pieces: &[(u32, &str)]) -> (Vec<(u32, String)>, String) {
        let mut partial = Partial::default();
        let mut lines = Vec::new();
        for (level, piece) in pieces {
            assemble(&mut partial, *level, piece.as_bytes(), |level, line| {
                lines.push((level, String::from_utf8_lossy(line).into_owned()));
            });
        }
        let rest = String::from_utf8_lossy(&std::mem::take(&mut partial.bytes)).into_owned();
        (lines, rest)
    }

    #[test]
    fn pieces_become_lines_with_the_level_they_began_with() {
        let (lines, rest) = lines(&[
            (7, "EAL: de"),
            (7, "tected\nEAL: "),
            (4, "no\n"),
            (5, "tail"),
        ]);
        assert_eq!(
            lines,
            [(7, "EAL: detected".to_owned()), (7, "EAL: no".to_owned())]
        );
        assert_eq!(rest, "tail");
    }

    #[test]
    fn a_line_without_end_is_cut_and_nothing_of_it_lost() {
        let long = "x".repeat(3 * MAX_LINE + 5);
        let (lines, rest) = lines(&[(7, &long), (7, "\n")]);
        let total: usize = lines.iter().map(|(_, line)| line.len()).sum();
        assert_eq!(total + rest.len(), long.len());
        assert!(lines.iter().all(|(_, line)| line.len() <= MAX_LINE));
    }

    #[test]
    fn only_the_last_warnings_and_errors_are_remembered() {
        take_recent();
        for number in 0..REMEMBERED + 3 {
            emit(sys::RTE_LOG_ERR, format!("error {number}").as_bytes());
            emit(sys::RTE_LOG_INFO, b"not this one");
        }
        let recent = take_recent();
        assert_eq!(recent.len(), REMEMBERED);
        assert_eq!(recent[0], "error 3");
        assert!(take_recent().is_empty());
    }

    /// Counts the events of target `dpdk` by level and keeps their texts.
    #[derive(Clone, Default)]
    struct Collector(Arc<Mutex<Vec<(tracing::Level, String)>>>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Collector {
        fn on_event(
            &self,
            event: &tracing::Event<'_>,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            struct Message(String);
            impl tracing::field::Visit for Message {
                fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                    self.0 = format!("{value:?}");
                }
            }
            let mut message = Message(String::new());
            event.record(&mut message);
            let mut events = self.0.lock().expect("no test panicked");
            events.push((*event.metadata().level(), message.0));
        }
    }

    #[test]
    fn every_line_that_dpdk_logs_on_any_thread_arrives_whole_and_at_its_level() {
        const LINES: usize = 500;
        let collector = Collector::default();
        let subscriber = tracing_subscriber::registry().with(collector.clone());
        tracing::subscriber::set_global_default(subscriber).expect("one test a process");
        redirect();
        fn log(level: u32, text: &str) {
            let text = CString::new(text).expect("no NUL");
            // SAFETY: both strings are NUL-terminated and the format takes one string. Type 0 is the EAL's.
            let rc = unsafe { sys::rte_log(level, 0, c"%s".as_ptr(), text.as_ptr()) };
            assert!(rc >= 0);
        }
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                std::thread::spawn(move || {
                    for line in 0..LINES {
                        let level =
                            [sys::RTE_LOG_ERR, sys::RTE_LOG_WARNING, sys::RTE_LOG_NOTICE][line % 3];
                        log(level, &format!("thread {thread} "));
                        log(level, &format!("line {line}\n"));
                    }
                    // Its thread ends before its line does.
                    log(sys::RTE_LOG_ERR, &format!("thread {thread} ends"));
                })
            })
            .collect();
        // Joined one by one: a scope would end before its threads' locals, and the lines in them, are gone.
        for thread in threads {
            thread.join().expect("it logs without a panic");
        }
        flush();
        let events = collector.0.lock().expect("no test panicked");
        assert_eq!(events.len(), 4 * (LINES + 1));
        for thread in 0..4 {
            let of_thread = format!("thread {thread} ");
            let mut lines = events
                .iter()
                .filter(|(_, text)| text.starts_with(&of_thread));
            for line in 0..LINES {
                let level = [
                    tracing::Level::ERROR,
                    tracing::Level::WARN,
                    tracing::Level::INFO,
                ][line % 3];
                assert_eq!(
                    lines.next(),
                    Some(&(level, format!("{of_thread}line {line}")))
                );
            }
            assert_eq!(
                lines.next(),
                Some(&(tracing::Level::ERROR, format!("{of_thread}ends")))
            );
        }
    }
}
