//! What the user's program is to the application that runs it: a function in a box that returns a future in a box.
//!
//! An application's life is thereby compiled once for each runtime, and not again for each program on each runtime. What it costs is one
//! indirect call whenever the program itself is woken.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use parking_lot::Mutex;

use super::Context;
use crate::error::Error;

/// A program that runs. What it returns is kept where it was boxed.
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A program for one worker.
pub(super) type Program<'a> = Box<dyn FnOnce(Context) -> Running<'a> + 'a>;

/// A program for each queue.
pub(super) type Programs<'a> = dyn Fn(Context, Place) -> Running<'a> + Sync + 'a;

/// A port's place among all, and the number of one of its queues.
pub(super) type Place = (usize, u16);

/// What each queue's program returned, or what ended it before.
pub(super) type Outcomes<T> = Vec<Result<T, Error>>;

/// Has `run` run a program, and returns what that returned.
pub(super) fn one<F, Fut>(
    program: F,
    run: impl FnOnce(Program<'_>) -> Result<(), Error>,
) -> Result<Fut::Output, Error>
where
    F: FnOnce(Context) -> Fut,
    Fut: Future,
{
    let mut output = None;
    let kept = &mut output;
    run(Box::new(move |context| {
        let running = program(context);
        Box::pin(async move { *kept = Some(running.await) })
    }))?;
    output.ok_or_else(never_returned)
}

/// Has `run` run a program on each queue; it tells which of them returned. Returns what those did.
pub(super) fn each<F, Fut>(
    program: &F,
    run: impl FnOnce(&Programs<'_>) -> Result<Outcomes<Place>, Error>,
) -> Result<Outcomes<Fut::Output>, Error>
where
    F: Fn(Context) -> Fut + Sync,
    Fut: Future,
    Fut::Output: Send,
{
    let outputs = Mutex::new(BTreeMap::new());
    let returned = run(&|context, place| {
        let (running, outputs) = (program(context), &outputs);
        Box::pin(async move {
            let output = running.await;
            outputs.lock().insert(place, output);
        })
    })?;
    let mut outputs = outputs.into_inner();
    let mut take = |place| outputs.remove(&place).ok_or_else(never_returned);
    let outcomes = returned.into_iter().map(|it| it.and_then(&mut take));
    Ok(outcomes.collect())
}

/// Of a program that is said to have returned and has not: there is none.
fn never_returned() -> Error {
    Error::Stopped {
        signal: "request_shutdown",
    }
}
