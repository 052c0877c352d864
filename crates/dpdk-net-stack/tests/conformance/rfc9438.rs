//! RFC 9438: CUBIC for Fast and Long-Distance Networks
//!
//! Shown elsewhere:
//! - 4.6 SHOULD: a loss reduces the window to seven tenths, and fast recovery ends there | `fast_recovery_ends_with_the_window_at_the_threshold`
//! - 4.9.1 MAY: a spurious timeout is found out and undone | `a_spurious_timeout_or_recovery_is_undone_once`
//! - 4.9.2 MAY: so is a spurious recovery | `a_spurious_timeout_or_recovery_is_undone_once`
//! - 4.8 -: a timeout starts over | `a_timeout_starts_over_and_reduces_the_threshold_once`
//! - 5.8 -: a window that the application does not fill does not grow | `a_window_that_is_not_used_does_not_grow`
//! - 4.10 -: slow start doubles the window | `slow_start_doubles_the_window_in_a_round_trip`
//! - 5.2 -: a path without loss is filled | `cubic_and_newreno_fill_a_path_without_loss`
