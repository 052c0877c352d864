//! `#[dpdk_net::main]`: the exit code is that of the programs, and what can't start is told to people.

mod common;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU16, Ordering};

use common::eal_builder;
use dpdk_net::{App, AppBuilder, Context, IdlePolicy};

/// Two queues on two lcores, of a device that nothing comes from.
fn two_queues() -> AppBuilder {
    let eal = eal_builder().lcores("0@0,1@1").keep_affinity();
    App::builder()
        .eal(eal.vdev("net_null0"))
        .address("198.18.0.2/24")
        .stack(|stack| stack.dad = false)
        .idle(IdlePolicy::Yield { after: 16 })
}

static CALLED: AtomicU16 = AtomicU16::new(0);

#[dpdk_net::main(builder = two_queues())]
async fn fails_on_the_second(ctx: Context) -> ExitCode {
    CALLED.fetch_add(1, Ordering::Relaxed);
    ExitCode::from(u8::try_from(ctx.queue_id()).unwrap() * 7)
}

#[test]
fn a_program_runs_for_each_queue_and_the_first_failure_is_the_exit_code() {
    assert_eq!(fails_on_the_second(), ExitCode::from(7));
    assert_eq!(CALLED.load(Ordering::Relaxed), 2);
}

#[dpdk_net::main(file = "there/is/no/such/file.toml")]
async fn of_no_file() {}

#[test]
fn a_file_that_can_not_be_read_is_a_failure() {
    assert_eq!(of_no_file(), ExitCode::FAILURE);
}
