//! A connection in detail, as JSON. Times are in microseconds, windows and amounts in bytes, rates in bytes a second.

use dpdk_net_stack::{CaState, Duration, TcpInfo};
use serde_json::{Map, Value, json};

/// `json!` recurses once a member, and has not enough of that for so many.
macro_rules! object {
    ($($name:literal: $value:expr,)*) => {{
        let mut object = Map::new();
        $(object.insert($name.to_owned(), json!($value));)*
        Value::from(object)
    }};
}

/// All of a `TcpInfo` but what tells which connection it is.
pub(super) fn details(it: &TcpInfo) -> Value {
    object! {
        "ca_state": match it.ca_state {
            CaState::Open => "open",
            CaState::Disorder => "disorder",
            CaState::Cwr => "cwr",
            CaState::Recovery => "recovery",
            CaState::Loss => "loss",
            _ => "unknown",
        },
        "backoff": it.backoff,
        "probes": it.probes,
        "timestamps": it.timestamps,
        "sack": it.sack,
        "ecn": it.ecn,
        "snd_wscale": it.snd_wscale,
        "rcv_wscale": it.rcv_wscale,
        "rto_us": micros(it.rto),
        "ato_us": micros(it.ato),
        "snd_mss": it.snd_mss,
        "rcv_mss": it.rcv_mss,
        "advmss": it.advmss,
        "unacked": it.unacked,
        "sacked": it.sacked,
        "lost_bytes": it.lost,
        "retrans": it.retrans,
        "last_data_sent_us": it.last_data_sent.map(micros),
        "last_heard_us": micros(it.last_heard),
        "rtt_us": micros(it.rtt),
        "rttvar_us": micros(it.rttvar),
        "rtt_latest_us": micros(it.rtt_latest),
        "min_rtt_us": micros(it.min_rtt),
        "cwnd": it.snd_cwnd,
        "ssthresh": it.snd_ssthresh,
        "reordering_seen": it.reordering_seen,
        "rcv_space": it.rcv_space,
        "snd_space": it.snd_space,
        "rcv_wnd": it.rcv_wnd,
        "snd_wnd": it.snd_wnd,
        "total_retrans": it.total_retrans,
        "dsack_dups": it.dsack_dups,
        "pacing_rate": it.pacing_rate,
        "max_pacing_rate": it.max_pacing_rate,
        "delivery_rate": it.delivery_rate,
        "delivery_rate_app_limited": it.delivery_rate_app_limited,
        "bytes_acked": it.bytes_acked,
        "bytes_received": it.bytes_received,
        "bytes_sent": it.bytes_sent,
        "bytes_retrans": it.bytes_retrans,
        "segs_out": it.segs_out,
        "segs_in": it.segs_in,
        "data_segs_out": it.data_segs_out,
        "busy_us": micros(it.busy_time),
        "notsent": it.notsent_bytes,
        "out_of_order": it.out_of_order,
        "memory": it.memory,
        "congestion": it.congestion.to_string(),
        "congestion_phase": it.congestion_phase,
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
