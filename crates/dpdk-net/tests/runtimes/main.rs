//! What holds on every runtime that a worker can have: one suite, run on each.
#![cfg(all(
    feature = "compio",
    feature = "connector",
    feature = "resolver",
    feature = "smol",
    feature = "tls"
))]

#[path = "../common/mod.rs"]
mod common;

mod bed;
mod guests;
mod sockets;
mod tasks;
mod timers;
mod tls;

/// Each of these functions as a test of its own on each runtime.
macro_rules! on_each_runtime {
    ($($module:ident: $($name:ident)*;)*) => {
        on_each_runtime!(@ tokio Tokio $($module: $($name)*;)*);
        on_each_runtime!(@ local Local $($module: $($name)*;)*);
        on_each_runtime!(@ smol Smol $($module: $($name)*;)*);
        on_each_runtime!(@ compio Compio $($module: $($name)*;)*);
    };
    (@ $label:ident $runtime:ident $($module:ident: $($name:ident)*;)*) => {
        mod $label {
            $($(
                #[test]
                fn $name() {
                    crate::$module::$name::<dpdk_net::runtime::$runtime>();
                }
            )*)*
        }
    };
}

on_each_runtime! {
    guests:
        hyper_serves_and_asks_over_http1
        the_connector_looks_up_connects_and_gives_up_in_time
        sockets_and_timers_of_async_io_work_beside_ours
        what_needs_tokios_runtime_says_so_and_the_worker_goes_on;
    sockets:
        what_is_sent_comes_back_over_tcp_and_udp_in_both_families
        two_hundred_connections_are_served_at_once
        who_does_not_listen_refuses_and_who_does_not_answer_times_out
        names_are_looked_up_over_our_own_sockets
        a_socket_that_is_always_ready_starves_nobody
        a_worker_that_ends_drops_its_tasks_and_delivers_what_was_written;
    tasks:
        tasks_give_their_results_their_aborts_and_their_panics
        a_task_that_never_waits_starves_neither_others_nor_the_device
        a_thread_that_wakes_many_tasks_does_not_wait_for_their_worker
        other_threads_wake_tasks_and_the_program
        the_program_is_polled_in_the_turn_in_which_it_is_woken
        a_worker_inside_a_worker_is_refused_and_the_outer_one_goes_on;
    timers:
        timers_are_in_order_and_never_early
        what_is_due_gives_way_and_what_is_dropped_is_gone;
    tls:
        both_ends_shake_hands_and_what_is_sent_comes_back
        who_says_nothing_is_let_go_in_time_and_holds_up_nobody
        handshakes_that_have_begun_outlive_their_listener_if_it_is_wanted
        a_thread_without_a_runtime_accepts;
}
