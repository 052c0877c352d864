//! RFC 9406: HyStart++: Modified Slow Start for TCP
//!
//! Shown elsewhere:
//! - 4.2 -: growing delay turns slow start conservative, and five rounds later it ends | `hystart_turns_conservative_on_delay_and_ends_slow_start_five_rounds_later`
//! - 4.2 -: delay that goes away again turns it back | `hystart_goes_back_to_slow_start_after_jitter`
//! - 4.2 -: the first slow start ends before the queue overflows | `hystart_leaves_the_first_slow_start_before_the_queue_overflows`
//! - 4.3 -: short round trips do not mislead it | `hystart_is_not_misled_by_short_round_trips`
